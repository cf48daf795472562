"""Who did something by hand, and why: both must be said."""

from __future__ import annotations

from include.errors import ConfigurationError

MAX_WORDS = 500


def require_said(why: str, by: str, *, subject: str) -> None:
    """Raise unless a person said who he is and why.

    Raises:
        ConfigurationError: One is missing or far too long.
    """
    for name, text in (("why", why), ("by", by)):
        if not text.strip() or len(text) > MAX_WORDS:
            raise ConfigurationError(
                f"'{name}' must be said, in at most {MAX_WORDS} characters: it is kept with the change; "
                "nothing was changed",
                subject=subject,
            )

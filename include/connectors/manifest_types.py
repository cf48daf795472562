"""Small validated types that the parts of a manifest share."""

import re
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

from include.connectors.placeholders import PLACEHOLDER

_FORBIDDEN_HEADERS = frozenset({"host", "content-length", "transfer-encoding", "connection"})


_SECRET_WORDS = frozenset(
    {"accesskey", "accesstoken", "apikey", "apitoken", "auth", "authentication", "authorisation",
     "authorization", "authtoken", "bearer", "cookie", "credential", "credentials", "jwt", "key", "passwd",
     "password", "pwd", "secret", "session", "sessionid", "sig", "signature", "token"}
)  # fmt: skip
_WORD_EDGE = re.compile(r"[^A-Za-z0-9]+|(?<=[a-z0-9])(?=[A-Z])")


def _check_zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:  # OSError: "Europe" is a folder
        raise ValueError(f"expected an IANA time zone such as 'Europe/London', got {value!r}") from error
    return value


def _check_headers(value: dict[str, str]) -> dict[str, str]:
    refused = sorted(name for name in value if name.lower() in _FORBIDDEN_HEADERS)
    if refused:
        raise ValueError(f"expected no header that steers the connection, got {', '.join(refused)}")
    literal = sorted(
        name for name, text in value.items() if sounds_secret(name) and not PLACEHOLDER.search(text)
    )
    if literal:
        raise ValueError(
            f"expected a placeholder such as {{credential.password}} in {', '.join(literal)}, got literal "
            "text: secrets live in the credential"
        )
    return value


def _check_path(value: str) -> str:
    if "://" in value or value.startswith("//"):
        raise ValueError(f"expected a path below base_url, got {value!r}")
    return value


def _check_template(value: str) -> str:
    if value.count("{value}") != 1:
        raise ValueError(f"expected text with {{value}} in it once, got {value!r}")
    return value


def _check_pattern(value: str) -> str:
    try:
        groups = re.compile(value).groups
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"expected a regular expression, got {value!r} ({error})") from error
    if groups != 1:
        raise ValueError(f"expected a regular expression with one group, got {groups}")
    return value


def sounds_secret(name: str) -> bool:
    """Return whether a header of this name carries a credential: ``X-Api-Key``, ``apiKey``, ``Cookie``."""
    return any(word.lower() in _SECRET_WORDS for word in _WORD_EDGE.split(name))


def is_credential(name: str, value: str) -> bool:
    """Return whether a header goes to the NPO's own host only."""
    return sounds_secret(name) or PLACEHOLDER.search(value) is not None


def value_key(value: Any) -> str:
    """Return a partner's value as a key of a value table: text as JSON writes it, trimmed, case ignored."""
    if value.__class__ is str:
        return str.casefold(value.strip())
    return str(value).casefold()


def as_table(value: Any) -> Any:
    """Return a value table with comparable keys."""
    return {value_key(key): entry for key, entry in value.items()} if isinstance(value, dict) else value


def as_typed(value: Any) -> Any:
    """Return ``{type: text}`` for plain text."""
    return {"type": value} if isinstance(value, str) else value


def as_field(value: Any) -> Any:
    """Return ``{path: text}`` for plain text."""
    return {"path": value} if isinstance(value, str) else value


def as_tuple(value: Any) -> Any:
    """Return a single value as a tuple of one."""
    return value if isinstance(value, (list, tuple)) else (value,)


Zone = Annotated[str, AfterValidator(_check_zone)]
Headers = Annotated[dict[str, str], AfterValidator(_check_headers)]
UrlPath = Annotated[str, AfterValidator(_check_path)]
Template = Annotated[str, AfterValidator(_check_template)]
Pattern = Annotated[str, AfterValidator(_check_pattern)]
Texts = Annotated[tuple[str, ...], BeforeValidator(as_tuple)]


class Part(BaseModel):
    """Base of all parts: immutable, and a word it does not know is an error."""

    # Each model is built when first used: all of them are of the one that holds them, every process anew.
    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, defer_build=True)

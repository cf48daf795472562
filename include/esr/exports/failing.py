"""Going on with what is left when one file fails, and telling of it in the end."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from include.errors import IntegrationError, TransientError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


@contextmanager
def collected(failed: list[IntegrationError], tell: Callable[[str], None]) -> Iterator[None]:
    """Keep what failed, tell of it, and go on."""
    try:
        yield
    except IntegrationError as error:
        tell(str(error))
        failed.append(error)


def raise_worst(failed: Sequence[IntegrationError]) -> None:
    """Raise one of what failed, if anything did: one that is tried again before one for a person.

    The other way round, what another try would mend would wait a day for a person to mend something else.

    Raises:
        IntegrationError: The first ``TransientError``, else the first of all.
    """
    for error in failed:
        if isinstance(error, TransientError):
            raise error
    if failed:
        raise failed[0]

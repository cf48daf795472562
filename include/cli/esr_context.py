"""What the commands of ``spotlight esr`` share."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import typer

from include.cli.environment import use_local_stack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from include.esr.context import EsrContext


@contextmanager
def esr_context() -> Iterator[EsrContext]:
    """Open the exchange as a stage does, on the local stack where nothing else is set."""
    from include.esr.run import open_context
    from include.storage.mongo import store_errors

    use_local_stack()
    run_id = f"cli__{datetime.now(tz=UTC).isoformat()}"
    with open_context(run_id) as ctx, store_errors("esr"):
        yield ctx


def deanery_of(code: str) -> str:
    """Return a deanery's code as ESR writes it.

    Raises:
        BadParameter: There is no such deanery.
    """
    from include.esr.names import Deanery

    if code.upper() not in set(Deanery):
        raise typer.BadParameter(f"there is no deanery {code!r}; there are {', '.join(Deanery)}")
    return code.upper()

"""What the commands of ``spotlight npo`` share: a row, who asks, and text that is safe for a terminal."""

from __future__ import annotations

import getpass
import json
import sys
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from include.cli.environment import use_local_stack
from include.errors import ConfigurationError
from include.settings import get_settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from include.registry.models import NpoConfig
    from include.registry.queries import RawRow
    from include.settings import Settings

NpoId = Annotated[str, typer.Argument(help="The row's npo_id, such as hopeworks.")]


class Registry(NamedTuple):
    """Where the rows are: the arguments every query begins and ends with."""

    dsn: str
    timeout: int
    settings: Settings


def open_registry() -> Registry:
    """Return the registry of this environment, else of the local stack."""
    use_local_stack()
    settings = get_settings()
    return Registry(settings.registry_dsn.get_secret_value(), settings.registry_timeout, settings)


def row_of(registry: Registry, npo_id: str) -> RawRow:
    """Return a row as it stands, whatever its status.

    Raises:
        ConfigurationError: There is none.
    """
    from include.registry.queries import row

    found = row(registry.dsn, npo_id, registry.timeout)
    if found is None:
        raise ConfigurationError(
            f"no row {npo_id!r} in integration.npo; 'spotlight npo list' names them", subject="registry"
        )
    return found


def config_of(registry: Registry, npo_id: str) -> NpoConfig:
    """Return a row as a typed value, whatever its status.

    Raises:
        ConfigurationError: There is none, or it cannot be used; lists every problem.
    """
    from include.registry.editing import checked_row
    from include.registry.models import NpoConfig

    row = row_of(registry, npo_id)
    return checked_row({key: row[key] for key in NpoConfig.model_fields if key in row})


def who() -> str:
    """Return who is to stand in a row's history."""
    return f"{getpass.getuser()} (spotlight)"


@contextmanager
def output_kept() -> Iterator[None]:
    """Keep standard output for the answer: Airflow, where credentials are looked up, logs to it."""
    with redirect_stdout(sys.stderr):
        yield


def text_of(value: Any) -> str:
    """Return a value for a terminal: control characters in it stay visible and do nothing."""
    return value if isinstance(value, str) and value.isprintable() else json.dumps(value, default=str)


def lines_of(rows: Sequence[tuple[str, ...]]) -> str:
    """Return rows of cells as aligned lines; the last column is as wide as it is."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )

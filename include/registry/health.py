"""What a person on call should know about the registry."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from include.errors import ConfigurationError
from include.registry.catalogue import load

if TYPE_CHECKING:
    from collections.abc import Iterator

    from include.registry.catalogue import Catalogue


class RegistryUnhealthyError(ConfigurationError):
    """Some row cannot become a DAG, or the registry cannot be reached; the message lists all of it."""


def check_registry() -> None:
    """Read the registry as the DAG files do and complain once, about everything.

    Raises:
        RegistryUnhealthyError: There are broken rows, or a snapshot stands in for the registry.
    """
    try:
        catalogue = load()
    except ConfigurationError:
        return  # no DAG can be built at all: the DAG file itself says so
    found = list(problems(catalogue, now=datetime.now(tz=UTC)))
    if found:
        raise RegistryUnhealthyError("\n".join(found))


def problems(catalogue: Catalogue, *, now: datetime) -> Iterator[str]:
    """Yield one line for an outage and one for each broken row."""
    if catalogue.source == "snapshot":
        taken = f"{catalogue.taken_at:%Y-%m-%d %H:%M} UTC"
        age = _age((now - catalogue.taken_at).total_seconds())
        yield (
            f"{catalogue.outage}. The DAGs are those of the snapshot of {taken} ({age} old);"
            " changed rows take effect when the registry is back."
        )
    for row in catalogue.broken:
        yield f"row {row.npo_id!r} of integration.npo has no DAG: {row.problem}. All other rows run."


def _age(seconds: float) -> str:
    minutes = int(seconds // 60)
    hours, days = minutes // 60, minutes // 1440
    if days:
        return f"{days} d"
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min"

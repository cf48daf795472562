"""What a person on call should know about the registry."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from include.errors import ConfigurationError
from include.registry.catalogue import load, read_just_now
from include.settings import get_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from include.registry.catalogue import Catalogue
    from include.settings import Settings


class RegistryUnhealthyError(ConfigurationError):
    """Some row cannot become a DAG, or the registry cannot be reached; the message lists all of it."""


def check_registry(settings: Settings | None = None) -> None:
    """Look at the registry as the DAG files see it and complain once, about everything.

    The file of the generated DAGs reads the registry as often as this one is parsed: what it has read
    just now is used, and the registry asked only when that is not there.

    Raises:
        RegistryUnhealthyError: There are broken rows, or a snapshot stands in for the registry.
    """
    settings, now = settings or get_settings(), datetime.now(tz=UTC)
    try:
        catalogue = read_just_now(settings, now=now) or load(settings=settings)
    except ConfigurationError:
        return  # no DAG can be built at all: the DAG file itself says so
    found = list(problems(catalogue, now=now))
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

"""What a person on call should know about the registry."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from include.errors import ConfigurationError, IntegrationError
from include.registry.catalogue import Catalogue, load_shard
from include.registry.shards import SHARDS, RowVersion, row_versions, snapshot_file
from include.registry.snapshot import read_snapshot
from include.settings import get_settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from include.settings import Settings


class RegistryUnhealthyError(ConfigurationError):
    """Some row cannot become a DAG, or the registry cannot be reached; the message lists all of it."""


def check_registry(settings: Settings | None = None) -> None:
    """Complain once, about everything that is wrong with the registry.

    The files of the generated DAGs have checked the rows and left what they found in their snapshots:
    only the rows' versions are read here, and a finding about an older version is not repeated.

    Raises:
        RegistryUnhealthyError: There are broken rows, or snapshots stand in for the registry.
    """
    settings = settings or get_settings()
    outage, versions = "", None
    try:
        versions = row_versions(settings.registry_dsn.get_secret_value(), settings.registry_timeout)
    except IntegrationError as error:
        outage = str(error)
    try:
        catalogue = findings(settings, versions, outage)
    except ConfigurationError:
        return  # no DAG can be built at all: the DAG files themselves say so
    found = list(problems(catalogue, now=datetime.now(tz=UTC)))
    if found:
        raise RegistryUnhealthyError("\n".join(found))


def findings(settings: Settings, versions: Mapping[str, RowVersion] | None, outage: str) -> Catalogue:
    """Return what the shards' files have found, without the good rows.

    Args:
        settings: Where the snapshots are.
        versions: The rows as they are now; ``None`` in an outage: then every finding counts.
        outage: Why the registry cannot be read.

    Raises:
        ConfigurationError: A shard was never read, and cannot be now.
    """
    shards = [_shard_findings(shard, settings) for shard in range(SHARDS)]
    broken = tuple(
        row
        for shard in shards
        for row in shard.broken
        if versions is None
        or (row.npo_id in versions and versions[row.npo_id].config_version == row.config_version)
    )
    oldest = min(shard.taken_at for shard in shards)
    return Catalogue(
        (),
        tuple(sorted(broken, key=lambda row: row.npo_id)),
        "snapshot" if outage else "registry",
        oldest,
        outage,
    )


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


def _shard_findings(shard: int, settings: Settings) -> Catalogue:
    snapshot = read_snapshot(snapshot_file(settings.registry_snapshot, shard))
    if snapshot is None:  # its file was not parsed yet, or on another machine
        return load_shard(shard, settings)
    return Catalogue((), snapshot.broken, "snapshot", snapshot.taken_at)


def _age(seconds: float) -> str:
    minutes = int(seconds // 60)
    hours, days = minutes // 60, minutes // 1440
    if days:
        return f"{days} d"
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min"

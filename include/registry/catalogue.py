"""What the DAG files build from: the rows with a DAG, checked one by one."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from pydantic import ValidationError

from include.errors import ConfigurationError, IntegrationError
from include.registry import queries
from include.registry.models import BrokenRow, NpoConfig
from include.registry.schedules import cron_expression
from include.registry.shards import shard_of, shard_rows, snapshot_file
from include.registry.snapshot import read_snapshot, write_snapshot
from include.settings import get_settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from include.registry.queries import RawRow
    from include.registry.snapshot import Snapshot
    from include.settings import Settings

log = logging.getLogger(__name__)

DAG_PREFIX = "npo__"
FIRST_YEAR, LAST_YEAR = 2000, 2100
WITH_DAG = frozenset({"active", "paused"})


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The integrations to build DAGs of.

    Attributes:
        configs: Good rows, by npo_id.
        broken: Rows that cannot be used, by npo_id.
        source: Where the rows came from.
        taken_at: When the registry was read (UTC); for a snapshot when it last could be.
        outage: Why the registry was not read; empty when it was.
    """

    configs: tuple[NpoConfig, ...]
    broken: tuple[BrokenRow, ...]
    source: Literal["registry", "snapshot"]
    taken_at: datetime
    outage: str = ""


def load_shard(shard: int, settings: Settings | None = None) -> Catalogue:
    """Return a shard's rows with a DAG, from the registry or, in an outage, from the last good snapshot.

    Rows and findings are left in the shard's snapshot, for the next outage and for the health file.

    Raises:
        ConfigurationError: Neither registry nor snapshot can be read.
    """
    settings = settings or get_settings()
    path = snapshot_file(settings.registry_snapshot, shard)
    try:
        rows = shard_rows(settings.registry_dsn.get_secret_value(), shard, settings.registry_timeout)
    except IntegrationError as error:
        snapshot = _from_snapshot(path, error)
        return _checked(snapshot.rows, snapshot.taken_at, str(error))
    catalogue = _checked(rows)
    try:
        write_snapshot(path, rows, catalogue.broken)
    except OSError as error:  # the DAGs are fine; only the next outage is not covered
        log.warning("registry snapshot %s cannot be written: %s", path, error)
    return catalogue


def load_dag(dag_id: str, settings: Settings | None = None) -> NpoConfig | None:
    """Return the row of one DAG: a task start asks for its own only. ``None``: no row has such a DAG.

    The manifest is not looked at: the stage reads and checks it, and can say more about it. A ``dag_id``
    of another DAG family reads nothing.

    Raises:
        ConfigurationError: The row is broken; or neither registry nor snapshot can be read.
    """
    settings = settings or get_settings()
    npo_id = dag_id.removeprefix(DAG_PREFIX)
    if npo_id == dag_id:
        return None
    row = _one_row(npo_id, settings)
    if row is None:
        return None
    try:
        return _config(row)
    except (ValueError, IntegrationError) as error:
        raise ConfigurationError(_problem(error), subject=npo_id) from None


def parse_rows(rows: Iterable[RawRow]) -> tuple[list[NpoConfig], list[BrokenRow]]:
    """Return the good rows as values and, apart, what is wrong with each of the others."""
    configs: list[NpoConfig] = []
    broken: list[BrokenRow] = []
    for row in rows:
        try:
            configs.append(_parsed(row))
        except (ValueError, IntegrationError) as error:
            version = row.get("config_version")
            broken.append(
                BrokenRow(str(row.get("npo_id")), _problem(error), version if isinstance(version, int) else 0)
            )
    return configs, broken


def _one_row(npo_id: str, settings: Settings) -> RawRow | None:
    try:
        row = queries.row(settings.registry_dsn.get_secret_value(), npo_id, settings.registry_timeout)
    except IntegrationError as error:
        snapshot = _from_snapshot(snapshot_file(settings.registry_snapshot, shard_of(npo_id)), error)
        return next((row for row in snapshot.rows if row.get("npo_id") == npo_id), None)
    return row if row and row["status"] in WITH_DAG else None


def _from_snapshot(path: Path, outage: IntegrationError) -> Snapshot:
    snapshot = read_snapshot(path)
    if snapshot is None:
        raise ConfigurationError(
            f"no NPO DAG can be built: {outage.message}, and there is no snapshot of an earlier read at "
            f"{path}; start PostgreSQL or set SPOTLIGHT_REGISTRY_DSN",
            subject="registry",
        ) from outage
    return snapshot


def _checked(rows: Sequence[RawRow], taken_at: datetime | None = None, outage: str = "") -> Catalogue:
    configs, broken = parse_rows(rows)
    return Catalogue(
        tuple(configs),
        tuple(broken),
        "snapshot" if taken_at else "registry",
        taken_at or datetime.now(tz=UTC),
        outage,
    )


def _parsed(row: RawRow) -> NpoConfig:
    from include.connectors.discovery import load_manifest

    npo = _config(row)
    load_manifest(npo)
    return npo


def _config(row: RawRow) -> NpoConfig:
    # Only the fields we know: a column added by a later release must not break every row.
    npo = NpoConfig.model_validate({key: row[key] for key in NpoConfig.model_fields if key in row})
    cron_expression(npo.npo_id, npo.schedule)
    if not FIRST_YEAR <= npo.start_date.year <= LAST_YEAR:
        raise ValueError(f"start_date: {npo.start_date} is not between {FIRST_YEAR} and {LAST_YEAR}")
    return npo


def _problem(error: ValueError | IntegrationError) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(
            f"{'.'.join(str(part) for part in one['loc'])}: {one['msg'].removeprefix('Value error, ')}"
            for one in error.errors(include_url=False, include_input=False)
        )
    text = error.message if isinstance(error, IntegrationError) else str(error)
    return "; ".join(line.strip() for line in text.splitlines()).replace(":; ", ": ")

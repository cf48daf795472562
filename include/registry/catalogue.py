"""What the DAG files build from: the rows with a DAG, checked one by one."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

from pydantic import ValidationError

from include.errors import ConfigurationError, IntegrationError
from include.registry import queries
from include.registry.models import BrokenRow, NpoConfig
from include.registry.schedules import cron_expression
from include.registry.snapshot import read_snapshot, write_snapshot
from include.settings import get_settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from include.registry.queries import RawRow
    from include.settings import Settings

log = logging.getLogger(__name__)

DAG_PREFIX = "npo__"
FIRST_YEAR, LAST_YEAR = 2000, 2100
JUST_NOW = timedelta(seconds=10)


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


def load(dag_id: str | None = None, settings: Settings | None = None) -> Catalogue:
    """Return the rows with a DAG, from the registry or, in an outage, from the last good snapshot.

    With ``dag_id`` (a task start asks for its own DAG only) just that row is read and checked.
    A ``dag_id`` of another DAG family gives an empty catalogue and reads nothing.

    Raises:
        ConfigurationError: Neither registry nor snapshot can be read; or the one row asked for is broken.
    """
    settings = settings or get_settings()
    if dag_id is None:
        return _checked(*_all_rows(settings))
    if not dag_id.startswith(DAG_PREFIX):
        return Catalogue((), (), "registry", datetime.now(tz=UTC))
    catalogue = _checked(*_one_row(dag_id.removeprefix(DAG_PREFIX), settings))
    if catalogue.broken:
        raise ConfigurationError(catalogue.broken[0].problem, subject=catalogue.broken[0].npo_id)
    return catalogue


def read_just_now(settings: Settings, *, now: datetime) -> Catalogue | None:
    """Return what another process has read from the registry just now, ``None`` if that is too long ago.

    Each read leaves a snapshot whose time stamp is that of the read; in an outage it stands still.
    """
    snapshot = read_snapshot(settings.registry_snapshot)
    if snapshot is None or not timedelta(0) <= now - snapshot.taken_at < JUST_NOW:
        return None
    configs, broken = parse_rows(snapshot.rows)
    return Catalogue(tuple(configs), tuple(broken), "registry", snapshot.taken_at)


def parse_rows(rows: Iterable[RawRow]) -> tuple[list[NpoConfig], list[BrokenRow]]:
    """Return the good rows as values and, apart, what is wrong with each of the others."""
    configs: list[NpoConfig] = []
    broken: list[BrokenRow] = []
    for row in rows:
        try:
            configs.append(_parsed(row))
        except (ValueError, IntegrationError) as error:
            broken.append(BrokenRow(str(row.get("npo_id")), _problem(error)))
    return configs, broken


def _all_rows(settings: Settings) -> tuple[list[RawRow], datetime | None, str]:
    try:
        rows = queries.active_rows(settings.registry_dsn.get_secret_value(), settings.registry_timeout)
    except IntegrationError as error:
        return *_from_snapshot(settings, error), str(error)
    try:
        write_snapshot(settings.registry_snapshot, rows)
    except OSError as error:  # the DAGs are fine; only the next outage is not covered
        log.warning("registry snapshot %s cannot be written: %s", settings.registry_snapshot, error)
    return rows, None, ""


def _one_row(npo_id: str, settings: Settings) -> tuple[list[RawRow], datetime | None, str]:
    try:
        row = queries.row(settings.registry_dsn.get_secret_value(), npo_id, settings.registry_timeout)
    except IntegrationError as error:
        rows, taken_at = _from_snapshot(settings, error)
        return [row for row in rows if row.get("npo_id") == npo_id], taken_at, str(error)
    return [row] if row and row["status"] in {"active", "paused"} else [], None, ""


def _from_snapshot(settings: Settings, outage: IntegrationError) -> tuple[list[RawRow], datetime]:
    snapshot = read_snapshot(settings.registry_snapshot)
    if snapshot is None:
        raise ConfigurationError(
            f"no NPO DAG can be built: {outage.message}, and there is no snapshot of an earlier read at "
            f"{settings.registry_snapshot}; start PostgreSQL or set SPOTLIGHT_REGISTRY_DSN",
            subject="registry",
        ) from outage
    return snapshot.rows, snapshot.taken_at


def _checked(rows: Sequence[RawRow], taken_at: datetime | None, outage: str) -> Catalogue:
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

    # Only the fields we know: a column added by a later release must not break every row.
    npo = NpoConfig.model_validate({key: row[key] for key in NpoConfig.model_fields if key in row})
    cron_expression(npo.npo_id, npo.schedule)
    if not FIRST_YEAR <= npo.start_date.year <= LAST_YEAR:
        raise ValueError(f"start_date: {npo.start_date} is not between {FIRST_YEAR} and {LAST_YEAR}")
    load_manifest(npo)
    return npo


def _problem(error: ValueError | IntegrationError) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(
            f"{'.'.join(str(part) for part in one['loc'])}: {one['msg'].removeprefix('Value error, ')}"
            for one in error.errors(include_url=False, include_input=False)
        )
    text = error.message if isinstance(error, IntegrationError) else str(error)
    return "; ".join(line.strip() for line in text.splitlines()).replace(":; ", ": ")

"""Rows and their DAGs in shards: one DAG file each, so that no parse grows with the whole registry."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

from include.registry.connection import registry
from include.registry.sql import query

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from pathlib import Path

    from include.registry.queries import RawRow

# Each is a file dags/npo_shard_NN.py. Another number would move rows from file to file, and every moved
# DAG would get a new version: it stays. See docs/registry.md for what it was chosen by.
SHARDS = 16
HEALTH_FILE = "npo_registry_health.py"


class RowVersion(NamedTuple):
    """What tells one state of a row from the next."""

    config_version: int
    updated_at: datetime


def shard_of(npo_id: str) -> int:
    """Return the shard of a row: the same for ever, whatever other rows there are."""
    return hashlib.sha256(npo_id.encode()).digest()[0] % SHARDS


def shard_file(shard: int) -> str:
    """Return the name of a shard's DAG file."""
    return f"npo_shard_{shard:02}.py"


def snapshot_file(base: Path, shard: int) -> Path:
    """Return where the last good rows of a shard are kept: ``registry_snapshot.json`` is the base."""
    return base.with_name(f"{base.stem}_{shard:02}{base.suffix}")


def shard_rows(dsn: str, shard: int, timeout: int) -> list[RawRow]:
    """Return the rows of one shard that have a DAG (active and paused), by npo_id.

    Raises:
        TransientError: The registry does not answer.
        ConfigurationError: Its schema is not up to date, or the DSN is malformed.
    """
    with registry(dsn, timeout) as connection:
        found = connection.execute(query("shard_rows", file="npo_shards"), {"shards": SHARDS, "shard": shard})
        return [row for (row,) in found]


def row_versions(dsn: str, timeout: int) -> dict[str, RowVersion]:
    """Return the version of every row that has a DAG, by npo_id.

    Raises:
        TransientError: The registry does not answer.
        ConfigurationError: Its schema is not up to date, or the DSN is malformed.
    """
    with registry(dsn, timeout) as connection:
        rows: Iterable[tuple[str, int, datetime]] = connection.execute(
            query("row_versions", file="npo_shards")
        )
        return {npo_id: RowVersion(version, updated_at) for npo_id, version, updated_at in rows}

"""Typed reads and writes of the config table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg.types.json import Jsonb

from include.errors import ConfigurationError
from include.registry.connection import SUBJECT, registry
from include.registry.sql import query

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from include.registry.models import NpoConfig, NpoStatus

# A row as JSON values, unchecked: a bad one must not keep the others from being read.
RawRow = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of ``npo_history``; rows are as ``RawRow``, ``None`` where there was none."""

    operation: str
    old_row: Mapping[str, Any] | None
    new_row: Mapping[str, Any] | None
    changed_at: datetime
    changed_by: str


def active_rows(dsn: str, timeout: int) -> list[RawRow]:
    """Return the rows that have a DAG (active and paused), by npo_id."""
    return _rows(dsn, timeout, "active_rows")


def all_rows(dsn: str, timeout: int) -> list[RawRow]:
    """Return every row whatever its status, by npo_id."""
    return _rows(dsn, timeout, "all_rows")


def row(dsn: str, npo_id: str, timeout: int) -> RawRow | None:
    """Return one row whatever its status, ``None`` if there is none."""
    found = _rows(dsn, timeout, "row", npo_id=npo_id)
    return found[0] if found else None


def insert_npo(dsn: str, npo: NpoConfig, timeout: int, *, changed_by: str | None = None) -> None:
    """Insert a row. ``config_version`` and the time stamps are the database's own.

    Raises:
        ConfigurationError: The id is taken, or a constraint refuses a value.
        TransientError: The registry does not answer.
    """
    values = npo.model_dump(exclude={"config_version", "created_at", "updated_at", "updated_by"})
    values |= {"manifest": Jsonb(npo.manifest), "allowed_hosts": list(npo.allowed_hosts)}
    with registry(dsn, timeout, changed_by=changed_by) as connection:
        connection.execute(query("insert_npo"), values)


def update_npo(dsn: str, npo: NpoConfig, timeout: int, *, seen: int, changed_by: str | None = None) -> None:
    """Write a row's columns, but neither its id nor its status.

    Args:
        dsn: Of the registry.
        npo: The row as it is to be.
        timeout: Seconds.
        seen: The ``config_version`` the change was made from.
        changed_by: Who is to stand in the history.

    Raises:
        ConfigurationError: Somebody changed the row in between, or a constraint refuses a value.
        TransientError: The registry does not answer.
    """
    values = npo.model_dump() | {
        "manifest": Jsonb(npo.manifest),
        "allowed_hosts": list(npo.allowed_hosts),
        "seen": seen,
    }
    with registry(dsn, timeout, changed_by=changed_by) as connection:
        if connection.execute(query("update_npo"), values).rowcount == 0:
            raise ConfigurationError(
                f"row {npo.npo_id!r} was changed since it was read; nothing was written, try again",
                subject=SUBJECT,
            )


def set_credential_ref(
    dsn: str, npo_id: str, credential_ref: str, timeout: int, *, changed_by: str | None = None
) -> bool:
    """Give a row without a ``credential_ref`` one; return whether it had none.

    Raises:
        TransientError: The registry does not answer.
    """
    with registry(dsn, timeout, changed_by=changed_by) as connection:
        values = {"npo_id": npo_id, "credential_ref": credential_ref}
        return connection.execute(query("set_credential_ref"), values).rowcount > 0


def set_status(
    dsn: str, npo_id: str, status: NpoStatus, timeout: int, *, changed_by: str | None = None
) -> None:
    """Set a row's status; setting what it already is changes nothing.

    Raises:
        ConfigurationError: There is no such row.
        TransientError: The registry does not answer.
    """
    with registry(dsn, timeout, changed_by=changed_by) as connection:
        done = connection.execute(query("set_status"), {"npo_id": npo_id, "status": status})
        if done.rowcount == 0:
            raise ConfigurationError(f"no row {npo_id!r} in integration.npo", subject=SUBJECT)


def pause_npo(
    dsn: str, npo_id: str, config_version: int, timeout: int, *, changed_by: str | None = None
) -> bool:
    """Pause a row that is active and still in the version that was read; return whether it was.

    Raises:
        TransientError: The registry does not answer.
    """
    with registry(dsn, timeout, changed_by=changed_by) as connection:
        values = {"npo_id": npo_id, "config_version": config_version}
        return connection.execute(query("pause_npo"), values).rowcount > 0


def history(dsn: str, npo_id: str, timeout: int) -> list[Change]:
    """Return every change of one row, oldest first; it outlives the row."""
    with registry(dsn, timeout) as connection:
        return [Change(*entry) for entry in connection.execute(query("history"), {"npo_id": npo_id})]


def _rows(dsn: str, timeout: int, name: str, **values: str) -> list[RawRow]:
    with registry(dsn, timeout) as connection:
        return [found for (found,) in connection.execute(query(name), values)]

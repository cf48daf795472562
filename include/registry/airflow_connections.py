"""Writes the Airflow connection a row's ``credential_ref`` names: the one place where a secret is stored."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from include.errors import ConfigurationError, TransientError

if TYPE_CHECKING:
    from collections.abc import Mapping

CONNECTION_TYPE = "generic"


def parts_needed(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """Return which parts of a credential a manifest names (``login``, ``extra.<key>`` ...), sorted."""
    from include.connectors.placeholders import PLACEHOLDER

    return tuple(sorted({found[1] for found in PLACEHOLDER.finditer(json.dumps(manifest))}))


def write_connection(ref: str, parts: Mapping[str, str]) -> bool:
    """Create or replace the connection ``ref`` in Airflow's metadata database; Airflow encrypts it.

    Args:
        ref: Name of the connection.
        parts: Values by ``login``, ``password`` and ``extra.<key>``; what is not named is emptied.

    Returns:
        Whether it was new.

    Raises:
        ConfigurationError: There is no Airflow here, or a backend that Airflow asks first hides what was
            written.
        TransientError: The database does not answer.
    """
    _refuse_hidden(ref)
    from sqlalchemy.exc import SQLAlchemyError

    try:
        return _write(ref, parts)
    except SQLAlchemyError as error:  # its text may quote the statement, secret and all
        raise TransientError(
            f"connection {ref!r} was not written: Airflow's metadata database failed "
            f"({type(error).__name__}); try again"
        ) from None


def _refuse_hidden(ref: str) -> None:
    """Refuse where the environment has the connection: Airflow would never look at ours."""
    if f"AIRFLOW_CONN_{ref.upper()}" in os.environ:
        raise ConfigurationError(
            f"AIRFLOW_CONN_{ref.upper()} is set and comes before what could be written; nothing was written. "
            "Change it there, or unset it and try again"
        )


def _write(ref: str, parts: Mapping[str, str]) -> bool:
    from airflow.models.connection import Connection
    from airflow.utils.session import create_session
    from sqlalchemy import select

    _require_airflow()
    extra = {name.removeprefix("extra."): value for name, value in parts.items() if name.startswith("extra.")}
    with create_session() as session:
        found = session.scalar(select(Connection).where(Connection.conn_id == ref).with_for_update())
        connection = found or Connection(conn_id=ref, conn_type=CONNECTION_TYPE)
        connection.login = parts.get("login")
        connection.password = parts.get("password")
        connection.extra = json.dumps(extra) if extra else None
        session.add(connection)
    return found is None


def _require_airflow() -> None:
    from airflow import settings
    from sqlalchemy import inspect

    if not inspect(settings.engine).has_table("connection"):
        raise ConfigurationError(
            "no Airflow database is set up here (AIRFLOW__DATABASE__SQL_ALCHEMY_CONN); nothing was written. "
            "Run this where Airflow runs, or give the connection to your secrets backend"
        )

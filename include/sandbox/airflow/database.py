"""Airflow's metadata database: migrate it when it is not at the head of this Airflow version."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING

import psycopg

from include.sandbox.stack.errors import StackError, last_meaningful_line

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from include.sandbox.airflow.config import AirflowPlace

MIGRATE_TIMEOUT = 300


def is_migrated(place: AirflowPlace, dsn: str) -> bool:
    """Return whether the database stands where the last migration by this Airflow version left it.

    The Airflow CLI's own check takes four seconds; this is one query against a note of ours.
    """
    try:
        return _note(place).read_text() == f"{version('apache-airflow-core')} {_revision(dsn)}"
    except (OSError, psycopg.Error):
        return False


def migrate(place: AirflowPlace, dsn: str, environment: Mapping[str, str]) -> None:
    """Bring the database to the head and note where that is.

    Raises:
        StackError: ``airflow db migrate`` failed; the line has its reason and log.
    """
    place.home.mkdir(parents=True, exist_ok=True)
    log = place.home.parent / "logs" / "airflow-db-migrate.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as output:
        try:
            outcome = subprocess.run(
                [sys.executable, "-m", "airflow", "db", "migrate"],
                check=False,
                cwd=place.home,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=MIGRATE_TIMEOUT,
            )
        except subprocess.TimeoutExpired as error:
            raise StackError(f"airflow db migrate took over {MIGRATE_TIMEOUT} s (log: {log})") from error
    if outcome.returncode:
        raise StackError(f"airflow db migrate failed: {last_meaningful_line(log)} (log: {log})")
    _note(place).write_text(f"{version('apache-airflow-core')} {_revision(dsn)}")


def _note(place: AirflowPlace) -> Path:
    return place.home / "migrated"


def _revision(dsn: str) -> str:
    with psycopg.connect(dsn, connect_timeout=5) as connection:
        row = connection.execute("select version_num from alembic_version").fetchone()
    return str(row[0]) if row else "none"

"""``spotlight npo credential set``: the secret reaches Airflow's database, encrypted, and nothing else."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from include.registry import queries
from include.registry.editing import checked_row, new_values, read_manifest_file, utc_today
from include.settings import PROJECT_ROOT

MANIFEST = Path(__file__).parents[2] / "fixtures" / "npo" / "severn.yaml"
SECRET = "s3cr3t-that-must-not-show"
FERNET_KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="

# Airflow's own tables and nothing else of its database: migrating a whole one takes a quarter of a minute.
SET_UP = """
from airflow import settings
from airflow.models.connection import Connection
from airflow.models.team import Team
settings.configure_orm()
Connection.metadata.create_all(settings.engine, tables=[Team.__table__, Connection.__table__])
"""
LOOK = """
import json
from include.registry.credentials import resolve_credential
found = resolve_credential("severn_api")
print("found", json.dumps([found.login, found.password, dict(found.extra)]))
"""
SPOTLIGHT = """
from include.cli import main
try:
    main()
except SystemExit as end:
    if end.code:
        raise
"""


@pytest.fixture
def place(registry_dsn, settings, tmp_path):
    """A draft row without a credential_ref, and the environment of an Airflow with a database of its own."""
    file = read_manifest_file(MANIFEST)
    given = {"base_url": "https://api.severn.example/v1"}
    npo = checked_row(new_values("severn", given, file, today=utc_today()))
    queries.insert_npo(registry_dsn, npo, 5)
    return os.environ | {
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{tmp_path}/airflow.db",
        "AIRFLOW__CORE__FERNET_KEY": FERNET_KEY,
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
    }


def spotlight(place: dict[str, str], text: str, code: str = SPOTLIGHT) -> subprocess.CompletedProcess[str]:
    """Set the credential in a process of its own; ``code`` may do more there: Airflow is slow to import."""
    command = [sys.executable, "-c", code, "npo", "credential", "set", "severn", "--stdin"]
    return subprocess.run(
        command, env=place, cwd=PROJECT_ROOT, input=text, capture_output=True, text=True, check=False
    )


def test_a_secret_is_written_encrypted_named_in_the_row_and_shown_nowhere(place, registry_dsn, tmp_path):
    done = spotlight(place, f"{SECRET}\n", SET_UP + SPOTLIGHT)
    assert done.returncode == 0, done.stderr
    assert "connection 'severn_api' created with password" in done.stdout
    assert SECRET not in done.stdout + done.stderr

    row: Any = queries.row(registry_dsn, "severn", 5)
    assert row["credential_ref"] == "severn_api"
    assert SECRET not in json.dumps(row)
    assert SECRET.encode() not in (tmp_path / "airflow.db").read_bytes()

    again = spotlight(
        place, json.dumps({"password": "another", "extra": {"pin": "7"}}), LOOK + SPOTLIGHT + LOOK
    )
    assert "replaced with password, extra.pin" in again.stdout, again.stderr
    assert [json.loads(line[6:]) for line in again.stdout.splitlines() if line.startswith("found ")] == [
        [None, SECRET, {}],
        [None, "another", {"pin": "7"}],
    ]
    with sqlite3.connect(tmp_path / "airflow.db") as database:
        assert database.execute("select count(*) from connection").fetchone() == (1,)


def test_without_an_airflow_here_nothing_is_written_and_the_row_names_no_connection(place, registry_dsn):
    done = spotlight(place, SECRET)
    assert done.returncode == 1
    assert "no Airflow database is set up here" in done.stderr
    row: Any = queries.row(registry_dsn, "severn", 5)
    assert row["credential_ref"] is None

"""Fixtures that parse the DAG files in fresh processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from include.settings import PROJECT_ROOT

# Airflow must not make its home in the home folder of whoever runs the tests.
os.environ.setdefault("AIRFLOW_HOME", str(PROJECT_ROOT / ".local" / "test" / "airflow"))

Parse = Callable[..., dict[str, Any]]
PARSER = Path(__file__).parent / "parse_dags.py"


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    """File with the connections and variables asked for during a parse."""
    return tmp_path / "asked.txt"


@pytest.fixture(scope="session")
def airflow_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "SPOTLIGHT_"))
    }
    return inherited | {
        "AIRFLOW_HOME": str(tmp_path_factory.mktemp("airflow")),
        "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT_ROOT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT_ROOT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        # Nothing listens there: whatever touches the metadata database at parse fails.
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "postgresql+psycopg2://nobody@127.0.0.1:9/none",
        "AIRFLOW__SECRETS__BACKEND": "tests.dags.recording_backend.RecordingBackend",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "CRITICAL",
        "PYTHONPATH": os.pathsep.join((str(PROJECT_ROOT), str(PROJECT_ROOT / "config"))),
    }


@pytest.fixture
def parse_environment(
    airflow_environment: dict[str, str], registry_dsn: str, tmp_path: Path, asked: Path
) -> dict[str, str]:
    return airflow_environment | {
        "ASKED_FILE": str(asked),
        "SPOTLIGHT_REGISTRY_DSN": registry_dsn,
        "SPOTLIGHT_REGISTRY_SNAPSHOT": str(tmp_path / "snapshot.json"),
    }


@pytest.fixture(scope="session")
def parse_server(airflow_environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A process with Airflow imported, that forks a child for each parse: saves seconds each time."""
    command = [sys.executable, str(PARSER), "--serve"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=airflow_environment, text=True, stdin=pipe, stdout=pipe) as server:
        yield server
        server.communicate(timeout=60)


@pytest.fixture
def parse(parse_server: subprocess.Popen[str], parse_environment: dict[str, str]) -> Parse:
    """Return a function that parses ``dags/`` in a new process, with further environment variables."""

    def run(**environment: str) -> dict[str, Any]:
        assert parse_server.stdin
        assert parse_server.stdout
        parse_server.stdin.write(json.dumps(parse_environment | environment) + "\n")
        parse_server.stdin.flush()
        parsed: dict[str, Any] = json.loads(parse_server.stdout.readline())
        assert "failed" not in parsed
        return parsed

    return run


@pytest.fixture
def parse_afresh(parse_environment: dict[str, str]) -> Parse:
    """Return a function that does the same in an interpreter of its own."""

    def run(**environment: str) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, str(PARSER)],
            env=parse_environment | environment,
            stdout=subprocess.PIPE,
            text=True,
            timeout=120,
            check=True,
        )
        parsed: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return parsed

    return run


@pytest.fixture
def sql(registry_dsn: str) -> Callable[..., Any]:
    """Return a function that executes SQL in the registry, as a person with psql would."""

    def execute(statement: str, *values: object) -> None:
        with psycopg.connect(registry_dsn) as connection:
            connection.execute(statement, values)

    return execute


@pytest.fixture
def three_rows(sql: Callable[..., Any]) -> tuple[str, ...]:
    """Insert an active row for each connector at hand; returns the npo_ids, sorted."""
    names = ("codebridge", "hopeworks", "mentornet")
    for name in names:
        sql(
            "insert into integration.npo"
            " (npo_id, name, owner_email, status, connector, base_url, allowed_hosts) values"
            " (%s, %s, 'jo.bloggs@example.org', 'active', %s, 'http://127.0.0.1:8080', '{127.0.0.1:8080}')",
            name,
            name.title(),
            name,
        )
    return names

"""Fixtures that parse the DAG files in fresh processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql as psql

from include.registry.migrate import apply_migrations
from include.sandbox.stack.stack import LocalStack
from include.settings import PROJECT_ROOT

# Airflow must not make its home in the home folder of whoever runs the tests.
os.environ.setdefault("AIRFLOW_HOME", str(PROJECT_ROOT / ".local" / "test" / "airflow"))

Parse = Callable[..., dict[str, Any]]
PARSER = Path(__file__).parent / "parse_dags.py"
NOWHERE = {
    "SPOTLIGHT_REGISTRY_DSN": "postgresql://nobody:hidden-password@127.0.0.1:9/none",
    "SPOTLIGHT_MONGO_URI": "mongodb://127.0.0.1:9/",
    "SPOTLIGHT_SFTP_PORT": "9",
    "SPOTLIGHT_TCS_URL": "http://127.0.0.1:9",
}
"""Nothing listens there."""


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


@pytest.fixture(scope="session")
def shared_registry(stack: LocalStack) -> Iterator[str]:
    """A migrated registry for all tests of this folder: a database for each test would cost a second."""
    server, name = stack.env()["SPOTLIGHT_REGISTRY_DSN"], f"dags_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(psql.SQL("create database {}").format(psql.Identifier(name)))
        dsn = f"{server.rsplit('/', 1)[0]}/{name}"
        apply_migrations(dsn)
        yield dsn
        connection.execute(psql.SQL("drop database {} with (force)").format(psql.Identifier(name)))


@pytest.fixture
def registry_dsn(shared_registry: str) -> str:
    """The registry, without rows."""
    empty(shared_registry)
    return shared_registry


def empty(dsn: str) -> None:
    """Leave the registry without rows."""
    with psycopg.connect(dsn) as connection:
        connection.execute("truncate integration.npo, integration.npo_history cascade")


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

    return lambda **environment: parsed_by(parse_server, parse_environment | environment)


def parsed_by(server: subprocess.Popen[str], environment: dict[str, str]) -> dict[str, Any]:
    """Return what a fork of the server finds in ``dags/`` in this environment."""
    assert server.stdin
    assert server.stdout
    server.stdin.write(json.dumps(environment) + "\n")
    server.stdin.flush()
    parsed: dict[str, Any] = json.loads(server.stdout.readline())
    assert "failed" not in parsed
    return parsed


@pytest.fixture(scope="session")
def parsed_alone(
    parse_server: subprocess.Popen[str],
    airflow_environment: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Any]:
    """What one parse of ``dags/`` gives while no server answers; ``asked``: what it asked Airflow for."""
    asked = tmp_path_factory.mktemp("alone") / "asked.txt"
    own = {"ASKED_FILE": str(asked), "SPOTLIGHT_REGISTRY_SNAPSHOT": str(asked.with_name("none.json"))}
    parsed = parsed_by(parse_server, airflow_environment | NOWHERE | own)
    return parsed | {"asked": asked.read_text() if asked.exists() else ""}


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
def three_rows(registry_dsn: str) -> tuple[str, ...]:
    """Insert an active row for each connector at hand; returns the npo_ids, sorted."""
    return insert_three_rows(registry_dsn)


def insert_three_rows(dsn: str) -> tuple[str, ...]:
    """Insert an active row for each of three connectors; return the npo_ids, sorted."""
    names = ("codebridge", "hopeworks", "mentornet")
    with psycopg.connect(dsn) as connection:
        for name in names:
            connection.execute(
                "insert into integration.npo"
                " (npo_id, name, owner_email, status, connector, base_url, allowed_hosts) values"
                " (%s, %s, 'jo.bloggs@example.org', 'active', %s, 'http://127.0.0.1:8080',"
                " '{127.0.0.1:8080}')",
                (name, name.title(), name),
            )
    return names

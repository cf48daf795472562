"""Pause and presence of DAGs follow the registry, on a real Airflow metadata database."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql

from include.registry.shards import shard_file, shard_of
from include.sandbox.stack.stack import LocalStack
from include.settings import PROJECT_ROOT

SERVE = """
import json, sys
from airflow import models, settings
from airflow.models.base import Base
from pydantic import SecretStr
from datetime import UTC, datetime
from include.registry.follower import follow_changes, follow_once
from include.registry.reparse import Watch
from include.settings import Settings
models.import_all_models()
Base.metadata.create_all(settings.engine)
print("ready", flush=True)
watch = Watch()
for line in sys.stdin:
    what, dsn = line.split()
    settings = Settings(registry_dsn=SecretStr(dsn))
    if what == "all":
        print(json.dumps(sorted(follow_once(settings))), flush=True)
    else:
        watch = follow_changes(settings, Watch() if what == "first" else watch, now=datetime.now(UTC))
        print(json.dumps(sorted(watch.waiting)), flush=True)
"""
Follow = Callable[[], list[list[str]]]


@pytest.fixture(scope="module")
def airflow_database(stack: LocalStack) -> Iterator[str]:
    server = stack.env()["SPOTLIGHT_REGISTRY_DSN"]
    name = f"airflow_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {} template template0").format(sql.Identifier(name)))
        yield f"{server.rsplit('/', 1)[0]}/{name}"
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@pytest.fixture(scope="module")
def component(
    airflow_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[subprocess.Popen[str]]:
    """A process that may use the metadata database, and follows once for each registry DSN it is sent."""
    database = "postgresql+psycopg2" + airflow_database.removeprefix("postgresql")
    environment = os.environ | {
        "AIRFLOW_HOME": str(tmp_path_factory.mktemp("airflow")),
        "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT_ROOT / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",  # standard output is for the answers
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database,
        "PYTHONPATH": str(PROJECT_ROOT),
    }
    command, pipe = [sys.executable, "-c", SERVE], subprocess.PIPE
    with subprocess.Popen(command, env=environment, text=True, stdin=pipe, stdout=pipe) as process:
        assert process.stdout
        assert any(line == "ready\n" for line in iter(process.stdout.readline, ""))
        yield process
        process.communicate(timeout=60)


@pytest.fixture
def follow(component: subprocess.Popen[str], registry_dsn: str) -> Follow:
    """Return a function that follows this test's registry once and returns what was done."""

    return lambda: tell(component, "all", registry_dsn)


def tell(component: subprocess.Popen[str], what: str, dsn: str) -> list[Any]:
    assert component.stdin
    assert component.stdout
    component.stdin.write(f"{what} {dsn}\n")
    component.stdin.flush()
    answer: list[Any] = json.loads(component.stdout.readline())
    return answer


@pytest.fixture
def look(component: subprocess.Popen[str], registry_dsn: str) -> Callable[[str], list[str]]:
    """Return a function that looks for changes, ``first`` or ``next``; it returns the rows waited for."""
    return lambda what: tell(component, what, registry_dsn)


@pytest.fixture
def row(registry_dsn: str) -> Callable[[str, str], None]:
    """Return a function that gives a row a status, inserting it if need be."""

    def put(npo_id: str, status: str) -> None:
        with psycopg.connect(registry_dsn) as connection:
            connection.execute(
                "insert into integration.npo"
                " (npo_id, name, owner_email, status, connector, base_url, allowed_hosts) values"
                " (%s, 'x', 'o@example.org', %s, 'hopeworks', 'http://h', '{h}')"
                " on conflict (npo_id) do update set status = excluded.status",
                (npo_id, status),
            )

    return put


class Dags:
    """The DAGs of a metadata database, seen and switched as a person in the UI would."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn

    def parse(self, npo_id: str, *, paused: bool = False) -> None:
        """What the DAG processor does when it sees the DAG: paused only counts the first time."""
        with psycopg.connect(self.dsn) as connection:
            connection.execute(
                "insert into dag_bundle (name, active, signed_url_template, template_params)"
                " values ('dags-folder', true, null, null) on conflict do nothing"
            )
            connection.execute(
                "insert into dag (dag_id, bundle_name, is_paused, is_stale, max_active_tasks,"
                " has_task_concurrency_limits, max_consecutive_failed_dag_runs, timetable_type,"
                " partition_mapper_info, fail_fast, exceeds_max_non_backfill, timetable_partitioned,"
                " timetable_periodic) values"
                " (%s, 'dags-folder', %s, false, 16, false, 0, 'x', '{}', false, false, false, false)"
                " on conflict (dag_id) do update set is_stale = false",
                (f"npo__{npo_id}", paused),
            )

    def click(self, npo_id: str, *, paused: bool) -> None:
        with psycopg.connect(self.dsn) as connection:
            connection.execute("update dag set is_paused = %s where dag_id = %s", (paused, f"npo__{npo_id}"))

    def state(self, npo_id: str) -> str:
        with psycopg.connect(self.dsn) as connection:
            cursor = connection.execute(
                "select is_stale, is_paused from dag where dag_id = %s", (f"npo__{npo_id}",)
            )
            found = cursor.fetchone()
        assert found
        return "gone" if found[0] else "paused" if found[1] else "running"

    def read(self, npo_id: str, *, began_seconds_ago: float) -> None:
        """What else the DAG processor notes after it has read a DAG's file."""
        with psycopg.connect(self.dsn) as connection:
            connection.execute(
                "update dag set last_parsed_time = now(), last_parse_duration = %s where dag_id = %s",
                (began_seconds_ago, f"npo__{npo_id}"),
            )

    def claim(self) -> list[tuple[str, str]]:
        """What the DAG processor does each second: take the files it is asked to read before all others."""
        with psycopg.connect(self.dsn) as connection:
            return connection.execute(
                "delete from dag_priority_parsing_request returning bundle_name, relative_fileloc"
            ).fetchall()

    def audit(self, npo_id: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.dsn) as connection:
            return connection.execute(
                "select event, owner, extra from log where dag_id = %s order by id", (f"npo__{npo_id}",)
            ).fetchall()


@pytest.fixture
def dags(airflow_database: str, component: subprocess.Popen[str]) -> Dags:
    """The metadata database, without DAGs; the process has made its tables."""
    with psycopg.connect(airflow_database) as connection:
        connection.execute("delete from dag")
        connection.execute("delete from log")
        connection.execute("delete from dag_priority_parsing_request")
    return Dags(airflow_database)


def test_a_paused_row_pauses_its_dag_and_an_active_one_starts_it_again(
    row: Callable[[str, str], None], dags: Dags, follow: Follow
):
    row("hopeworks", "active")
    dags.parse("hopeworks")
    assert follow() == []
    row("hopeworks", "paused")
    assert follow() == [["hopeworks", "pause"]]
    assert dags.state("hopeworks") == "paused"
    assert follow() == []
    row("hopeworks", "active")
    assert follow() == [["hopeworks", "unpause"]]
    assert dags.state("hopeworks") == "running"
    assert dags.audit("hopeworks") == [
        ("patch_dag", "npo registry", '{"is_paused": true}'),
        ("patch_dag", "npo registry", '{"is_paused": false}'),
    ]


def test_a_persons_own_pause_outlives_a_pause_of_the_row(
    row: Callable[[str, str], None], dags: Dags, follow: Follow
):
    row("hopeworks", "active")
    dags.parse("hopeworks")
    dags.click("hopeworks", paused=True)
    for status in ("active", "paused", "active"):
        row("hopeworks", status)
        assert follow() == []
    assert dags.state("hopeworks") == "paused"


def test_a_click_does_not_start_a_dag_whose_row_is_paused(
    row: Callable[[str, str], None], dags: Dags, follow: Follow
):
    row("hopeworks", "active")
    dags.parse("hopeworks")
    row("hopeworks", "paused")
    follow()
    dags.click("hopeworks", paused=False)
    assert follow() == [["hopeworks", "pause"]]
    assert dags.state("hopeworks") == "paused"


def test_a_row_inserted_paused_runs_once_it_is_active(
    row: Callable[[str, str], None], dags: Dags, follow: Follow
):
    row("hopeworks", "paused")
    dags.parse("hopeworks", paused=True)
    follow()
    row("hopeworks", "active")
    follow()
    assert dags.state("hopeworks") == "running"


@pytest.mark.parametrize("status", ["disabled", "draft"])
def test_a_row_without_a_dag_loses_it_and_comes_back_running(
    row: Callable[[str, str], None], dags: Dags, follow: Follow, status: str
):
    row("hopeworks", "active")
    dags.parse("hopeworks")
    row("hopeworks", status)
    assert follow() == [["hopeworks", "retire"]]
    assert dags.state("hopeworks") == "gone"
    assert follow() == []
    row("hopeworks", "active")
    dags.parse("hopeworks")
    assert follow() == []
    assert dags.state("hopeworks") == "running"


def test_a_row_deleted_while_paused_and_inserted_again_runs(
    row: Callable[[str, str], None], dags: Dags, follow: Follow, registry_dsn: str
):
    row("hopeworks", "active")
    dags.parse("hopeworks")
    row("hopeworks", "paused")
    follow()
    with psycopg.connect(registry_dsn) as connection:
        connection.execute("delete from integration.npo")
    assert follow() == [["hopeworks", "retire"]]
    row("hopeworks", "active")
    dags.parse("hopeworks")
    assert follow() == [["hopeworks", "unpause"]]
    assert dags.state("hopeworks") == "running"


def test_other_dags_are_left_alone(dags: Dags, follow: Follow, airflow_database: str):
    dags.parse("x")
    with psycopg.connect(airflow_database) as connection:
        connection.execute("update dag set dag_id = 'npoXXx'")
    assert follow() == []


Look = Callable[[str], list[str]]
FILE = ("dags-folder", shard_file(shard_of("hopeworks")))


def test_the_file_of_a_new_row_is_asked_for_once_until_it_was_read(
    row: Callable[[str, str], None], dags: Dags, look: Look
):
    assert look("first") == []
    row("hopeworks", "active")
    assert look("next") == ["hopeworks"]
    assert look("next") == ["hopeworks"]
    assert dags.claim() == [FILE]
    dags.parse("hopeworks")
    dags.read("hopeworks", began_seconds_ago=60)  # with the registry as it was before
    assert look("next") == ["hopeworks"]
    dags.read("hopeworks", began_seconds_ago=0)
    assert look("next") == []
    assert dags.claim() == [("dags-folder", "npo_registry_health.py")]


def test_a_file_asked_for_by_another_triggerer_is_not_asked_for_twice(
    row: Callable[[str, str], None], dags: Dags, look: Look
):
    row("hopeworks", "active")
    look("first")
    look("first")
    assert dags.claim() == [FILE]


def test_a_changed_row_has_its_switches_set_at_once(row: Callable[[str, str], None], dags: Dags, look: Look):
    row("hopeworks", "active")
    dags.parse("hopeworks")
    assert look("first") == []
    row("hopeworks", "paused")
    look("next")
    assert dags.state("hopeworks") == "paused"
    row("hopeworks", "disabled")
    assert look("next") == ["hopeworks"]
    assert dags.state("hopeworks") == "gone"
    assert dags.claim() == [FILE]
    assert look("next") == []

"""The generated NPO DAGs: what must hold for every row, in every parse."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from include.registry.shards import SHARDS, shard_file, shard_of
from include.settings import PROJECT_ROOT
from tests.dags.conftest import NOWHERE, Parse, empty, insert_three_rows, parsed_by

STAGES = ["extract", "land_raw", "validate", "transform", "publish"]
Sql = Callable[..., None]


@pytest.fixture
def parse(parse: Parse) -> Parse:
    """Return the function that parses ``dags/``; of what it finds, the DAGs of NPOs."""
    return lambda **environment: of_npos(parse(**environment))


def of_npos(parsed: dict[str, Any]) -> dict[str, Any]:
    return parsed | {"dags": {key: dag for key, dag in parsed["dags"].items() if key.startswith("npo__")}}


@pytest.fixture(scope="module")
def of_three(
    parse_server: subprocess.Popen[str],
    airflow_environment: dict[str, str],
    shared_registry: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Any]:
    """What a parse finds with the three rows, for all tests that change nothing."""
    empty(shared_registry)
    insert_three_rows(shared_registry)
    folder = tmp_path_factory.mktemp("three")
    own = {
        "ASKED_FILE": str(folder / "asked.txt"),
        "SPOTLIGHT_REGISTRY_DSN": shared_registry,
        "SPOTLIGHT_REGISTRY_SNAPSHOT": str(folder / "snapshot.json"),
    }
    return of_npos(parsed_by(parse_server, airflow_environment | own))


def tasks(dag: dict[str, Any]) -> list[dict[str, Any]]:
    return [task["__var"] for task in dag["dag"]["tasks"]]


def last_line(error: str) -> str:
    return error.strip().splitlines()[-1]


def test_every_active_row_is_a_dag_of_five_stages_in_a_chain(of_three: dict[str, Any]):
    assert of_three["errors"] == {}
    assert sorted(of_three["dags"]) == ["npo__codebridge", "npo__hopeworks", "npo__mentornet"]
    for dag in of_three["dags"].values():
        assert [task["task_id"] for task in tasks(dag)] == STAGES
        assert [task.get("downstream_task_ids", []) for task in tasks(dag)] == [[s] for s in STAGES[1:]] + [
            []
        ]


def test_parsing_reads_each_shard_once_and_nothing_else(
    three_rows: tuple[str, ...], parse: Parse, asked: Path
):
    parse()  # the health file looks itself at shards whose file was never read
    parsed = parse()
    reads = [one for one in parsed["statements"] if "set_config" not in one]
    assert len([one for one in reads if "get_byte" in one]) == SHARDS
    [health] = [one for one in reads if "get_byte" not in one]  # it uses what the shards' files have found
    assert "config_version" in health
    assert "to_jsonb" not in health
    assert parsed["network"] == []
    assert not asked.exists(), asked.read_text()


def test_a_task_start_reads_one_row(three_rows: tuple[str, ...], parse: Parse):
    parsed = parse(_AIRFLOW_PARSING_CONTEXT_DAG_ID="npo__hopeworks")
    [read] = [one for one in parsed["statements"] if "set_config" not in one]
    assert "where npo_id =" in read


def test_each_dag_is_defined_by_the_file_of_its_shard(of_three: dict[str, Any]):
    files = {dag_id: Path(dag["dag"]["fileloc"]).name for dag_id, dag in of_three["dags"].items()}
    assert len(set(files.values())) == 3
    assert files == {dag_id: shard_file(shard_of(dag_id.removeprefix("npo__"))) for dag_id in files}


def test_the_secrets_backend_of_these_tests_would_notice_a_read(
    parse_environment: dict[str, str], asked: Path
):
    script = (
        "import contextlib\nfrom include.registry.credentials import resolve_credential\n"
        "with contextlib.suppress(Exception): resolve_credential('some_api')"
    )
    subprocess.run([sys.executable, "-c", script], env=parse_environment, check=True, timeout=120)
    assert set(asked.read_text().splitlines()) == {"connection some_api"}


def test_no_heavy_module_is_imported_at_parse(of_three: dict[str, Any]):
    assert of_three["modules"] == []


def test_every_dag_and_task_keeps_the_policy(of_three: dict[str, Any]):
    assert of_three["violations"] == []


def test_every_dag_says_whose_it_is_and_what_it_may_take(of_three: dict[str, Any]):
    for dag_id, dag in of_three["dags"].items():
        connector = dag_id.removeprefix("npo__")
        assert dag["dag"]["tags"] == sorted(["npo", connector])
        assert dag["dag"]["catchup"] is False
        assert dag["dag"]["max_active_runs"] == 1
        assert dag["dag"]["deadline"][0]["callback"]["__data__"]["path"] == "include.notify.deadline_missed"
        assert dag["dag"]["timetable"]["__type"].endswith("CronDataIntervalTimetable")
        for task in tasks(dag):
            assert task["owner"] == connector.title()
            assert task["retries"] == 3
            assert task["execution_timeout"] > 0
            assert task["has_retry_policy"]
            assert task["has_on_failure_callback"]
            assert task["pool"] == ("npo_extract" if task["task_id"] == "extract" else "integration_store")


def test_a_serialised_dag_stays_small(of_three: dict[str, Any]):
    # Each reading writes, checks and compares every one: nothing is to stand there twice.
    assert max(len(json.dumps(dag)) for dag in of_three["dags"].values()) < 5_500
    assert not any(dag["dag"].get("default_args") for dag in of_three["dags"].values())


def test_the_dag_tells_nothing_personal(of_three: dict[str, Any]):
    assert "bloggs" not in json.dumps(of_three["dags"])


def test_two_processes_with_different_hash_seeds_serialise_the_same(
    three_rows: tuple[str, ...], sql: Sql, parse_afresh: Parse
):
    sql(
        "update integration.npo set allowed_hosts = '{b.example,a.example,127.0.0.1:8080}',"
        " manifest = manifest || '{}'::jsonb"
    )
    one, other = parse_afresh(PYTHONHASHSEED="1"), parse_afresh(PYTHONHASHSEED="4242")
    assert {"npo__hopeworks", "npo_enrolment", "esr_inbound", "maintenance"} <= set(one["dags"])
    assert json.dumps(one["dags"], sort_keys=True) == json.dumps(other["dags"], sort_keys=True)


def test_a_dag_built_alone_equals_the_one_of_the_full_parse(three_rows: tuple[str, ...], parse: Parse):
    alone = parse(_AIRFLOW_PARSING_CONTEXT_DAG_ID="npo__hopeworks")
    assert list(alone["dags"]) == ["npo__hopeworks"]
    assert alone["dags"]["npo__hopeworks"] == parse()["dags"]["npo__hopeworks"]


def test_a_task_of_another_dag_family_does_not_read_the_registry(three_rows: tuple[str, ...], parse: Parse):
    parsed = parse(_AIRFLOW_PARSING_CONTEXT_DAG_ID="maintenance")
    assert (parsed["dags"], parsed["statements"], parsed["errors"]) == ({}, [], {})


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("timezone = 'Europe/Nowhere'", "'Europe/Nowhere' is not an IANA time zone"),
        ("schedule = 'every day'", "'every day' is neither one of"),
        ("schedule = '0 0 30 2 *'", "comes due"),
        ("start_date = 'infinity'", "start_date"),
        ("connector = 'no_such_connector'", "no_such_connector"),
        ("""manifest = '{"resources": 7}'""", "resources"),
    ],
)
def test_a_broken_row_is_one_clear_import_error_and_leaves_the_others(
    three_rows: tuple[str, ...], sql: Sql, parse: Parse, change: str, problem: str
):
    sql(f"update integration.npo set {change} where npo_id = 'mentornet'")  # noqa: S608 - from above
    parsed = parse()
    assert sorted(parsed["dags"]) == ["npo__codebridge", "npo__hopeworks"]
    [(file, error)] = parsed["errors"].items()
    assert file.endswith("npo_registry_health.py")
    assert "row 'mentornet' of integration.npo has no DAG" in last_line(error)
    assert problem in last_line(error)


def test_a_task_of_a_row_that_broke_meanwhile_says_what_is_wrong(
    three_rows: tuple[str, ...], sql: Sql, parse: Parse
):
    sql("update integration.npo set timezone = 'Mars/Base' where npo_id = 'mentornet'")
    parsed = parse(_AIRFLOW_PARSING_CONTEXT_DAG_ID="npo__mentornet")
    [(file, error)] = parsed["errors"].items()
    assert file.endswith(shard_file(shard_of("mentornet")))
    assert "mentornet: timezone: " in last_line(error)


def test_an_outage_leaves_every_dag_in_place_and_is_told(
    three_rows: tuple[str, ...], parse: Parse, tmp_path: Path
):
    before = parse()
    a_minute_ago = time.time() - 61
    for snapshot in tmp_path.glob("snapshot_*.json"):
        os.utime(snapshot, (a_minute_ago, a_minute_ago))
    outage = parse(SPOTLIGHT_REGISTRY_DSN=NOWHERE["SPOTLIGHT_REGISTRY_DSN"])
    assert outage["dags"] == before["dags"]
    [(file, error)] = outage["errors"].items()
    assert file.endswith("npo_registry_health.py")
    assert "The DAGs are those of the snapshot of" in last_line(error)
    assert "1 min old" in last_line(error)
    assert "hidden-password" not in error


def test_a_task_starts_during_an_outage(three_rows: tuple[str, ...], parse: Parse):
    before = parse()
    alone = parse(
        SPOTLIGHT_REGISTRY_DSN=NOWHERE["SPOTLIGHT_REGISTRY_DSN"],
        _AIRFLOW_PARSING_CONTEXT_DAG_ID="npo__codebridge",
    )
    assert alone["dags"] == {"npo__codebridge": before["dags"]["npo__codebridge"]}
    assert alone["errors"] == {}


def test_an_outage_without_a_snapshot_is_an_error_of_each_file_that_says_what_to_do(parse: Parse):
    errors = parse(SPOTLIGHT_REGISTRY_DSN=NOWHERE["SPOTLIGHT_REGISTRY_DSN"])["errors"]
    assert sorted(Path(file).name for file in errors) == [shard_file(shard) for shard in range(SHARDS)]
    error = next(iter(errors.values()))
    assert "no snapshot of an earlier read" in last_line(error)
    assert "SPOTLIGHT_REGISTRY_DSN" in last_line(error)
    assert "hidden-password" not in error


@pytest.mark.parametrize("status", ["draft", "disabled"])
def test_only_active_and_paused_rows_have_a_dag(
    three_rows: tuple[str, ...], sql: Sql, parse: Parse, status: str
):
    sql("update integration.npo set status = %s where npo_id = 'hopeworks'", status)
    assert "npo__hopeworks" not in parse()["dags"]
    sql("update integration.npo set status = 'active' where npo_id = 'hopeworks'")
    assert "npo__hopeworks" in parse()["dags"]


def test_a_deleted_row_has_no_dag(three_rows: tuple[str, ...], sql: Sql, parse: Parse):
    sql("delete from integration.npo where npo_id = 'hopeworks'")
    assert sorted(parse()["dags"]) == ["npo__codebridge", "npo__mentornet"]


def test_a_paused_row_keeps_a_dag_that_starts_paused_and_has_no_schedule(
    three_rows: tuple[str, ...], sql: Sql, parse: Parse
):
    sql("update integration.npo set status = 'paused' where npo_id = 'hopeworks'")
    dags = parse()["dags"]
    paused, active = dags["npo__hopeworks"]["dag"], dags["npo__codebridge"]["dag"]
    assert paused["is_paused_upon_creation"] is True
    assert paused["timetable"]["__type"].endswith("NullTimetable")
    assert active["is_paused_upon_creation"] is False


def test_a_changed_row_changes_only_its_own_dag(three_rows: tuple[str, ...], sql: Sql, parse: Parse):
    before = parse()["dags"]
    sql("update integration.npo set schedule = '5 3 * * 1-5' where npo_id = 'hopeworks'")
    after = parse()["dags"]
    assert after["npo__hopeworks"]["dag"]["timetable"]["__var"]["expression"] == "5 3 * * 1-5"
    assert [dag_id for dag_id in before if before[dag_id] != after[dag_id]] == ["npo__hopeworks"]


def test_a_row_runs_by_the_clock_of_its_own_time_zone(three_rows: tuple[str, ...], sql: Sql, parse: Parse):
    sql(
        "update integration.npo set timezone = 'Europe/London', schedule = '0 2 * * *'"
        " where npo_id = 'hopeworks'"
    )
    parsed = parse()
    # In London the night run is at 01:00 UTC in summer and 02:00 UTC in winter.
    assert parsed["dags"]["npo__hopeworks"]["dag"]["timetable"]["__var"] == {
        "expression": "0 2 * * *",
        "timezone": "Europe/London",
    }
    assert parsed["next_runs"]["npo__hopeworks"] == ["2026-03-29T01:00:00+00:00", "2026-10-26T02:00:00+00:00"]


def test_the_file_of_a_shard_at_ten_thousand_rows_is_read_within_airflows_limit(
    sql: Sql, parse: Parse, record_testsuite_property: Callable[[str, object], None]
):
    sql(
        "insert into integration.npo (npo_id, name, owner_email, status, connector, base_url, allowed_hosts)"
        " select 'npo_' || n, 'NPO ' || n, 'o@example.org', 'active', 'hopeworks', 'http://127.0.0.1:8080',"
        " '{127.0.0.1:8080}' from generate_series(1, 1000) as n"
    )
    parsed = parse(AIRFLOW__CORE__DAGS_FOLDER=str(PROJECT_ROOT / "dags" / shard_file(0)))
    assert 1000 / SHARDS / 2 < len(parsed["dags"]) < 1000 / SHARDS * 2
    record_testsuite_property("CPU seconds of a shard of 1,000 rows", parsed["parse_cpu_seconds"])
    # A tenth of the rows, in seconds of the CPU: the machine of a test is shared.
    assert 10 * parsed["parse_cpu_seconds"] < 30, "dagbag_import_timeout of Airflow"

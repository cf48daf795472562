"""The DAG ``esr_inbound``: what every parse must give, without a connection, a server or a heavy import."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from include.esr.run import STAGES
from tests.dags.conftest import Parse

DAG_ID = "esr_inbound"
NOWHERE = {
    "SPOTLIGHT_REGISTRY_DSN": "postgresql://nobody@127.0.0.1:9/none",
    "SPOTLIGHT_MONGO_URI": "mongodb://127.0.0.1:9/",
    "SPOTLIGHT_SFTP_PORT": "9",
    "SPOTLIGHT_TCS_URL": "http://127.0.0.1:9",
}
"""Nothing listens there."""
PARSE_SECONDS = 5.0
"""Airflow allows 30; in a process that has Airflow imported it takes about a second."""

Task = dict[str, Any]


@pytest.fixture
def parse_environment(airflow_environment: dict[str, str], tmp_path: Path, asked: Path) -> dict[str, str]:
    """An environment without any server, for the fixtures that parse."""
    snapshot = {"SPOTLIGHT_REGISTRY_SNAPSHOT": str(tmp_path / "none.json"), "ASKED_FILE": str(asked)}
    return airflow_environment | NOWHERE | snapshot


@pytest.fixture
def parsed(parse: Parse) -> dict[str, Any]:
    """What one parse of ``dags/`` gives while no server answers."""
    return parse()


@pytest.fixture
def dag(parsed: dict[str, Any]) -> dict[str, Any]:
    """The serialised DAG."""
    found: dict[str, Any] = parsed["dags"][DAG_ID]["dag"]
    return found


@pytest.fixture
def tasks(dag: dict[str, Any]) -> dict[str, Task]:
    """Its tasks by id; what an expanded operator is given stands in ``partial_kwargs``."""
    found = [task["__var"] for task in dag["tasks"]]
    return {task["task_id"]: task | task.get("partial_kwargs", {}) for task in found}


def test_it_parses_while_no_server_answers_and_asks_for_nothing(parsed: dict[str, Any], asked: Path):
    assert DAG_ID in parsed["dags"]
    assert [file for file in parsed["errors"] if "esr" in file] == []
    assert parsed["network"] == []
    assert not asked.exists(), asked.read_text()


def test_no_heavy_module_is_imported_at_parse(parsed: dict[str, Any]):
    assert parsed["modules"] == []


def test_it_keeps_the_policy_of_every_dag_and_task(parsed: dict[str, Any]):
    assert [found for found in parsed["violations"] if found.startswith(DAG_ID)] == []


def test_it_parses_and_serialises_far_below_airflows_limit(parsed: dict[str, Any]):
    assert parsed["parse_seconds"] + parsed["serialize_seconds"] < PARSE_SECONDS


def test_two_processes_with_different_hash_seeds_serialise_the_same(parse_afresh: Parse):
    one, other = parse_afresh(PYTHONHASHSEED="1"), parse_afresh(PYTHONHASHSEED="4242")
    assert json.dumps(one["dags"][DAG_ID]) == json.dumps(other["dags"][DAG_ID])


def test_it_looks_every_quarter_of_an_hour_one_run_at_a_time(dag: dict[str, Any]):
    assert dag["timetable"]["__type"].endswith("CronDataIntervalTimetable")
    assert dag["timetable"]["__var"] == {"expression": "*/15 * * * *", "timezone": "Europe/London"}
    assert (dag["catchup"], dag["max_active_runs"]) == (False, 1)
    assert dag["tags"] == ["esr"]
    assert dag["deadline"][0]["callback"]["__data__"]["path"] == "include.notify.deadline_missed"


def test_the_stages_follow_each_other_for_each_subject_found(dag: dict[str, Any], tasks: dict[str, Task]):
    stages = [f"file.{stage}" for stage in STAGES]
    assert list(tasks) == ["discover", *stages]
    assert sorted(tasks["discover"]["downstream_task_ids"]) == sorted(stages)
    for stage, after in zip(stages, [*stages[1:], None], strict=True):
        assert tasks[stage].get("downstream_task_ids", []) == ([after] if after else [])
    group = dag["task_group"]["children"]["file"][1]
    assert group["is_mapped"]
    assert "discover" in json.dumps(group["expand_input"])


def test_a_stage_works_at_few_files_at_once(tasks: dict[str, Task]):
    for stage in STAGES:
        task = tasks[f"file.{stage}"]
        assert task["max_active_tis_per_dag"] == 4
        assert task["pool"] == "esr_exchange"


def test_every_task_is_bounded_and_retried(tasks: dict[str, Task]):
    for task in tasks.values():
        assert task["owner"] == "esr-exchange"
        assert task["retries"] == 3
        assert task["has_retry_policy"]
        assert task["execution_timeout"] > 0
        assert task["has_on_failure_callback"]


def test_a_mapped_task_shows_what_came_of_its_file(tasks: dict[str, Task]):
    for stage in STAGES:
        assert "told" in tasks[f"file.{stage}"]["map_index_template"]

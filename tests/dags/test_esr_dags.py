"""The exchange's DAGs: what every parse must give, without a connection, a server or a heavy import."""

from __future__ import annotations

import json
from typing import Any

import pytest

from include.esr.outbound_run import OUTBOUND
from include.esr.run import STAGES

DAG_ID = "esr_inbound"
OUT = ("esr_generation", "esr_outbound", "esr_confirmations")
DAG_IDS = (DAG_ID, *OUT)
PARSE_SECONDS = 5.0
"""Airflow allows 30; in a process that has Airflow imported it takes about a second."""

Task = dict[str, Any]


@pytest.fixture
def parsed(parsed_alone: dict[str, Any]) -> dict[str, Any]:
    """What one parse of ``dags/`` gives while no server answers."""
    return parsed_alone


@pytest.fixture
def dag(parsed: dict[str, Any]) -> dict[str, Any]:
    """The serialised DAG."""
    found: dict[str, Any] = parsed["dags"][DAG_ID]["dag"]
    return found


@pytest.fixture
def tasks(dag: dict[str, Any]) -> dict[str, Task]:
    """Its tasks by id."""
    return tasks_of(dag)


def tasks_of(dag: dict[str, Any]) -> dict[str, Task]:
    """Return a DAG's tasks by id; what an expanded operator is given stands in ``partial_kwargs``."""
    found = [task["__var"] for task in dag["tasks"]]
    return {task["task_id"]: task | task.get("partial_kwargs", {}) for task in found}


def of_dag(parsed: dict[str, Any], dag_id: str) -> dict[str, Any]:
    found: dict[str, Any] = parsed["dags"][dag_id]["dag"]
    return found


def test_they_parse_while_no_server_answers_and_ask_for_nothing(parsed: dict[str, Any]):
    assert set(DAG_IDS) <= set(parsed["dags"])
    assert [file for file in parsed["errors"] if "esr" in file] == []
    assert parsed["network"] == []
    assert parsed["asked"] == ""


def test_no_heavy_module_is_imported_at_parse(parsed: dict[str, Any]):
    assert parsed["modules"] == []


def test_they_keep_the_policy_of_every_dag_and_task(parsed: dict[str, Any]):
    assert [found for found in parsed["violations"] if found.startswith("esr_")] == []


def test_they_parse_and_serialises_far_below_airflows_limit(parsed: dict[str, Any]):
    assert parsed["parse_seconds"] + parsed["serialize_seconds"] < PARSE_SECONDS


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


@pytest.mark.parametrize("dag_id", DAG_IDS)
def test_every_task_is_bounded_and_retried(parsed: dict[str, Any], dag_id: str):
    for task in tasks_of(of_dag(parsed, dag_id)).values():
        assert task["owner"] == "esr-exchange"
        assert task["retries"] == 3
        assert task["has_retry_policy"]
        assert task["execution_timeout"] > 0
        assert task["has_on_failure_callback"]


def test_a_mapped_task_shows_what_came_of_its_file(tasks: dict[str, Task]):
    for stage in STAGES:
        assert "told" in tasks[f"file.{stage}"]["map_index_template"]


@pytest.mark.parametrize(
    ("dag_id", "schedule"),
    [
        ("esr_generation", "7-59/15 * * * *"),
        ("esr_outbound", "0 14 * * *"),
        ("esr_confirmations", "11-59/15 * * * *"),
    ],
)
def test_the_way_out_goes_by_the_clock_of_london_one_run_at_a_time(
    parsed: dict[str, Any], dag_id: str, schedule: str
):
    dag = of_dag(parsed, dag_id)
    assert dag["timetable"]["__type"].endswith("CronTriggerTimetable")
    assert dag["timetable"]["__var"]["expression"] == schedule
    assert dag["timetable"]["__var"]["timezone"] == "Europe/London"
    assert (dag["catchup"], dag["max_active_runs"], dag["tags"]) == (False, 1, ["esr"])
    assert dag["deadline"][0]["callback"]["__data__"]["path"] == "include.notify.deadline_missed"


def test_each_deanery_waits_for_its_inbound_and_its_two_files_do_not_wait_for_each_other(
    parsed: dict[str, Any],
):
    dag = of_dag(parsed, "esr_outbound")
    tasks = tasks_of(dag)
    assert sorted(tasks) == sorted(["deaneries", *(f"deanery.{stage}" for stage in OUTBOUND)])
    after = {name: sorted(task.get("downstream_task_ids", [])) for name, task in tasks.items()}
    assert after["deanery.ready"] == ["deanery.sweep"]
    assert after["deanery.sweep"] == ["deanery.export_app", "deanery.export_dnc"]
    assert after["deanery.export_app"] == after["deanery.export_dnc"] == []
    group = dag["task_group"]["children"]["deanery"][1]
    assert group["is_mapped"]
    assert "deaneries" in json.dumps(group["expand_input"])


@pytest.mark.parametrize(
    ("dag_id", "lister", "stage"),
    [
        ("esr_generation", "receive", "deanery.generate"),
        ("esr_confirmations", "discover", "file.confirm"),
    ],
)
def test_one_task_a_subject_that_was_found(parsed: dict[str, Any], dag_id: str, lister: str, stage: str):
    dag = of_dag(parsed, dag_id)
    tasks = tasks_of(dag)
    assert tasks[lister]["downstream_task_ids"] == [stage]
    group = dag["task_group"]["children"][stage.partition(".")[0]][1]
    assert group["is_mapped"]
    assert lister in json.dumps(group["expand_input"])
    assert "told" in tasks[stage]["map_index_template"]


def test_receipts_and_silence_wait_for_no_answer(parsed: dict[str, Any]):
    tasks = tasks_of(of_dag(parsed, "esr_confirmations"))
    downstream = {name for task in tasks.values() for name in task.get("downstream_task_ids", [])}
    assert {"receipts", "unanswered"} <= set(tasks) - downstream

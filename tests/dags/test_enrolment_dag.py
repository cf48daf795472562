"""The DAG of enrolments: what every parse must give, without a connection, a server or a heavy import."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.dags.test_esr_dags import of_dag, tasks_of

DAG_ID = "npo_enrolment"


@pytest.fixture
def parsed(parsed_alone: dict[str, Any]) -> dict[str, Any]:
    """What one parse of ``dags/`` gives while no server answers."""
    return parsed_alone


def test_it_parses_while_no_server_answers_and_keeps_the_policy(parsed: dict[str, Any]):
    assert [file for file in parsed["errors"] if "enrolment" in file] == []
    assert (parsed["network"], parsed["modules"]) == ([], [])
    assert parsed["asked"] == ""
    assert [found for found in parsed["violations"] if found.startswith(DAG_ID)] == []


def test_a_queue_and_what_is_due_wake_it_and_a_sweep_every_five_minutes_one_run_at_a_time(
    parsed: dict[str, Any],
):
    dag = of_dag(parsed, DAG_ID)
    schedule = json.dumps(dag["timetable"])
    assert dag["timetable"]["__type"].endswith("AssetOrTimeSchedule")
    assert "*/5 * * * *" in schedule
    assert "enrolment_commands" in schedule
    assert (dag["catchup"], dag["max_active_runs"]) == (False, 1)
    assert "include.queue_trigger.QueueTrigger" in json.dumps(dag)
    assert "include.npo.enrolment.due_trigger.DueTrigger" in json.dumps(dag)


def test_it_drains_lists_and_enrols_npo_by_npo_in_a_pool_of_its_own(parsed: dict[str, Any]):
    dag = of_dag(parsed, DAG_ID)
    tasks = tasks_of(dag)
    assert sorted(tasks) == ["drain", "npo.enrol", "npos"]
    assert tasks["drain"]["downstream_task_ids"] == ["npos"]
    assert tasks["npos"]["downstream_task_ids"] == ["npo.enrol"]
    assert dag["task_group"]["children"]["npo"][1]["is_mapped"]
    assert tasks["npos"]["trigger_rule"] == "all_done"  # a queue that fails keeps no NPO waiting
    for task in tasks.values():
        assert task["pool"] == "npo_enrolment"
        assert task["has_retry_policy"]
        assert task["has_on_failure_callback"]
        # One that waits for its next try would hold the only run, and with it every NPO's enrolments.
        assert (task["retries"], task["retry_delay"]) == (1, 5.0)


def test_its_pool_is_in_the_settings_of_a_local_airflow():
    from include.settings import PROJECT_ROOT

    assert "pool_name: npo_enrolment" in (PROJECT_ROOT / "airflow_settings.yaml").read_text()


def looked(answers: list[Any], alarms: int, monkeypatch: pytest.MonkeyPatch) -> tuple[list[Any], list[Any]]:
    """Return the trigger's first alarms, and what was left of the answers its queue gave."""
    from include import queue_trigger

    def read(_: Any) -> int:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return int(answer)

    monkeypatch.setattr(queue_trigger._Depth, "read", read)
    trigger = queue_trigger.QueueTrigger("enrolment", "candidate-assignments", every=0.01, quiet=0.0)

    async def collect() -> list[Any]:
        found = []
        async for event in trigger.run():
            found.append(event.payload)
            if len(found) == alarms:
                return found
        return found

    return asyncio.run(asyncio.wait_for(collect(), 10)), answers


def test_the_alarm_goes_off_when_messages_wait_and_survives_a_queue_that_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
):
    alarms, left = looked([0, OSError("away"), 0, 3, 0, 1, 9], 2, monkeypatch)
    assert [alarm["waiting"] for alarm in alarms] == [3, 1]
    assert left == [9]


def test_the_triggerer_can_make_the_alarm_again():
    from include.queue_trigger import QueueTrigger

    path, options = QueueTrigger("enrolment", "candidate-assignments").serialize()
    make: Callable[..., Any] = QueueTrigger
    assert path == "include.queue_trigger.QueueTrigger"
    assert make(**options).serialize() == (path, options)

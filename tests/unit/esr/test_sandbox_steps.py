# ruff: noqa: ARG002 - the stand-in for Airflow has Airflow's signatures
"""The demo's days go by their own date: whatever the clock started or missed, its runs come first."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from include.sandbox.demo.steps import GENERATION, ScheduledSteps
from include.sandbox.stack.errors import StackError

DAY = date(2026, 7, 8)


class Scheduler:
    """Airflow as far as it matters: a paused DAG starts nothing, the run due for longest starts first,
    one run at a time, and what the clock missed while the DAG was paused is made up for."""

    def __init__(self, ends_as: str = "success") -> None:
        self.paused = False
        self.missed: list[dict[str, Any]] = []
        self.known: list[dict[str, Any]] = []
        self.done: list[str] = []
        self.ends_as = ends_as

    def dag(self, dag_id: str) -> dict[str, str]:
        return {"dag_id": dag_id}

    def pause(self, dag_id: str, *, paused: bool = True) -> None:
        self.paused = paused

    def runs(self, dag_id: str) -> list[dict[str, Any]]:
        return self.known

    def trigger(self, dag_id: str, run_id: str, *, logical_date: datetime | None) -> None:
        self.known.append({"dag_run_id": run_id, "state": "queued", "run_after": logical_date})

    def give_up(self, dag_id: str, run_id: str) -> None:
        next(run for run in self.known if run["dag_run_id"] == run_id)["state"] = "failed"

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, str]]:
        return [{"task_id": "generate", "state": self.ends_as}]

    def run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        self.tick()
        return next(run for run in self.known if run["dag_run_id"] == run_id)

    def tick(self) -> None:
        """One round of the scheduler."""
        if self.paused:
            return
        self.known += self.missed
        self.missed = []
        waiting = [run for run in self.known if run["state"] in {"queued", "running"}]
        if waiting:
            first = min(waiting, key=lambda run: (run["state"] != "running", run["run_after"]))
            first["state"] = self.ends_as
            self.done.append(first["dag_run_id"])


def clock_run(name: str, state: str = "queued") -> dict[str, Any]:
    return {"dag_run_id": name, "state": state, "run_after": datetime(2026, 11, 22, 5, 22, tzinfo=UTC)}


def steps_on(api: Scheduler, logs: Path = Path("logs")) -> ScheduledSteps:
    place = SimpleNamespace(logs=logs)
    airflow = SimpleNamespace(api=api, check=lambda: None, place=place)
    session: Any = SimpleNamespace(airflow=airflow)
    return ScheduledSteps(session, lambda _: None, patience=5)


def test_a_day_goes_before_what_the_clock_missed():
    api = Scheduler()
    steps = steps_on(api)
    steps.hold()
    api.missed.append(clock_run("the clock's"))
    steps.generate(DAY)
    assert [name.partition("_2026")[0] for name in api.done[:1]] == ["demo"]
    assert api.paused


def test_what_the_clock_had_begun_is_given_up():
    api = Scheduler()
    api.known.append(clock_run("the clock's", "running"))
    steps = steps_on(api)
    steps.hold()
    steps.generate(DAY)
    assert "the clock's" not in api.done
    assert api.known[0]["state"] == "failed"


def test_a_run_that_fails_is_told_with_its_task_and_the_dag_is_held_again(tmp_path):
    api = Scheduler(ends_as="failed")
    steps = steps_on(api, tmp_path)
    steps.hold()
    with pytest.raises(
        StackError, match=f"{GENERATION} for 2026-07-08 failed at generate; task logs: {tmp_path}"
    ):
        steps.generate(DAY)
    assert api.paused


def test_the_clock_goes_on_after_the_demo():
    api = Scheduler()
    steps = steps_on(api)
    steps.hold()
    steps.release()
    assert not api.paused

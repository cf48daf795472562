"""The tasks of a generated NPO DAG: what a stage is given, and when the rest of the run is skipped."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG, BaseOperator
from airflow.sdk.exceptions import DownstreamTasksSkipped

from include.npo import run
from include.registry.dags import npo_dag
from include.registry.models import NpoConfig

START, END = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC)
REF = {"run": "r1", "pages": 3}


@pytest.fixture
def dag() -> DAG:
    return npo_dag(
        NpoConfig.model_validate(
            {
                "npo_id": "hopeworks",
                "name": "Hopeworks",
                "owner_email": "o@example.org",
                "status": "active",
                "connector": "hopeworks",
                "base_url": "http://127.0.0.1:8080",
                "allowed_hosts": ["127.0.0.1:8080"],
                "schedule": "@hourly",
                "start_date": "2026-01-01",
            }
        )
    )


def execute(dag: DAG, stage: str, within: Any) -> Any:
    task = dag.get_task(stage)
    assert isinstance(task, BaseOperator)
    return task.execute(within)


class Instance:
    """The task instance as far as a stage uses it: what other tasks returned, what is pushed."""

    map_index = -1

    def __init__(self, returned: dict[str, Any]) -> None:
        self.returned = returned
        self.pushed: dict[str, Any] = {}

    def xcom_pull(self, *, task_ids: str) -> Any:
        return self.returned[task_ids]

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value


def context(instance: Instance, *, run_type: str = "scheduled", start: datetime | None = START) -> Any:
    return {
        "ti": instance,
        "run_id": "r1",
        "data_interval_start": start,
        "data_interval_end": END,
        "dag_run": SimpleNamespace(run_type=run_type),
    }


@pytest.fixture
def returns(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that lets every stage return this; it gives the list of the stages' arguments."""

    def let(ref: dict[str, Any] | None) -> list[tuple[Any, ...]]:
        asked: list[tuple[Any, ...]] = []

        def stage(name: str, npo_id: str, ref_before: Any, **rest: Any) -> dict[str, Any] | None:
            asked.append((name, npo_id, ref_before, rest))
            return ref

        monkeypatch.setattr(run, "run_stage", stage)
        return asked

    return let


def test_the_first_stage_starts_from_nothing_and_each_later_one_from_what_the_one_before_returned(
    dag: DAG, returns: Any
):
    asked = returns(REF)
    given = {stage: {"from": stage} for stage in run.STAGES}
    for stage in run.STAGES:
        assert execute(dag, stage, context(Instance(given))) == REF
    assert [(name, npo_id) for name, npo_id, *_ in asked] == [(s, "hopeworks") for s in run.STAGES]
    assert [ref for _, _, ref, _ in asked] == [None, *({"from": stage} for stage in run.STAGES[:-1])]


@pytest.mark.parametrize(
    ("run_type", "start", "interval", "backfill"),
    [
        ("scheduled", START, (START, END), False),
        ("backfill", START, (START, END), True),
        ("manual", None, None, False),
    ],
)
def test_a_stage_is_told_the_window_of_its_run(
    dag: DAG, returns: Any, run_type: str, start: datetime | None, interval: Any, *, backfill: bool
):
    asked = returns(REF)
    execute(dag, "extract", context(Instance({}), run_type=run_type, start=start))
    [(*_, told)] = asked
    assert told == {"run_id": "r1", "data_interval": interval, "backfill": backfill}


@pytest.mark.parametrize("nothing", [None, {}])
def test_nothing_new_and_nothing_pending_skips_the_rest_of_the_run(
    dag: DAG, returns: Any, nothing: dict[str, Any] | None
):
    returns(nothing)
    instance = Instance({})
    with pytest.raises(DownstreamTasksSkipped) as skipped:
        execute(dag, "extract", context(instance))
    assert set(skipped.value.tasks) == set(run.STAGES[1:])
    # A skipped task that a person clears is skipped again: Airflow looks this up.
    [noted] = instance.pushed.values()
    assert set(noted["skipped"]) == set(run.STAGES[1:])


def test_a_later_stage_without_a_reference_does_not_skip_what_comes_after(dag: DAG, returns: Any):
    returns(None)
    assert execute(dag, "transform", context(Instance({"validate": REF}))) is None

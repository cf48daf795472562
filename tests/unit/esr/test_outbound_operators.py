"""Operators of the way out: what day a run is for, how long it waits, what a backfill of answers does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowRescheduleException, AirflowSkipException

from include.errors import NotYetError, TransientError
from include.esr import outbound_run
from include.esr.outbound_operators import (
    LONGEST_DAY,
    AnswerFilesOperator,
    OutboundStageOperator,
    moment_of,
)
from include.esr.outbound_run import left_to_the_next_run

NOW = datetime.now(tz=UTC)


def context(moment: datetime | None, *, run_type: str = "scheduled", started: datetime = NOW) -> Any:
    run = SimpleNamespace(run_type=run_type, run_after=NOW, start_date=started)
    return {"run_id": "r1", "dag_run": run, "logical_date": moment}


def execute(monkeypatch: pytest.MonkeyPatch, outcome: Any, about: Any) -> Any:
    def run_stage(_stage: str, _subject: str, **_: Any) -> dict[str, int]:
        if isinstance(outcome, Exception):
            raise outcome
        return dict(outcome)

    monkeypatch.setattr(outbound_run, "run_stage", run_stage)
    return OutboundStageOperator(task_id="sweep", stage="sweep", subject="KSS").execute(about)


def test_a_run_is_for_its_logical_date_and_one_without_is_for_now():
    day = datetime(2026, 7, 7, 13, tzinfo=UTC)
    assert moment_of(context(day)) == day
    assert moment_of(context(None)) == NOW


def test_what_is_not_there_yet_is_looked_for_again_without_a_try(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(AirflowRescheduleException):
        execute(monkeypatch, NotYetError("no RMC yet", retry_after=300), context(NOW))


@pytest.mark.parametrize("run_type", ["scheduled", "backfill"])
def test_a_run_that_waited_for_half_a_day_fails_so_that_the_next_can_begin(
    monkeypatch: pytest.MonkeyPatch, run_type: str
):
    long_ago = NOW - LONGEST_DAY - timedelta(minutes=1)
    with pytest.raises(TransientError, match="given up for this run") as raised:
        execute(
            monkeypatch,
            NotYetError("TCS is down", retry_after=30),
            context(long_ago, run_type=run_type, started=long_ago),
        )
    assert not isinstance(raised.value, NotYetError)


def test_a_backfill_of_a_day_long_gone_has_its_own_patience(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(AirflowRescheduleException):
        execute(monkeypatch, NotYetError("TCS is down", retry_after=30), context(NOW - timedelta(days=30)))


def test_a_task_is_named_by_its_deanery_and_counts(monkeypatch: pytest.MonkeyPatch):
    about = context(NOW)
    assert execute(monkeypatch, {"files": 1, "records": 1200, "told": 0}, about)["records"] == 1200
    assert about["told"] == "KSS: files 1, records 1,200"


def test_what_a_quarter_hourly_run_cannot_do_is_left_to_the_next(monkeypatch: pytest.MonkeyPatch):
    def half_applied(*_: Any, **__: Any) -> dict[str, int]:
        with left_to_the_next_run():
            raise NotYetError("half applied", retry_after=60)

    monkeypatch.setattr(outbound_run, "run_stage", half_applied)
    with pytest.raises(AirflowSkipException, match="left to a later run"):
        OutboundStageOperator(task_id="generate", stage="generate", subject="KSS").execute(context(NOW))


@pytest.mark.parametrize(
    ("run_type", "moment", "interval"),
    [
        ("scheduled", "2026-07-07T00:11:00+00:00", None),
        (
            "backfill",
            "2026-07-07T00:11:00+00:00",
            ("2026-07-06T23:56:00+00:00", "2026-07-07T00:11:00+00:00"),
        ),
    ],
)
def test_a_backfill_of_confirmations_does_the_days_answers_again(
    monkeypatch: pytest.MonkeyPatch, run_type: str, moment: str, interval: Any
):
    asked: list[Any] = []

    def answer_files(*, run_id: str, interval: Any) -> tuple[list[str], int]:
        asked.append((run_id, interval))
        return ["DE_KSS_APC_20260707_00000001.DAT#1"], 0

    monkeypatch.setattr(outbound_run, "answer_files", answer_files)
    about = context(datetime.fromisoformat(moment), run_type=run_type)
    found = AnswerFilesOperator(task_id="discover").execute(about)
    assert found == ["DE_KSS_APC_20260707_00000001.DAT#1"]
    wanted = tuple(map(datetime.fromisoformat, interval)) if interval else None
    assert asked == [("r1", wanted)]

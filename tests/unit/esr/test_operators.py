"""The exchange's operators: what waits uses up no try, what fails fails, and the UI says which."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowRescheduleException, AirflowSkipException, TaskDeferred

from include.errors import ConfigurationError, NotYetError, RateLimitedError, TransientError
from include.esr import run
from include.esr.errors import FileRejectedError
from include.esr.operators import LONGEST_NAME, SHORTEST_WAIT, DiscoverFilesOperator, EsrStageOperator
from include.settings import get_settings

FILE = "DE_KSS_RMF_20260304_00000017.DAT#1"
MIDNIGHT = datetime(2026, 3, 4, tzinfo=UTC)
FAILURES = [
    TransientError("integration store down"),
    RateLimitedError("429", retry_after=90),
    ConfigurationError("401"),
    FileRejectedError("the footer counts 3 lines, there are 4", code="footer_count"),
    KeyError("a bug"),
]


def context(run_type: str = "scheduled", **more: Any) -> Any:
    return {"run_id": "r1", "dag_run": SimpleNamespace(run_type=run_type)} | more


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Return a function that executes the operator while the stage ends in a given way."""

    def execute(outcome: Exception | dict[str, int], shown: dict[str, Any] | None = None) -> Any:
        def run_stage(_stage: str, _subject: str, **_: Any) -> dict[str, int]:
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        monkeypatch.setattr(run, "run_stage", run_stage)
        operator = EsrStageOperator(task_id="read", stage="read", subject=FILE)
        return operator.execute(context() if shown is None else shown)  # type: ignore[arg-type]

    return execute


@pytest.mark.parametrize(("seconds", "later"), [(30, 30), (run.LONGEST_WAIT, 600)])
def test_what_is_not_there_yet_is_looked_for_again_when_that_makes_sense(
    stage: Callable[..., Any], seconds: float, later: float
):
    before = datetime.now(tz=UTC)
    with pytest.raises(AirflowRescheduleException) as raised:
        stage(NotYetError("TCS is left alone", retry_after=seconds))
    wait = (raised.value.reschedule_date - before).total_seconds()
    assert later <= wait < later + 2


@pytest.mark.parametrize("seconds", [5, 0, -5])
def test_a_task_never_starts_again_while_its_last_worker_may_still_be_ending(
    stage: Callable[..., Any], seconds: float
):
    before = datetime.now(tz=UTC)
    with pytest.raises(AirflowRescheduleException) as raised:
        stage(NotYetError("a moment", retry_after=seconds))
    assert raised.value.reschedule_date - before >= timedelta(seconds=SHORTEST_WAIT)


def test_what_takes_longer_than_a_run_waits_is_left_to_a_later_one(stage: Callable[..., Any]):
    with pytest.raises(AirflowSkipException, match=r"number 16 .*left to a later run"):
        stage(NotYetError("number 16 of KSS not there yet", retry_after=run.LONGEST_WAIT + 1))


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
def test_every_other_failure_is_left_to_the_retry_policy(stage: Callable[..., Any], failure: Exception):
    with pytest.raises(type(failure)) as raised:
        stage(failure)
    assert raised.value is failure


@pytest.mark.parametrize(
    ("outcome", "name"),
    [
        ({"records": 20_000, "matched": 7, "unmatched": 0}, f"{FILE}: records 20,000, matched 7"),
        ({}, FILE),
        (NotYetError("waits for another", retry_after=5), f"{FILE}: waits for another"),
        (NotYetError("number 16 is missing", retry_after=7200), f"{FILE}: number 16 is missing"),
        (
            FileRejectedError("no footer", code="missing_footer", subject=FILE, stage="read"),
            f"{FILE}: no footer",
        ),
    ],
    ids=["counts", "no change", "waits", "later", "rejected"],
)
def test_a_mapped_task_is_named_by_its_file_and_what_came_of_it(
    stage: Callable[..., Any], outcome: Any, name: str
):
    shown = context()
    if isinstance(outcome, Exception):
        with pytest.raises(Exception):  # noqa: B017, PT011 - which one is told above
            stage(outcome, shown)
    else:
        stage(outcome, shown)
    assert shown["told"] == name


def test_the_name_of_a_task_fits_airflows_column(stage: Callable[..., Any]):
    shown = context()
    stage({f"a_count_with_a_long_name_{at}": 10**9 + at for at in range(40)}, shown)
    assert len(shown["told"]) == LONGEST_NAME
    assert shown["told"].endswith("...")


def test_the_text_of_a_bug_is_not_shown(stage: Callable[..., Any]):
    shown = context()
    with pytest.raises(KeyError):
        stage(KeyError("jo.bloggs@example.org"), shown)
    assert "told" not in shown


class Looks:
    """Answers a discovery with files that are still on their way, and remembers what it was asked."""

    def __init__(self, unsettled: int) -> None:
        self.unsettled = unsettled
        self.asked: list[Any] = []

    def __call__(self, *, run_id: str, interval: Any) -> tuple[list[str], int]:  # noqa: ARG002 - as called
        self.asked.append(interval)
        return [FILE], self.unsettled


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    """Discovery of one file, with another that is still on its way."""
    get_settings.cache_clear()
    found = Looks(1)
    monkeypatch.setattr(run, "discover_subjects", found)
    return found


def test_a_file_on_its_way_is_waited_for_without_a_worker_and_not_for_ever(looks: Looks):
    operator, method, more = DiscoverFilesOperator(task_id="discover"), "execute", dict[str, Any]()
    settle = timedelta(seconds=get_settings().esr_settle_seconds)
    for _ in range(run.MAX_LOOKS - 1):
        with pytest.raises(TaskDeferred) as deferred:
            getattr(operator, method)(context(), **more)
        assert abs(deferred.value.trigger.moment - datetime.now(tz=UTC) - settle) < timedelta(seconds=2)
        method, more = deferred.value.method_name, deferred.value.kwargs or {}
    assert getattr(operator, method)(context(), **more) == [FILE]
    assert len(looks.asked) == run.MAX_LOOKS


def test_nothing_on_its_way_is_not_waited_for(looks: Looks):
    looks.unsettled = 0
    assert DiscoverFilesOperator(task_id="discover").execute(context()) == [FILE]


@pytest.mark.parametrize("run_type", ["scheduled", "manual", "asset_triggered"])
def test_a_run_that_is_no_backfill_goes_on_with_what_is_due(looks: Looks, run_type: str):
    looks.unsettled = 0
    interval = {"data_interval_start": MIDNIGHT, "data_interval_end": MIDNIGHT + timedelta(minutes=15)}
    DiscoverFilesOperator(task_id="discover").execute(context(run_type, **interval))
    assert looks.asked == [None]


def test_a_backfill_replays_exactly_its_data_interval(looks: Looks):
    import zoneinfo

    looks.unsettled = 0
    here = MIDNIGHT.astimezone(zoneinfo.ZoneInfo("Europe/Paris"))
    interval = {"data_interval_start": here, "data_interval_end": here + timedelta(minutes=15)}
    DiscoverFilesOperator(task_id="discover").execute(context("backfill", **interval))
    [(start, end)] = looks.asked
    assert (start, end) == (MIDNIGHT, MIDNIGHT + timedelta(minutes=15))
    assert start.date() == MIDNIGHT.date()

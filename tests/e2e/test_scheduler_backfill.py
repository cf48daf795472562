"""``spotlight backfill`` through a real Airflow: a stretch whose records were lost is read again, twice."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from include.sandbox.airflow.config import ADMIN_USER
from tests.e2e.test_scheduler import entities

if TYPE_CHECKING:
    from include.sandbox.demo.session import Session
    from tests.e2e.conftest import Proven

NPO = "codebridge"  # can be asked for a window
STEP = timedelta(minutes=5)  # of its schedule
PATIENCE = 300


@dataclass(frozen=True)
class Content:
    """What a backfill must bring back, and must not add to."""

    raw: dict[str, str]
    entities: dict[str, tuple[object, ...]]
    events: frozenset[str]


@dataclass(frozen=True)
class Backfilled:
    """A stretch of three intervals, whose raw records were lost, after ``spotlight backfill``."""

    session: Session
    start: datetime
    end: datetime
    lost: frozenset[str]
    before: Content
    done: subprocess.CompletedProcess[str]

    @property
    def intervals(self) -> list[datetime]:
        return [self.start, self.start + STEP, self.start + 2 * STEP]


def content(session: Session) -> Content:
    raw = session.store["npo_raw"].find({"npo_id": NPO}, {"content_hash": 1})
    events = session.store["outbox"].find({"owner": NPO}, {"_id": 1})
    return Content(
        {each["_id"]: each["content_hash"] for each in raw},
        entities(session),
        frozenset(each["_id"] for each in events),
    )


def backfill(session: Session, start: datetime, end: datetime) -> subprocess.CompletedProcess[str]:
    """Run the command as a person does."""
    reach = {
        "SPOTLIGHT_AIRFLOW_URL": session.airflow.url,
        "SPOTLIGHT_AIRFLOW_USER": ADMIN_USER,
        "SPOTLIGHT_AIRFLOW_PASSWORD": session.airflow.keys.admin_password,
    }
    window = ["--from", f"{start:%Y-%m-%dT%H:%M:%S}", "--to", f"{end:%Y-%m-%dT%H:%M:%S}"]
    return subprocess.run(
        [Path(sys.executable).with_name("spotlight"), "backfill", "--npo", NPO, *window],
        env=os.environ | dict(session.stack) | reach,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def runs_of(backfilled: Backfilled) -> dict[datetime, dict[str, Any]]:
    """Return the backfill's runs by the beginning of their interval; two of one would be one too many."""
    found = [
        run for run in backfilled.session.airflow.api.runs(f"npo__{NPO}") if run["run_type"] == "backfill"
    ]
    by_date = {datetime.fromisoformat(run["logical_date"]): run for run in found}
    assert len(by_date) == len(found)
    return by_date


@pytest.fixture(scope="module")
def backfilled(proven: Proven) -> Backfilled:
    session, raw = proven.session, proven.session.store["npo_raw"]
    (oldest,) = raw.find({"npo_id": NPO, "resource": "assignments"}).sort("cursor", 1).limit(1)
    at: datetime = oldest["cursor"].astimezone(UTC)
    start = datetime.fromtimestamp(at.timestamp() // STEP.seconds * STEP.seconds, tz=UTC) - STEP
    end = start + 3 * STEP
    before = content(session)
    stretch = {"npo_id": NPO, "cursor": {"$gte": start, "$lt": end}}
    lost = frozenset(each["_id"] for each in raw.find(stretch, {"_id": 1}))
    raw.delete_many({"_id": {"$in": sorted(lost)}})
    return Backfilled(session, start, end, lost, before, backfill(session, start, end))


def test_each_interval_of_the_stretch_gets_one_run_one_after_the_other(backfilled: Backfilled):
    runs = runs_of(backfilled)
    assert sorted(runs) == backfilled.intervals
    assert {run["state"] for run in runs.values()} == {"success"}
    times = sorted((run["start_date"], run["end_date"]) for run in runs.values())
    assert all(ended <= began for (_, ended), (began, _) in pairwise(times))


def test_it_says_line_by_line_what_happens_and_last_what_came_of_it(backfilled: Backfilled):
    assert backfilled.done.returncode == 0, backfilled.done.stderr
    lines = [line.strip() for line in backfilled.done.stderr.splitlines()]
    assert any(line.startswith(f"{NPO}: backfill ") and line.endswith(" in Airflow") for line in lines)
    assert any(line.startswith(f"{NPO}: done 3 runs") for line in lines)
    assert "3 runs" in backfilled.done.stdout


def test_the_records_of_the_stretch_are_there_again_and_nothing_else_is(backfilled: Backfilled):
    assert backfilled.lost
    assert content(backfilled.session).raw == backfilled.before.raw


def test_the_same_backfill_again_runs_them_again_and_doubles_nothing(backfilled: Backfilled):
    ended = {date: run["end_date"] for date, run in runs_of(backfilled).items()}
    again = backfill(backfilled.session, backfilled.start, backfilled.end)
    assert again.returncode == 0, again.stderr
    runs = runs_of(backfilled)
    assert sorted(runs) == backfilled.intervals
    assert all(run["start_date"] > ended[date] for date, run in runs.items())
    assert content(backfilled.session) == backfilled.before

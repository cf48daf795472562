"""ESR's files through a real scheduler: what the UI shows, what fails, what waits, what is done again."""

from __future__ import annotations

import time
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from include.sandbox.demo import esr
from include.sandbox.esr.dirt import Dirt
from include.sandbox.esr.files import MadeFile, rmf
from include.sandbox.esr.world import World
from include.sandbox.stack.tcs import PEOPLE
from include.sandbox.tcs.process import TcsSandbox
from tests.e2e.test_scheduler import within

if TYPE_CHECKING:
    from collections.abc import Iterator

    from include.sandbox.demo.session import Session
    from tests.e2e.conftest import Proven

DAG_ID = esr.DAG_ID
WORLD = World(people=PEOPLE)
DAY = date(2026, 4, 1)
STAGES = ("file.read", "file.reconcile", "file.publish")

Tasks = dict[tuple[str, str], dict[str, Any]]


@pytest.fixture
def tcs(proven: Proven) -> Iterator[TcsSandbox]:
    """The stand-in for TCS, which behaves again at the end; what it was told stays."""
    stack = proven.session.stack
    sandbox = TcsSandbox(
        stack["SPOTLIGHT_TCS_URL"],
        stack["SPOTLIGHT_SANDBOX_ADMIN_TOKEN"],
        stack["SPOTLIGHT_TCS_CLIENT_SECRET"],
    )
    yield sandbox
    sandbox.behave()
    sandbox.close()


def start(session: Session, *files: MadeFile) -> None:
    """Upload files and have them looked for; the sweep of a quarter of an hour may be quicker."""
    esr.upload(session, files)
    session.airflow.api.trigger(DAG_ID, f"test_{time.time_ns()}")


def tasks(session: Session, run_id: str) -> Tasks:
    """Return the mapped tasks of a run by file name and task id, as the UI lists them."""
    found: Tasks = {}
    for task in session.airflow.api.task_instances(DAG_ID, run_id):
        name = str(task["rendered_map_index"] or "").partition("#")[0]
        if task["task_id"] in STAGES:
            found[name, task["task_id"]] = task
    return found


def task(session: Session, file: MadeFile, stage: str) -> dict[str, Any]:
    """Return a file's task in the run that took it, or one of no state while there is none yet."""
    key = (file.name, f"file.{stage}")
    for run in session.airflow.api.runs(DAG_ID, limit=5):
        if found := tasks(session, run["dag_run_id"]).get(key):
            return found
    return {"state": None, "try_number": 0, "rendered_map_index": "", "dag_run_id": None}


def run_of(session: Session, file: MadeFile) -> str | None:
    """Return the run that took a file, ``None`` while none has."""
    found: str | None = task(session, file, "read")["dag_run_id"]
    return found


def run_state(session: Session, run_id: str) -> str:
    run = next(run for run in session.airflow.api.runs(DAG_ID) if run["dag_run_id"] == run_id)
    return str(run["state"])


def ended(session: Session, run_id: str | None) -> bool:
    return run_id is not None and run_state(session, run_id) in {"success", "failed"}


def entry(session: Session, file: MadeFile) -> dict[str, Any]:
    found = session.store["esr_file"].find_one({"_id": f"{file.name}#1"})
    assert found is not None, file.name
    return found


def test_the_files_of_three_days_come_to_what_their_makers_say(proven: Proven):
    assert proven.outcome.esr.problems == []


def test_the_ui_shows_each_file_by_its_name_and_counts(proven: Proven):
    api, files = proven.session.airflow.api, esr.make_files()[0]
    shown = [
        str(task["rendered_map_index"])
        for run in api.runs(DAG_ID)
        for task in api.task_instances(DAG_ID, run["dag_run_id"])
        if task["task_id"] == "file.publish"
    ]
    for file in files:
        [line] = [line for line in shown if line.startswith(file.name)][:1]
        assert f"records {sum(file.truth.records.values()):,}" in line
        assert f"matched {len(file.truth.matched):,}" in line


def test_a_file_that_is_rejected_fails_only_its_own_line_and_says_why(proven: Proven):
    session = proven.session
    bad = rmf("EOE", DAY, 7, world=WORLD, posts=20, dirt=(Dirt.WRONG_FOOTER,))
    good = rmf("OXF", DAY, 7, world=WORLD, posts=20)
    start(session, bad, good)
    assert within(90, lambda: ended(session, run_of(session, good)))
    run_id = str(run_of(session, good))
    found = tasks(session, run_id)
    read = found[bad.name, "file.read"]
    assert (read["state"], read["try_number"]) == ("failed", 1)
    assert "footer" in read["rendered_map_index"]
    assert {found[good.name, stage]["state"] for stage in STAGES} == {"success"}
    states = [each["state"] for each in session.airflow.api.task_instances(DAG_ID, run_id)]
    assert states.count("failed") == 1
    assert entry(session, bad)["state"] == "rejected"
    assert entry(session, good)["counts"]["matched"] == len(good.truth.matched)


@pytest.mark.parametrize(
    ("deanery", "calls", "stage"), [("WES", "/api/", "read"), ("PEN", "esr-changed|people", "reconcile")]
)
def test_while_tcs_is_down_tasks_wait_and_the_run_ends_well_by_itself(
    proven: Proven, tcs: TcsSandbox, deanery: str, calls: str, stage: str
):
    session = proven.session
    file = rmf(deanery, DAY, 7, world=WORLD, posts=20)
    tcs.misbehave({"call": calls, "kind": "status", "status": 503})
    start(session, file)

    def waits() -> bool:
        return str(task(session, file, stage)["state"]) == "up_for_reschedule"

    assert within(90, waits)
    assert "TCS" in task(session, file, stage)["rendered_map_index"]
    run_id = str(run_of(session, file))
    assert run_state(session, run_id) == "running"
    tcs.behave()
    assert within(90, lambda: ended(session, run_id))
    assert run_state(session, run_id) == "success"
    assert {task(session, file, stage)["try_number"] for stage in ("read", "reconcile")} == {1}
    assert entry(session, file)["state"] == "published"
    events = [body for bodies in tcs.post_events().values() for body in bodies]
    told = [body["positionId"] for body in events if body["positionId"] in file.truth.matched]
    assert sorted(told) == sorted(file.truth.matched)


def test_a_backfill_of_a_day_does_the_files_of_that_day_again_and_tells_nothing_twice(
    proven: Proven, tcs: TcsSandbox
):
    session, told = proven.session, tcs.told()
    day = esr.DAY + timedelta(days=1)
    session.airflow.api.call(
        "POST",
        "backfills",
        json={"dag_id": DAG_ID, "from_date": f"{day}T00:00:00Z", "to_date": f"{day}T00:00:00Z"},
    )

    def backfilled() -> list[str]:
        runs = session.airflow.api.runs(DAG_ID)
        return [run["dag_run_id"] for run in runs if run["run_type"] == "backfill"]

    assert within(30, backfilled)
    [run_id] = backfilled()
    assert within(90, lambda: ended(session, run_id))
    assert run_state(session, run_id) == "success"
    expected = {file.name for file in esr.make_files()[0] if f"_{day:%Y%m%d}_" in file.name}
    assert {name for name, _ in tasks(session, run_id)} == expected
    assert tcs.told() == told

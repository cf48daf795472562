"""What is to be done about a DAG's switches, decided from what both sides say."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from pydantic import SecretStr

from include.registry.follower import DagState, RowState, Step, follow, steps
from include.registry.models import NpoStatus
from include.settings import Settings

RUNNING = DagState(paused=False, listed=True)
PAUSED = DagState(paused=True, listed=True)


@pytest.mark.parametrize(
    ("status", "noted", "was_active", "dag", "step"),
    [
        # a row says paused
        ("paused", False, True, RUNNING, Step.PAUSE),
        ("paused", True, True, RUNNING, Step.PAUSE),  # somebody unpaused it in the UI: the row decides
        ("paused", True, True, PAUSED, None),
        ("paused", False, True, PAUSED, None),  # a person paused it before the row did
        ("paused", False, False, PAUSED, Step.NOTE),  # the DAG file created it so
        ("paused", False, False, None, Step.NOTE),
        ("paused", False, True, None, Step.NOTE),
        ("paused", True, True, None, None),
        # a row says active
        ("active", True, True, PAUSED, Step.UNPAUSE),
        ("active", True, True, RUNNING, Step.FORGET),
        ("active", True, True, None, None),  # a parse of the paused row may still be under way
        ("active", False, True, PAUSED, None),  # a person's own pause
        ("active", False, True, RUNNING, None),
        ("active", False, True, None, None),
    ],
)
def test_the_row_decides_and_a_persons_pause_stays(
    status: str, noted: bool, was_active: bool, dag: DagState | None, step: Step | None
):
    row = RowState("hopeworks", NpoStatus(status), noted, was_active)
    found = list(steps([row], {"hopeworks": dag} if dag else {}))
    assert found == ([("hopeworks", step)] if step else [])


def test_a_listed_dag_without_a_row_is_retired_once():
    gone = DagState(paused=False, listed=False)
    assert list(steps([], {"old": RUNNING, "older": gone})) == [("old", Step.RETIRE)]


def test_an_unreachable_registry_does_not_end_the_thread(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    nowhere = Settings(registry_dsn=SecretStr("postgresql://me:hidden@127.0.0.1:9/none"), registry_timeout=2)
    stop = threading.Event()
    thread = threading.Thread(target=follow, args=(nowhere, stop), kwargs={"every": 0.01}, daemon=True)
    thread.start()
    thread.join(0.5)
    assert thread.is_alive()
    stop.set()
    thread.join(5)
    assert not thread.is_alive()
    told = [record.getMessage() for record in caplog.records if record.name == "include.registry.follower"]
    assert len(told) == 1, told
    assert "hidden" not in told[0]

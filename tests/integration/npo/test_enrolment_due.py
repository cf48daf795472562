"""What is due in the store wakes a run, whichever way it came there; what a run cannot change wakes none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from include.npo.enrolment import due_trigger
from include.npo.enrolment.due import DUE, pipeline
from include.npo.enrolment.records import NPOS
from include.npo.enrolment.run import drain
from tests.integration.npo.enrolling import Platform, Setup, TinyNpo, npo, platform, row, world

__all__ = ["npo", "platform", "row", "world"]


@pytest.fixture
def alarm(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The alarm on this test's store, without patience."""
    monkeypatch.setattr("include.settings.get_settings", lambda: platform.settings)
    platform.store["enrolment"].delete_many({"npo_id": {"$ne": platform.npo_id}})
    platform.store[NPOS].delete_many({"_id": {"$ne": platform.npo_id}})
    alarm = due_trigger.DueTrigger(grace=0.0, least=0.0)
    yield alarm
    if alarm._store is not None:
        alarm._store.close()


def test_a_poll_that_is_due_raises_the_alarm_and_one_that_is_not_does_not(
    platform: Platform, npo: TinyNpo, row: Setup, alarm: due_trigger.DueTrigger
):
    row(poll={"path": "enrolments/{external_id}", "every": "PT1H", "give_up_after": "P1D"})
    npo.says = "waiting"
    platform.send(platform.command("a-1"))
    platform.run()
    assert platform.record("a-1")["state"] == "pending"
    assert alarm.look() is None
    platform.hurry()
    assert alarm.look() == {"npos": 1}


def test_commands_that_were_drained_by_a_run_that_died_raise_the_alarm(
    platform: Platform, row: Setup, alarm: due_trigger.DueTrigger
):
    row()
    platform.send(platform.command("a-1"))
    drain(platform.settings)
    assert alarm.look() == {"npos": 1}
    platform.run()
    assert alarm.look() is None


@pytest.mark.parametrize(
    "held",
    [
        {"stopped": {"why": "401"}, "looked_at": datetime.now(tz=UTC)},
        {"not_before": datetime.now(tz=UTC) + timedelta(days=1)},
        {"lease": {"holder": "another", "until": datetime.now(tz=UTC) + timedelta(days=1)}},
    ],
    ids=["stopped", "asked us to wait", "a run is at it"],
)
def test_an_npo_no_run_could_get_on_with_raises_no_alarm(
    platform: Platform, row: Setup, alarm: due_trigger.DueTrigger, held: dict[str, Any]
):
    row()
    platform.send(platform.command("a-1"))
    platform.run()
    platform.store["enrolment"].update_one(
        {"npo_id": platform.npo_id}, [{"$set": {"due": True, "due_at": "$received_at", "state": "pending"}}]
    )
    assert alarm.look() == {"npos": 1}
    platform.store[NPOS].update_one({"_id": platform.npo_id}, {"$set": held})
    assert alarm.look() is None


def test_polls_of_an_npo_that_asks_for_a_rest_wake_nobody_until_it_is_over(
    platform: Platform, npo: TinyNpo, row: Setup, alarm: due_trigger.DueTrigger
):
    row()
    npo.faults = [(429, {}, {"Retry-After": "600"}, False)]
    platform.send(platform.command("a-1"))
    platform.run()
    platform.store["enrolment"].update_one(
        {"npo_id": platform.npo_id}, [{"$set": {"due_at": "$received_at"}}]
    )
    assert alarm.look() is None
    platform.hurry()
    assert alarm.look() == {"npos": 1}


def test_looking_for_what_is_due_reads_nothing_that_has_ended_or_is_due_later(platform: Platform):
    now = datetime.now(tz=UTC)
    ended: list[dict[str, Any]] = [{"npo_id": platform.npo_id, "state": "accepted"} for _ in range(300)]
    later: list[dict[str, Any]] = [
        {"npo_id": platform.npo_id, "due": True, "due_at": now + timedelta(days=1)} for _ in range(300)
    ]
    platform.store["enrolment"].delete_many({})
    platform.store["enrolment"].insert_many(
        [{"_id": f"{platform.npo_id}-{number}", **each} for number, each in enumerate(ended + later)]
    )
    command = {"aggregate": "enrolment", "pipeline": pipeline(now), "cursor": {}, "hint": DUE}
    told = platform.store.database.command("explain", command, verbosity="executionStats")
    stats = told.get("executionStats") or told["stages"][0]["$cursor"]["executionStats"]
    assert stats["totalDocsExamined"] == 0
    assert stats["totalKeysExamined"] < 10
    platform.store["enrolment"].delete_many({"npo_id": platform.npo_id})


def test_an_npo_that_still_waits_when_a_run_let_go_of_it_is_no_news(
    platform: Platform, row: Setup, alarm: due_trigger.DueTrigger
):
    row()
    platform.send(platform.command("a-1"))
    drain(platform.settings)
    alarm._unattended.least = 60.0
    assert alarm.look() == {"npos": 1}
    alarm._unattended._silent_until = 0.0  # another NPO's alarm would be due
    lease = {"holder": "a run", "until": datetime.now(tz=UTC) + timedelta(days=1)}
    platform.store[NPOS].update_one({"_id": platform.npo_id}, {"$set": {"lease": lease}}, upsert=True)
    assert alarm.look() is None
    platform.store[NPOS].update_one({"_id": platform.npo_id}, {"$unset": {"lease": ""}})
    assert alarm.look() is None

"""What the platform takes back: at the partner too, whatever became of the enrolment before."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from structlog.testing import capture_logs

from include.npo.enrolment.records import fence_owner
from include.npo.enrolment.tombstones import bury
from tests.integration.npo.enrolling import Platform, Setup, TinyNpo, npo, platform, row, world

__all__ = ["npo", "platform", "row", "world"]


def test_a_withdrawal_that_comes_first_stands(platform: Platform, npo: TinyNpo, row: Setup):
    row()
    platform.send(platform.command("a-1", kind="withdrawn"))
    platform.run()
    platform.send(platform.command("a-1"))
    platform.run()
    assert (npo.asked, platform.statuses()) == ([], ["withdrawn"])


def test_a_withdrawal_is_told_to_the_partner(platform: Platform, npo: TinyNpo, row: Setup):
    row()
    platform.send(platform.command("a-1"))
    platform.run()
    platform.send(platform.command("a-1", kind="withdrawn"))
    platform.run()
    assert npo.withdrawn == ["e-1"]
    told = platform.outcomes()
    assert told[-1]["data"]["enrolment"]["status"] == "withdrawn"
    assert told[-1]["data"]["enrolment"]["partner_informed"] is True


def test_a_withdrawal_of_unknown_outcome_waits_for_it(platform: Platform, npo: TinyNpo, row: Setup):
    row()
    npo.faults = ["lost"]
    platform.send(platform.command("a-1"))
    platform.run()
    platform.send(platform.command("a-1", kind="withdrawn"))
    platform.hurry()
    platform.run()
    assert npo.withdrawn == ["e-1"]
    assert platform.statuses() == ["requested", "withdrawn"]


@pytest.mark.parametrize("known", [True, False], ids=["its id is known", "its outcome is not"])
def test_what_failed_after_it_was_sent_is_taken_back_at_the_partner(
    platform: Platform, npo: TinyNpo, row: Setup, known: bool
):
    row()
    npo.says, npo.faults = ("waiting", []) if known else ("enrolled", ["lost"])
    platform.send(platform.command("a-1"))
    platform.run()
    platform.give_up()
    platform.run()
    assert platform.record("a-1")["reason"]["code"] == ("no_decision" if known else "outcome_unknown")
    platform.send(platform.command("a-1", kind="withdrawn"))
    platform.run()
    assert npo.withdrawn == ["e-1"]
    told = platform.outcomes()
    assert [event["data"]["enrolment"]["status"] for event in told] == ["requested", "failed", "withdrawn"]
    assert told[-1]["data"]["enrolment"]["partner_informed"] is True


def test_a_withdrawal_that_could_not_be_brought_to_an_end_is_left_to_a_person(
    platform: Platform, npo: TinyNpo, row: Setup
):
    row()
    npo.faults = ["lost"]
    platform.send(platform.command("a-1"))
    platform.run()
    platform.send(platform.command("a-1", kind="withdrawn"))
    platform.give_up()
    with capture_logs() as logged:
        platform.run()
    assert platform.outcomes()[-1]["data"]["enrolment"]["partner_informed"] is False
    assert "enrolment_withdrawal_by_hand" in [line["event"] for line in logged]


def erased(platform: Platform, assignment: str) -> None:
    """Erase an enrolment as an erasure does."""
    store, npo_id = platform.store, platform.npo_id

    def write(session: Any, _order: int) -> None:
        bury(store, session, npo_id, [assignment], at=datetime.now(tz=UTC))

    store.commit_plan(fence_owner(npo_id), lambda: (None, write))
    assert store["enrolment"].find_one({"_id": platform.reference(assignment)}) is None


def test_a_withdrawal_after_erasure_reaches_the_partner_and_names_nobody(
    platform: Platform, npo: TinyNpo, row: Setup
):
    row()
    platform.send(platform.command("a-1"))
    platform.run()
    erased(platform, "a-1")
    platform.send(platform.command("a-1", kind="withdrawn"))
    platform.run()
    assert npo.withdrawn == ["e-1"]
    told = platform.outcomes()
    assert [event["data"]["enrolment"]["status"] for event in told] == ["requested", "accepted", "withdrawn"]
    assert [event["data"]["version"] for event in told] == [1, 2, 3]
    left = platform.store["erased"].find_one({"npo_id": platform.npo_id})
    assert "cand-a-1" not in str([platform.record("a-1"), left])


def test_an_erased_enrolment_is_not_asked_for_again_by_its_old_command(
    platform: Platform, npo: TinyNpo, row: Setup
):
    row()
    platform.send(platform.command("a-1"))
    platform.run()
    erased(platform, "a-1")
    platform.send(platform.command("a-1"))
    assert platform.run()["repeated"] == 1
    assert len(npo.bodies) == 1


def test_a_partner_without_a_call_for_withdrawals_is_told_by_a_person(
    platform: Platform, npo: TinyNpo, row: Setup
):
    row(withdraw=None)
    platform.send(platform.command("a-1"))
    platform.run()
    platform.send(platform.command("a-1", kind="withdrawn"))
    platform.run()
    assert platform.outcomes()[-1]["data"]["enrolment"]["partner_informed"] is False


def test_a_partner_that_does_not_take_it_back_keeps_the_candidate(
    platform: Platform, npo: TinyNpo, row: Setup
):
    row()
    platform.send(platform.command("a-1"))
    platform.run()
    npo.faults = [409]
    platform.send(platform.command("a-1", kind="withdrawn"))
    platform.run()
    told = platform.outcomes()[-1]["data"]["enrolment"]
    assert (told["status"], told["reason"]["code"]) == ("accepted", "withdrawal_refused")

"""A command of the platform comes to an outcome, whatever the partner does in between."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest

from include.errors import ConfigurationError, FatalError
from include.npo.enrolment.desk import resume
from include.npo.enrolment.echo import held_back, platform_ids
from include.npo.enrolment.run import drain, enrol
from include.npo.identity import offering_id
from include.registry import queries
from include.registry.models import NpoStatus
from tests.integration.npo.enrolling import (
    CANDIDATE,
    Platform,
    Setup,
    TinyNpo,
    npo,
    opened,
    platform,
    row,
    world,
)

__all__ = ["npo", "platform", "row", "world"]


def test_a_candidate_is_enrolled_and_the_platform_is_told(platform: Platform, npo: TinyNpo, row: Setup):
    row()
    platform.send(platform.command("a-1"))
    done = platform.run()
    assert (done["created"], done["accepted"], done["published"]) == (1, 1, 2)
    assert npo.bodies == [
        {
            "learner": {"name": "Zebedee", "email": CANDIDATE["email"]},
            "ref": platform.reference("a-1"),
            "channel": "spotlight",
        }
    ]
    told = platform.outcomes()
    assert [event["data"]["enrolment"]["status"] for event in told] == ["requested", "accepted"]
    assert told[-1]["data"]["enrolment"]["external_id"] == "e-1"
    assert (told[-1]["npoid"], told[-1]["subject"]) == (platform.npo_id, "assignment/a-1")


def test_nothing_of_the_candidate_is_kept_or_told_after_the_outcome(
    platform: Platform, npo: TinyNpo, row: Setup, caplog: pytest.LogCaptureFixture
):
    row()
    npo.faults = [(422, {"why": f"{CANDIDATE['given_name']} ({CANDIDATE['email']}) is too young"}, {}, False)]
    platform.send(platform.command("a-1"), platform.command("a-2"))
    platform.run()
    kept = [
        list(platform.store[name].find({"$or": [{"npo_id": platform.npo_id}, {"owner": platform.npo_id}]}))
        for name in platform.store.database.list_collection_names()
    ]
    everything = json.dumps([kept, platform.outcomes()], default=str) + caplog.text
    assert "too young" in everything
    assert [value for value in CANDIDATE.values() if value in everything] == []


@pytest.mark.parametrize(
    ("fault", "posts"),
    [
        ("lost", 1),
        ("lost_before", 2),
        (500, 2),
        ((502, b"<html>", {}, True), 1),
        ((200, b"<html>ok", {}, True), 1),
    ],
    ids=["lost after acting", "lost before acting", "500", "502 after acting", "html after acting"],
)
def test_an_unknown_outcome_is_looked_up_before_anything_is_sent_again(
    platform: Platform, npo: TinyNpo, row: Setup, fault: Any, posts: int
):
    row()
    npo.honours_key, npo.faults = False, [fault]
    platform.send(platform.command("a-1"))
    platform.run()
    assert platform.record("a-1")["state"] == "unknown"
    platform.hurry()
    platform.run()
    if posts > 1:  # not there; the partner may be at it still
        assert platform.record("a-1")["state"] == "unknown"
        platform.hurry()
        platform.run()
    assert platform.record("a-1")["state"] == "accepted"
    assert len([asked for asked in npo.asked if asked.startswith("POST")]) == posts
    assert len(npo.enrolments) == 1
    assert platform.statuses() == ["requested", "accepted"]


def test_without_a_look_up_it_is_posted_again_under_the_same_key(
    platform: Platform, npo: TinyNpo, row: Setup
):
    row(lookup=None)
    npo.faults = ["lost"]
    platform.send(platform.command("a-1"))
    platform.run()
    platform.hurry()
    platform.run()
    assert npo.received == {platform.reference("a-1"): 2}
    assert (len(npo.enrolments), platform.statuses()) == (1, ["requested", "accepted"])


def test_a_duplicate_is_looked_up_and_counts_as_enrolled(platform: Platform, npo: TinyNpo, row: Setup):
    row()
    npo.faults = [(409, {"error": "exists"}, {}, True)]
    platform.send(platform.command("a-1"))
    platform.run()
    assert platform.record("a-1")["external_id"] == "e-1"
    assert platform.statuses() == ["requested", "accepted"]


def test_an_acceptance_without_an_id_is_looked_up_and_never_posted_again(
    platform: Platform, npo: TinyNpo, row: Setup
):
    row()
    npo.honours_key, npo.faults = False, [(201, {"state": "enrolled"}, {}, True)]
    platform.send(platform.command("a-1"))
    platform.run()
    platform.hurry()
    platform.run()
    assert (platform.record("a-1")["external_id"], len(npo.enrolments)) == ("e-1", 1)


def test_a_pending_one_is_polled_until_the_partner_has_decided(platform: Platform, npo: TinyNpo, row: Setup):
    row()
    npo.says = "waiting"
    platform.send(platform.command("a-1"), platform.command("a-2"))
    platform.run()
    assert platform.statuses() == ["requested", "requested"]
    platform.hurry()
    platform.run()
    assert platform.record("a-1")["state"] == "pending"
    for each in npo.enrolments:
        mine = each["ref"] == platform.reference("a-1")
        each.update({"state": "enrolled"} if mine else {"state": "refused", "why": "full"})
    platform.hurry()
    platform.run()
    told = {
        event["data"]["enrolment"]["assignment_id"]: event["data"]["enrolment"]
        for event in platform.outcomes()
    }
    assert told["a-1"]["status"] == "accepted"
    assert (told["a-2"]["status"], told["a-2"]["reason"]) == (
        "rejected",
        {"code": "refused_by_npo", "text": "full"},
    )


def test_a_throttled_npo_is_left_alone_as_long_as_it_asks(platform: Platform, npo: TinyNpo, row: Setup):
    row()
    npo.faults = [(429, {}, {"Retry-After": "120"}, False)] * 4
    platform.send(*(platform.command(f"a-{each}") for each in range(20)))
    platform.run()
    assert not platform.has_work()
    assert len(npo.asked) <= 4  # those under way at once
    platform.hurry()
    npo.faults = []
    platform.run()
    assert platform.statuses().count("accepted") == 20
    assert len(npo.enrolments) == 20


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refused_set_up_stops_this_npo_and_loses_nothing(
    platform: Platform, npo: TinyNpo, row: Setup, status: int
):
    row()
    npo.faults = [status] * 8
    platform.send(*(platform.command(f"a-{each}") for each in range(10)))
    with pytest.raises(ConfigurationError, match="spotlight enrolment resume tiny"):
        platform.run()
    assert not platform.has_work()
    assert enrol(platform.npo_id, platform.settings, open_partner=opened) == {"published": 0}
    assert len(npo.asked) <= 4
    npo.faults = []
    assert resume(platform.store, platform.npo_id)
    platform.hurry()
    platform.run()
    assert len(npo.enrolments) == 10
    assert platform.statuses().count("accepted") == 10


@pytest.mark.parametrize(
    ("changes", "code"),
    [({"offering": "c-unknown"}, "offering_unknown"), ({"candidate": {"email": " "}}, "missing_field")],
)
def test_what_cannot_be_sent_fails_with_its_reason_and_is_told(
    platform: Platform, npo: TinyNpo, row: Setup, changes: Any, code: str
):
    row()
    candidate = changes.pop("candidate", {})
    event = platform.command("a-1", **changes)
    event["data"]["candidate"] = CANDIDATE | candidate
    platform.send(event)
    platform.run()
    told = platform.outcomes()[-1]["data"]["enrolment"]
    assert (told["status"], told["reason"]["code"]) == ("failed", code)
    assert npo.asked == []


def test_an_enrolment_at_an_npo_nobody_knows_fails_and_is_told(platform: Platform):
    platform.send(platform.command("a-1", npo_id="nobody"))
    platform.run("nobody")
    told = platform.outcomes("nobody")[-1]["data"]["enrolment"]
    assert (told["status"], told["reason"]["code"]) == ("failed", "npo_unknown")


@pytest.mark.parametrize(("status", "code"), [("disabled", "npo_not_in_use"), ("draft", "npo_not_in_use")])
def test_an_npo_that_is_not_in_use_fails_its_enrolments(
    platform: Platform, row: Setup, status: str, code: str
):
    row(status=status)
    platform.send(platform.command("a-1"))
    platform.run()
    assert platform.record("a-1")["reason"]["code"] == code


def test_a_paused_npos_enrolments_wait(platform: Platform, npo: TinyNpo, row: Setup):
    row(status="paused")
    platform.send(platform.command("a-1"))
    platform.run()
    assert (platform.record("a-1")["state"], npo.asked) == ("received", [])
    assert not platform.has_work()


def test_a_command_that_comes_twice_is_done_once(platform: Platform, npo: TinyNpo, row: Setup):
    row()
    event = platform.command("a-1")
    platform.send(event, event, platform.command("a-1"))
    platform.run()
    platform.send(event)
    platform.run()
    assert (len(npo.bodies), platform.statuses()) == (1, ["requested", "accepted"])


def test_unreadable_messages_stay_in_the_queue_and_hold_up_no_other(
    platform: Platform, npo: TinyNpo, row: Setup
):
    row()
    poison = platform.command("a-2")
    poison["data"]["assignment"]["requested_at"] = "9999-12-31T23:59:59-05:00"
    unstorable = platform.command("a-3")
    unstorable["data"]["candidate"] = {"given_name": "Zebedee", "age": 2**64 - 1}
    platform.send("no json", poison, unstorable, platform.command("a-1"))
    done = platform.run()
    assert (done["unreadable"], done["accepted"]) == (3, 1)


def test_an_npo_whose_commands_cannot_be_kept_keeps_those_of_no_other_back(
    platform: Platform, npo: TinyNpo, row: Setup
):
    row()
    other = f"{platform.npo_id}x"
    broken = {"_id": platform.reference("b-1", other), "npo_id": other}
    platform.store["enrolment"].insert_one(broken)
    platform.send(platform.command("b-1", npo_id=other), platform.command("a-1"), platform.command("a-2"))
    try:
        with pytest.raises(FatalError, match=f"{other}.*commands cannot be kept"):
            platform.run()
        assert enrol(platform.npo_id, platform.settings, open_partner=opened)["accepted"] == 2
        inbox = platform.store["enrolment_inbox"]
        assert inbox.count_documents({"npo_id": platform.npo_id}) == 2
        assert inbox.count_documents({"npo_id": other}) == 0
    finally:
        platform.store["enrolment"].delete_one({"_id": broken["_id"]})  # its message comes again


def test_events_told_before_the_enrolment_was_lost_keep_no_command_back(
    platform: Platform, npo: TinyNpo, row: Setup
):
    row()
    platform.send(platform.command("a-1"))
    platform.run()
    platform.store["enrolment"].delete_one({"_id": platform.reference("a-1")})
    platform.send(platform.command("a-1"))
    done = platform.run()
    assert (done["accepted"], done["published"]) == (1, 0)
    assert platform.statuses() == ["requested", "accepted"]


@pytest.mark.parametrize("stopped", [False, True], ids=["in use till then", "stopped before"])
def test_what_waits_for_approval_fails_when_its_npo_has_left(
    platform: Platform, npo: TinyNpo, row: Setup, stopped: bool
):
    row(approval="always")
    platform.send(platform.command("a-1"))
    platform.run()
    if stopped:
        platform.store["enrolment_npo"].update_one(
            {"_id": platform.npo_id}, {"$set": {"stopped": {"why": "401", "at": datetime.now(tz=UTC)}}}
        )
    platform.hurry()
    assert platform.has_work() is not stopped
    enrol(platform.npo_id, platform.settings, open_partner=opened)
    assert platform.record("a-1")["state"] == "awaiting_approval"
    assert not platform.has_work()
    dsn = platform.settings.registry_dsn.get_secret_value()
    queries.set_status(dsn, platform.npo_id, NpoStatus.DISABLED, 5)
    platform.hurry()
    long_ago = {"$set": {"looked_at": datetime(2026, 1, 1, tzinfo=UTC)}}
    platform.store["enrolment_npo"].update_one({"_id": platform.npo_id}, long_ago)
    assert platform.has_work()
    platform.run()
    assert platform.record("a-1")["reason"]["code"] == "npo_not_in_use"
    assert platform.statuses() == ["requested", "failed"]


def test_what_was_tried_long_enough_fails_and_is_told(platform: Platform, npo: TinyNpo, row: Setup):
    row()
    npo.faults = [500]
    platform.send(platform.command("a-1"))
    platform.run()
    platform.give_up()
    assert platform.run()["given_up"] == 1
    assert platform.statuses() == ["requested", "failed"]


def test_two_runs_at_once_post_once(platform: Platform, npo: TinyNpo, row: Setup):
    row()
    npo.honours_key = False
    platform.send(*(platform.command(f"a-{each}") for each in range(12)))
    drain(platform.settings)
    with ThreadPoolExecutor(3) as pool:
        runs = [pool.submit(enrol, platform.npo_id, platform.settings, open_partner=opened) for _ in range(3)]
        done = [run.result() for run in runs]
    assert sum(each.get("accepted", 0) for each in done) == 12
    assert (len(npo.enrolments), npo.doubled()) == (12, [])


def test_the_echo_knows_our_enrolments_by_the_partners_id(platform: Platform, npo: TinyNpo, row: Setup):
    row()
    npo.faults = ["lost"]
    platform.send(platform.command("a-1"))
    platform.run()
    mine, other = offering_id(platform.npo_id, "c-1"), offering_id(platform.npo_id, "c-2")
    now = datetime.now(tz=UTC)
    assert set(held_back(platform.store, platform.npo_id, [mine, other], now=now)) == {mine}
    assert platform_ids(platform.store, platform.npo_id, ["e-1", "e-9"]) == {}
    platform.hurry()
    platform.run()
    assert held_back(platform.store, platform.npo_id, [mine, other], now=now) == {}
    assert platform_ids(platform.store, platform.npo_id, ["e-1", "e-9"]) == {"e-1": ("a-1",)}

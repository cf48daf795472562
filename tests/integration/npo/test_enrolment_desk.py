"""What a person does with enrolments on the command line: approve, refuse, try again; who and why is kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner

from include.cli import app
from tests.integration.npo.enrolling import CANDIDATE, Platform, Setup, TinyNpo, npo, platform, row, world

__all__ = ["npo", "platform", "row", "world"]
Spotlight = Callable[..., Any]


@pytest.fixture
def spotlight(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> Spotlight:
    """Return a function that runs ``spotlight enrolment`` and reads its JSON line."""
    monkeypatch.setenv(
        "SPOTLIGHT_EVENTS_PREFIX", platform.settings.events_prefix
    )  # no local stack is looked for
    monkeypatch.setattr("include.cli.enrolment.get_settings", lambda: platform.settings)

    def run(*words: str, code: int = 0) -> Any:
        done = CliRunner().invoke(app, ["enrolment", *words, "--json"])
        assert done.exit_code == code, done.output
        assert not [value for value in CANDIDATE.values() if value in done.output]
        return json.loads(done.stdout) if code == 0 else done.output

    return run


def test_what_needs_approval_waits_for_a_person_and_says_who_let_it_go(
    platform: Platform, npo: TinyNpo, row: Setup, spotlight: Spotlight
):
    row(approval="always")
    platform.send(platform.command("a-1"), platform.command("a-2"))
    platform.run()
    assert npo.asked == []
    assert {event["data"]["enrolment"]["awaiting_approval"] for event in platform.outcomes()} == {True}
    listed = spotlight("list", "--npo", platform.npo_id, "--state", "awaiting_approval")["enrolments"]
    assert sorted(each["assignment_id"] for each in listed) == ["a-1", "a-2"]
    yes, no = platform.reference("a-1"), platform.reference("a-2")
    spotlight("approve", yes, "--why", "talked to the mentor", "--by", "jo")
    spotlight("refuse", no, "--why", "not eligible", "--by", "ann")
    platform.run()
    told = {
        event["data"]["enrolment"]["assignment_id"]: event["data"]["enrolment"]
        for event in platform.outcomes()
    }
    assert told["a-1"]["status"] == "accepted"
    assert (told["a-2"]["status"], told["a-2"]["reason"]) == ("rejected", {"code": "not_approved"})
    history = spotlight("show", no)["history"]
    assert [(line["by"], line["why"]) for line in history][-1] == ("ann", "refused: not eligible")
    assert [each["ref"] for each in npo.enrolments] == [yes]
    assert "only one that is awaiting_approval can" in spotlight("approve", yes, "--why", "again", code=1)


def test_only_offerings_that_ask_for_approval_wait(platform: Platform, npo: TinyNpo, row: Setup):
    row(approval="offering")
    platform.offer("c-2", enrolment_mode="approval")
    platform.send(platform.command("a-1"), platform.command("a-2", offering="c-2"))
    platform.run()
    assert [platform.record(each)["state"] for each in ("a-1", "a-2")] == ["accepted", "awaiting_approval"]


def test_a_failed_one_is_tried_again_by_hand(
    platform: Platform, npo: TinyNpo, row: Setup, spotlight: Spotlight
):
    row()
    platform.send(platform.command("a-1", offering="c-9"))
    platform.run()
    platform.offer("c-9")
    spotlight("retry", platform.reference("a-1"), "--why", "offering pulled")
    platform.run()
    assert platform.statuses() == ["failed", "requested", "accepted"]


def test_a_stopped_npo_is_listed_until_it_is_resumed(
    platform: Platform, npo: TinyNpo, row: Setup, spotlight: Spotlight
):
    row()
    npo.faults = [401]
    platform.send(platform.command("a-1"))
    with pytest.raises(Exception, match="enrolment resume"):
        platform.run()
    held = spotlight("list", "--npo", platform.npo_id)["held"]
    assert "401" in held[0]["stopped"]
    assert spotlight("resume", platform.npo_id)["resumed"] is True
    assert spotlight("list", "--npo", platform.npo_id)["held"] == []


def test_a_run_in_the_terminal_enrols_although_the_queue_could_not_be_drained(
    platform: Platform, npo: TinyNpo, row: Setup, spotlight: Spotlight
):
    row()
    other = f"{platform.npo_id}x"
    broken = {"_id": platform.reference("b-1", other), "npo_id": other}
    platform.store["enrolment"].insert_one(broken)  # no record: commands that meet it cannot be kept
    platform.send(platform.command("b-1", npo_id=other), platform.command("a-1"))
    try:
        told = spotlight("run", code=1)
    finally:
        platform.store["enrolment"].delete_one({"_id": broken["_id"]})
    assert f"{other}" in told
    assert "commands cannot be kept" in told
    assert platform.record("a-1")["state"] == "accepted"
    assert platform.statuses() == ["requested", "accepted"]

"""Generation over days: missed ones, past ones done again, batches that fail, and posts TCS fails on."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from include.connectors.retry import RetryPolicy
from include.errors import NotYetError, TransientError
from include.esr.generation import generate as generation
from include.esr.generation.generate import generate
from include.esr.generation.todo import note_todo, waiting_deaneries
from include.esr.outbound import RecordState
from include.esr.placements import observe
from include.esr.placements.observe import Observer, looking
from include.esr.tcs import Tcs
from include.esr.tcs.session import PATIENCE
from tests.integration.esr.inbound import Exchange
from tests.integration.esr.test_generation import DAY, RECORDS, first_file, is_eligible, kept

NOTIFICATIONS = ("esr_notification", "esr_post", "esr_todo")
HORIZON = 91
QUICK = RetryPolicy(attempts=2, first_wait=0.05, longest_wait=0.1)


@pytest.fixture
def placements(esr: Exchange) -> list[Any]:
    """The eligible placements that begin after the first day, in KSS with a first file and sweep."""
    posts = set(first_file(esr).matched.values())
    swept(esr)
    with Tcs(esr.settings) as tcs:
        found = tcs.placements_of_posts(posts)
        post_of = {one.id: post for post, several in found.items() for one in several}
        full = tcs.placements(list(post_of))
    late = [one for one in full.values() if is_eligible(one) and (one.first_day or "") > "2026-07-10"]
    return sorted(late, key=lambda one: (post_of[one.id], one.id))


def swept(
    esr: Exchange, *, days: int = 0, sweep: bool = True, patience: RetryPolicy = QUICK
) -> dict[str, int]:
    with esr.context() as ctx, Tcs(looking(ctx.settings), patience=patience) as tcs:
        return generate(ctx, "KSS", tcs, today=DAY + timedelta(days), sweep=sweep)


def told_of(esr: Exchange, placement: int) -> list[tuple[str, str]]:
    found = esr.store["esr_notification"].find({"placements": placement}).sort([("made_on", 1), ("rank", 1)])
    return [(each["type"], each["made_on"]) for each in found]


def iso(days: int) -> str:
    return (DAY + timedelta(days)).isoformat()


def post_of(esr: Exchange, placement: int) -> int:
    (post,) = esr.store["esr_post"].distinct("post_id", {"placements.id": placement})
    return int(post)


# Days


@pytest.mark.parametrize("missed", [0, 1, 3])
def test_what_came_into_sight_on_a_day_without_a_sweep_is_told_by_the_next_and_once(esr, placements, missed):
    comes = placements[0].id
    esr.tcs.move_placement(comes, DAY + timedelta(HORIZON + 1), DAY + timedelta(400))
    swept(esr)
    before = told_of(esr, comes)
    swept(esr, days=1 + missed)
    told = told_of(esr, comes)[len(before) :]
    assert told
    assert set(told) == {("1", iso(1 + missed))}
    again = kept(esr, *NOTIFICATIONS)
    assert swept(esr, days=1 + missed)["notifications_new"] == 0
    swept(esr, days=2 + missed)
    assert (told_of(esr, comes)[len(before) :], kept(esr, "esr_todo")) == (
        told,
        {"esr_todo": again["esr_todo"]},
    )


def test_a_past_day_done_again_tells_nothing_and_swallows_nothing(esr, placements):
    gone = placements[0].id
    esr.tcs.move_placement(gone, DAY + timedelta(80), DAY + timedelta(400))
    swept(esr)
    esr.tcs.remove_placement(gone)
    note_todo(esr.store, [("KSS", post_of(esr, gone))])
    before = kept(esr, *NOTIFICATIONS)
    assert "notifications_new" not in swept(esr, days=-30)
    swept(esr, days=-30, sweep=False)
    assert kept(esr, *NOTIFICATIONS) == before
    swept(esr, days=1)
    assert ("2", iso(1)) in told_of(esr, gone)


def test_a_past_day_still_makes_applicants(esr, placements):
    gone = placements[0].id
    esr.tcs.remove_placement(gone)
    swept(esr, days=-1)
    assert esr.store["esr_app_record"].distinct("state", {"placement_id": gone}) == [
        RecordState.DELETED_BEFORE_EXPORT
    ]


@pytest.mark.parametrize("told_by", ["sweep", "event", "half a sweep"])
def test_who_came_into_sight_and_went_on_one_day_is_withdrawn(esr, placements, monkeypatch, told_by):
    comes = placements[0].id
    esr.tcs.move_placement(comes, DAY + timedelta(HORIZON + 1), DAY + timedelta(400))
    swept(esr)
    if told_by == "half a sweep":
        monkeypatch.setattr(generation, "note_sweep", lambda *_: None)
    if told_by == "event":
        note_todo(esr.store, [("KSS", post_of(esr, comes))])
    swept(esr, days=1, sweep=told_by != "event")
    assert ("1", iso(1)) in told_of(esr, comes)
    esr.tcs.remove_placement(comes)
    swept(esr, days=1)
    assert ("2", iso(1)) in told_of(esr, comes)


# Batches


def test_a_file_that_begins_to_be_saved_between_two_batches_stops_the_rest(esr, placements, monkeypatch):
    for name in RECORDS:
        esr.store[name].delete_many({})
    monkeypatch.setattr(generation, "POSTS_AT_ONCE", 5)
    original, looks = Observer._observed, []

    def meanwhile(self: Observer, posts: tuple[int, ...]) -> Any:
        looks.append(posts)
        if len(looks) == 3:
            esr.store["esr_file"].update_one({}, {"$set": {"state": "saved"}})
            esr.store.commit_plan("esr/KSS", lambda: (None, lambda _session, _order: None))
        return original(self, posts)

    monkeypatch.setattr(Observer, "_observed", meanwhile)
    with pytest.raises(NotYetError, match="half a file"):
        swept(esr)
    told = esr.store["esr_notification"].distinct("post_id")
    assert told
    assert set(told) <= {post for posts in looks[:2] for post in posts}


def test_applicants_that_expired_are_told_of_although_a_later_batch_fails(esr, placements, monkeypatch):
    monkeypatch.setattr(generation, "POSTS_AT_ONCE", 5)
    late = (date(2026, 8, 4) - DAY).days
    posts = "^GET /api/posts/[0-9]+/placements"
    esr.tcs.misbehave({"call": posts, "kind": "status", "status": 500, "after": 12})
    with capture_logs() as logs, pytest.raises(TransientError):
        swept(esr, days=late)
    expired = esr.store["esr_app_record"].count_documents({"state": "EXPIRED_UNSENT"})
    assert expired
    assert sum(each.get("applicants", 0) for each in logs) == expired
    esr.tcs.behave()
    with capture_logs() as logs:
        swept(esr, days=late)
    in_all = esr.store["esr_app_record"].count_documents({"state": "EXPIRED_UNSENT"})
    assert sum(each.get("applicants", 0) for each in logs) == in_all - expired > 0


# Whom TCS fails on


def poison(esr: Exchange, placement: Any, what: str, fault: dict[str, Any]) -> int:
    """Have TCS fail on a placement, its person or its post, and return the post."""
    post = post_of(esr, placement.id)
    path = {
        "person": f"people/{placement.trainee_id}",
        "placement": f"placements/{placement.id}",
        "post": f"posts/{post}/placements/new",
    }[what]
    esr.tcs.misbehave({"call": f"^GET /api/{path}$", **fault})
    return post


ODD = {"kind": "not_json"}
UNWELL = {"kind": "status", "status": 500}


@pytest.mark.parametrize("which", [0, -1])
@pytest.mark.parametrize("what", ["person", "placement", "post"])
def test_a_post_tcs_fails_on_is_left_out_and_all_others_are_made(esr, placements, what, which):
    everything = kept(esr)
    for name in RECORDS:
        esr.store[name].delete_many({})
    # A post is asked about while it has a position, be it noted as seen or not.
    esr.store["esr_post"].insert_many(everything["esr_post"])
    post = poison(esr, placements[which], what, UNWELL)
    esr.store["esr_post"].delete_many({})
    with capture_logs() as logs:
        counts = swept(esr)
        assert swept(esr)["posts_failed"] == counts["posts_failed"] == 1
    for name in RECORDS:
        others = [each for each in everything[name] if each["post_id"] != post]
        assert kept(esr, name)[name] == others
    (told,) = [each for each in logs if each["event"] == "esr_posts_failed"]
    assert (told["deanery"], told["posts"], told["first_post_id"]) == ("KSS", 1, post)
    assert str(placements[which].trainee_id) not in told["message"]

    assert waiting_deaneries(esr.store) == []
    assert swept(esr, sweep=False) == {}
    esr.tcs.behave()
    assert "posts_failed" not in swept(esr)
    assert kept(esr) == everything
    assert esr.store["esr_todo"].count_documents({}) == 0


def test_all_tries_of_the_lookup_that_is_last_open_no_breaker(esr, placements):
    poison(esr, placements[-1], "person", UNWELL)
    esr.store["esr_app_record"].delete_many({})
    assert swept(esr, patience=PATIENCE)["posts_failed"] == 1


def test_an_odd_answer_about_one_person_leaves_out_one_post(esr, placements):
    esr.store["esr_app_record"].delete_many({})
    post = poison(esr, placements[0], "person", ODD)
    assert swept(esr)["posts_failed"] == 1
    assert post not in esr.store["esr_app_record"].distinct("post_id")


def test_what_came_into_sight_while_tcs_failed_on_the_post_is_told_when_it_answers(esr, placements):
    comes = placements[0].id
    esr.tcs.move_placement(comes, DAY + timedelta(HORIZON + 1), DAY + timedelta(400))
    swept(esr)
    before = told_of(esr, comes)
    poison(esr, placements[0], "post", UNWELL)
    for day in (1, 2, 3):
        assert swept(esr, days=day)["posts_failed"] == 1
    assert told_of(esr, comes) == before
    esr.tcs.behave()
    swept(esr, days=4)
    assert set(told_of(esr, comes)[len(before) :]) == {("1", iso(4))}


def test_a_post_that_is_asked_for_again_is_looked_at_although_tcs_failed_on_it(esr, placements):
    post = poison(esr, placements[0], "post", UNWELL)
    swept(esr)
    esr.tcs.behave()
    assert waiting_deaneries(esr.store) == []
    note_todo(esr.store, [("KSS", post)])
    assert waiting_deaneries(esr.store) == ["KSS"]
    assert swept(esr, sweep=False)["posts"] == 1
    assert esr.store["esr_todo"].count_documents({}) == 0


def test_when_not_a_single_post_can_be_looked_at_it_fails_and_says_nothing_of_single_posts(esr, placements):
    post = poison(esr, placements[0], "post", UNWELL)
    note_todo(esr.store, [("KSS", post)])
    with capture_logs() as logs, pytest.raises(TransientError, match="TCS is unwell"):
        swept(esr, sweep=False)
    assert not [each for each in logs if each["event"] == "esr_posts_failed"]
    assert waiting_deaneries(esr.store) == ["KSS"]


def test_a_tcs_that_fails_altogether_ends_the_stage_and_is_not_asked_about_everyone(
    esr, placements, monkeypatch
):
    monkeypatch.setattr(observe, "MOST_FAILURES", 6)
    esr.tcs.misbehave({"call": "^GET /api/posts/[0-9]+/placements", **ODD})
    before = kept(esr, *RECORDS, "esr_sweep", "esr_todo")
    with pytest.raises(TransientError):
        swept(esr, days=1)
    assert kept(esr, *RECORDS, "esr_sweep", "esr_todo") == before

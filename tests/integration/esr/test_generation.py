"""Generation on real servers: what reconciled positions and TCS's placements come to, whatever happens."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from include.errors import NotYetError, TransientError
from include.esr.documents import FileState
from include.esr.generation import generate as generation
from include.esr.generation.generate import generate, views_of_deanery
from include.esr.generation.todo import note_todo, waiting_deaneries
from include.esr.generation.wake import receive
from include.esr.outbound import RecordState
from include.esr.placements import snapshot
from include.esr.placements.facts import ELIGIBLE_TYPES
from include.esr.tcs import Tcs
from include.events.topics import POSITION_RECONCILED, connect, queue_name
from include.sandbox.esr.files import rmc, rmf
from tests.integration.esr.inbound import WORLD, Exchange

DAY = date(2026, 7, 6)
POSTS = 24
RECORDS = ("esr_app_record", "esr_notification", "esr_post")


@pytest.fixture
def deanery(esr: Exchange) -> Any:
    return first_file(esr)


def first_file(esr: Exchange) -> Any:
    """Have KSS's first full file reconciled and return the truth about it."""
    made = rmf("KSS", DAY, 17, world=WORLD, posts=POSTS)
    esr.sftp.put(made.name, made.body)
    report = esr.run()
    assert not report.failed
    assert not report.waiting
    return made.truth


def generated(esr: Exchange, *, today: date = DAY, sweep: bool = False) -> dict[str, int]:
    with esr.context() as ctx:
        receive(ctx)
        with Tcs(ctx.settings) as tcs:
            return generate(ctx, "KSS", tcs, today=today, sweep=sweep)


def kept(esr: Exchange, *collections: str) -> dict[str, Any]:
    """Return records without times."""

    def timeless(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: timeless(each) for key, each in value.items() if not isinstance(each, datetime)}
        return [timeless(each) for each in value] if isinstance(value, list) else value

    return {
        name: sorted(map(timeless, esr.store[name].find()), key=lambda each: str(each["_id"]))
        for name in collections or RECORDS
    }


def placements_of(esr: Exchange, posts: set[int]) -> dict[int, dict[str, Any]]:
    """Return what TCS says of the placements of posts, as its own words."""
    with Tcs(esr.settings) as tcs:
        found = tcs.placements_of_posts(posts)
        full = tcs.placements([one.id for several in found.values() for one in several])
    return {
        one.id: {"post": post, "start": one.first_day, "eligible": is_eligible(full[one.id])}
        for post, several in found.items()
        for one in several
    }


def is_eligible(placement: Any) -> bool:
    return placement.lifecycle_state == "APPROVED" and placement.kind.lower() in ELIGIBLE_TYPES


def test_every_future_eligible_placement_has_one_applicant_in_each_position_of_its_post(esr, deanery):
    generated(esr)
    matched: dict[int, set[int]] = {}
    for position, post in deanery.matched.items():
        matched.setdefault(post, set()).add(position)
    wanted = {
        f"{placement}-{position}"
        for placement, about in placements_of(esr, set(matched)).items()
        if about["eligible"] and date.fromisoformat(about["start"]) >= DAY
        for position in matched[about["post"]]
    }
    found = {each["_id"]: each["state"] for each in esr.store["esr_app_record"].find()}
    assert set(found) == wanted
    assert wanted
    assert set(found.values()) == {RecordState.TO_EXPORT}


def test_every_reconciled_position_has_a_notification_of_who_is_in_its_post(esr, deanery):
    generated(esr)
    told = {each["position_id"] for each in esr.store["esr_notification"].find({"kind": "DNC"})}
    assert told == set(deanery.matched)
    assert not told & set(deanery.deleted)


def test_events_that_were_lost_are_made_up_for_by_the_sweep(esr, deanery):
    generated(esr)
    by_events = kept(esr)
    for name in RECORDS:
        esr.store[name].delete_many({})
    generated(esr, sweep=True)
    assert kept(esr) == by_events


def test_doing_it_again_changes_nothing_and_writes_nothing(esr, deanery):
    generated(esr, sweep=True)
    before, fence = kept(esr), esr.store.fence("esr/KSS")
    again = generated(esr, sweep=True)
    assert again["posts"] >= len(set(deanery.matched.values()))
    assert (kept(esr), esr.store.fence("esr/KSS")) == (before, fence)


def test_an_event_that_comes_twice_counts_once(esr, deanery):
    with esr.context() as ctx:
        assert receive(ctx)["received"] >= 2 * len(deanery.matched)
        post = next(iter(deanery.matched.values()))
        note_todo(ctx.store, [("KSS", post)])
        note_todo(ctx.store, [("KSS", post)])
        assert waiting_deaneries(ctx.store) == ["KSS"]
        generated(esr)
        assert waiting_deaneries(ctx.store) == []


def test_a_post_asked_for_while_it_is_looked_at_is_looked_at_again(esr, deanery, monkeypatch):
    post = next(iter(deanery.matched.values()))
    original = snapshot.note_seen

    def meanwhile(store: Any, *args: Any, **kwargs: Any) -> None:
        monkeypatch.setattr(generation, "note_seen", original)
        note_todo(store, [("KSS", post)])
        original(store, *args, **kwargs)

    monkeypatch.setattr(generation, "note_seen", meanwhile)
    generated(esr)
    assert [each["post_id"] for each in esr.store["esr_todo"].find()] == [post]


def test_a_message_that_is_no_event_stays_in_the_queue_and_is_told_of(esr):
    with esr.context() as ctx:
        clients = connect(ctx.settings)
        url = clients.sqs.get_queue_url(
            QueueName=queue_name(ctx.settings, "app-records", POSITION_RECONCILED)
        )["QueueUrl"]
        for number, body in enumerate(("not json", '{"data": {"position": {"deanery": "XXX"}}}', "[]")):
            clients.sqs.send_message(
                QueueUrl=url,
                MessageBody=body,
                MessageGroupId=f"g{number}",
                MessageDeduplicationId=f"d{number}",
            )
        with capture_logs() as logs:
            assert receive(ctx) == {"received": 0, "unreadable": 3}
        about = clients.sqs.get_queue_attributes(
            QueueUrl=url, AttributeNames=["ApproximateNumberOfMessagesNotVisible"]
        )
    assert [line["event"] for line in logs] == ["esr_event_unreadable"]
    assert about["Attributes"]["ApproximateNumberOfMessagesNotVisible"] == "3"


@pytest.mark.parametrize("state", [FileState.SPLIT, FileState.SAVED])
def test_nothing_is_computed_while_a_file_is_half_applied(esr, deanery, state):
    esr.store["esr_file"].update_one({}, {"$set": {"state": state.value}})
    with pytest.raises(NotYetError, match="not completely reconciled"):
        generated(esr)
    assert esr.store["esr_notification"].count_documents({}) == 0
    assert esr.store["esr_app_record"].count_documents({}) == 0


@pytest.mark.parametrize(
    "call", ["^GET /api/posts/[0-9]+/placements", "^GET /api/placements/", "^GET /api/people/"]
)
def test_a_lookup_that_fails_concludes_nothing_and_the_next_try_ends_the_same(esr, deanery, call):
    esr.tcs.misbehave({"call": call, "kind": "status", "status": 500, "after": 2})
    with pytest.raises(TransientError):
        generated(esr)
    assert kept(esr) == {name: [] for name in RECORDS}
    esr.tcs.behave()
    generated(esr)
    woken = kept(esr)
    for name in RECORDS:
        esr.store[name].delete_many({})
    generated(esr, sweep=True)
    assert kept(esr) == woken


def test_a_placement_that_becomes_approved_becomes_an_applicant_with_the_next_sweep(esr, deanery):
    generated(esr)
    known = {each["placement_id"] for each in esr.store["esr_app_record"].find()}
    posts = set(deanery.matched.values())
    with Tcs(esr.settings) as tcs:
        found = tcs.placements_of_posts(posts)
        full = tcs.placements([one.id for several in found.values() for one in several])
    draft = next(
        one.id
        for one in full.values()
        if one.lifecycle_state == "DRAFT" and (one.kind or "").lower() in ELIGIBLE_TYPES
    )
    esr.tcs.move_placement(draft, DAY + timedelta(days=40), DAY + timedelta(days=400))
    esr.tcs.approve_placement(draft)
    generated(esr, today=DAY + timedelta(days=1), sweep=True)
    now = {each["placement_id"] for each in esr.store["esr_app_record"].find()}
    assert now - known == {draft}


def test_a_deleted_position_takes_its_unsent_applicants_along(esr, deanery):
    generated(esr)
    position = esr.store["esr_app_record"].find_one({})["position_id"]
    esr.store["esr_position"].update_one(
        {"_id": position}, {"$set": {"deleted": True}, "$inc": {"revision": 1}}
    )
    generated(esr, sweep=True)
    states = esr.store["esr_app_record"].distinct("state", {"position_id": position})
    assert states == [RecordState.DELETED_BEFORE_EXPORT]


def test_applicants_whose_window_closed_are_kept_and_told_of_once(esr, deanery):
    generated(esr)
    count = esr.store["esr_app_record"].count_documents({})
    after = date(2026, 8, 4)
    with capture_logs() as logs:
        generated(esr, today=after, sweep=True)
        generated(esr, today=after, sweep=True)
    [told] = [line for line in logs if line["event"] == "esr_applicants_expired"]
    assert told["applicants"] == count
    assert esr.store["esr_app_record"].distinct("state") == [RecordState.EXPIRED_UNSENT]


def test_the_changes_of_the_next_day_are_told_and_nothing_else(esr, deanery):
    generated(esr)
    before = {each["_id"] for each in esr.store["esr_notification"].find()}
    made = rmc("KSS", DAY + timedelta(days=1), 18, world=WORLD, posts=POSTS)
    esr.sftp.put(made.name, made.body)
    esr.run()
    generated(esr, today=DAY + timedelta(days=1))
    told = {each["position_id"] for each in esr.store["esr_notification"].find() if each["_id"] not in before}
    assert told <= set(made.truth.matched)


def test_a_snapshot_shows_every_post_that_has_a_position(esr, deanery):
    with esr.context() as ctx, Tcs(ctx.settings) as tcs:
        views = [view for batch in views_of_deanery(ctx, "KSS", tcs, today=DAY) for view in batch]
    assert {view.id for view in views} == set(deanery.matched.values())
    assert {position.id for view in views for position in view.positions} == set(deanery.matched)

"""Notifications in the store: planned in one look, written in one transaction, once."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest

from include.esr.documents import owner
from include.esr.notifications.documents import content_of, document_of
from include.esr.notifications.plan import COUNTED, plan_notifications
from include.esr.notifications.rules import snapshot
from include.esr.outbound import RecordState
from include.storage.mongo import IntegrationStore
from tests.unit.esr.notification_views import (
    CURRENT,
    HOST,
    LEAD,
    NEXT,
    TODAY,
    changed,
    day,
    placement,
    view,
)

NOW = datetime(2026, 3, 4, 9, tzinfo=UTC)


@pytest.fixture
def store(empty_database, settings):
    store = IntegrationStore(settings)
    yield store
    store.close()


def look(store: IntegrationStore, *views, today: date = TODAY, at: datetime = NOW) -> dict[str, int]:
    """Look at posts, commit what comes of it and return what is not nothing."""

    def prepare():
        plan = plan_notifications(store, views, today=today, settings=store._settings, at=at)
        return plan.counts, plan.write

    counts = store.commit_plan(owner("KSS"), prepare)
    assert set(counts) == set(COUNTED)
    return {name: number for name, number in counts.items() if number}


def reconciled(*placements, **other):
    return view(*placements, **{"reconciled": frozenset({HOST.id, LEAD.id})} | other)


def kept(store: IntegrationStore) -> list[dict[str, Any]]:
    return list(store["esr_notification"].find().sort([("rank", 1), ("_id", 1)]))


def send(store: IntegrationStore) -> None:
    store["esr_notification"].update_many({}, {"$set": {"state": "EXPORTED", "file": "f"}})


def test_a_notification_is_kept_with_all_that_export_and_answers_need(store):
    assert look(store, reconciled(CURRENT, NEXT)) == {"new": 1}
    (found,) = kept(store)
    fields = found.pop("fields")
    assert fields["current_trainee_vpd_for_next_placement"] == "096"
    assert fields["next_appointment_projected_start_date"] == "2026-04-04"
    assert len(found.pop("_id")) == len(found.pop("hash")) == 32
    assert found.pop("key")
    about = found.pop("about")
    assert [about["current"]["id"], about["next"]["id"]] == [1, 2]
    assert found == {
        "deanery": "KSS",
        "kind": "DNC",
        "type": "1",
        "placements": [1, 2],
        "post_id": 7,
        "post_number": "KSS/RXC01/800/GPST/003",
        "position_id": 11,
        "position_number": "P11",
        "placement_id": 2,
        "trainee_id": 1002,
        "start": "2026-04-04",
        "state": "TO_EXPORT",
        "reason": None,
        "made_on": "2026-03-04",
        "turn": 1,
        "rank": "2026-03-04/KSS/RXC01/800/GPST/003/000000000011/00001/9",
        "revision": 1,
        "generated_at": NOW,
        "changed_at": NOW,
        "file": None,
        "ordinal": None,
        "exported_at": None,
        "resends": 0,
        "answer": None,
        "history": [{"state": "TO_EXPORT", "at": NOW, "why": "generated"}],
    }


def test_a_look_done_again_writes_nothing(store):
    post = reconciled(CURRENT, changed(NEXT, start=day(40)), before=(CURRENT, NEXT), positions=(HOST, LEAD))
    assert look(store, post) == {"new": 4}
    before = kept(store)
    for _ in range(2):
        plan = plan_notifications(store, [post], today=TODAY, settings=store._settings, at=datetime.now(UTC))
        assert plan.write is None
        assert plan.counts["said_before"] == 4
        send(store)
    assert [each["_id"] for each in kept(store)] == [each["_id"] for each in before]


def test_the_file_tells_changes_before_who_is_there_and_what_was_said_first_first(store):
    look(store, view(CURRENT, changed(NEXT, start=day(40)), before=(CURRENT, NEXT)))
    look(store, view(CURRENT, before=(CURRENT, changed(NEXT, start=day(40)))))
    assert [each["type"] for each in kept(store)] == ["4", "1", "2", "1"]


def test_posts_of_a_batch_are_told_apart(store):
    posts = [replace(reconciled(CURRENT, NEXT), id=number) for number in range(1, 6)]
    assert look(store, *posts) == {"new": 5}
    gone = [replace(post, placements=(CURRENT,), reconciled=frozenset()) for post in posts[:2]]
    assert look(store, *gone, *posts[2:]) == {"new": 4, "said_before": 3}


def test_a_batch_where_nothing_is_told_writes_nothing(store):
    look(store, reconciled(CURRENT, NEXT))
    plan = plan_notifications(store, [view(CURRENT, NEXT)], today=TODAY, settings=store._settings, at=NOW)
    assert plan.write is None
    assert not any(plan.counts.values())
    assert plan_notifications(store, [], today=TODAY, settings=store._settings, at=NOW).write is None


def test_the_horizon_is_that_of_the_settings(store):
    store._settings = store._settings.model_copy(update={"esr_horizon_days": 10})
    look(store, reconciled(placement(3, 11, 99)))
    assert kept(store)[0]["fields"]["post_vacant_at_next_rotation"] == "true"


# Invalid data


BAD = changed(CURRENT, surname="a\nb")


def test_what_cannot_be_sent_is_kept_with_the_reason_and_made_anew_when_mended(store):
    assert look(store, reconciled(BAD)) == {"invalid": 1}
    assert kept(store)[0]["reason"]["code"] == "control_character"
    assert "a\nb" not in str(kept(store)[0]["reason"])
    assert look(store, view(BAD), today=day(1)) == {"said_before": 1}

    assert look(store, view(CURRENT), today=day(2)) == {"mended": 1}
    (found,) = kept(store)
    assert (found["state"], found["reason"]) == ("TO_EXPORT", None)
    assert (found["made_on"], found["revision"]) == (day(2).isoformat(), 2)
    assert found["rank"].startswith(day(2).isoformat())
    assert [each["why"] for each in found["history"]] == ["control_character", "generated"]
    assert look(store, view(CURRENT), today=day(3)) == {}


def test_bad_data_that_becomes_otherwise_bad_tells_the_new_reason(store):
    look(store, reconciled(BAD))
    assert look(store, reconciled(changed(CURRENT, surname="x" * 1001))) == {"invalid": 1}
    assert kept(store)[0]["reason"]["code"] == "too_long"


def test_an_invalid_one_that_was_overtaken_is_not_sent_when_it_is_mended(store):
    look(store, reconciled(BAD))
    look(store, reconciled(changed(BAD, end=day(50)), before=(BAD,)))
    states = {(each["type"], each["turn"]): each["state"] for each in kept(store)}
    assert states == {
        ("1", 1): "DELETED_BEFORE_EXPORT",
        ("4", 2): "INVALID_DATA",
        ("1", 2): "INVALID_DATA",
    }
    assert look(store, view(changed(CURRENT, end=day(50)))) == {"mended": 2}


def test_an_invalid_one_is_not_mended_after_something_newer_was_sent(store):
    look(store, reconciled(BAD))
    newer = {"turn": 2, "kind": "DNC", "type": "1", "state": "EXPORTED", "_id": "newer"}
    store["esr_notification"].insert_one(kept(store)[0] | newer)
    assert look(store, view(CURRENT)) == {"taken_back": 1}
    assert kept(store)[0]["reason"]["code"] == "overtaken"


def test_a_bad_vpd_is_mended_by_what_esr_says_next_of_the_position(store):
    bad, good = replace(HOST, vpd="4096"), replace(HOST, vpd="409")
    assert look(store, reconciled(CURRENT, positions=(bad,))) == {"invalid": 1}
    assert look(store, reconciled(CURRENT, positions=(good,))) == {"new": 1, "taken_back": 1}


def test_one_that_export_found_bad_is_mended_by_the_name_as_it_is_now(store):
    look(store, reconciled(CURRENT, NEXT))
    bad = {"state": "INVALID_DATA", "reason": {"code": "too_long", "message": "of export"}}
    store["esr_notification"].update_one({}, {"$set": bad})
    assert look(store, view(changed(CURRENT, surname="Short"), NEXT), today=day(1)) == {"mended": 1}
    (found,) = kept(store)
    assert (found["state"], found["reason"]) == ("TO_EXPORT", None)
    assert found["fields"]["current_trainee_last_name"] == "Short"
    assert found["placements"] == [1, 2]


def test_one_that_export_found_bad_is_not_sent_after_its_position_is_gone(store):
    look(store, reconciled(CURRENT))
    store["esr_notification"].update_one({}, {"$set": {"state": "INVALID_DATA"}})
    assert look(store, view(CURRENT, positions=())) == {"taken_back": 1}


# Not sent yet


def test_what_is_not_sent_yet_follows_the_name(store):
    look(store, reconciled(CURRENT))
    assert look(store, reconciled(changed(CURRENT, surname="New")), today=day(1)) == {"updated": 1}
    (found,) = kept(store)
    assert (found["fields"]["current_trainee_last_name"], found["revision"]) == ("New", 2)
    assert found["made_on"] == TODAY.isoformat()


@pytest.mark.parametrize(
    "state",
    [
        each
        for each in RecordState
        if each.value not in ("TO_EXPORT", "INVALID_DATA", "DELETED_BEFORE_EXPORT")
    ],
)
def test_what_has_its_place_in_a_file_or_was_withdrawn_is_left_alone(store, state):
    look(store, reconciled(CURRENT))
    store["esr_notification"].update_one({}, {"$set": {"state": state.value}})
    before = kept(store)
    assert look(store, reconciled(changed(CURRENT, surname="New"))) == {"said_before": 1}
    assert look(store, view(positions=())) == {}
    assert kept(store) == before


def test_incident_stale_deleted_positions_what_was_not_sent_is_taken_back(store):
    look(store, reconciled(CURRENT, NEXT, positions=(HOST, LEAD)))
    assert look(store, view(CURRENT, NEXT, positions=(LEAD,))) == {"taken_back": 1}
    host, lead = kept(store)
    assert (host["state"], lead["state"]) == ("DELETED_BEFORE_EXPORT", "TO_EXPORT")
    assert host["reason"]["code"] == host["history"][-1]["why"] == "position_gone"
    assert look(store, reconciled(CURRENT, NEXT, positions=(HOST, LEAD)), today=day(1)) == {
        "mended": 1,
        "said_before": 1,
    }
    assert {each["state"] for each in kept(store)} == {"TO_EXPORT"}


def test_another_deanerys_notifications_of_the_same_post_are_left_alone(store):
    look(store, reconciled(CURRENT))
    other = replace(view(CURRENT), deanery="NTH", positions=(replace(HOST, id=99),))
    assert look(store, other) == {}
    assert kept(store)[0]["state"] == "TO_EXPORT"


# Snapshot


def test_a_snapshot_neither_counts_as_said_nor_is_taken_back(store):
    post = reconciled(CURRENT, NEXT)
    (told,) = snapshot(post, TODAY, horizon_days=91)
    document = document_of(told, content_of(told), record_id="DNF:1", kind="DNF", today=TODAY, turn=0, at=NOW)
    store["esr_notification"].insert_one(document)
    assert look(store, post) == {"new": 1}
    assert look(store, view(positions=())) == {"taken_back": 1}
    assert {each["kind"]: each["state"] for each in kept(store)} == {
        "DNF": "TO_EXPORT",
        "DNC": "DELETED_BEFORE_EXPORT",
    }


def test_what_is_planned_is_written_in_the_callers_transaction_or_not_at_all(store):
    plan = plan_notifications(store, [reconciled(CURRENT)], today=TODAY, settings=store._settings, at=NOW)

    assert plan.write is not None
    written = plan.write

    def write(session, order):
        written(session, order)
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        store.commit(owner("KSS"), store.fence(owner("KSS")), write)
    assert kept(store) == []

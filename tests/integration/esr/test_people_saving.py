"""Saving people: slices of files become one document a person."""

from __future__ import annotations

from datetime import timedelta

import pytest

from include.esr.people.saving import plan_people
from include.npo.context import utc_now
from include.storage.mongo import FenceMovedError
from tests.unit.esr.person_tables import source, tables_of

PERSON = (
    ("PER", {"person_id": 1, "last_name": "Ito"}),
    ("ASG", {"person_id": 1, "assignment_id": 4, "deanery_number": "NTH/1"}),
)


def save(store, of, *lines, at=None):
    return store.commit_plan(of.owner, lambda: plan_people(store, of, tables_of(*lines), at=at or utc_now()))


def test_lines_of_all_types_meet_in_one_document(esr_ctx):
    counts = save(esr_ctx.store, source(1), *PERSON, ("ABS", {"person_id": 1, "absence_id": 7}))
    assert counts == {"new": 1, "changed": 0, "unchanged": 0, "stale": 0}
    (document,) = esr_ctx.store["esr_person"].find()
    assert document["_id"] == 1
    assert document["pending"] is True
    assert document["revision"] == 1
    assert set(document["parts"]) == {"PER", "ASG", "ABS"}


def test_a_replayed_file_writes_nothing(esr_ctx):
    save(esr_ctx.store, source(1), *PERSON)
    before = list(esr_ctx.store["esr_person"].find())
    assert save(esr_ctx.store, source(1), *PERSON)["stale"] == 1
    assert list(esr_ctx.store["esr_person"].find()) == before


def test_unchanged_content_of_a_newer_file_moves_only_the_stamps(esr_ctx):
    save(esr_ctx.store, source(1), *PERSON)
    before = esr_ctx.store["esr_person"].find_one()
    assert save(esr_ctx.store, source(2), *PERSON)["unchanged"] == 1
    after = esr_ctx.store["esr_person"].find_one()
    assert after["parts"]["PER"]["at"] > before["parts"]["PER"]["at"]
    assert {**after, "parts": 0, "saves": 0} == {**before, "parts": 0, "saves": 0}
    # A file from between the two comes too late now.
    late = save(esr_ctx.store, source(1), ("PER", {"person_id": 1, "last_name": "Old"}))
    assert late == {"new": 0, "changed": 0, "unchanged": 0, "stale": 1}


def test_changed_content_is_a_new_revision_and_due_at_once(esr_ctx):
    save(esr_ctx.store, source(1), *PERSON)
    esr_ctx.store["esr_person"].update_one(
        {"_id": 1}, {"$set": {"pending": False, "not_before": utc_now() + timedelta(days=1)}}
    )
    at = utc_now()
    counts = save(esr_ctx.store, source(2), ("PER", {"person_id": 1, "last_name": "Sato"}), at=at)
    assert counts["changed"] == 1
    document = esr_ctx.store["esr_person"].find_one()
    assert (document["revision"], document["pending"], document["not_before"]) == (2, True, at)


def test_tables_without_people_plan_nothing(esr_ctx):
    counts, write = plan_people(esr_ctx.store, source(1), {}, at=utc_now())
    assert write is None
    assert sum(counts.values()) == 0


def test_two_deaneries_that_tell_of_one_person_at_once_lose_nothing(esr_ctx):
    """Their fences do not see each other: who planned on an older document plans anew."""
    save(esr_ctx.store, source(1, "KSS"), *PERSON)
    mine, other = source(2, "KSS"), source(2, "NTH")
    _, write = plan_people(
        esr_ctx.store, mine, tables_of(("ABS", {"person_id": 1, "absence_id": 7})), at=utc_now()
    )
    save(esr_ctx.store, other, ("ABS", {"person_id": 1, "absence_id": 8}))
    with pytest.raises(FenceMovedError):
        esr_ctx.store.commit(mine.owner, esr_ctx.store.fence(mine.owner), write)
    save(esr_ctx.store, mine, ("ABS", {"person_id": 1, "absence_id": 7}))
    assert set(esr_ctx.store["esr_person"].find_one()["parts"]["ABS"]) == {"7", "8"}


def test_two_deaneries_that_both_bring_a_new_person_plan_anew(esr_ctx):
    mine = source(1, "KSS")
    _, write = plan_people(esr_ctx.store, mine, tables_of(*PERSON), at=utc_now())
    save(esr_ctx.store, source(1, "NTH"), *PERSON)
    with pytest.raises(FenceMovedError):
        esr_ctx.store.commit(mine.owner, esr_ctx.store.fence(mine.owner), write)

"""Rules of the canonical entity: versions, corrections, events."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from include.errors import RecordError
from include.events import envelope
from include.npo.entity_plan import Entity, event_type, is_correction, to_entity, to_event
from include.npo.identity import entity_id
from include.storage.documents import KnownEntity
from include.storage.raw import PendingRecord

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def record(external_id: str = "x1", *, deleted: bool = False, content_hash: str = "h") -> PendingRecord:
    return PendingRecord(
        f"npo|assignments|{external_id}",
        external_id,
        "{}",
        content_hash,
        NOON,
        NOON,
        deleted,
        "page#0",
        "run",
        NOON,
    )


def assignment(mapped: dict[str, Any] | None = None, **changes: Any) -> Entity:
    fields = {"status": "in_progress", "offering_external_id": "o1"} | (mapped or {})
    return to_entity("npo", "assignments", record(**changes), fields, mapping_version=1)


def known(status: str = "in_progress", percent: float | None = None) -> KnownEntity:
    return KnownEntity(1, "before", status, percent)


def test_an_assignment_refers_to_its_offering_by_the_platforms_id():
    assert assignment().content["offering_id"] == entity_id("npo", "offerings", "o1")


def test_a_new_fetch_alone_is_no_new_content():
    one = to_entity("npo", "assignments", record(content_hash="1"), {"status": "enrolled"}, mapping_version=1)
    two = to_entity("npo", "assignments", record(content_hash="2"), {"status": "enrolled"}, mapping_version=2)
    assert one.content_hash == two.content_hash


def test_content_differs_when_a_field_differs():
    assert assignment().content_hash != assignment({"status": "completed"}).content_hash


@pytest.mark.parametrize(
    ("before", "after", "correction"),
    [
        ("requested", "accepted", False),
        ("requested", "completed", False),
        ("in_progress", "on_hold", False),
        ("on_hold", "in_progress", False),
        ("completed", "in_progress", True),
        ("withdrawn", "enrolled", True),
        ("waitlisted", "requested", True),
        ("unknown", "requested", False),
        ("completed", "unknown", False),
    ],
)
def test_a_step_back_in_status_is_a_correction(before: str, after: str, correction: bool):
    assert is_correction(known(before), assignment({"status": after})) is correction


@pytest.mark.parametrize(
    ("before", "after", "correction"), [(40, 60, False), (60, 40, True), (60, 60, False)]
)
def test_a_falling_percentage_is_a_correction(before: float, after: float, correction: bool):
    entity = assignment({"progress": {"percent": after, "basis": "reported"}})
    assert is_correction(known(percent=before), entity) is correction


def test_an_assignment_deleted_upstream_is_withdrawn():
    assert assignment(deleted=True).status == "withdrawn"


def test_an_assignment_that_had_ended_keeps_its_end_when_it_is_deleted_upstream():
    assert assignment({"status": "completed"}, deleted=True).status == "completed"


def test_fields_that_make_no_canonical_record_are_refused_without_their_values():
    with pytest.raises(RecordError) as caught:
        assignment({"progress": {"percent": 250, "basis": "reported"}})
    assert caught.value.code == "invalid_entity"
    assert "progress.percent" in str(caught.value)
    assert "250" not in str(caught.value)


def offering(status: str = "active", *, deleted: bool = False) -> Entity:
    mapped = {"name": "Course", "status": status}
    return to_entity("npo", "offerings", record(deleted=deleted), mapped, mapping_version=1)


@pytest.mark.parametrize(
    ("before", "entity", "expected"),
    [
        (None, offering(), envelope.OFFERING_CREATED),
        (known("active"), offering("full"), envelope.OFFERING_UPDATED),
        (known("active"), offering(deleted=True), envelope.OFFERING_WITHDRAWN),
        (known("withdrawn"), offering(deleted=True), envelope.OFFERING_UPDATED),
        (known("withdrawn"), offering(), envelope.OFFERING_UPDATED),
    ],
)
def test_which_event_tells_of_an_offering(before: KnownEntity | None, entity: Entity, expected: str):
    assert event_type("offerings", before, entity) == expected


def event(entity: Entity, before: KnownEntity | None = None) -> envelope.Event:
    return to_event("npo", "assignments", record(), entity, before=before, recorded_at=NOON)


def test_the_same_version_of_the_same_content_has_the_same_event_id():
    assert event(assignment()).id == event(assignment()).id


def test_content_that_comes_back_is_told_again_under_another_id():
    assert event(assignment()).id != event(assignment(), before=known()).id


def test_a_rebuilt_store_does_not_reuse_the_id_of_other_content():
    assert event(assignment()).id != event(assignment({"status": "completed"})).id


def test_the_sequence_rises_by_one_with_every_version():
    assert event(assignment()).sequence == 1
    assert event(assignment(), before=known()).sequence == 2

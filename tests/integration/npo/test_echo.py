"""A pulled assignment that answers an enrolment of ours updates the platform's: there is no second one."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from include.npo.enrolment.echo import FAILED_HOLDS
from include.npo.enrolment.record import EnrolmentRecord, State
from include.npo.enrolment.records import to_document
from include.npo.land import land_raw
from include.npo.publish import publish
from include.npo.transform import transform
from include.npo.validate import validate
from include.storage.documents import RawState, raw_key
from include.storage.pending import has_pending
from include.storage.raw import reopen, state_of
from tests.integration.npo.conftest import begin

NOW = datetime(2026, 7, 1, tzinfo=UTC)


@pytest.fixture
def pulled(sync):
    """Everything of a partner landed and validated; nothing transformed."""
    mine = sync("codebridge")
    ctx = mine.context()
    ref = validate(ctx, land_raw(ctx, begin(ctx)))
    return mine, ctx, ref


def assignments(mine) -> list[dict[str, Any]]:
    return list(mine.store["npo_assignment"].find())


def enrolled(
    mine, ref, *, state: State, offering: str, external_id: str | None = None, **changes: Any
) -> str:
    """Keep an enrolment of ours and return the platform's id of its assignment."""
    assignment_id = str(uuid4())
    record = EnrolmentRecord(
        reference=f"ref {assignment_id}",
        npo_id=mine.npo.npo_id,
        assignment_id=assignment_id,
        candidate_id="c-1",
        state=state,
        received_at=changes.pop("received_at", NOW),
        requested_at=NOW,
        event_id="e-1",
        correlation_id=ref.run_id,
        offering_id=offering,
        external_id=external_id,
        **changes,
    )
    mine.store["enrolment"].replace_one({"_id": record.reference}, to_document(record), upsert=True)
    return assignment_id


def an_assignment(mine, ctx) -> tuple[str, str]:
    """Return the partner's id of a landed assignment and the platform's id of its offering."""
    from include.npo.identity import offering_id
    from include.storage.documents import load_json

    for raw in mine.store["npo_raw"].find({"resource": "assignments"}).sort("_id", 1):
        mapped = ctx.connector.to_platform("assignments", load_json(raw["payload"]))
        if "offering_external_id" in mapped and state_of(mine.store, raw["_id"]) is RawState.VALID:
            return raw["external_id"], offering_id(mine.npo.npo_id, mapped["offering_external_id"])
    raise AssertionError("the partner has no assignment")


def test_an_accepted_enrolment_and_its_echo_are_one_assignment(pulled):
    mine, ctx, ref = pulled
    external_id, offering = an_assignment(mine, ctx)
    platform = enrolled(mine, ref, state=State.ACCEPTED, offering=offering, external_id=external_id)
    publish(ctx, transform(ctx, ref))
    echoes = [doc for doc in assignments(mine) if doc["external_id"] == external_id]
    assert [doc["_id"] for doc in echoes] == [platform]
    assert echoes[0]["assignment_id"] == platform
    told = [
        event
        for event in mine.events()
        if event["data"].get("assignment", {}).get("external_id") == external_id
    ]
    assert [event["subject"] for event in told] == [f"assignment/{platform}"]


def test_what_may_answer_an_enrolment_of_unknown_outcome_waits_for_it_and_nothing_else_does(pulled):
    mine, ctx, ref = pulled
    external_id, offering = an_assignment(mine, ctx)
    reference = enrolled(mine, ref, state=State.UNKNOWN, offering=offering)
    counts = transform(ctx, ref).counts
    waiting = counts["transform.held_back"]
    assert waiting > 0
    assert not [doc for doc in assignments(mine) if doc["offering_id"] == offering]
    assert len(assignments(mine)) + waiting == mine.store["npo_raw"].count_documents(
        {"resource": "assignments", "state": {"$ne": "quarantined"}}
    )
    assert state_of(mine.store, raw_key(mine.npo.npo_id, "assignments", external_id)) is RawState.VALID
    publish(ctx, ref)
    assert has_pending(mine.store, mine.npo.npo_id)

    again = transform(ctx, ref).counts
    assert again["transform.held_back"] == waiting
    assert again["transform.entities"] == 0

    mine.store["enrolment"].update_one(
        {"assignment_id": reference},
        {"$set": {"state": State.ACCEPTED.value, "external_id": external_id}},
    )
    done = transform(ctx, ref).counts
    assert done["transform.held_back"] == 0
    assert done["transform.entities"] == waiting
    by_id = {doc["external_id"]: doc["_id"] for doc in assignments(mine)}
    assert by_id[external_id] == reference
    publish(ctx, ref)
    assert not has_pending(mine.store, mine.npo.npo_id)


@pytest.mark.parametrize(
    ("attempts", "ago", "waits"),
    [
        (1, FAILED_HOLDS - timedelta(hours=1), True),
        (1, FAILED_HOLDS + timedelta(hours=1), False),
        (0, timedelta(0), False),
    ],
    ids=["sent", "sent long ago", "never sent"],
)
def test_what_may_answer_one_that_was_sent_and_failed_waits_for_a_while(pulled, attempts, ago, waits):
    mine, ctx, ref = pulled
    _, offering = an_assignment(mine, ctx)
    enrolled(mine, ref, state=State.FAILED, offering=offering, attempts=attempts, decided_at=ctx.now() - ago)
    assert (transform(ctx, ref).counts["transform.held_back"] > 0) is waits


@pytest.mark.parametrize(("hours", "told"), [(25, True), (23, False)])
def test_assignments_held_back_for_more_than_a_day_are_told(pulled, hours, told):
    mine, ctx, ref = pulled
    _, offering = an_assignment(mine, ctx)
    since = ctx.now() - timedelta(hours=hours)
    enrolled(mine, ref, state=State.PENDING, offering=offering, received_at=since)
    with capture_logs() as logged:
        transform(ctx, ref)
    lines = [line for line in logged if line["event"] == "enrolment_holds_assignments"]
    assert [(line["npo_id"], line["offerings"]) for line in lines] == ([(mine.npo.npo_id, 1)] if told else [])


def test_an_assignment_known_before_does_not_wait_for_an_enrolment(pulled):
    mine, ctx, ref = pulled
    _, offering = an_assignment(mine, ctx)
    transform(ctx, ref)
    enrolled(mine, ref, state=State.POSTING, offering=offering)
    reopen(mine.store, mine.npo.npo_id, "assignments")
    counts = transform(ctx, validate(ctx, ref)).counts
    assert counts["transform.held_back"] == 0
    assert counts["transform.unchanged"] > 0


def test_one_answer_to_two_enrolments_updates_both(pulled):
    mine, ctx, ref = pulled
    external_id, offering = an_assignment(mine, ctx)
    both = {
        enrolled(mine, ref, state=State.ACCEPTED, offering=offering, external_id=external_id)
        for _ in range(2)
    }
    transform(ctx, ref)
    assert {doc["_id"] for doc in assignments(mine) if doc["external_id"] == external_id} == both


def test_an_echo_the_partner_deletes_is_withdrawn_under_the_platforms_id(pulled):
    mine, ctx, ref = pulled
    external_id, offering = an_assignment(mine, ctx)
    platform = enrolled(mine, ref, state=State.ACCEPTED, offering=offering, external_id=external_id)
    transform(ctx, ref)
    mine.store["npo_raw"].update_one(
        {"_id": raw_key(mine.npo.npo_id, "assignments", external_id)},
        {"$set": {"deleted_upstream": True, "payload": f'{{"sourcedId":"{external_id}"}}'}},
    )
    reopen(mine.store, mine.npo.npo_id, "assignments")
    transform(ctx, validate(ctx, ref))
    status = {doc["_id"]: doc["status"] for doc in assignments(mine) if doc["external_id"] == external_id}
    assert status.keys() == {platform}
    assert status[platform] in {"withdrawn", "completed", "failed", "rejected", "cancelled", "expired"}


def test_no_assignment_of_another_npo_waits(pulled, sync):
    mine, ctx, ref = pulled
    external_id, offering = an_assignment(mine, ctx)
    enrolled(sync("codebridge", npo_id="another"), ref, state=State.UNKNOWN, offering=offering)
    enrolled(
        sync("codebridge", npo_id="another"),
        ref,
        state=State.ACCEPTED,
        offering=offering,
        external_id=external_id,
    )
    counts = transform(ctx, ref).counts
    assert counts["transform.held_back"] == 0
    assert Counter(doc["external_id"] for doc in assignments(mine)).most_common(1)[0][1] == 1

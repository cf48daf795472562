"""The events that tell the platform what became of an enrolment."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from include.events import envelope
from include.npo.enrolment.record import EnrolmentRecord, State
from include.npo.entity_plan import trace_parent
from include.npo.identity import uuid5_text

if TYPE_CHECKING:
    from datetime import datetime

_TYPE_OF = {
    State.AWAITING_APPROVAL: ("requested", envelope.ENROLMENT_REQUESTED),
    State.READY: ("requested", envelope.ENROLMENT_REQUESTED),
    State.ACCEPTED: ("accepted", envelope.ENROLMENT_ACCEPTED),
    State.REJECTED: ("rejected", envelope.ENROLMENT_REJECTED),
    State.FAILED: ("failed", envelope.ENROLMENT_FAILED),
    State.WITHDRAWN: ("withdrawn", envelope.ENROLMENT_WITHDRAWN),
}


def told(
    before: EnrolmentRecord | None, after: EnrolmentRecord, *, at: datetime
) -> tuple[EnrolmentRecord, envelope.Event | None]:
    """Return the record with its version counted on, and the event that tells of the move, if any does.

    ``requested`` is told when a command has been checked; every outcome is told. Ids are deterministic:
    a step that is done again tells the same.
    """
    if before is not None and before.state is after.state:
        return after, None
    if after.state is State.READY and (before is None or before.state is not State.RECEIVED):
        return after, None  # only back in the queue
    if after.state not in _TYPE_OF:
        return after, None
    status, event_type = _TYPE_OF[after.state]
    counted = replace(after, version=after.version + 1)
    return counted, _event(counted, status, event_type, at)


def _event(record: EnrolmentRecord, status: str, event_type: str, at: datetime) -> envelope.Event:
    subject = record.assignment_id
    return envelope.Event(
        id=uuid5_text(f"{record.npo_id}\nenrolment\n{subject}\n{record.version}\n{event_type}"),
        type=event_type,
        owner=record.npo_id,
        subject=f"assignment/{subject}",
        time=at,
        recorded_at=at,
        partition_key=subject,
        sequence=record.version,
        correlation_id=record.correlation_id,
        causation_id=record.event_id,
        data={"version": record.version, "enrolment": _data(record, status)},
        trace_parent=trace_parent(),
    )


def _data(record: EnrolmentRecord, status: str) -> dict[str, Any]:
    """Return what is told: ids, status and reason. Nothing of the candidate, not even our reference to it."""
    reason = None
    if record.reason is not None:
        reason = {"code": record.reason.code} | ({"text": record.reason.text} if record.reason.text else {})
    known = {
        "assignment_id": record.assignment_id,
        "npo_id": record.npo_id,
        "offering_id": record.offering_id,
        "status": status,
        "awaiting_approval": True if record.state is State.AWAITING_APPROVAL else None,
        "external_id": record.external_id,
        "external_status": record.external_status,
        "reason": reason,
        "partner_informed": record.partner_informed,
        "requested_at": record.requested_at,
        "decided_at": record.decided_at,
    }
    return {name: value for name, value in known.items() if value is not None}

"""What the platform's withdrawals make of enrolments: pure rules.

Source: the domain page "NPO integration", section 6.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from include.npo.enrolment import states
from include.npo.enrolment.record import IN_DOUBT, EnrolmentRecord, State

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from include.npo.enrolment.commands import Command
    from include.npo.enrolment.tombstones import Tombstone


def withdrawn_before(command: Command, *, reference: str, at: datetime) -> EnrolmentRecord:
    """Return what is kept of an enrolment that was withdrawn before it was asked for."""
    record = EnrolmentRecord(
        reference=reference,
        npo_id=command.npo_id,
        assignment_id=command.assignment_id,
        candidate_id=command.candidate_id,
        state=State.WITHDRAWN,
        received_at=at,
        requested_at=command.requested_at,
        event_id=command.event_id,
        correlation_id=command.correlation_id,
        decided_at=at,
    )
    return states.noted(record, at=at, why="withdrawn by the platform before it was asked for")


def withdrawn_after_erasure(
    command: Command, erased: Tombstone, *, reference: str, at: datetime, give_up: timedelta
) -> EnrolmentRecord:
    """Return what a withdrawal makes of an enrolment whose candidate was erased, without naming anybody.

    What the partner may have is looked up by our reference, and taken back there.
    """
    record = EnrolmentRecord(
        reference=reference,
        npo_id=command.npo_id,
        assignment_id=command.assignment_id,
        candidate_id="",
        offering_id=erased.offering_id,
        state=State.UNKNOWN if erased.sent else State.WITHDRAWN,
        received_at=at,
        requested_at=command.requested_at,
        event_id=command.event_id,
        correlation_id=command.correlation_id,
        version=erased.version,
        attempts=int(erased.sent),
    )
    why = "withdrawn by the platform after the candidate was erased"
    if erased.sent:
        asked = replace(record, withdrawal=reason_of(command), due_at=at, give_up_at=at + give_up)
        return states.noted(asked, at=at, why=why)
    return states.noted(replace(record, decided_at=at), at=at, why=why)


def reason_of(command: Command) -> str:
    """Return why a withdrawal was asked for: short, and never empty."""
    return command.reason[:60] or "withdrawn"


def withdrawal_asked(
    record: EnrolmentRecord, *, at: datetime, why: str, give_up: timedelta
) -> EnrolmentRecord:
    """Return the record after the platform took its command back."""
    if record.state is State.FAILED and record.attempts > 0:
        return _withdrawal_of_failed(record, at=at, why=why, give_up=give_up)
    if record.state in {State.RECEIVED, State.AWAITING_APPROVAL, State.READY, State.FAILED}:
        return states.withdrawn(record, at=at, why="withdrawn by the platform before it was made")
    if record.state is State.ACCEPTED:
        asked = replace(record, withdrawal=why)
        return states.withdrawing(asked, at=at, why="withdrawn by the platform", give_up=give_up)
    if record.state in IN_DOUBT:
        return states.noted(
            replace(record, withdrawal=why), at=at, why="withdrawn by the platform; its outcome comes first"
        )
    return states.noted(record, at=at, why="withdrawn by the platform, once more or after its end")


def _withdrawal_of_failed(
    record: EnrolmentRecord, *, at: datetime, why: str, give_up: timedelta
) -> EnrolmentRecord:
    """Return a failed one that was sent as to be taken back: the partner may have the candidate.

    Where its id there is not known, it is looked up first.
    """
    asked = replace(
        record, withdrawal=why, reason=None, decided_at=None, pending_since=None, missed_at=None, tries=0
    )
    if record.external_id is not None:
        return states.withdrawing(asked, at=at, why="withdrawn by the platform", give_up=give_up)
    return states.move(
        asked,
        State.UNKNOWN,
        at=at,
        why="withdrawn by the platform; whether it arrived is found out first",
        due_at=at,
        give_up_at=at + give_up,
        forget_at=None,
    )

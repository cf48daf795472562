"""The life of one enrolment: pure rules, no store, no clock.

Source: the domain page "NPO integration", section 6.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from include.errors import ConfigurationError, FatalError
from include.npo.enrolment.record import ASLEEP, EnrolmentRecord, Entry, Reason, State

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from include.npo.enrolment.commands import Command

MAX_HISTORY = 60
PIPELINE = "pipeline"
APPROVAL_LOOKED_AT = timedelta(hours=6)
"""So often it is looked whether one that waits for a person can be made at all: its NPO may be gone."""

_OUTCOMES = frozenset({State.PENDING, State.ACCEPTED, State.REJECTED, State.FAILED, State.WITHDRAWING})
MOVES: Mapping[State, frozenset[State]] = {
    State.RECEIVED: frozenset(
        {State.AWAITING_APPROVAL, State.READY, State.REJECTED, State.FAILED, State.WITHDRAWN}
    ),
    State.AWAITING_APPROVAL: frozenset({State.READY, State.REJECTED, State.FAILED, State.WITHDRAWN}),
    State.READY: frozenset({State.POSTING, State.REJECTED, State.FAILED, State.WITHDRAWN}),
    State.POSTING: _OUTCOMES | {State.READY, State.UNKNOWN, State.WITHDRAWN},
    State.UNKNOWN: _OUTCOMES | {State.READY, State.POSTING, State.WITHDRAWN},
    State.PENDING: _OUTCOMES - {State.PENDING} | {State.WITHDRAWN},
    State.ACCEPTED: frozenset({State.WITHDRAWING, State.WITHDRAWN}),
    State.REJECTED: frozenset(),
    State.FAILED: frozenset({State.RECEIVED, State.UNKNOWN, State.WITHDRAWING, State.WITHDRAWN}),
    State.WITHDRAWING: frozenset({State.WITHDRAWN, State.ACCEPTED}),
    State.WITHDRAWN: frozenset(),
}


def move(
    record: EnrolmentRecord, to: State, *, at: datetime, by: str = PIPELINE, why: str = "", **changes: Any
) -> EnrolmentRecord:
    """Return the record in another state, with a line of history.

    Raises:
        FatalError: There is no such move.
    """
    if to not in MOVES[record.state]:
        raise FatalError(f"enrolment {record.reference}: no move from {record.state} to {to}")
    return noted(replace(record, state=to, **changes), at=at, by=by, why=why)


def noted(record: EnrolmentRecord, *, at: datetime, by: str = PIPELINE, why: str = "") -> EnrolmentRecord:
    """Return the record with a line of history; the first and the newest ones are kept."""
    lines = (*record.history, Entry(at, record.state.value, by, why))
    if len(lines) > MAX_HISTORY:
        lines = (lines[0], *lines[-(MAX_HISTORY - 1) :])
    return replace(record, history=lines)


def received(
    command: Command, *, reference: str, fingerprint: str, at: datetime, give_up: timedelta
) -> EnrolmentRecord:
    """Return the enrolment a command asks for."""
    record = EnrolmentRecord(
        reference=reference,
        npo_id=command.npo_id,
        assignment_id=command.assignment_id,
        candidate_id=command.candidate_id,
        offering_id=command.offering_id,
        state=State.RECEIVED,
        received_at=at,
        requested_at=command.requested_at,
        event_id=command.event_id,
        correlation_id=command.correlation_id,
        due_at=at,
        give_up_at=at + give_up,
        candidate=command.candidate,
        fingerprint=fingerprint,
    )
    return noted(record, at=at, why="asked for by the platform")


def checked(
    record: EnrolmentRecord, *, needs_approval: bool, at: datetime, candidate: Mapping[str, Any]
) -> EnrolmentRecord:
    """Return a received enrolment that can be sent, or waits for a person.

    ``candidate`` is what of the candidate's data the NPO may be sent: the rest is dropped here.
    """
    if needs_approval and not record.approved:
        return move(
            record,
            State.AWAITING_APPROVAL,
            at=at,
            why="waits for a person's approval",
            due_at=at + APPROVAL_LOOKED_AT,
            give_up_at=None,
            candidate=candidate,
        )
    return move(record, State.READY, at=at, why="checked", due_at=at, candidate=candidate)


def posting(record: EnrolmentRecord, *, at: datetime) -> EnrolmentRecord:
    """Return the record marked as under way: committed before the request is sent."""
    record = replace(record, missed_at=None)
    if record.state is State.POSTING:
        return noted(replace(record, attempts=record.attempts + 1), at=at, why="posted again")
    return move(record, State.POSTING, at=at, why="posted", attempts=record.attempts + 1)


def accepted(
    record: EnrolmentRecord,
    *,
    at: datetime,
    external_id: str | None,
    status: str | None,
    why: str,
    give_up: timedelta,
) -> EnrolmentRecord:
    """Return the record as enrolled; one the platform has withdrawn meanwhile is to be taken back."""
    known: dict[str, Any] = {
        "external_id": external_id or record.external_id,
        "external_status": status or record.external_status,
        "candidate": {},
        "tries": 0,
        "reason": None,
    }
    if record.withdrawal is not None:
        return withdrawing(
            replace(record, **known), at=at, why=f"{why}; withdrawn meanwhile", give_up=give_up
        )
    return move(record, State.ACCEPTED, at=at, why=why, due_at=None, give_up_at=None, decided_at=at, **known)


def withdrawing(record: EnrolmentRecord, *, at: datetime, why: str, give_up: timedelta) -> EnrolmentRecord:
    """Return the record as to be taken back at the partner."""
    return move(
        record,
        State.WITHDRAWING,
        at=at,
        why=why,
        due_at=at,
        give_up_at=at + give_up,
        forget_at=None,
        tries=0,
        candidate={},
    )


def pending(
    record: EnrolmentRecord,
    *,
    at: datetime,
    external_id: str | None,
    status: str | None,
    every: timedelta,
    give_up: timedelta,
) -> EnrolmentRecord:
    """Return the record as waiting for the partner's decision."""
    since = record.pending_since or at
    known: dict[str, Any] = {
        "external_id": external_id or record.external_id,
        "external_status": status or record.external_status,
        "pending_since": since,
        "give_up_at": since + give_up,
        "due_at": at + every,
        "tries": 0,
    }
    if record.state is State.PENDING:
        return replace(record, **known)
    return move(record, State.PENDING, at=at, why="the partner decides later", **known)


def rejected(
    record: EnrolmentRecord,
    *,
    at: datetime,
    reason: Reason,
    status: str | None = None,
    by: str = PIPELINE,
    why: str = "",
) -> EnrolmentRecord:
    """Return the record as decided against."""
    return move(
        record,
        State.REJECTED,
        at=at,
        by=by,
        why=why or f"rejected: {reason.code}",
        reason=reason,
        external_status=status or record.external_status,
        decided_at=at,
        due_at=None,
        give_up_at=None,
        candidate={},
    )


def failed(record: EnrolmentRecord, *, at: datetime, reason: Reason, keep: timedelta) -> EnrolmentRecord:
    """Return the record as not to be made; the candidate's data stays for a while, for a try by hand."""
    return move(
        record,
        State.FAILED,
        at=at,
        why=f"failed: {reason.code}",
        reason=reason,
        decided_at=at,
        due_at=None,
        give_up_at=None,
        forget_at=at + keep if record.candidate else None,
    )


def in_doubt(record: EnrolmentRecord, *, at: datetime, why: str, wait: timedelta) -> EnrolmentRecord:
    """Return the record as of unknown outcome; the partner is asked after ``wait``."""
    known: dict[str, Any] = {"due_at": at + wait, "tries": record.tries + 1}
    if record.state is State.UNKNOWN:
        return noted(replace(record, **known), at=at, why=why)
    return move(record, State.UNKNOWN, at=at, why=why, **known)


def later(
    record: EnrolmentRecord, *, at: datetime, why: str, wait: timedelta, counts: bool = True
) -> EnrolmentRecord:
    """Return the record as before the try, to be tried again after ``wait``: the partner did not act."""
    tries = record.tries + 1 if counts else record.tries
    if record.state is State.POSTING:
        return move(record, State.READY, at=at, why=why, due_at=at + wait, tries=tries)
    return noted(replace(record, due_at=at + wait, tries=tries), at=at, why=why)


def withdrawn(
    record: EnrolmentRecord, *, at: datetime, why: str, informed: bool | None = None
) -> EnrolmentRecord:
    """Return the record as taken back.

    ``informed`` is whether the partner knows; ``None`` where it never heard of it.
    """
    return move(
        record,
        State.WITHDRAWN,
        at=at,
        why=why,
        partner_informed=informed,
        reason=None,
        decided_at=at,
        due_at=None,
        give_up_at=None,
        forget_at=None,
        candidate={},
    )


def withdrawal_refused(record: EnrolmentRecord, *, at: datetime, reason: Reason) -> EnrolmentRecord:
    """Return the record as enrolled still: the partner does not take it back."""
    return move(
        record,
        State.ACCEPTED,
        at=at,
        why=f"the partner does not take it back: {reason.code}",
        reason=reason,
        withdrawal=None,
        decided_at=at,
        due_at=None,
        give_up_at=None,
    )


def approved(
    record: EnrolmentRecord, *, at: datetime, by: str, why: str, give_up: timedelta
) -> EnrolmentRecord:
    """Return an enrolment that waited as ready to be sent.

    Raises:
        ConfigurationError: It does not wait for approval.
    """
    _require(record, State.AWAITING_APPROVAL, "approved")
    return move(
        record,
        State.READY,
        at=at,
        by=by,
        why=f"approved: {why}",
        approved=True,
        due_at=at,
        give_up_at=at + give_up,
    )


def refused(record: EnrolmentRecord, *, at: datetime, by: str, why: str) -> EnrolmentRecord:
    """Return an enrolment that waited as rejected by a person of ours.

    Raises:
        ConfigurationError: It does not wait for approval.
    """
    _require(record, State.AWAITING_APPROVAL, "refused")
    return rejected(record, at=at, reason=Reason("not_approved"), by=by, why=f"refused: {why}")


def retried(
    record: EnrolmentRecord, *, at: datetime, by: str, why: str, give_up: timedelta
) -> EnrolmentRecord:
    """Return the record to be tried again now: a failed one anew, one that waits at once.

    Raises:
        ConfigurationError: It has ended otherwise, waits for approval, or its data are gone.
    """
    if record.state is State.FAILED:
        if not record.candidate:
            raise ConfigurationError(
                "the candidate's data are gone; the platform must ask for it again under a new assignment",
                subject=record.npo_id,
            )
        fresh: dict[str, Any] = {
            "reason": None,
            "decided_at": None,
            "forget_at": None,
            "missed_at": None,
            "tries": 0,
        }
        once_sent = record.attempts > 0
        again = move(
            record,
            State.RECEIVED,
            at=at,
            by=by,
            why=f"tried again: {why}",
            due_at=at,
            give_up_at=at + give_up,
            **fresh,
        )
        # What was ever sent may have arrived: it is looked up before it is sent again.
        return replace(again, state=State.UNKNOWN) if once_sent else again
    if record.state in ASLEEP:
        raise ConfigurationError(
            f"an enrolment that is {record.state} cannot be tried again", subject=record.npo_id
        )
    return noted(replace(record, due_at=at, tries=0), at=at, by=by, why=f"tried again now: {why}")


def _require(record: EnrolmentRecord, state: State, what: str) -> None:
    if record.state is not state:
        raise ConfigurationError(
            f"an enrolment that is {record.state} cannot be {what}; only one that is {state} can",
            subject=record.npo_id,
        )

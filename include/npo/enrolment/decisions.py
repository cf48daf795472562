"""What is to be done next for an enrolment, and what a verdict makes of it: pure rules."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from include.errors import RecordError
from include.npo.enrolment import states
from include.npo.enrolment.record import EnrolmentRecord, Reason, State
from include.npo.enrolment.request import build_request
from include.npo.enrolment.verdict import Kind, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from include.connectors.manifest_enrolment import Enrolment

Action = Literal["post", "lookup", "poll", "withdraw"]

FIRST_WAIT = timedelta(seconds=5)
LONGEST_WAIT = timedelta(hours=1)
LONGEST_TOLD_WAIT = timedelta(hours=6)
LOOKS_FOR_ACKNOWLEDGED = 5
"""So often a partner that has said yes is asked where the enrolment is; its list may lag behind."""
_DECIDED = frozenset({Kind.ACCEPTED, Kind.PENDING, Kind.REJECTED})
_NO_POLL_WAIT = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Terms:
    """What the rules go by beside the manifest's section.

    Attributes:
        give_up: How long to try.
        keep: How long a failed one keeps the candidate's data.
    """

    give_up: timedelta
    keep: timedelta


@dataclass(frozen=True, slots=True)
class Step:
    """One request to be made for an enrolment.

    Attributes:
        body: As ``build_request`` gives it; empty where none is needed.
        offering: The partner's id of the offering.
    """

    action: Action
    record: EnrolmentRecord
    body: Mapping[str, Any]
    offering: str = ""


def next_action(record: EnrolmentRecord, enrolment: Enrolment) -> Action | None:
    """Return which request an enrolment needs next, ``None`` for none."""
    if record.state in {State.POSTING, State.UNKNOWN}:
        if enrolment.lookup is not None:
            return "lookup"
        return "withdraw" if record.withdrawal is not None else "post"
    if record.state is State.PENDING:
        path = enrolment.poll.path if enrolment.poll else "{external_id}"
        pollable = record.external_id is not None or "{external_id}" not in path
        return "poll" if (enrolment.poll and pollable) or enrolment.lookup is None else "lookup"
    return {State.READY: "post", State.WITHDRAWING: "withdraw"}.get(record.state)  # type: ignore[return-value]


def needs_approval(enrolment: Enrolment, offering: Mapping[str, Any]) -> bool:
    """Return whether a person of ours must let an enrolment in this offering go."""
    if enrolment.approval == "offering":
        return offering.get("enrolment_mode") == "approval"
    return enrolment.approval == "always"


def document_of(record: EnrolmentRecord, offering: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a request is built from; ``build_request`` cuts it down to the allow-list."""
    return {
        "candidate": record.candidate,
        "assignment": {
            "assignment_id": record.assignment_id,
            "candidate_id": record.candidate_id,
            "offering_id": record.offering_id,
            "requested_at": record.requested_at,
        },
        "offering": {name: value for name, value in offering.items() if name not in {"_id", "source"}},
        "reference": record.reference,
    }


def check(
    record: EnrolmentRecord,
    enrolment: Enrolment,
    offering: Mapping[str, Any] | None,
    *,
    at: datetime,
    terms: Terms,
) -> tuple[EnrolmentRecord, Mapping[str, Any]]:
    """Return a received or ready enrolment as it may go on, with its body where it may be posted."""
    if record.withdrawal is not None:
        return states.withdrawn(record, at=at, why="withdrawn by the platform before it was made"), {}
    if offering is None:
        return states.failed(record, at=at, reason=Reason("offering_unknown"), keep=terms.keep), {}
    document = document_of(record, offering)
    try:
        body = build_request(enrolment, document)
    except RecordError as error:
        reason = Reason(error.code, error.message[:200])
        return states.failed(record, at=at, reason=reason, keep=terms.keep), {}
    if record.state is State.RECEIVED:
        allowed = {
            name: value for name, value in record.candidate.items() if name in enrolment.request.candidate
        }
        wanted = needs_approval(enrolment, offering)
        return states.checked(record, needs_approval=wanted, at=at, candidate=allowed), body
    return record, body


def visible_body(
    record: EnrolmentRecord, enrolment: Enrolment, offering: Mapping[str, Any] | None
) -> Mapping[str, Any]:
    """Return the body once sent, for a look-up to match; empty where it can no longer be built."""
    try:
        return build_request(enrolment, document_of(record, offering or {}))
    except RecordError:
        return {}


def decide(
    record: EnrolmentRecord,
    action: Action,
    verdict: Verdict,
    enrolment: Enrolment,
    *,
    at: datetime,
    terms: Terms,
) -> EnrolmentRecord:
    """Return the record after a request came to a verdict."""
    if action == "withdraw":
        return _after_withdrawal(record, verdict, at, terms)
    if verdict.kind in _DECIDED:
        return _after_decision(record, action, verdict, enrolment, at=at, terms=terms)
    if action == "lookup" and verdict.kind is Kind.NOT_FOUND and record.state is not State.PENDING:
        return _after_nothing_found(record, verdict, enrolment, at=at, terms=terms)
    return _after_no_answer(record, action, verdict, enrolment, at=at)


def _after_decision(
    record: EnrolmentRecord,
    action: Action,
    verdict: Verdict,
    enrolment: Enrolment,
    *,
    at: datetime,
    terms: Terms,
) -> EnrolmentRecord:
    if verdict.kind is Kind.ACCEPTED:
        return _after_yes(record, action, verdict, enrolment, at=at, terms=terms)
    if verdict.kind is Kind.PENDING:
        return _after_pending(record, verdict, enrolment, at=at, terms=terms)
    reason = verdict.reason or Reason("refused_by_npo")
    return states.rejected(record, at=at, reason=reason, status=verdict.external_status, why=verdict.why)


def _after_no_answer(
    record: EnrolmentRecord, action: Action, verdict: Verdict, enrolment: Enrolment, *, at: datetime
) -> EnrolmentRecord:
    stopped = verdict.kind is Kind.STOPPED
    wait = timedelta(0) if stopped else back_off(record.tries, verdict.wait)
    if record.state is State.PENDING:
        every = enrolment.poll.every if enrolment.poll else _NO_POLL_WAIT
        return states.later(record, at=at, why=verdict.why, wait=max(every, wait), counts=not stopped)
    if action == "post" and verdict.kind in {Kind.LATER, Kind.STOPPED}:
        return states.later(record, at=at, why=verdict.why, wait=wait, counts=not stopped)
    duplicate = record.duplicate or verdict.kind is Kind.DUPLICATE
    return states.in_doubt(replace(record, duplicate=duplicate), at=at, why=verdict.why, wait=wait)


def _after_yes(
    record: EnrolmentRecord,
    action: Action,
    verdict: Verdict,
    enrolment: Enrolment,
    *,
    at: datetime,
    terms: Terms,
) -> EnrolmentRecord:
    wants_id = enrolment.response.external_id is not None and enrolment.lookup is not None
    known = verdict.external_id or record.external_id
    if action == "post" and wants_id and known is None and not record.acknowledged:
        acknowledged = replace(record, acknowledged=True)
        return states.in_doubt(acknowledged, at=at, why="accepted without an id", wait=FIRST_WAIT)
    return states.accepted(
        record,
        at=at,
        external_id=verdict.external_id,
        status=verdict.external_status,
        why=verdict.why,
        give_up=terms.give_up,
    )


def _after_pending(
    record: EnrolmentRecord, verdict: Verdict, enrolment: Enrolment, *, at: datetime, terms: Terms
) -> EnrolmentRecord:
    poll = enrolment.poll
    return states.pending(
        record,
        at=at,
        external_id=verdict.external_id,
        status=verdict.external_status,
        every=max(poll.every, timedelta(seconds=verdict.wait or 0)) if poll else _NO_POLL_WAIT,
        give_up=poll.give_up_after if poll else terms.give_up,
    )


def _after_nothing_found(
    record: EnrolmentRecord, verdict: Verdict, enrolment: Enrolment, *, at: datetime, terms: Terms
) -> EnrolmentRecord:
    if record.acknowledged or record.duplicate:
        return _after_claimed_not_shown(record, verdict, at=at, terms=terms)
    if not verdict.sure:
        return states.in_doubt(record, at=at, why=verdict.why, wait=back_off(record.tries, None))
    if (left := _to_settle(record, enrolment, at)) > timedelta(0):
        missed = replace(record, missed_at=record.missed_at or at)
        return states.in_doubt(missed, at=at, why=f"{verdict.why}; asked once more", wait=left)
    if record.withdrawal is not None:
        return states.withdrawn(record, at=at, why="withdrawn; it never reached the partner")
    return states.move(record, State.READY, at=at, why=verdict.why, due_at=at)


def _after_claimed_not_shown(
    record: EnrolmentRecord, verdict: Verdict, *, at: datetime, terms: Terms
) -> EnrolmentRecord:
    """Return what becomes of one the partner said it has, and does not show."""
    if record.tries < LOOKS_FOR_ACKNOWLEDGED:
        return states.in_doubt(record, at=at, why=verdict.why, wait=back_off(record.tries, None))
    if record.acknowledged:
        why = "accepted without an id, and not to be found"
        return states.accepted(record, at=at, external_id=None, status=None, why=why, give_up=terms.give_up)
    return _unfinished(record, Reason("duplicate_not_found"), at=at, terms=terms)


def _to_settle(record: EnrolmentRecord, enrolment: Enrolment, at: datetime) -> timedelta:
    """Return how long a partner that does not have it may still come to have what was sent."""
    if enrolment.lookup is None:
        return timedelta(0)
    return (record.missed_at or at) + enrolment.lookup.settle - at


def _after_withdrawal(
    record: EnrolmentRecord, verdict: Verdict, at: datetime, terms: Terms
) -> EnrolmentRecord:
    if record.state is not State.WITHDRAWING:  # of unknown outcome, at a partner that cannot be asked
        record = states.withdrawing(record, at=at, why="withdrawn, outcome unknown", give_up=terms.give_up)
    if verdict.kind is Kind.TAKEN_BACK:
        informed = "a person has to" not in verdict.why
        return states.withdrawn(record, at=at, why=verdict.why, informed=informed)
    if verdict.kind is Kind.NOT_FOUND:
        return states.withdrawn(record, at=at, why=verdict.why, informed=True)
    if verdict.kind is Kind.KEPT:
        reason = verdict.reason or Reason("withdrawal_refused")
        return states.withdrawal_refused(record, at=at, reason=reason)
    stopped = verdict.kind is Kind.STOPPED
    wait = timedelta(0) if stopped else back_off(record.tries, verdict.wait)
    return states.later(record, at=at, why=verdict.why, wait=wait, counts=not stopped)


def given_up(record: EnrolmentRecord, *, at: datetime, terms: Terms) -> EnrolmentRecord:
    """Return what becomes of an enrolment that could not be brought to an end in time."""
    if record.state is State.WITHDRAWING:
        return states.withdrawal_refused(record, at=at, reason=Reason("withdrawal_failed"))
    if record.acknowledged:
        why = "accepted without an id, and not to be found"
        return states.accepted(record, at=at, external_id=None, status=None, why=why, give_up=terms.give_up)
    code = {State.PENDING: "no_decision", State.UNKNOWN: "outcome_unknown", State.POSTING: "outcome_unknown"}
    return _unfinished(record, Reason(code.get(record.state, "gave_up")), at=at, terms=terms)


def _unfinished(record: EnrolmentRecord, reason: Reason, *, at: datetime, terms: Terms) -> EnrolmentRecord:
    """Return what could not be found out as failed; what the platform took back, as withdrawn."""
    if record.withdrawal is not None:
        why = f"{reason.code}: a person has to tell it"
        return states.withdrawn(record, at=at, why=why, informed=False)
    return states.failed(record, at=at, reason=reason, keep=terms.keep)


def back_off(tries: int, told: float | None) -> timedelta:
    """Return how long to wait after so many fruitless tries; what the partner asks for counts more."""
    own = min(FIRST_WAIT * (1 << min(tries, 16)), LONGEST_WAIT)
    return max(own, min(timedelta(seconds=told or 0), LONGEST_TOLD_WAIT))

"""One enrolment as the store keeps it, and where it can stand."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


class State(StrEnum):
    """Where an enrolment stands.

    ``posting``: a request may be under way; found so later, its outcome is unknown. ``unknown``: the
    answer was lost, or did not say; the partner is asked before anything is sent again.
    """

    RECEIVED = "received"
    AWAITING_APPROVAL = "awaiting_approval"
    READY = "ready"
    POSTING = "posting"
    UNKNOWN = "unknown"
    PENDING = "pending"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    FAILED = "failed"
    WITHDRAWING = "withdrawing"
    WITHDRAWN = "withdrawn"


ENDED = frozenset({State.ACCEPTED, State.REJECTED, State.FAILED, State.WITHDRAWN})
ASLEEP = ENDED | {State.AWAITING_APPROVAL}
"""Nothing is sent until a person or the platform says so."""
IN_DOUBT = frozenset({State.POSTING, State.UNKNOWN, State.PENDING})
"""The partner may have enrolled the candidate already."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an enrolment was rejected or failed.

    Attributes:
        code: Ours, stable, to count by.
        text: The partner's words, scrubbed of the candidate's data; may be empty.
    """

    code: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of an enrolment's history: what happened, by whom, why."""

    at: datetime
    state: str
    by: str
    why: str


@dataclass(frozen=True, slots=True)
class EnrolmentRecord:
    """One enrolment as the store keeps it.

    Attributes:
        reference: Our idempotency key; the partner sees it.
        version: Of what was published: rises by one with each event.
        attempts: How often it was posted.
        tries: Fruitless looks since it last got on; decides how long to wait.
        acknowledged: The partner has said yes, without an id to know it by: never posted again.
        missed_at: When the partner was first asked for what may be under way, and did not have it.
        duplicate: The partner has said that it has this enrolment.
        withdrawal: Why the platform wants it taken back, as soon as its outcome is known.
        candidate_id: The platform's; empty where the candidate was erased.
        candidate: Personal data, gone once it is not needed.
        fingerprint: Of that data: tells whether a second command says the same.
        forget_at: When a failed one's data goes too.
    """

    reference: str
    npo_id: str
    assignment_id: str
    candidate_id: str
    state: State
    received_at: datetime
    requested_at: datetime
    event_id: str
    correlation_id: str
    offering_id: str | None = None
    due_at: datetime | None = None
    give_up_at: datetime | None = None
    version: int = 0
    attempts: int = 0
    tries: int = 0
    approved: bool = False
    acknowledged: bool = False
    missed_at: datetime | None = None
    duplicate: bool = False
    external_id: str | None = None
    external_status: str | None = None
    reason: Reason | None = None
    partner_informed: bool | None = None
    withdrawal: str | None = None
    pending_since: datetime | None = None
    decided_at: datetime | None = None
    forget_at: datetime | None = None
    fingerprint: str = ""
    candidate: Mapping[str, Any] = field(default_factory=dict, repr=False)
    history: tuple[Entry, ...] = ()

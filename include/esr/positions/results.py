"""What reconciling one position comes to: its match, what is told to whom. Pure rules, no store.

Source: the domain page "ESR exchange", section 3 (reconciliation) and section 4 (``esr-changed``).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from include.esr.documents import MatchStatus, owner
from include.esr.positions.merging import age_of
from include.esr.precedence import leads
from include.esr.tcs.answers import written
from include.esr.tcs.calls import Call
from include.events.envelope import POSITION_RECONCILED, Event
from include.npo.entity_plan import trace_parent
from include.npo.identity import uuid5_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

_MILLISECOND = timedelta(milliseconds=1)
FACTS = (
    "position_number",
    "managing_office",
    "ods_code",
    "host_lead_indicator",
    "employing_org_vpd_code",
)
"""Of POS and POR, what events and calls tell; of the newer part first."""


class ToldStatus(StrEnum):
    """What a post is told of a position."""

    RECONCILED = "RECONCILED"
    DELETED = "DELETED"


@dataclass(frozen=True, slots=True)
class Match:
    """Whether TCS has the post of a position; ``at`` is since when it is so."""

    status: MatchStatus
    post_id: int | None
    at: datetime

    def to_document(self) -> dict[str, Any]:
        """Return it as it is stored."""
        return {"status": self.status.value, "post_id": self.post_id, "at": self.at}

    def same_as(self, other: Match | None) -> bool:
        """Tell whether the result is the same, whenever it came."""
        return other is not None and (self.status, self.post_id) == (other.status, other.post_id)


@dataclass(frozen=True, slots=True)
class Told:
    """The last call to TCS that was queued for a position."""

    post_id: int
    status: ToldStatus
    at: datetime

    def to_document(self) -> dict[str, Any]:
        """Return it as it is stored."""
        return {"post_id": self.post_id, "status": self.status.value, "at": self.at}


@dataclass(frozen=True, slots=True)
class StoredPosition:
    """A position as reconciliation reads it.

    Attributes:
        pending: Its content changed since it was reconciled last.
        hash: Of its content.
        facts: What POS and POR say of ``FACTS``.
    """

    id: int
    deanery: str
    number: str
    deleted: bool
    revision: int
    hash: str
    pending: bool
    file_id: str
    match: Match | None
    told: Told | None
    facts: Mapping[str, str]

    @property
    def file_name(self) -> str:
        """Return the name of the file that last changed it."""
        return self.file_id.rpartition("#")[0]

    @classmethod
    def of(cls, doc: Mapping[str, Any]) -> StoredPosition:
        """Return the position of a document of ``esr_position``."""
        match, told = doc.get("match"), doc.get("told")
        return cls(
            id=doc["_id"],
            deanery=doc["deanery"],
            number=doc["number"],
            deleted=doc["deleted"],
            revision=doc["revision"],
            hash=doc["hash"],
            pending=doc.get("pending", False),
            file_id=doc["file_id"],
            match=Match(MatchStatus(match["status"]), match["post_id"], match["at"]) if match else None,
            told=Told(told["post_id"], ToldStatus(told["status"]), told["at"]) if told else None,
            facts=_facts(doc),
        )


def _facts(doc: Mapping[str, Any]) -> dict[str, str]:
    parts = [part for part in (doc.get("pos"), doc.get("por")) if part]
    if len(parts) > 1 and leads(*map(age_of, parts), holder=doc["deanery"]):
        parts.reverse()
    return {name: part[name] for name in FACTS for part in parts if name in part}


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of one position.

    Attributes:
        revision: Of the position from now on; with an event it is that event's sequence.
        calls: What posts are told, in this order.
        tells_event: Whether the event stream is told.
    """

    position: StoredPosition
    match: Match | None
    told: Told | None
    revision: int
    calls: tuple[Call, ...]
    tells_event: bool

    @property
    def unmatched(self) -> bool:
        """Tell whether it is to be looked up again by every run."""
        return not self.position.deleted and not _post_of(self.match)

    @property
    def changes_anything(self) -> bool:
        """Tell whether there is anything to write."""
        return self.position.pending or bool(self.calls) or self.match is not self.position.match


def decide(position: StoredPosition, post_id: int | None, *, at: datetime) -> Decision:
    """Return what becomes of a position whose number TCS has as ``post_id``.

    Args:
        position: As it is stored.
        post_id: ``None`` when TCS *says* it has no such post; not looked at for a deleted position.
        at: Now, UTC.
    """
    match = position.match if position.deleted else _matched(position, post_id, at)
    wanted = None if position.deleted else post_id
    steps = _steps(position.told, wanted)
    told_at = _after(position.told, at)
    result_changed = match is not position.match
    # A changed content has its new revision already; a changed result of old content gets one here.
    revision = position.revision + (1 if result_changed and not position.pending else 0)
    has_post = bool(_post_of(match) or _post_of(position.match))
    return Decision(
        position,
        match,
        Told(*steps[-1], told_at) if steps else position.told,
        revision,
        tuple(_call(position, revision, *step, told_at) for step in steps),
        tells_event=has_post and (position.pending or result_changed),
    )


def _matched(position: StoredPosition, post_id: int | None, at: datetime) -> Match:
    found = Match(MatchStatus.UNMATCHED if post_id is None else MatchStatus.MATCHED, post_id, at)
    return position.match if position.match and found.same_as(position.match) else found


def _post_of(match: Match | None) -> int | None:
    return match.post_id if match else None


def _steps(told: Told | None, wanted: int | None) -> list[tuple[int, ToldStatus]]:
    """Return who is to be told what: the old post first, then the new one; nothing that was told before."""
    stands = told.post_id if told and told.status is ToldStatus.RECONCILED else None
    if stands == wanted:
        return []
    gone = [(stands, ToldStatus.DELETED)] if stands is not None else []
    come = [(wanted, ToldStatus.RECONCILED)] if wanted is not None else []
    return gone + come


def _after(told: Told | None, at: datetime) -> datetime:
    """Return the time to tell: TCS knows two calls of one position apart by it, to the millisecond."""
    at = at.astimezone(UTC)
    at = at.replace(microsecond=at.microsecond // 1000 * 1000)
    return max(at, told.at + _MILLISECOND) if told else at


def _call(position: StoredPosition, revision: int, post_id: int, status: ToldStatus, at: datetime) -> Call:
    return Call(
        id=f"position/{position.id}|{revision}|{position.hash}|{status}|{post_id}",
        post_id=post_id,
        position_id=position.id,
        body={
            "eventDateTime": written(at),
            "filename": position.file_name,
            "postId": post_id,
            "positionNumber": position.facts.get("position_number"),
            "positionId": position.id,
            "status": status.value,
        },
    )


def to_event(decision: Decision, *, run_id: str, at: datetime) -> Event:
    """Return the event that tells of a decision."""
    position, match = decision.position, decision.match
    key = f"position/{position.id}"
    status = match.status if match else MatchStatus.UNMATCHED
    post_id = _post_of(match)
    return Event(
        id=uuid5_text(f"esr\n{key}\n{decision.revision}\n{position.hash}\n{status}\n{post_id}"),
        type=POSITION_RECONCILED,
        owner=owner(position.deanery),
        subject=key,
        time=at,
        recorded_at=at,
        partition_key=key,
        sequence=decision.revision,
        correlation_id=f"{owner(position.deanery)}/{run_id}",
        causation_id=position.hash,
        data={
            "revision": decision.revision,
            "previous_post_id": _post_of(position.match),
            "position": {
                "position_id": position.id,
                "deanery": position.deanery,
                "deanery_number": position.number,
                "match_status": status.value,
                "post_id": post_id,
                "deleted": position.deleted,
                "file": position.file_name,
                **position.facts,
            },
        },
        trace_parent=trace_parent(),
    )

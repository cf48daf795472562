"""A notification as a document of ``esr_notification``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Any

from include.esr.formats.layout import load_format
from include.esr.formats.writer import check_record
from include.esr.names import FileType
from include.esr.notifications.decisions import Known
from include.esr.notifications.notification import RECORD_CODE, Notification, NotificationType
from include.esr.notifications.vpd import vpd_reason
from include.esr.outbound import RecordState, entry
from include.esr.placements.facts import PlacementFacts
from include.storage.documents import content_hash

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from typing import Literal

    from include.esr.placements.facts import PostView
    from include.quality.gate import Reason
    from include.storage.mongo import Document

ROLES = ("current", "next", "withdrawn", "replacement")
READ = dict.fromkeys(
    [
        *("post_id", "position_id", "type", "key", "turn", "made_on", "placements"),
        *("state", "hash", "revision"),
    ],
    1,
)
"""What ``known_of`` needs of a document."""


@dataclass(frozen=True, slots=True, repr=False)
class Content:
    """What a notification says, ready to be stored. Its repr shows none of it.

    Attributes:
        fields: Columns of DNC by name, days as ISO text.
        reason: Why it cannot stand in a file.
    """

    fields: Mapping[str, str]
    hash: str
    reason: Reason | None

    @property
    def state(self) -> RecordState:
        """Return the state a notification with this content comes into."""
        return RecordState.INVALID_DATA if self.reason else RecordState.TO_EXPORT


def content_of(notification: Notification) -> Content:
    """Return the content of a notification, checked as the writer and the gate of its file check it."""
    fields = notification.fields
    reason = check_record(load_format(FileType.DNC), {"type": RECORD_CODE, **fields}) or vpd_reason(fields)
    stored = {name: value.isoformat() if isinstance(value, date) else value for name, value in fields.items()}
    return Content(stored, content_hash(stored), reason)


def document_of(
    notification: Notification,
    content: Content,
    *,
    record_id: str,
    kind: Literal["DNC", "DNF"],
    today: date,
    turn: int,
    at: datetime,
) -> Document:
    """Return a new document.

    Args:
        notification: What is told.
        content: Its content.
        record_id: Id it will have.
        kind: The kind of file it is for.
        today: The day it is made for.
        turn: Which look at its position gave it.
        at: When it is made, UTC.
    """
    main = notification.main
    return {
        "_id": record_id,
        "deanery": notification.deanery,
        "kind": kind,
        "type": notification.type.value,
        "key": notification.key,
        "placements": list(notification.placements),
        "post_id": notification.post_id,
        "post_number": notification.post_number,
        "position_id": notification.position.id,
        "position_number": notification.position.number,
        "placement_id": main.id if main else None,
        "trainee_id": main.trainee_id if main else None,
        "start": main.start.isoformat() if main and main.start else None,
        **placed(notification, today=today, turn=turn),
        **stated(notification, content),
        "revision": 1,
        "generated_at": at,
        "changed_at": at,
        "file": None,
        "ordinal": None,
        "exported_at": None,
        "resends": 0,
        "answer": None,
        "history": [entry(content.state, at, why=content.reason.code if content.reason else "generated")],
    }


def placed(notification: Notification, *, today: date, turn: int) -> Document:
    """Return the part that gives it its place in the file of a day.

    By day, post and position; of a position what was said first, and of one look what changed before who
    is there in the end.
    """
    is_last = notification.type is NotificationType.INCUMBENTS
    place = f"{notification.position.id:012d}/{turn:05d}/{9 if is_last else notification.type.value}"
    return {
        "made_on": today.isoformat(),
        "turn": turn,
        "rank": f"{today.isoformat()}/{notification.post_number}/{place}",
    }


def stated(notification: Notification, content: Content) -> Document:
    """Return the part that says what it says, and what it was made of, to be mended if it proves invalid."""
    reason = content.reason
    return {
        "state": content.state.value,
        "reason": {"code": reason.code, "message": reason.message} if reason else None,
        "fields": dict(content.fields),
        "hash": content.hash,
        "about": _about(notification),
    }


def known_of(document: Mapping[str, Any]) -> Known:
    """Return what deciding needs of a document."""
    return Known(
        id=document["_id"],
        post_id=document["post_id"],
        position_id=document["position_id"],
        type=NotificationType(document["type"]),
        key=document["key"],
        turn=document["turn"],
        made_on=document["made_on"],
        placements=frozenset(document["placements"]),
        state=RecordState(document["state"]),
        hash=document["hash"],
        revision=document["revision"],
    )


def mended(known: Known, about: Mapping[str, Any] | None, view: PostView) -> Notification | None:
    """Return an invalid notification with what is now known of its people and position.

    What it tells stays as it was told: its placements, their roles and days.

    Args:
        known: The notification.
        about: What it was made of, as its document keeps it.
        view: Its post.

    Returns:
        ``None`` when its position is not the post's any more.
    """
    position = next((each for each in view.positions if each.id == known.position_id), None)
    if position is None or about is None:
        return None
    now = {placement.id: placement for placement in view.placements}
    named = {
        role: _with_details(PlacementFacts.from_document(about[role]), now)
        for role in ROLES
        if about.get(role)
    }
    return Notification.about(
        known.type,
        view,
        replace(position, vpd=about["vpd"]),
        vacant=about["vacant"],
        changed=(_day(about["changed_start"]), _day(about["changed_end"])),
        **named,
    )


def _about(notification: Notification) -> Document:
    roles = {role: getattr(notification, role) for role in ROLES}
    return {role: placement.to_document() for role, placement in roles.items() if placement} | {
        "vpd": notification.position.vpd,
        "vacant": notification.vacant,
        "changed_start": _text(notification.changed_start),
        "changed_end": _text(notification.changed_end),
    }


def _with_details(stored: PlacementFacts, now: Mapping[int, PlacementFacts]) -> PlacementFacts:
    """Return a placement with the details of its trainee as they are now, if it is there and still his."""
    found = now.get(stored.id)
    if found is None or found.trainee_id != stored.trainee_id:
        return stored
    return replace(
        stored,
        gmc=found.gmc,
        surname=found.surname,
        forenames=found.forenames,
        email=found.email,
        grade=found.grade,
    )


def _text(day: date | None) -> str | None:
    return day.isoformat() if day else None


def _day(text: str | None) -> date | None:
    return date.fromisoformat(text) if text else None

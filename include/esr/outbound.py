"""Words of the way out, shared by every stage of it: what records and files are, and what day it is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from collections.abc import Mapping

    from include.settings import Settings

LONDON = ZoneInfo("Europe/London")
Kind = Literal["APP", "DNC"]
KINDS: tuple[Kind, ...] = ("APP", "DNC")
COLLECTIONS: Mapping[str, str] = {"APP": "esr_app_record", "DNC": "esr_notification"}
"""Where the records of a kind of file are kept; a DNF has notifications too."""
MAX_HISTORY = 50


class RecordState(StrEnum):
    """Life of an AppRecord or a notification, as ``docs/esr-out.md`` tells it."""

    TO_EXPORT = "TO_EXPORT"
    INVALID_DATA = "INVALID_DATA"
    DELETED_BEFORE_EXPORT = "DELETED_BEFORE_EXPORT"
    EXPIRED_UNSENT = "EXPIRED_UNSENT"
    WITHDRAWN = "WITHDRAWN"
    """By a person: it is not sent and not made anew until it is opened again."""
    IN_FILE = "IN_FILE"
    """Has its place in a file that is being written or sent; nothing about it changes any more."""
    EXPORTED = "EXPORTED"
    CONFIRMED = "CONFIRMED"
    CONFIRMED_WITH_WARNINGS = "CONFIRMED_WITH_WARNINGS"
    REJECTED = "REJECTED"


UNSENT = frozenset(
    {
        RecordState.TO_EXPORT,
        RecordState.INVALID_DATA,
        RecordState.DELETED_BEFORE_EXPORT,
        RecordState.EXPIRED_UNSENT,
    }
)
"""States that generation may change; all others it leaves alone."""
ANSWERED = frozenset({RecordState.CONFIRMED, RecordState.CONFIRMED_WITH_WARNINGS, RecordState.REJECTED})


class ExportState(StrEnum):
    """Life of a file of ours: allocated > uploading > uploaded > sent > answered.

    ``uploading`` is noted before the first byte goes out under a name ``<name>.<token>.part``, ``uploaded``
    once that file was read back and is right, before it gets its name: only we rename it, so if neither of
    the two is there any more, ESR has taken it.
    """

    ALLOCATED = "allocated"
    UPLOADING = "uploading"
    UPLOADED = "uploaded"
    SENT = "sent"
    ANSWERED = "answered"
    FAILED = "failed"
    """Given up by a person: what was in it is due again."""


@dataclass(frozen=True, slots=True)
class Window:
    """The start days an applicant is sent for on a day, first and last, both inclusive.

    Source: domain page, section 3: ``today + 2 days <= start date < today + 13 weeks``.
    """

    first: date
    last: date

    @classmethod
    def on(cls, today: date, settings: Settings) -> Window:
        """Return the window of a day."""
        return cls(
            today + timedelta(days=settings.esr_app_lead_days),
            today + timedelta(days=settings.esr_horizon_days - 1),
        )


def london_day(moment: datetime) -> date:
    """Return the day of a moment in London: a run's ``today``, of its logical date, never of the clock."""
    return moment.astimezone(LONDON).date()


def entry(state: RecordState, at: datetime, *, why: str, by: str | None = None) -> dict[str, Any]:
    """Return an entry of a record's ``history``.

    Args:
        state: The state it comes into.
        at: When, UTC.
        why: A code (``generated``, ``exported``, ``placement_gone`` ...) or what a person said.
        by: Who, when it was a person.
    """
    return {"state": state.value, "at": at, "why": why} | ({"by": by} if by else {})


def pushed(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ``$push`` of an update that appends to ``history``, which keeps the newest entries."""
    return {"history": {"$each": [dict(entry)], "$slice": -MAX_HISTORY}}

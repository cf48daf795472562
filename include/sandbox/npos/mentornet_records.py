"""How mentornet writes its records: as people typed them, dates in three forms, percent as text."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from include.sandbox.npos.catalogue import PLACES
from include.sandbox.npos.world import DAY, FINAL

if TYPE_CHECKING:
    from datetime import datetime

    from include.sandbox.npos.partner import Partner
    from include.sandbox.npos.world import Learning, Offering

LONDON = ZoneInfo("Europe/London")
STATE = {"active": "Open", "full": "Full", "draft": "Draft", "paused": "On break", "closed": "Closed"}
TYPE = {"mentorship": "Mentoring", "program": "Programme", "service": "Drop-in", "resource": "Guide"}
SIGNUP = {"external_form": "form"}
TOPIC = {
    "mentoring": "Mentoring",
    "interview": "Interview practice",
    "cv": "CV & letters",
    "clothing": "Clothes for work",
    "training": "Finding training",
    "college": "Finding college",
    "apprenticeship": "Finding an apprenticeship",
    "food": "Food",
    "housing": "Housing",
    "childcare": "Child care",
    "other": "Other",
}
STATUS = {
    "requested": "Asked",
    "accepted": "Agreed",
    "rejected": "Refused",
    "waitlisted": "Waiting",
    "enrolled": "Signed up",
    "in_progress": "Active",
    "on_hold": "On hold",
    "completed": "Finished",
    "failed": "Not passed",
    "withdrawn": "Dropped out",
    "cancelled": "Cancelled",
    "expired": "Timed out",
}
NOTHING = ("", "-", None)
BAD_PROGRAMS: tuple[tuple[dict[str, Any], bool], ...] = (
    ({"prog_id": None, "name": "(new programme)", "descr": "", "type": "Mentoring", "state": "Draft"}, True),
)
_MATCH: dict[str, Any] = {
    "prog": 1000,
    "mentee": "ME-000000",
    "mentor": "MR-0000",
    "status": "Active",
    "note": "",
    "progress": "50 %",
    "sessions": "2 of 4",
    **dict.fromkeys(("requested", "accepted", "enrolled", "started", "last_contact", "due", "ended"), ""),
    "last_update": "",
}
BAD_MATCHES: tuple[tuple[dict[str, Any], bool], ...] = (
    ({"match_no": "", **_MATCH}, True),
    ({"match_no": "MN-BAD-PERCENT", **_MATCH, "progress": "about half"}, True),
    ({"match_no": "MN-BAD-DATE", **_MATCH, "started": "31/02/2026"}, True),
    ({"match_no": "MN-ODD-STATUS", **_MATCH, "status": "Awaiting DBS"}, False),
)


def program_id(index: int) -> int:
    """Return the number of an offering's programme."""
    return 1000 + index


def match_id(index: int) -> str:
    """Return the number of an assignment's match."""
    return f"MN-{index:06d}"


def typed_date(exact: datetime, form: int) -> str:
    """Return a moment as local text in one of the three forms (0, 1, 2)."""
    local = exact.astimezone(LONDON)
    if form == 0:
        return local.strftime("%d/%m/%Y")
    if form == 1:
        return local.strftime("%Y-%m-%d %H:%M")
    return f"{local.day} {local:%b %Y}"


@lru_cache(maxsize=100_000)
def _typed(first: datetime, moment: int, form: int) -> str:
    from datetime import timedelta

    return typed_date(first + timedelta(minutes=moment), form)


def _when(partner: Partner, moment: int | None, salt: int) -> str | None:
    """Return a moment as somebody typed it; the form depends on record and field only."""
    if moment is None:
        return NOTHING[salt % 3]
    return _typed(partner.at(0), moment, (salt * 7 + salt // 5) % 3)


def program(partner: Partner, offering: Offering) -> dict[str, Any]:
    """Return an offering as a mentornet programme."""
    number, theme = program_id(offering.number), offering.theme
    city = PLACES[offering.place][0]
    return {
        "prog_id": number,
        "name": theme.title if offering.run == 1 else f"{theme.title}, group {offering.run}",
        "descr": (
            f"<p>{theme.about} Café & a warm room; travel up to £6.</p>"
            f'<a href="javascript:void(0)" onclick="go()">more</a><script>track(\'{number}\')</script>'
        ),
        "type": TYPE.get(theme.kind, theme.kind.capitalize()),
        "topic": TOPIC[theme.category],
        "state": STATE[offering.state],
        "places": f"{offering.taken}/{offering.places}",
        "fee": f"£{offering.price:.2f}" if offering.price else "free",
        "from": _when(partner, offering.starts * DAY + 9 * 60, offering.number),
        "to": _when(partner, offering.ends * DAY + 17 * 60, offering.number + 1),
        "where": {"online": "By phone or video", "hybrid": f"{city}, or by phone"}.get(offering.mode, city),
        "lang": "en",
        "link": f"https://mentornet.example/p/{number}",
        "who": "Anyone over 18",
        "signup": SIGNUP.get(offering.enrolment, offering.enrolment),
        "last_update": _when(partner, offering.modified, offering.number + 2),
    }


def match(partner: Partner, learning: Learning) -> dict[str, Any]:
    """Return an assignment as a mentornet match."""
    index = learning.index
    unsure = index % 23 == 0
    space = "" if index % 2 else " "
    return {
        "match_no": match_id(index),
        "prog": program_id(learning.offering),
        "mentee": "ME-" + partner.world.token("mentee", learning.person, size=4),
        "mentor": f"MR-{learning.person % 60:04d}",
        "status": STATUS[learning.state],
        "note": learning.reason or "",
        "progress": "n/a" if unsure else f"{round(learning.percent)}{space}%",
        "sessions": "" if unsure else f"{learning.units_done} of {learning.units_total}",
        "requested": _when(partner, learning.requested_at, index),
        "accepted": _when(partner, learning.accepted_at, index + 1),
        "enrolled": _when(partner, learning.enrolled_at, index + 2),
        "started": _when(partner, learning.started_at, index + 3),
        "last_contact": _when(partner, learning.last_activity_at, index + 4),
        "due": _when(partner, learning.due_at, index + 5),
        "ended": _when(partner, learning.ended_at if learning.state in FINAL else None, index + 6),
        "last_update": _when(partner, learning.modified, index + 7),
    }

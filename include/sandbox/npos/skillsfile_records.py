"""How skillsfile writes its export: one CSV in a ZIP, semicolons, Windows' characters and line ends."""

from __future__ import annotations

import csv
import io
import zipfile
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from include.sandbox.npos.catalogue import PLACES
from include.sandbox.npos.world import DAY, FINAL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from include.sandbox.npos.partner import Partner
    from include.sandbox.npos.world import Learning, Offering

LONDON = ZoneInfo("Europe/London")
EXPORTED_AT = (2026, 1, 1, 3, 0, 0)  # in the archive's directory; nobody reads it
STATE = {"active": "Open", "full": "Full", "draft": "Draft", "paused": "Paused", "closed": "Closed"}
THEMES = {"training": "Skills", "cv": "CV", "interview": "Interviews", "food": "Meals"}
JOINING = {"open": "Walk in", "approval": "Interview", "external_form": "Web form", "closed": "Not open"}
STATUS = {
    "requested": "Applied",
    "accepted": "Offered",
    "rejected": "Turned down",
    "waitlisted": "Waiting",
    "enrolled": "Booked",
    "in_progress": "Attending",
    "on_hold": "Break",
    "completed": "Passed",
    "failed": "Not passed",
    "withdrawn": "Left",
    "cancelled": "Cancelled",
    "expired": "Lapsed",
}
BAD_LEARNERS: tuple[tuple[dict[str, Any], bool], ...] = (
    ({"record_no": "", "course_ref": "SF-1000", "learner_no": "L-0", "state": "Attending"}, True),
    ({"record_no": "R-BAD-PERCENT", "course_ref": "SF-1000", "state": "Attending", "percent": "half"}, True),
    ({"record_no": "R-NO-COURSE", "course_ref": "", "learner_no": "L-0", "state": "Attending"}, True),
    ({"record_no": "R-ODD-STATE", "course_ref": "SF-1000", "learner_no": "L-0", "state": "DBS check"}, False),
)


def typed(partner: Partner, moment: int | None) -> str:
    """Return a moment as local text, blank for none."""
    return "" if moment is None else partner.at(moment).astimezone(LONDON).strftime("%d/%m/%Y %H:%M")


def course(partner: Partner, offering: Offering) -> dict[str, Any]:
    """Return an offering as a row of ``courses.csv``."""
    theme = offering.theme
    city = PLACES[offering.place][0]
    return {
        "course_ref": f"SF-{1000 + offering.number}",
        "title": theme.title if offering.run == 1 else f'{theme.title} "{offering.run}"; evening',
        "about": f"<p>{theme.about}</p>\r\nTravel up to £6.",
        "type": theme.kind,
        "themes": f"{THEMES.get(theme.category, theme.category)}|Local",
        "state": STATE[offering.state],
        "starts": typed(partner, offering.starts * DAY + 9 * 60),
        "ends": typed(partner, offering.ends * DAY + 17 * 60),
        "places": str(offering.places),
        "taken": str(offering.taken),
        "fee": f"{offering.price:.2f}",
        "venue": city,
        "mode": offering.mode,
        "joining": JOINING[offering.enrolment],
        "link": f"https://skillsfile.example/c/{offering.number}",
        "changed": typed(partner, offering.modified),
    }


def learner(partner: Partner, learning: Learning) -> dict[str, Any]:
    """Return an assignment as a row of ``learners.csv``."""
    return {
        "record_no": f"R-{learning.index:06d}",
        "course_ref": f"SF-{1000 + learning.offering}",
        "learner_no": f"L-{partner.world.token('person', learning.person)}",
        "state": STATUS[learning.state],
        "percent": f"{learning.percent:g}".replace(".", ",") if learning.started_at is not None else "",
        "applied": typed(partner, learning.requested_at),
        "started": typed(partner, learning.started_at),
        "ended": typed(partner, learning.ended_at if learning.state in FINAL else None),
        "changed": typed(partner, learning.modified),
    }


COURSE_COLUMNS = (
    "course_ref", "title", "about", "type", "themes", "state", "starts", "ends", "places", "taken", "fee",
    "venue", "mode", "joining", "link", "changed",
)  # fmt: skip
LEARNER_COLUMNS = (
    "record_no", "course_ref", "learner_no", "state", "percent", "applied", "started", "ended", "changed",
)  # fmt: skip


def export(name: str, columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> bytes:
    """Return the ZIP archive with one CSV; the same rows give the same bytes."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, restval="", extrasaction="ignore", delimiter=";")
    writer.writeheader()
    writer.writerows(rows)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        member = zipfile.ZipInfo(name, EXPORTED_AT)
        member.compress_type = zipfile.ZIP_DEFLATED
        archive.writestr(member, text.getvalue().encode("cp1252", "replace"))
    return packed.getvalue()

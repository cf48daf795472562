"""How codebridge writes its records: OneRoster 1.2, progress in ``metadata``, its extension point."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from include.sandbox.npos.catalogue import PLACES
from include.sandbox.npos.world import DAY

if TYPE_CHECKING:
    from include.sandbox.npos.partner import Partner
    from include.sandbox.npos.world import Learning, Offering

API = "https://codebridge.example/ims/oneroster/rostering/v1p2"
STATE = {"active": "open"}
KIND = {"program": "bootcamp"}
MODE = {"in_person": "onsite"}
ENROLMENT = {"external_form": "approval"}
SCHOOL = {"href": f"{API}/schools/org-codebridge", "sourcedId": "org-codebridge", "type": "org"}


def class_id(partner: Partner, index: int) -> str:
    """Return the sourcedId of the class of an offering."""
    return "cls-" + partner.world.token("class", index)


def one_class(partner: Partner, offering: Offering) -> dict[str, Any]:
    """Return an offering as a OneRoster class."""
    key, theme = class_id(partner, offering.number), offering.theme
    code = "".join(word[0] for word in theme.title.split()).upper()
    term = f"term-{(partner.state.first_day + timedelta(days=offering.starts)).year}"
    return {
        "sourcedId": key,
        "status": "tobedeleted" if offering.withdrawn else "active",
        "dateLastModified": partner.iso(offering.modified),
        "metadata": _class_metadata(partner, offering, key),
        "title": f"{theme.title}, cohort {offering.run}",
        "classCode": f"{code}-{offering.run}",
        "classType": "scheduled",
        "location": "Online" if offering.mode == "online" else PLACES[offering.place][1],
        "grades": [],
        "subjects": [theme.title.split()[0]],
        "subjectCodes": [code],
        "periods": [],
        "course": {
            "href": f"{API}/courses/crs-{code.lower()}",
            "sourcedId": f"crs-{code.lower()}",
            "type": "course",
        },
        "school": SCHOOL,
        "terms": [{"href": f"{API}/terms/{term}", "sourcedId": term, "type": "academicSession"}],
    }


def _class_metadata(partner: Partner, offering: Offering, key: str) -> dict[str, Any]:
    theme = offering.theme

    def day(number: int) -> str:
        return (partner.state.first_day + timedelta(days=number)).isoformat()

    return {
        "summary": theme.about,
        "description": f"<p>{theme.about} Travel up to &pound;6 a day, café.</p><ul><li>Laptop</li></ul>",
        "kind": KIND.get(theme.kind, theme.kind),
        "category": theme.category,
        "state": STATE.get(offering.state, offering.state),
        "url": f"https://codebridge.example/classes/{key}",
        "startsOn": day(offering.starts),
        "endsOn": day(offering.ends),
        "enrolBy": day(offering.starts - 7),
        "durationHours": 12 * (1 + offering.number % 5),
        "seats": offering.places,
        "seatsTaken": offering.taken,
        "waitlist": offering.waitlist,
        "price": {"amount": offering.price, "currency": "GBP"},
        "language": "en",
        "mode": MODE.get(offering.mode, offering.mode),
        "syllabusPdf": f"https://codebridge.example/syllabus/{key}.pdf" if offering.number % 3 else None,
        "eligibility": "18 or over, right to work in the UK.",
        "enrolment": ENROLMENT.get(offering.enrolment, offering.enrolment),
    }


def enrollment_id(partner: Partner, index: int) -> str:
    """Return the sourcedId of the enrollment of an assignment."""
    return "enr-" + partner.world.token("enrollment", index)


def enrollment(partner: Partner, learning: Learning) -> dict[str, Any]:
    """Return an assignment as a OneRoster enrollment."""
    key = enrollment_id(partner, learning.index)
    user = "usr-" + partner.world.token("user", learning.person)
    cls = class_id(partner, learning.offering)
    begin = learning.started_at or learning.enrolled_at
    return {
        "sourcedId": key,
        "status": "tobedeleted" if learning.deleted else "active",
        "dateLastModified": partner.iso(learning.modified),
        "metadata": _enrollment_metadata(partner, learning, key),
        "role": "student",
        "primary": "false",
        "beginDate": _date(partner, begin),
        "endDate": _date(partner, learning.due_at),
        "user": {"href": f"{API}/users/{user}", "sourcedId": user, "type": "user"},
        "class": {"href": f"{API}/classes/{cls}", "sourcedId": cls, "type": "class"},
        "school": SCHOOL,
    }


def _date(partner: Partner, moment: int | None) -> str | None:
    return None if moment is None else (partner.iso(moment - moment % DAY) or "")[:10]


def _enrollment_metadata(partner: Partner, learning: Learning, key: str) -> dict[str, Any]:
    iso = partner.iso
    passed = None if learning.score is None else learning.state == "completed"
    return {
        "state": learning.state.upper(),
        "stateReason": learning.reason,
        "progressPercent": learning.percent,
        "modulesDone": learning.units_done,
        "modulesTotal": learning.units_total,
        "requestedAt": iso(learning.requested_at),
        "acceptedAt": iso(learning.accepted_at),
        "enrolledAt": iso(learning.enrolled_at),
        "startedAt": iso(learning.started_at),
        "lastActivityAt": iso(learning.last_activity_at),
        "dueAt": iso(learning.due_at),
        "completedAt": iso(learning.completed_at),
        "withdrawnAt": iso(learning.ended_at) if learning.state == "withdrawn" else None,
        "finalScore": learning.score,
        "passed": passed,
        "certificateUrl": f"https://codebridge.example/certificates/{key}" if passed else None,
        "attempt": learning.attempt,
    }


def result(partner: Partner, learning: Learning) -> dict[str, Any]:
    """Return the gradebook result of a finished enrollment."""
    user = "usr-" + partner.world.token("user", learning.person)
    cls = class_id(partner, learning.offering)
    item = f"li-{cls[4:]}"
    return {
        "sourcedId": "res-" + partner.world.token("result", learning.index),
        "status": "tobedeleted" if learning.deleted else "active",
        "dateLastModified": partner.iso(learning.modified),
        "metadata": {},
        "lineItem": {"href": f"{API}/lineItems/{item}", "sourcedId": item, "type": "lineItem"},
        "student": {"href": f"{API}/users/{user}", "sourcedId": user, "type": "user"},
        "class": {"href": f"{API}/classes/{cls}", "sourcedId": cls, "type": "class"},
        "scoreStatus": "fully graded",
        "score": float(learning.score or 0),
        "scoreDate": _date(partner, learning.ended_at or learning.modified),
        "comment": "",
    }

"""How hopeworks writes its records: HSDS 3.0 names for services, its own for learner progress."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from include.sandbox.npos.catalogue import PLACES
from include.sandbox.npos.world import DAY

if TYPE_CHECKING:
    from include.sandbox.npos.partner import Partner
    from include.sandbox.npos.world import Learning, Offering

STATUS = {"active": "active", "full": "active", "paused": "temporarily closed", "closed": "inactive"}
PROCESS = {
    "open": "self_referral",
    "approval": "approval",
    "external_form": "external_form",
    "closed": "closed",
}
CATEGORY = {
    "cv": ("cv_help", "CV help"),
    "interview": ("interview_help", "Interview help"),
    "clothing": ("business_clothing", "Business clothing"),
    "apprenticeship": ("apprenticeship_intake", "Apprenticeship intake"),
    "training": ("training_intake", "Training intake"),
    "college": ("college_intake", "College intake"),
    "food": ("food", "Food"),
    "housing": ("housing", "Housing"),
    "childcare": ("childcare", "Child care"),
    "mentoring": ("mentoring", "Mentoring"),
    "other": ("misc", "Other"),
}
TYPE = {"program": ("programme", "Programme")}
STATE = {
    "requested": "applied",
    "rejected": "declined",
    "waitlisted": "waiting_list",
    "on_hold": "paused",
    "failed": "not_passed",
    "withdrawn": "left",
    "expired": "lapsed",
}
MERIT, DISTINCTION = 70, 85
BAD_SERVICES: tuple[tuple[dict[str, Any], bool], ...] = (
    ({"id": None, "name": "Draft entry without number", "description": "", "status": "active"}, True),
)
_PROGRESS: dict[str, Any] = {
    "learner_ref": "L-0000000000",
    "attempt": 1,
    "state": "in_progress",
    "state_reason": None,
    "percent": 50,
    "units_done": 2,
    "units_total": 4,
    **dict.fromkeys(("passed", "score", "grade", "certificate_url", "mentor_ref")),
    **dict.fromkeys(("applied_at", "accepted_at", "enrolled_at", "started_at", "last_activity_at")),
    **dict.fromkeys(("due_at", "completed_at", "left_at")),
}
BAD_PROGRESS: tuple[tuple[dict[str, Any], bool], ...] = (
    (_PROGRESS, True),
    ({"id": "lp-bad-percent", **_PROGRESS, "percent": "forty"}, True),
    ({"id": "lp-odd-state", **_PROGRESS, "state": "transferred"}, False),
)


def service(partner: Partner, offering: Offering) -> dict[str, Any]:
    """Return an HSDS service with its nested objects."""

    def ident(*parts: object) -> str:
        token = partner.world.token(*parts, size=16)
        return f"{token[:8]}-{token[8:12]}-{token[12:16]}-{token[16:20]}-{token[20:]}"

    index, theme = offering.number, offering.theme
    city = PLACES[offering.place][0]
    key = ident("service", index)
    status = "defunct" if offering.withdrawn else STATUS.get(offering.state, "inactive")
    last_modified = partner.iso(offering.modified)
    return {
        "id": key,
        "name": f"{theme.title} ({city})" if offering.run == 1 else f"{theme.title} ({city}, {offering.run})",
        "alternate_name": None,
        "description": f"{theme.about} Hopeworks {city}: café on site, travel up to £6 a day is paid.",
        "url": f"https://hopeworks.example/services/{key}",
        "email": None,
        "status": status,
        "application_process": PROCESS[offering.enrolment],
        "fees_description": f"£{offering.price:.2f}" if offering.price else "Free of charge",
        "eligibility_description": f"Adults looking for work in or near {city}.",
        "minimum_age": (16, 18, 19)[index % 3],
        "maximum_age": (None, None, 24)[index % 3],
        "wait_time": f"{1 + index % 4} weeks" if offering.state == "full" else None,
        "alert": "Back soon." if status == "temporarily closed" else None,
        "last_modified": last_modified,
        "assured_date": _day(partner, offering.born // DAY),
        "organization": _organization(ident, city, offering.place),
        "program": {"id": ident("program", theme.category), "name": CATEGORY[theme.category][1]},
        "languages": [{"id": ident("language", "en"), "name": "English", "code": "en"}],
        "cost_options": _costs(partner, ident, offering),
        "schedules": _schedules(partner, ident, offering),
        "service_at_locations": _locations(ident, offering),
        "attributes": [
            _attribute(ident, index, "service_category", *CATEGORY[theme.category]),
            _attribute(
                ident, index, "service_type", *TYPE.get(theme.kind, (theme.kind, theme.kind.capitalize()))
            ),
        ],
        "capacities": [
            {
                "id": ident("capacity", index),
                "unit": {"id": ident("unit"), "name": "places"},
                "available": offering.places - offering.taken,
                "maximum": offering.places,
                "updated": last_modified,
            }
        ],
    }


def _day(partner: Partner, day: int) -> str:
    return (partner.state.first_day + timedelta(days=day)).isoformat()


def _organization(ident: Any, city: str, place: int) -> dict[str, Any]:
    return {
        "id": ident("organization", city),
        "name": f"Hopeworks {city}",
        "description": f"Help into work, in {city} since {1998 + place}.",
        "website": f"https://hopeworks.example/{city.lower()}",
        "organization_identifiers": [
            {
                "id": ident("identifier", city),
                "identifier_scheme": "GB-CHC",
                "identifier_type": "Charity number",
                "identifier": str(1_081_200 + place),
            }
        ],
    }


def _costs(partner: Partner, ident: Any, offering: Offering) -> list[dict[str, Any]]:
    if not offering.price:
        return []
    return [
        {
            "id": ident("cost", offering.number),
            "valid_from": _day(partner, offering.born // DAY),
            "valid_to": None,
            "option": "Deposit",
            "currency": "GBP",
            "amount": offering.price,
            "amount_description": "returned after the last session",
        }
    ]


def _schedules(partner: Partner, ident: Any, offering: Offering) -> list[dict[str, Any]]:
    if offering.theme.kind in {"resource", "service"}:
        return []
    return [
        {
            "id": ident("schedule", offering.number),
            "valid_from": _day(partner, offering.starts),
            "valid_to": _day(partner, offering.ends),
            "dtstart": _day(partner, offering.starts),
            "timezone": "Europe/London",
            "freq": "WEEKLY",
            "interval": 1,
            "byday": "TU,TH",
            "opens_at": "10:00",
            "closes_at": "12:30",
            "attending_type": offering.mode,
            "description": "Tuesdays and Thursdays in term time.",
        }
    ]


def _locations(ident: Any, offering: Offering) -> list[dict[str, Any]]:
    city, building, postcode = PLACES[offering.place]
    address = {
        "id": ident("address", offering.place),
        "address_1": building,
        "city": city,
        "postal_code": postcode,
        "country": "GB",
        "address_type": "physical",
    }
    location = {
        "id": ident("location", offering.place),
        "location_type": "physical",
        "name": building,
        "addresses": [address],
    }
    return [{"id": ident("at", offering.number), "location": location}]


def _attribute(ident: Any, index: int, link_type: str, code: str, name: str) -> dict[str, Any]:
    term = {"id": ident("term", code), "code": code, "name": name, "taxonomy": "hopeworks"}
    return {"id": ident("attribute", index, link_type), "link_type": link_type, "taxonomy_term": term}


def progress_id(partner: Partner, index: int) -> str:
    """Return the id of the progress of an assignment."""
    return "lp-" + partner.world.token("progress", index, size=6)


def progress(partner: Partner, learning: Learning, service_id: str) -> dict[str, Any]:
    """Return one learner's progress."""
    finished = learning.score is not None
    passed = learning.state == "completed" if finished else None
    iso = partner.iso
    key = progress_id(partner, learning.index)
    return {
        "id": key,
        "service_id": service_id,
        "learner_ref": "L-" + partner.world.token("learner", learning.person),
        "attempt": learning.attempt,
        "state": STATE.get(learning.state, learning.state),
        "state_reason": learning.reason,
        "percent": learning.percent,
        "units_done": learning.units_done,
        "units_total": learning.units_total,
        "passed": passed,
        "score": {"raw": learning.score, "min": 0, "max": 100} if finished else None,
        "grade": _grade(learning.score or 0, passed=bool(passed)) if finished else None,
        "certificate_url": f"https://hopeworks.example/certificates/{key[3:]}" if passed else None,
        "mentor_ref": f"C-{learning.person % 40:03d}" if learning.index % 9 == 0 else None,
        "applied_at": iso(learning.requested_at),
        "accepted_at": iso(learning.accepted_at),
        "enrolled_at": iso(learning.enrolled_at),
        "started_at": iso(learning.started_at),
        "last_activity_at": iso(learning.last_activity_at),
        "due_at": iso(learning.due_at),
        "completed_at": iso(learning.completed_at),
        "left_at": iso(learning.ended_at) if learning.state == "withdrawn" else None,
        "modified_at": iso(learning.modified),
    }


def _grade(score: int, *, passed: bool) -> str:
    if not passed:
        return "fail"
    return "distinction" if score >= DISTINCTION else "merit" if score >= MERIT else "pass"

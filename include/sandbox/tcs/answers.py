"""What each endpoint of TCS answers, its traps included: plain functions over the state."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from include.sandbox.tcs.state import Json, TcsState

OK, CREATED, BAD_REQUEST, NOT_FOUND, CONFLICT = 200, 201, 400, 404, 409
DEFAULT_PAGE, LARGEST_PAGE = 20, 2_000
"""Spring's: who does not ask for a size gets 20, who asks for more than 2,000 gets 2,000."""
POST_STATUSES = frozenset({"RECONCILED", "DELETED"})
ABSENCE_FIELDS = ("startDate", "endDate", "durationInDays", "absenceAttendanceId", "personId")
SUMMARY = (
    "dateFrom", "dateTo", "placementType", "status", "placementStatus", "traineeId", "siteId",
    "gradeAbbreviation", "placementWholeTimeEquivalent",
)  # fmt: skip


class RefusedError(Exception):
    """TCS refuses the call.

    Args:
        status: HTTP status of the answer.
        reason: Its text.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Call:
    """One call: the decoded path parts that vary, the query and the body as sent."""

    keys: tuple[str, ...]
    query: Mapping[str, str]
    body: bytes

    def number(self) -> int:
        """Return the first path part as an id."""
        text = self.keys[0]
        if not text.isdecimal() or len(text) > 18:  # noqa: PLR2004 - what a Java long holds
            raise RefusedError(BAD_REQUEST, "the id in the path is not a number")
        return int(text)

    def json(self, kind: type) -> Any:
        """Return the body, which must be a JSON object or list."""
        try:
            value = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            raise RefusedError(BAD_REQUEST, "the body is not JSON") from None
        if not isinstance(value, kind):
            raise RefusedError(BAD_REQUEST, "the body has the wrong JSON type")
        return value


Answer = tuple[int, Any]


def _found(value: Json | None) -> Json:
    if value is None:
        raise RefusedError(NOT_FOUND, "there is no such thing")
    return value


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


# -- posts and placements


def posts_by_filter(state: TcsState, call: Call) -> Answer:
    """Answer one page of the posts with the numbers in the body; the default page has 20."""
    numbers = call.json(list)
    if not all(isinstance(number, str) for number in numbers):
        raise RefusedError(BAD_REQUEST, "the body is a list of texts")
    posts = [post for number in dict.fromkeys(numbers) if (post := state.post_by_number(number)) is not None]
    posts.sort(key=lambda post: int(post["id"]))
    page, size = _page(call.query)
    shown = posts[page * size : (page + 1) * size]
    pages = -(-len(posts) // size)
    return OK, {
        "content": shown,
        "number": page,
        "size": size,
        "numberOfElements": len(shown),
        "totalElements": len(posts),
        "totalPages": pages,
        "first": page == 0,
        "last": page >= pages - 1,
        "empty": not shown,
    }


def _page(query: Mapping[str, str]) -> tuple[int, int]:
    """Return page and size as Spring reads them: nonsense is the default, too much is the most."""
    page, size = query.get("page", "0"), query.get("size", "")
    wanted = int(size) if size.isdecimal() and int(size) else DEFAULT_PAGE
    return int(page) if page.isdecimal() else 0, min(wanted, LARGEST_PAGE)


def posts_by_number(state: TcsState, call: Call) -> Answer:
    """Answer the posts of comma-separated numbers, unpaged."""
    numbers = dict.fromkeys(call.keys[0].split(","))
    return OK, [post for number in numbers if (post := state.post_by_number(number)) is not None]


def post(state: TcsState, call: Call) -> Answer:
    """Answer a post with what was told about it."""
    found = _found(state.post(call.number()))
    return OK, {**found, "esrEvents": state.events["post"].get(found["id"], [])}


def post_placements(state: TcsState, call: Call) -> Answer:
    """Answer the placements of a post."""
    found = _found(state.post(call.number()))
    return OK, [_summary(state, one) for one in state.placements_of("post", found["id"])]


def person_placements(state: TcsState, call: Call) -> Answer:
    """Answer the placements of a person."""
    person_id = call.number()
    if not state.knows_person(person_id):
        raise RefusedError(NOT_FOUND, "there is no such person")
    return OK, [_summary(state, one) for one in state.placements_of("person", person_id)]


def placement(state: TcsState, call: Call) -> Answer:
    """Answer one placement in full."""
    found = _found(state.placement(call.number()))
    gmc, _ = state.registration(found["traineeId"])
    return OK, {
        **_summary(state, found),
        "id": found["id"],
        "postId": found["postId"],
        "lifecycleState": found["lifecycleState"],
        "siteCode": found["siteCode"],
        "traineeGmcNumber": gmc,
    }


def _summary(state: TcsState, found: Json) -> Json:
    contact = state.detail("contact", found["traineeId"]) or {}
    at = state.post(found["postId"])
    summary = {name: found[name] for name in SUMMARY}
    return summary | {
        "placementId": found["id"],
        "forenames": contact.get("forenames"),
        "legalforenames": contact.get("legalForenames"),
        "surname": contact.get("surname"),
        "legalsurname": contact.get("legalSurname"),
        "email": contact.get("email"),
        "nationalPostNumber": at["nationalPostNumber"] if at else None,
        "esrEvents": state.events["placement"].get(found["id"], []),
    }


def post_changed(state: TcsState, call: Call) -> Answer:
    """Append an event to a post; a repeat is one more event."""
    post_id = call.number()
    _found(state.post(post_id))
    body = call.json(dict)
    if body.get("postId") != post_id or body.get("status") not in POST_STATUSES:
        raise RefusedError(BAD_REQUEST, "postId or status is wrong")
    event = _event(body, "eventDateTime")
    return CREATED, state.change({"kind": "event", "of": "post", "key": post_id, "body": event})


def placement_exported(state: TcsState, call: Call) -> Answer:
    """Append an event to a placement; a repeat is one more event."""
    placement_id = call.number()
    _found(state.placement(placement_id))
    body = call.json(dict)
    if body.get("placementId") != placement_id or not isinstance(body.get("status"), str):
        raise RefusedError(BAD_REQUEST, "placementId or status is wrong")
    event = _event(body, "exportedAt")
    return CREATED, state.change({"kind": "event", "of": "placement", "key": placement_id, "body": event})


def _event(body: Json, moment: str) -> Json:
    """Return the event of a body, which has a moment, a file and a position."""
    try:
        datetime.fromisoformat(body.get(moment) or "")
    except (ValueError, TypeError):
        raise RefusedError(BAD_REQUEST, f"{moment} is not a date and time") from None
    if not isinstance(body.get("filename"), str) or not isinstance(body.get("positionId"), int):
        raise RefusedError(BAD_REQUEST, "filename or positionId is missing")
    key = "postId" if "postId" in body else "placementId"
    return {
        name: body.get(name) for name in (moment, "filename", key, "positionNumber", "positionId", "status")
    }


# -- people


def by_gmc(state: TcsState, call: Call) -> Answer:
    """Answer the GMC details of comma-separated numbers; the id is the person's."""
    return _registered(state, call, "gmc")


def by_gdc(state: TcsState, call: Call) -> Answer:
    """Answer the GDC details of comma-separated numbers; the id is the person's."""
    return _registered(state, call, "gdc")


def _registered(state: TcsState, call: Call, body: str) -> Answer:
    numbers = dict.fromkeys(call.keys[0].split(","))
    status = "Registered with Licence" if body == "gmc" else "Registered"
    return OK, [
        {"id": person_id, f"{body}Number": number, f"{body}Status": status}
        for number in numbers
        for person_id in state.registered(body, number)
    ]


def person(state: TcsState, call: Call) -> Answer:
    """Answer a person with contact and personal details."""
    person_id = call.number()
    contact = _found(state.detail("contact", person_id))
    gmc, gdc = state.registration(person_id)
    return OK, {
        "id": person_id,
        "role": "DR in Training",
        "status": "CURRENT",
        "contactDetails": contact,
        "personalDetails": state.detail("personal", person_id),
        "gmcDetails": {"id": person_id, "gmcNumber": gmc},
        "gdcDetails": {"id": person_id, "gdcNumber": gdc},
    }


def patch_contact(state: TcsState, call: Call) -> Answer:
    """Merge contact details of the person the *body* names."""
    return _patch_details(state, call, "contact")


def patch_personal(state: TcsState, call: Call) -> Answer:
    """Merge personal details of the person the *body* names."""
    return _patch_details(state, call, "personal")


def _patch_details(state: TcsState, call: Call, kind: str) -> Answer:
    """Merge the body's values: its id counts, the path's does not, and null never clears."""
    call.number()
    body = call.json(dict)
    key = body.pop("id", None)
    if not isinstance(key, int):
        raise RefusedError(BAD_REQUEST, "the body has no id")
    known = _found(state.detail(kind, key))
    _known_fields(body, frozenset(known) - {"amendedDate"})
    if not all(value is None or isinstance(value, str) for value in body.values()):
        raise RefusedError(BAD_REQUEST, "a value is not text")
    if body.get("dateOfBirth") is not None:
        _is_date(body, "dateOfBirth")
    return OK, state.change({"kind": "patch", "of": kind, "key": key, "body": body, "at": _now()})


# -- absences


def absence(state: TcsState, call: Call) -> Answer:
    """Answer an absence by its ``absenceAttendanceId``; 404 when there is none."""
    return OK, _found(state.absence_by_attendance(call.keys[0]))


def create_absence(state: TcsState, call: Call) -> Answer:
    """Create an absence; a repeat creates another one."""
    body = call.json(dict)
    if body.get("id") is not None:
        raise RefusedError(BAD_REQUEST, "a new absence cannot have an id")
    _absence_is_whole(state, body)
    values = {name: body.get(name) for name in ABSENCE_FIELDS}
    return CREATED, state.change({"kind": "absence", "body": values, "at": _now()})


def put_absence(state: TcsState, call: Call) -> Answer:
    """Replace an absence; a stale or missing ``amendedDate`` is refused."""
    known = _found(state.absence(call.number()))
    body = call.json(dict)
    if body.get("id") != known["id"]:
        raise RefusedError(BAD_REQUEST, "the id of the body is not that of the path")
    if body.get("amendedDate") != known["amendedDate"]:
        raise RefusedError(CONFLICT, "amendedDate is stale: somebody else has changed it")
    _absence_is_whole(state, body)
    values = {name: body.get(name) for name in ABSENCE_FIELDS}
    return OK, state.change({"kind": "absence_put", "key": known["id"], "body": values, "at": _now()})


def patch_absence(state: TcsState, call: Call) -> Answer:
    """Merge into an absence; an ``amendedDate`` that is sent must be the present one."""
    known = _found(state.absence(call.number()))
    body = call.json(dict)
    if body.pop("id", known["id"]) != known["id"]:
        raise RefusedError(BAD_REQUEST, "the id of the body is not that of the path")
    if body.pop("amendedDate", known["amendedDate"]) != known["amendedDate"]:
        raise RefusedError(CONFLICT, "amendedDate is stale: somebody else has changed it")
    _absence_is_whole(state, {**known, **{name: value for name, value in body.items() if value is not None}})
    return OK, state.change({"kind": "absence_patch", "key": known["id"], "body": body, "at": _now()})


def _absence_is_whole(state: TcsState, body: Json) -> None:
    _known_fields(body, frozenset({*ABSENCE_FIELDS, "id", "amendedDate"}))
    if not isinstance(body.get("personId"), int) or not state.knows_person(body["personId"]):
        raise RefusedError(BAD_REQUEST, "personId names nobody")
    if not isinstance(body.get("absenceAttendanceId"), str) or not body["absenceAttendanceId"]:
        raise RefusedError(BAD_REQUEST, "absenceAttendanceId is not a text")
    for name in ("startDate", "endDate"):
        if body.get(name) is not None:
            _is_date(body, name)
    duration = body.get("durationInDays")
    if duration is not None and (isinstance(duration, bool) or not isinstance(duration, int | float)):
        raise RefusedError(BAD_REQUEST, "durationInDays is not a number")


def _known_fields(body: Json, known: frozenset[str]) -> None:
    """Refuse a field TCS does not have: a wrong name must not look like a success."""
    if strange := sorted(set(body) - known):
        raise RefusedError(BAD_REQUEST, f"unknown field {strange[0][:40]!r}")


def _is_date(body: Json, name: str) -> None:
    try:
        right = date.fromisoformat(body[name]).isoformat() == body[name]
    except (ValueError, TypeError):
        right = False
    if not right:
        raise RefusedError(BAD_REQUEST, f"{name} is not YYYY-MM-DD")


Handler: TypeAlias = "Callable[[TcsState, Call], Answer]"
ROUTES: dict[str, Handler] = {
    "POST posts/filter/deanery": posts_by_filter,
    "GET posts/in/*": posts_by_number,
    "GET posts/*": post,
    "GET posts/*/placements/new": post_placements,
    "POST posts/*/esr-changed": post_changed,
    "GET placements/*": placement,
    "POST placements/*/esr-exported": placement_exported,
    "GET gmc-details/in/*": by_gmc,
    "GET gdc-details/in/*": by_gdc,
    "GET people/*": person,
    "GET people/*/placements/new": person_placements,
    "PATCH contact-details/*": patch_contact,
    "PATCH personal-details/*": patch_personal,
    "GET absence/absenceId/*": absence,
    "POST absence": create_absence,
    "PUT absence/*": put_absence,
    "PATCH absence/*": patch_absence,
}
"""Endpoints below ``/api/``; a star is one path part, percent-decoded after the path was cut."""

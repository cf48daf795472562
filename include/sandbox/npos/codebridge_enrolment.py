"""How codebridge enrols: at once, with an idempotency key; DELETE takes an enrollment back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from fastapi import APIRouter, Request, Response

from include.sandbox.npos.enrolments import Application, leaves
from include.sandbox.npos.partner import fault_of, to_json

if TYPE_CHECKING:
    from include.sandbox.npos.codebridge import Codebridge
    from include.sandbox.npos.enrolments import Enrolled

PATH = "/ims/oneroster/rostering/v1p2/enrollments"
CREATED, NO_CONTENT = 201, 204
WORDS = {
    "full": ("class_full", "the class is full"),
    "closed": ("class_closed", "the class takes nobody"),
    "unknown": ("unknown_class", "there is no such class"),
}


def enrolment_routes(partner: Codebridge) -> APIRouter:
    """Return ``POST``, ``GET`` and ``DELETE`` of an enrollment."""
    router = APIRouter()

    @router.post(PATH)
    async def enrol(request: Request) -> Response:
        if not partner.authorised(request):
            return partner.refuse()
        asked = _application(partner, request, await request.body())
        return _enrol(partner, request, asked) if isinstance(asked, Application) else asked

    @router.get(PATH + "/{ident}")
    async def show(ident: str, request: Request) -> Response:
        if not partner.authorised(request):
            return partner.refuse()
        entry = partner.enrolled_as(ident)
        return _shown(partner, entry, 200) if entry else _unknown()

    @router.delete(PATH + "/{ident}")
    async def withdraw(ident: str, request: Request) -> Response:
        if not partner.authorised(request):
            return partner.refuse()
        entry = partner.enrolled_as(ident)
        if entry is None:
            return _unknown()
        partner.enrolments.withdraw(entry, moment=partner.now())
        return Response(status_code=NO_CONTENT)

    return router


def _application(partner: Codebridge, request: Request, body: bytes) -> Application | Response:
    try:
        enrollment: dict[str, Any] = orjson.loads(body)["enrollment"]
        user, class_id = enrollment["user"], str(enrollment["class"]["sourcedId"])
        names = [str(user[name]).strip() for name in ("givenName", "familyName", "email")]
        reference = str(enrollment["metadata"]["externalReference"])
    except (ValueError, LookupError, TypeError, AttributeError):
        return failure(400, "invaliddata", "enrollment.class, .user with names and e-mail, .metadata")
    if not all(names):
        return failure(400, "invaliddata", "user.givenName, .familyName and .email are needed")
    offering, place = partner.place(class_id)
    return Application(
        key=request.headers.get("idempotency-key", ""),
        reference=reference,
        offering=offering,
        place=place,
        person=names[-1].lower(),
        fields=tuple(leaves(enrollment)),
    )


def _enrol(partner: Codebridge, request: Request, asked: Application) -> Response:
    verdict = partner.enrolments.take(asked, moment=partner.now(), fault=fault_of(request))
    if verdict.entry is None:
        return failure(422, *WORDS[verdict.reason])
    if verdict.kind == "duplicate":
        return failure(409, "duplicate", "this reference is enrolled already")
    return _shown(partner, verdict.entry, CREATED)


def _shown(partner: Codebridge, entry: Enrolled, status: int) -> Response:
    record = partner.enrolled(entry, entry.learning(partner.state.day))
    return Response(to_json({"enrollment": record}), status, media_type="application/json")


def _unknown() -> Response:
    return failure(404, "unknownobject", "there is no such enrollment")


def failure(status: int, code: str, description: str) -> Response:
    """Return a refusal as OneRoster writes it."""
    body = {
        "imsx_codeMajor": "failure",
        "imsx_severity": "error",
        "imsx_description": description,
        "imsx_CodeMinor": {
            "imsx_codeMinorField": [
                {"imsx_codeMinorFieldName": "TargetEndSystem", "imsx_codeMinorFieldValue": code}
            ]
        },
    }
    return Response(to_json(body), status, media_type="application/json")

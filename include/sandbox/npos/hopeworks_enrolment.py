"""How hopeworks enrols: an application is taken with 202 and decided later; who sent it asks after it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from fastapi import APIRouter, Request, Response

from include.sandbox.npos.enrolments import FIRST_INDEX, Application, leaves
from include.sandbox.npos.hopeworks_records import STATE
from include.sandbox.npos.partner import fault_of, to_json

if TYPE_CHECKING:
    from include.sandbox.npos.enrolments import Enrolled
    from include.sandbox.npos.hopeworks import Hopeworks

ACCEPTED = 202
WORDS = {
    "full": ("service_full", "There is no free place."),
    "closed": ("service_closed", "This service takes nobody at the moment."),
    "unknown": ("unknown_service", "There is no such service."),
}


def enrolment_routes(partner: Hopeworks) -> APIRouter:
    """Return the endpoints of applications."""
    router = APIRouter()

    @router.post("/services/{service_id}/applications")
    async def apply(service_id: str, request: Request) -> Response:
        if not partner.authorised(request):
            return partner.unauthorised()
        asked = _application(partner, service_id, request, await request.body())
        return _apply(partner, request, asked) if isinstance(asked, Application) else asked

    @router.get("/applications")
    async def find(request: Request) -> Response:
        if not partner.authorised(request):
            return partner.unauthorised()
        partner.enrolments.settle(partner.state.day)
        entries = partner.enrolments.of(request.query_params.get("external_reference", ""))
        return answer({"contents": [_shown(partner, entry) for entry in entries]}, 200)

    @router.get("/applications/{ident}")
    async def show(ident: str, request: Request) -> Response:
        if not partner.authorised(request):
            return partner.unauthorised()
        return _asked_after(partner, ident)

    @router.post("/applications/{ident}/withdraw")
    async def withdraw(ident: str, request: Request) -> Response:
        if not partner.authorised(request):
            return partner.unauthorised()
        return _withdrawn(partner, ident)

    return router


def _application(
    partner: Hopeworks, service_id: str, request: Request, body: bytes
) -> Application | Response:
    try:
        form: dict[str, Any] = orjson.loads(body)
        learner, reference = form["learner"], str(form["external_reference"])
        names = [str(learner[name]).strip() for name in ("first_name", "last_name", "email")]
    except (ValueError, LookupError, TypeError, AttributeError):
        return _problem(
            400, "bad_request", "learner with first_name, last_name and email; external_reference"
        )
    if not all(names):
        return _problem(400, "bad_request", "learner.first_name, .last_name and .email are needed.")
    offering, place = partner.place(service_id)
    return Application(
        key=request.headers.get("idempotency-key", ""),
        reference=reference,
        offering=offering,
        place=place,
        person=names[-1].lower(),
        fields=tuple(leaves(form)),
    )


def _apply(partner: Hopeworks, request: Request, asked: Application) -> Response:
    verdict = partner.enrolments.take(asked, moment=partner.now(), first="applied", fault=fault_of(request))
    if verdict.entry is None:
        return _problem(422, *WORDS[verdict.reason])
    if verdict.kind == "duplicate":
        return _problem(409, "duplicate", "This reference has applied already.")
    return answer(_shown(partner, verdict.entry), ACCEPTED)


def _asked_after(partner: Hopeworks, ident: str) -> Response:
    partner.enrolments.settle(partner.state.day)
    entry = partner.enrolled_as(ident)
    if entry is None:
        return _problem(404, "not_found", "There is no such application.")
    return answer(_shown(partner, partner.enrolments.asked_after(entry, moment=partner.now())), 200)


def _withdrawn(partner: Hopeworks, ident: str) -> Response:
    entry = partner.enrolled_as(ident)
    if entry is None:
        return _problem(404, "not_found", "There is no such application.")
    return answer(_shown(partner, partner.enrolments.withdraw(entry, moment=partner.now())), 200)


def _shown(partner: Hopeworks, entry: Enrolled) -> dict[str, Any]:
    learning = entry.learning(partner.state.day)
    return {
        "id": partner.enrolled_id(entry),
        "external_reference": entry.reference,
        "service_id": partner.offering_key(entry.offering),
        "learner_ref": "L-" + partner.world.token("learner", FIRST_INDEX + entry.person),
        "state": STATE.get(learning.state, learning.state),
        "state_reason": entry.reason,
    }


def answer(body: Any, status: int) -> Response:
    """Return a JSON answer."""
    return Response(to_json(body), status, media_type="application/json")


def _problem(status: int, error: str, description: str) -> Response:
    return answer({"error": error, "error_description": description}, status)

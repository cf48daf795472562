"""How mentornet enrols: a form, 200 for everything, its own words; nothing is ever taken back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Request, Response

from include.sandbox.npos.enrolments import Application
from include.sandbox.npos.mentornet_records import STATUS
from include.sandbox.npos.partner import fault_of, to_json

if TYPE_CHECKING:
    from include.sandbox.npos.enrolments import Enrolled
    from include.sandbox.npos.mentornet import Mentornet

NEEDED = ("prog", "first_name", "surname", "mail", "ref")
WORDS = {
    "full": ("programme_full", "Sorry, no places left."),
    "closed": ("programme_closed", "Sorry, this one is closed."),
    "unknown": ("no_such_programme", "Sorry, we do not know this programme."),
}


def enrolment_routes(partner: Mentornet) -> APIRouter:
    """Return ``sign_up`` and ``find_match``."""
    router = APIRouter(prefix="/api/v1")

    @router.post("/sign_up")
    async def sign_up(request: Request) -> Response:
        if refusal := partner.refusal(request):
            return refusal
        form = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        if missing := [name for name in NEEDED if not form.get(name, "").strip()]:
            return _no("bad_form", f"Please fill in: {', '.join(missing)}")
        return _sign_up(partner, request, form)

    @router.get("/find_match")
    async def find_match(request: Request) -> Response:
        if refusal := partner.refusal(request):
            return refusal
        entries = partner.enrolments.of(request.query_params.get("ref", ""))
        return _yes({"matches": [_shown(partner, entry) for entry in entries]})

    return router


def _sign_up(partner: Mentornet, request: Request, form: dict[str, str]) -> Response:
    offering, place = partner.place(form["prog"])
    asked = Application(
        key=form["ref"],
        reference=form["ref"],
        offering=offering,
        place=place,
        person=form["mail"].strip().lower(),
        fields=tuple(form),
    )
    verdict = partner.enrolments.take(asked, moment=partner.now(), fault=fault_of(request))
    if verdict.entry is None:
        return _no(*WORDS[verdict.reason])
    if verdict.kind == "duplicate":
        return _no("already", "We have this one already.", match_no=partner.enrolled_id(verdict.entry))
    return _yes(_shown(partner, verdict.entry))


def _shown(partner: Mentornet, entry: Enrolled) -> dict[str, Any]:
    learning = entry.learning(partner.state.day)
    return {
        "match_no": partner.enrolled_id(entry),
        "prog": int(partner.offering_key(entry.offering)),
        "ref": entry.reference,
        "status": STATUS[learning.state],
    }


def _yes(result: dict[str, Any]) -> Response:
    return Response(to_json({"ok": True, "result": result}), 200, media_type="application/json")


def _no(code: str, message: str, **more: str) -> Response:
    body = {"ok": False, "error": {"code": code, "message": message, **more}}
    return Response(to_json(body), 200, media_type="application/json")

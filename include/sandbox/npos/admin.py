"""Admin endpoints, the same on every port: clock, truth, records, faults, request log, reset."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException
from pydantic import BaseModel, ConfigDict, Field

from include.sandbox.fault_list import FaultList
from include.sandbox.npos.faults import Fault
from include.sandbox.npos.misbehave import Misbehaviour
from include.sandbox.npos.state import Resource

if TYPE_CHECKING:
    from collections.abc import Callable

    from include.sandbox.npos.partner import Partner


class ClockChange(BaseModel):
    """Body of ``POST /_admin/clock``."""

    model_config = ConfigDict(extra="forbid")
    advance_days: int = Field(ge=0, le=366)


class RecordChange(BaseModel):
    """Body of ``POST /_admin/records``."""

    model_config = ConfigDict(extra="forbid")
    resource: Resource
    record: Any
    bad: bool = False


class Reset(BaseModel):
    """Body of ``POST /_admin/reset``."""

    model_config = ConfigDict(extra="forbid")
    clock: bool = True


def application(partner: Partner, admin_token: str) -> Misbehaviour:
    """Return the ASGI application of one partner, its admin endpoints and faults included."""
    app = FastAPI(title=partner.name, docs_url=None, redoc_url=None, openapi_url=None)
    faults = FaultList[Fault]()
    outer = Misbehaviour(app, partner, faults)
    app.include_router(partner.router())
    app.include_router(_health(partner))
    guard = [Depends(_checks(admin_token))]
    app.include_router(_clock_and_data(partner), dependencies=guard)
    app.include_router(_faults_and_log(partner, outer, faults), dependencies=guard)
    return outer


def _checks(admin_token: str) -> Callable[..., None]:
    def check(x_admin_token: Annotated[str, Header()] = "") -> None:
        if not hmac.compare_digest(x_admin_token.encode(), admin_token.encode()):
            raise HTTPException(403, "X-Admin-Token is missing or wrong")

    return check


def _health(partner: Partner) -> APIRouter:
    router = APIRouter(prefix="/_admin")

    @router.get("/health")
    async def health() -> dict[str, Any]:
        return {
            "npo": partner.name,
            "today": partner.state.today.isoformat(),
            "offerings": len(partner.dataset("offerings").rows),
            "assignments": len(partner.dataset("assignments").rows),
        }

    return router


def _clock_and_data(partner: Partner) -> APIRouter:
    router = APIRouter(prefix="/_admin")
    state = partner.state

    @router.get("/clock")
    async def clock() -> dict[str, str]:
        return {"today": state.today.isoformat(), "first_day": state.first_day.isoformat()}

    @router.post("/clock")
    async def advance(change: ClockChange) -> dict[str, str]:
        state.advance(change.advance_days)
        return {"today": state.today.isoformat()}

    @router.get("/truth")
    async def get_truth() -> dict[str, Any]:
        return truth(partner)

    @router.post("/records")
    async def inject(change: RecordChange) -> dict[str, str]:
        state.inject(partner.name, change.resource, change.record, bad=change.bad)
        return {"status": "kept"}

    @router.get("/enrolments")
    async def enrolments() -> dict[str, Any]:
        return enrolment_truth(partner)

    return router


def _faults_and_log(partner: Partner, outer: Misbehaviour, faults: FaultList[Fault]) -> APIRouter:
    router = APIRouter(prefix="/_admin")

    @router.post("/faults")
    async def add(rules: list[Fault] | Fault) -> list[dict[str, Any]]:
        faults.add(rules if isinstance(rules, list) else [rules])
        return faults.shown()

    @router.get("/faults")
    async def show() -> list[dict[str, Any]]:
        return faults.shown()

    @router.delete("/faults")
    async def clear() -> list[dict[str, Any]]:
        faults.clear()
        return []

    @router.get("/requests")
    async def requests() -> list[dict[str, Any]]:
        return list(outer.log)

    @router.delete("/requests")
    async def forget_requests() -> list[dict[str, Any]]:
        outer.log.clear()
        return []

    @router.post("/reset")
    async def reset(change: Reset | None = None) -> dict[str, str]:
        faults.clear()
        outer.log.clear()
        partner.renew()
        partner.enrolments.forget()
        partner.state.forget(partner.name)
        if change is None or change.clock:
            partner.state.rewind()
        return {"today": partner.state.today.isoformat()}

    return router


def truth(partner: Partner) -> dict[str, Any]:
    """Return what a correct reader must end with now."""
    rows = {resource: partner.dataset(resource).rows for resource in ("offerings", "assignments")}
    good = {name: sorted(str(row.ident) for row in some if not row.bad) for name, some in rows.items()}
    return {
        "today": partner.state.today.isoformat(),
        **good,
        "bad": {
            name: sorted((row.ident for row in some if row.bad), key=lambda ident: ident or "")
            for name, some in rows.items()
        },
        "deleted": {
            name: sorted(str(row.ident) for row in some if row.deleted and not row.bad)
            for name, some in rows.items()
        },
        "vanished": {"offerings": partner.vanished(), "assignments": []},
    }


def enrolment_truth(partner: Partner) -> dict[str, Any]:
    """Return what was asked of the partner, what became of it, and which offerings take anyone."""
    known = partner.enrolments
    known.settle(partner.state.day)
    entries = (known.number(number) for number in known.numbers())
    ids = {entry.number: partner.enrolled_id(entry) for entry in entries if entry}
    return {**known.counts(), "by_reference": known.by_reference(ids), "places": partner.places()}

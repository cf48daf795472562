"""Admin endpoints of the stand-in and its token endpoint."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Annotated, Any

import orjson
from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from include.sandbox.fault_list import FaultList
from include.sandbox.tcs.api import TcsApi
from include.sandbox.tcs.faults import Fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from include.sandbox.tcs.state import TcsState
    from include.sandbox.tcs.tokens import Tokens

LARGEST_FORM = 64 * 1024


class NewPost(BaseModel):
    """A post to load; with an ``id`` that is there, what to change in it."""

    model_config = ConfigDict(extra="forbid")
    id: int | None = None
    nationalPostNumber: str = Field(min_length=1)  # noqa: N815 - as TCS has it
    status: str = "CURRENT"
    owner: str | None = None


class NewPlacement(BaseModel):
    """A placement to load, with more fields as TCS has them; with a known ``id``, what to change in it."""

    model_config = ConfigDict(extra="allow")
    id: int | None = None
    traineeId: int  # noqa: N815 - as TCS has it
    postId: int  # noqa: N815 - as TCS has it


class NewPerson(BaseModel):
    """A person to load."""

    model_config = ConfigDict(extra="forbid")
    gmcNumber: str | None = None  # noqa: N815 - as TCS has it
    gdcNumber: str | None = None  # noqa: N815 - as TCS has it
    contactDetails: dict[str, str | None] = Field(default_factory=dict)  # noqa: N815 - as TCS has it
    personalDetails: dict[str, str | None] = Field(default_factory=dict)  # noqa: N815 - as TCS has it


def application(state: TcsState, tokens: Tokens, admin_token: str) -> TcsApi:
    """Return the ASGI application: the API, the token endpoint, the admin endpoints and the faults."""
    app = FastAPI(title="tcs", docs_url=None, redoc_url=None, openapi_url=None)
    api = TcsApi(app, state, tokens, FaultList[Fault]())
    app.include_router(_token(tokens))
    app.include_router(_health(state))
    guard = [Depends(_checks(admin_token))]
    app.include_router(_behaviour(state, api, tokens), dependencies=guard)
    app.include_router(_data(state), dependencies=guard)
    app.include_router(_told(state, api, tokens), dependencies=guard)
    return api


def _checks(admin_token: str) -> Callable[..., None]:
    def check(x_admin_token: Annotated[str, Header()] = "") -> None:
        if not hmac.compare_digest(x_admin_token.encode(), admin_token.encode()):
            raise HTTPException(403, "X-Admin-Token is missing or wrong")

    return check


def _token(tokens: Tokens) -> APIRouter:
    router = APIRouter()

    @router.post("/oauth/token")
    async def token(request: Request) -> Response:
        body = await request.body()
        kind = request.headers.get("content-type", "")
        if not kind.startswith("application/x-www-form-urlencoded") or len(body) > LARGEST_FORM:
            return _json({"error": "invalid_request"}, 400)
        issued = tokens.issue(body.decode("latin-1"), request.headers.get("authorization", ""))
        if issued is None:
            return _json({"error": "invalid_client"}, 401)
        return _json({"access_token": issued, "token_type": "Bearer", "expires_in": int(tokens.seconds)}, 200)

    return router


def _health(state: TcsState) -> APIRouter:
    router = APIRouter(prefix="/_admin")

    @router.get("/health")
    async def health() -> dict[str, Any]:
        return {"people": state.world.people, "seed": state.world.seed, "changes": state.changes}

    return router


def _behaviour(state: TcsState, api: TcsApi, tokens: Tokens) -> APIRouter:
    router = APIRouter(prefix="/_admin")
    usual = tokens.seconds

    @router.post("/reset")
    async def reset() -> dict[str, str]:
        state.reset()
        api.faults.clear()
        api.calls.clear()
        api.notes.clear()
        tokens.expire()
        tokens.seconds, tokens.issued = usual, 0
        return {"status": "as at the start"}

    @router.post("/faults")
    async def add(rules: list[Fault] | Fault) -> list[dict[str, Any]]:
        api.faults.add(rules if isinstance(rules, list) else [rules])
        return api.faults.shown()

    @router.get("/faults")
    async def show() -> list[dict[str, Any]]:
        return api.faults.shown()

    @router.delete("/faults")
    async def clear() -> list[dict[str, Any]]:
        api.faults.clear()
        return []

    @router.post("/expire-tokens")
    async def expire(seconds: float | None = None) -> dict[str, float]:
        """End all tokens; those issued from now on are good for ``seconds`` when that is given."""
        tokens.expire()
        tokens.seconds = seconds if seconds is not None else tokens.seconds
        return {"seconds": tokens.seconds}

    return router


def _data(state: TcsState) -> APIRouter:
    router = APIRouter(prefix="/_admin")

    @router.post("/posts")
    async def load_posts(posts: list[NewPost]) -> list[dict[str, Any]]:
        return [state.change({"kind": "post", "body": post.model_dump()}) for post in posts]

    @router.delete("/posts/{post_id}")
    async def remove_post(post_id: int) -> dict[str, Any]:
        return state.change({"kind": "remove_post", "key": post_id})

    @router.post("/placements")
    async def load_placements(placements: list[NewPlacement]) -> list[dict[str, Any]]:
        return [state.change({"kind": "placement", "body": one.model_dump()}) for one in placements]

    @router.delete("/placements/{placement_id}")
    async def remove_placement(placement_id: int) -> dict[str, Any]:
        return state.change({"kind": "remove_placement", "key": placement_id})

    @router.post("/people")
    async def load_people(people: list[NewPerson]) -> list[dict[str, Any]]:
        at = "2026-01-01T09:00:00Z"
        return [state.change({"kind": "person", "body": one.model_dump(), "at": at}) for one in people]

    return router


def _told(state: TcsState, api: TcsApi, tokens: Tokens) -> APIRouter:
    router = APIRouter(prefix="/_admin")

    @router.get("/calls")
    async def calls() -> dict[str, Any]:
        return {
            "total": api.calls.total(),
            "tokens": tokens.issued,
            "by_endpoint": dict(sorted(api.calls.items())),
            "notes": dict(sorted(api.notes.items())),
        }

    @router.delete("/calls")
    async def forget_calls() -> dict[str, Any]:
        api.calls.clear()
        api.notes.clear()
        tokens.issued = 0
        return {}

    @router.get("/told")
    async def told(kind: str = "") -> Response:
        """Answer every change in the order it was made, or those of one kind."""
        entries = state.journal.entries()
        return _json([entry for entry in entries if not kind or entry["kind"] == kind], 200)

    @router.get("/state")
    async def final() -> Response:
        return _json(state.final(), 200)

    @router.get("/digest")
    async def digest() -> dict[str, str]:
        canonical = orjson.dumps(state.final(), option=orjson.OPT_SORT_KEYS)
        return {"sha256": hashlib.sha256(canonical).hexdigest()}

    return router


def _json(value: Any, status: int) -> Response:
    return Response(orjson.dumps(value), status, media_type="application/json")

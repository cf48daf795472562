"""The ASGI layer around a partner: keeps the request log and carries out the faults."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

import orjson

from include.sandbox.npos.faults import ACTED, INSIDE
from include.sandbox.npos.partner import FAULT, Answer, Query, to_json

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from include.sandbox.fault_list import FaultList
    from include.sandbox.npos.faults import Fault
    from include.sandbox.npos.partner import Partner

SECRETS = frozenset({"apikey", "client_secret", "access_token", "token"})
KEPT_REQUESTS = 2000
OK, BAD_REQUEST = 200, 400
IDS = frozenset({"id", "sourcedId", "match_no"})
CHUNK = b'{"id":"endless","note":"' + b"x" * 65_000 + b'"},'


@dataclass
class Reply:
    """An answer about to be sent. ``announced`` is a Content-Length that is not the body's."""

    status: int = OK
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    announced: int | None = None
    endless_bytes: int = 0

    @classmethod
    def json(cls, status: int, body: Any, headers: dict[str, str] | None = None) -> Reply:
        """Return a JSON answer; text goes out as it is."""
        blob = body.encode() if isinstance(body, str) else to_json(body)
        return cls(status, {"content-type": "application/json", **(headers or {})}, blob)


@dataclass(frozen=True)
class Struck:
    """A request that a fault hits."""

    fault: Fault
    path: str
    query: Query
    url: str
    ask: Callable[[Query], Awaitable[Reply]]
    """Lets the partner answer the same request with another query."""


class Misbehaviour:
    """Wraps a partner's application."""

    def __init__(self, app: ASGIApp, partner: Partner, faults: FaultList[Fault]) -> None:
        self._app = app
        self._partner = partner
        self._faults = faults
        self.log: deque[dict[str, Any]] = deque(maxlen=KEPT_REQUESTS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path = scope.get("path", "")
        if scope["type"] != "http" or path.startswith("/_admin"):
            await self._app(scope, receive, send)
            return
        raw = scope["query_string"].decode("latin-1")
        entry = {"method": scope["method"], "path": path, "query": masked(raw), "status": None}
        self.log.append(entry)
        delay, fault = self._faults.strike(f"{scope['method']} {path}{'?' * bool(raw)}{raw}")
        if delay:
            await asyncio.sleep(delay)

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                entry["status"] = message["status"]
            await send(message)

        if fault is None:
            await self._app(scope, receive, noting)
        elif fault.kind in INSIDE:
            await self._app({**scope, FAULT: fault}, receive, noting)
        elif fault.kind in ACTED:
            await _told_badly(fault, await _captured(self._app, scope, receive), send, noting)
        else:
            await _send(await self._strike(fault, scope, receive), noting)

    async def _strike(self, fault: Fault, scope: Scope, receive: Receive) -> Reply:
        async def ask(query: Query) -> Reply:
            changed = {**scope, "query_string": urlencode(query).encode()}
            return await _captured(self._app, changed, receive)

        query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        struck = Struck(fault, scope["path"], query, _url(scope), ask)
        if fault.kind in INSTEAD:
            return INSTEAD[fault.kind](fault)
        if fault.kind == "expire_token":
            refusal = self._partner.refuse()
            return Reply(refusal.status_code, dict(refusal.headers), bytes(refusal.body))
        if fault.kind == "endless" and fault.mode == "body":
            return Reply(
                headers={"content-type": "application/json"}, endless_bytes=int(fault.megabytes * 2**20)
            )
        first = fault.kind in {"page_loop", "endless"}
        reply = await ask(self._partner.first_page(query) if first else query)
        if reply.status >= BAD_REQUEST:
            return reply
        if fault.kind in BYTES:
            return BYTES[fault.kind](fault, reply)
        return self._changed(struck, reply)

    def _changed(self, struck: Struck, reply: Reply) -> Reply:
        """Return the good page with its records or its next page changed."""
        keys = self._partner.paths.get(struck.path)
        if keys is None:
            return reply
        answer = Answer(orjson.loads(reply.body), dict(reply.headers), struck.url)
        holder = answer.body
        for key in keys[:-1]:
            holder = holder[key]
        records: list[Any] = holder[keys[-1]]
        holder[keys[-1]] = self._edit(struck, answer, records)
        answer.headers.pop("content-length", None)
        return Reply(reply.status, answer.headers, to_json(answer.body))

    def _edit(self, struck: Struck, answer: Answer, records: list[Any]) -> list[Any]:
        fault, partner = struck.fault, self._partner
        match fault.kind:
            case "bad_record":
                record = partner.bad_record() if fault.record is None else fault.record
                return [*records[: fault.position], record, *records[fault.position :]]
            case "duplicate_ids":
                return records + records[: fault.count]
            case "empty_list":
                partner.end(answer)
                return []
            case "next_link":
                partner.point_next(answer, fault.url or "http://127.0.0.2:9/next")
            case "page_loop":
                partner.promise(answer, partner.first_page(struck.query))
            case "endless":
                partner.promise(answer, struck.query)
                start = fault.hits * 10_000
                return [partner.renumber(record, start + n) for n, record in enumerate(records)]
        return records


def masked(raw: str) -> str:
    """Return a query string with the values of secrets as ``***``."""
    pairs = parse_qsl(raw, keep_blank_values=True)
    return "&".join(f"{key}={'***' if key.lower() in SECRETS else value}" for key, value in pairs)


def _status(fault: Fault) -> Reply:
    body = fault.body if fault.body is not None else {"error": {"code": "sandbox", "message": "told to fail"}}
    return Reply.json(fault.status or 500, body, fault.headers)


def _html(fault: Fault) -> Reply:
    page = (
        b"<!DOCTYPE html><html><head><title>Maintenance</title></head><body><h1>Back soon</h1></body></html>"
    )
    return Reply(fault.status or OK, {"content-type": "text/html; charset=utf-8", **fault.headers}, page)


def _error_body(fault: Fault) -> Reply:
    body = fault.body if fault.body is not None else {"error": {"code": "internal", "message": "Try later"}}
    return Reply.json(OK, body, fault.headers)


def _redirect(fault: Fault) -> Reply:
    target = fault.url or "http://127.0.0.2:9/elsewhere"
    return Reply(fault.status or 302, {"location": target, **fault.headers})


def _not_json(fault: Fault) -> Reply:
    return Reply.json(OK, fault.body if isinstance(fault.body, str) else "OK", fault.headers)


INSTEAD: dict[str, Callable[[Fault], Reply]] = {
    "status": _status,
    "html": _html,
    "error_body": _error_body,
    "redirect": _redirect,
    "not_json": _not_json,
}
"""Faults that do not ask the partner at all."""


def _truncate(fault: Fault, reply: Reply) -> Reply:
    reply.headers.pop("content-length", None)
    announced = len(reply.body) if fault.close else None
    return Reply(reply.status, reply.headers, reply.body[: int(len(reply.body) * fault.keep)], announced)


def _wrong_charset(fault: Fault, reply: Reply) -> Reply:
    text = reply.body.decode("utf-8")
    headers = {"content-type": "application/json; charset=utf-8"}
    link = {key: value for key, value in reply.headers.items() if key in {"link", "x-total-count"}}
    return Reply(reply.status, {**headers, **link}, text.encode(fault.charset, "replace"))


BYTES: dict[str, Callable[[Fault, Reply], Reply]] = {"truncate": _truncate, "wrong_charset": _wrong_charset}
"""Faults that spoil the bytes of a good answer."""


async def _told_badly(fault: Fault, reply: Reply, send: Send, noting: Send) -> None:
    """Spoil how the partner tells what it has done already."""
    match fault.kind:
        case "lost":
            await _break_off(send)
            return
        case "slow_answer":
            await asyncio.sleep(fault.seconds)
        case "odd_body":
            reply.body = to_json({"message": "Thank you!"} if fault.body is None else fault.body)
        case "no_id":
            reply.body = to_json(_without_ids(orjson.loads(reply.body))) if reply.body else b""
    await _send(reply, noting)


async def _break_off(send: Send) -> None:
    """Close the connection without a byte of answer, as a crash of the partner's machine would."""
    # uvicorn's ``send`` is a method of the request's cycle; ASGI itself has no word for this.
    cycle: Any = getattr(send, "__self__", None)
    cycle.transport.abort()
    cycle.response_started = cycle.response_complete = cycle.disconnected = True


def _without_ids(body: Any) -> Any:
    if isinstance(body, dict):
        return {key: _without_ids(value) for key, value in body.items() if key not in IDS}
    return [_without_ids(item) for item in body] if isinstance(body, list) else body


async def _captured(app: ASGIApp, scope: Scope, receive: Receive) -> Reply:
    """Return what the application answers, instead of sending it."""
    reply = Reply()

    async def keep(message: Message) -> None:
        if message["type"] == "http.response.start":
            reply.status = message["status"]
            reply.headers = {
                key.decode("latin-1"): value.decode("latin-1") for key, value in message["headers"]
            }
        elif message["type"] == "http.response.body":
            reply.body += message.get("body", b"")

    await app(scope, receive, keep)
    return reply


async def _send(reply: Reply, send: Send) -> None:
    headers = {key.lower(): value for key, value in reply.headers.items()}
    if not reply.endless_bytes:
        headers["content-length"] = str(len(reply.body) if reply.announced is None else reply.announced)
    pairs = [(key.encode("latin-1"), value.encode("latin-1")) for key, value in headers.items()]
    await send({"type": "http.response.start", "status": reply.status, "headers": pairs})
    for _ in range(reply.endless_bytes // len(CHUNK)):
        await send({"type": "http.response.body", "body": CHUNK, "more_body": True})
    # Left open on purpose when more was announced: the server then drops the connection.
    await send({"type": "http.response.body", "body": reply.body, "more_body": reply.announced is not None})


def _url(scope: Scope) -> str:
    headers = dict(scope["headers"])
    host = headers.get(b"host", b"127.0.0.1").decode("latin-1")
    return f"{scope['scheme']}://{host}{scope['path']}?{scope['query_string'].decode('latin-1')}"

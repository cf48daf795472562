"""The calls below ``/api/`` as one small ASGI application in front of FastAPI's.

Thousands of calls a second are made here beside their caller on the same two cores, so the way from
the request to the answer is as short as it can be: no routing by regular expression, no models. The
path is cut at its slashes *before* it is percent-decoded: who does not encode the slashes of a post
number asks for something that does not exist.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote_to_bytes

import orjson

from include.sandbox.tcs.answers import ROUTES, Call, RefusedError
from include.sandbox.tcs.faults import AFTERWARDS

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from include.sandbox.fault_list import FaultList
    from include.sandbox.tcs.answers import Answer, Handler
    from include.sandbox.tcs.faults import Fault
    from include.sandbox.tcs.state import TcsState
    from include.sandbox.tcs.tokens import Tokens

LONGEST_TARGET = 8_000
"""Bytes of path and query, as Tomcat has it: longer ones are refused with 414."""
LARGEST_BODY = 4 * 2**20
UNAUTHORISED, NOT_FOUND, TOO_LARGE, TOO_LONG, NO_JSON = 401, 404, 413, 414, 415
LITERAL = frozenset({"in", "filter", "absenceId"})
"""Second path parts that are words, not ids."""
CHUNK = b'{"endless":"' + b"x" * 65_000 + b'"},'

UNKNOWN = "unknown"
REFUSED, FAILED = "refused token", "failed on request"
"""Notes about calls, which are counted under their endpoint as well."""
Reply = tuple[int, bytes]
Headers = list[tuple[bytes, bytes]]


class TcsApi:
    """Checks the token, carries out the faults, counts and answers.

    Args:
        app: Gets everything that is not below ``/api/``.
        state: What TCS knows.
        tokens: Who may ask.
        faults: How it misbehaves.
    """

    def __init__(self, app: ASGIApp, state: TcsState, tokens: Tokens, faults: FaultList[Fault]) -> None:
        self._app = app
        self._state = state
        self._tokens = tokens
        self.faults = faults
        self.calls: Counter[str] = Counter()
        self.notes: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one call."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        raw: bytes = scope["raw_path"]
        is_api = raw.startswith(b"/api/")
        fault = None
        if self.faults and not raw.startswith(b"/_admin"):
            delay, fault = self.faults.strike(_target(scope))
            if delay:
                await asyncio.sleep(delay)
        if fault is not None and await self._struck_first(fault, scope, receive, send):
            return
        if not is_api:
            await self._app(scope, receive, send)
            return
        body = await _body(receive) if scope["method"] != "GET" else b""
        status, blob = self._reply(scope, body)
        if fault is not None:
            await self._struck_after(fault, receive, send, (status, blob))
        else:
            await _send(send, status, blob, [])

    def _reply(self, scope: Scope, body: bytes | None) -> Reply:
        """Return status and body of the answer; the only place where the state is asked or changed."""
        query = scope["query_string"]
        handler, keys = self._count(scope)
        try:
            body = self._checked(scope, body)
            status, value = (handler or _unknown)(
                self._state, Call(keys, dict(parse_qsl(query.decode("latin-1"))), body)
            )
        except RefusedError as refusal:
            return _problem(refusal.status, refusal.reason)
        return status, orjson.dumps(value)

    def _count(self, scope: Scope) -> tuple[Handler | None, tuple[str, ...]]:
        """Count a call under its endpoint; return what answers it and the path parts that vary."""
        route, keys = _route(scope["method"], scope["raw_path"])
        handler = ROUTES.get(route)
        self.calls[route if handler is not None else UNKNOWN] += 1
        return handler, keys

    def _checked(self, scope: Scope, body: bytes | None) -> bytes:
        """Return the body; refuse what no endpoint looks at: too long, no token, too large, no JSON."""
        if len(scope["raw_path"]) + len(scope["query_string"]) > LONGEST_TARGET:
            raise RefusedError(TOO_LONG, "the request target is too long")
        authorization = content_type = b""
        for name, value in scope["headers"]:
            if name == b"authorization":
                authorization = value
            elif name == b"content-type":
                content_type = value
        if not self._tokens.accepts(authorization):
            self.notes[REFUSED] += 1
            raise RefusedError(UNAUTHORISED, "the token is missing, wrong or at its end")
        if body is None:
            raise RefusedError(TOO_LARGE, "the body is too large")
        if body and not content_type.startswith(b"application/json"):
            raise RefusedError(NO_JSON, "the content type is not application/json")
        return body

    async def _struck_first(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> bool:
        """Carry out a fault that comes before the call; return whether the call is answered by it."""
        headers = [(name.lower().encode(), value.encode()) for name, value in fault.headers.items()]
        match fault.kind:
            case "expire_tokens":
                self._tokens.expire()
                return False
            case kind if kind in AFTERWARDS:
                return False
            case "drop":
                await _drop(receive, send)
            case "endless":
                await _send_endless(send, int(fault.megabytes * 2**20))
            case "redirect":
                await _send(send, 302, b"", [*headers, (b"location", fault.url.encode())])
            case "not_json":
                page = b"<!DOCTYPE html><html><body><h1>Back soon</h1></body></html>"
                await _send(send, 200, page, [*headers, (b"content-type", b"text/html")])
            case "body":
                await _send(send, 200, orjson.dumps(fault.body), headers)
            case _:
                await _send(send, fault.status, _failure(fault), headers)
        if scope["raw_path"].startswith(b"/api/"):
            self._count(scope)
            self.notes[FAILED] += 1
        return True

    async def _struck_after(self, fault: Fault, receive: Receive, send: Send, reply: Reply) -> None:
        """Carry out a fault that comes after the call."""
        if fault.kind == "drop_after":
            await _drop(receive, send)
            return
        if fault.kind == "delay_after":
            await asyncio.sleep(fault.seconds)
        if fault.kind == "status_after":
            reply = (fault.status, _failure(fault))
        await _send(send, *reply, [])


def _route(method: str, raw: bytes) -> tuple[str, tuple[str, ...]]:
    """Return the key of :data:`ROUTES` and the path parts that vary."""
    parts = [
        unquote_to_bytes(part).decode("utf-8", "replace") if b"%" in part else part.decode("latin-1")
        for part in raw.split(b"/")[2:]
    ]
    if len(parts) == 1:
        return f"{method} {parts[0]}", ()
    if parts[1] in LITERAL:
        if parts[1] == "filter":
            return f"{method} {'/'.join(parts)}", ()
        return f"{method} {parts[0]}/{parts[1]}/" + "/".join("*" for _ in parts[2:]), tuple(parts[2:])
    return "/".join([f"{method} {parts[0]}", "*", *parts[2:]]), (parts[1],)


def _unknown(_state: TcsState, _call: Call) -> Answer:
    raise RefusedError(NOT_FOUND, "no such endpoint")


def _target(scope: Scope) -> str:
    query = scope["query_string"].decode("latin-1")
    path = scope["raw_path"].decode("latin-1")
    return f"{scope['method']} {path}?{query}" if query else f"{scope['method']} {path}"


def _problem(status: int, reason: str) -> Reply:
    """Return a refusal as Spring writes it (RFC 9457)."""
    problem = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": reason}
    return status, orjson.dumps(problem)


def _failure(fault: Fault) -> bytes:
    if isinstance(fault.body, str):
        return fault.body.encode()
    return orjson.dumps(
        fault.body if fault.body is not None else {"status": fault.status, "message": "told to"}
    )


async def _body(receive: Receive) -> bytes | None:
    """Return the body, ``None`` when it is too large."""
    message = await receive()
    body: bytes = message.get("body", b"")
    while message.get("more_body"):
        message = await receive()
        body += message.get("body", b"")
        if len(body) > LARGEST_BODY:
            return None
    return body


async def _send(send: Send, status: int, body: bytes, headers: Headers) -> None:
    if not any(name == b"content-type" for name, _ in headers):
        headers = [*headers, (b"content-type", b"application/json")]
    headers = [*headers, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _send_endless(send: Send, size: int) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for _ in range(size // len(CHUNK)):
        await send({"type": "http.response.body", "body": CHUNK, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _drop(receive: Receive, send: Send) -> None:
    """Cut the connection without a byte of an answer.

    ASGI has no word for it: uvicorn's ``send`` is a method of the object that has the transport.
    """
    cycle: Any = getattr(send, "__self__", None)
    cycle.transport.abort()
    while (await receive())["type"] != "http.disconnect":
        pass

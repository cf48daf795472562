"""A real HTTP server on a free port whose answers a test writes by hand."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from include.sandbox.contract.loopback import LoopbackServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass(frozen=True)
class Seen:
    """A request as the server saw it."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes = b""
    client: tuple[str, int] = ("", 0)


@dataclass(frozen=True)
class Reply:
    """An answer; ``stream`` writes the body itself, after exactly the headers given."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    stream: Callable[[Any], None] | None = None

    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


class TinyServer(LoopbackServer):
    """Answers each request with ``answer(seen)``; keeps what it saw."""

    def __init__(self, answer: Callable[[Seen], Reply]) -> None:
        self.answer = answer
        self.seen: list[Seen] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                parts = urlsplit(self.path)
                seen = Seen(
                    self.command,
                    parts.path,
                    parse_qs(parts.query),
                    dict(self.headers),
                    self.rfile.read(length),
                    self.client_address,
                )
                server.seen.append(seen)
                self._send(server.answer(seen))

            do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815 - the names http.server calls

            def _send(self, reply: Reply) -> None:
                headers = {"Content-Type": "application/json", **reply.headers}
                content = b"" if reply.stream else reply.content()
                if not reply.stream:
                    headers.setdefault("Content-Length", str(len(content)))
                self.send_response_only(reply.status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                with contextlib.suppress(OSError):
                    self.wfile.write(content)
                    if reply.stream:
                        reply.stream(self.wfile)
                        self.close_connection = True
                    if len(content) < int(headers.get("Content-Length", 0)):
                        self.close_connection = True

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        super().__init__(Handler)


@contextlib.contextmanager
def serving(*replies: Reply | Callable[[Seen], Reply]) -> Iterator[TinyServer]:
    """Serve the replies in order, the last one from then on."""
    queue = list(replies)

    def answer(seen: Seen) -> Reply:
        reply = queue.pop(0) if len(queue) > 1 else queue[0]
        return reply(seen) if callable(reply) else reply

    with TinyServer(answer) as server:
        yield server

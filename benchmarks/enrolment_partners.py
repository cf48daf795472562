"""Fifty NPOs in one small server: they enrol whatever they are sent, as often as they are sent it."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter, defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

REFUSED_OF, WAITING_OF, LOST_OF = 20, 10, 50
LOST_LOT = 2


@dataclass(slots=True)
class Partners:
    """What the partners hold, by our reference.

    Attributes:
        requests: How many of each method they got.
        lost: How many answers they lost after acting.
        posted_at: When each reference was first posted, in seconds of this process's monotonic clock.
        polled_at: When one that waits was first asked after.
    """

    url: str = ""
    requests: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    posted_at: dict[str, float] = field(default_factory=dict)
    polled_at: dict[str, float] = field(default_factory=dict)
    _held: dict[str, list[dict[str, str]]] = field(default_factory=lambda: defaultdict(list))
    _by_id: dict[str, dict[str, str]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def held(self, reference: str) -> list[str]:
        """Return the ids of the enrolments under a reference; two of them are one too many."""
        return [each["id"] for each in self._held.get(reference, [])]

    def enrol(self, reference: str) -> tuple[int, dict[str, str] | None]:
        """Return the answer to a post; ``None``: it acted, and its answer is lost."""
        lot = lot_of(reference)
        with self._lock:
            self.requests["POST"] += 1
            self.posted_at.setdefault(reference, time.monotonic())
            if lot == "refused":
                return 422, {"state": "refused", "why": "full"}
            state = "waiting" if lot == "waiting" else "enrolled"
            made = {"id": f"e-{len(self._by_id)}", "ref": reference, "state": state}
            first = not self._held.get(reference)
            self._held[reference].append(made)
            self._by_id[made["id"]] = made
            if first and lot == "lost":
                self.lost += 1
                return 0, None
            return (202 if state == "waiting" else 201), dict(made)

    def listed(self, reference: str) -> list[dict[str, str]]:
        """Return what a look-up finds."""
        with self._lock:
            self.requests["look-up"] += 1
            return [dict(each) for each in self._held.get(reference, [])]

    def polled(self, external_id: str) -> dict[str, str] | None:
        """Return one enrolment as it is now: whoever waits is enrolled when he is asked after."""
        with self._lock:
            self.requests["poll"] += 1
            found = self._by_id.get(external_id)
            if found is None:
                return None
            self.polled_at.setdefault(found["ref"], time.monotonic())
            found["state"] = "enrolled"
            return dict(found)


def lot_of(reference: str) -> Literal["refused", "waiting", "lost", "enrolled"]:
    """Return what becomes of an enrolment: it depends on nothing but its reference."""
    lot = int.from_bytes(sha256(reference.encode()).digest()[:4])
    if lot % REFUSED_OF == 0:
        return "refused"
    if lot % WAITING_OF == 1:
        return "waiting"
    return "lost" if lot % LOST_OF == LOST_LOT else "enrolled"


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """Say nothing: whoever asked was killed."""


@contextmanager
def serving() -> Iterator[Partners]:
    """Serve them on a free port of 127.0.0.1; the first part of a path is the NPO."""
    partners = Partners()
    server = _Server(("127.0.0.1", 0), _handler(partners))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    partners.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield partners
    finally:
        server.shutdown()
        server.server_close()


def _handler(partners: Partners) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # one packet an answer
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, made = partners.enrol(body["ref"])
            if made is None:
                self.close_connection = True
                return
            self._answer(status, made)

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            if "ref" in (query := parse_qs(parts.query)):
                self._answer(200, partners.listed(query["ref"][0]))
                return
            found = partners.polled(parts.path.rsplit("/", 1)[-1])
            self._answer(200 if found else 404, found or {})

        def _answer(self, status: int, body: Any) -> None:
            content = json.dumps(body).encode()
            self.send_response_only(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    return Handler

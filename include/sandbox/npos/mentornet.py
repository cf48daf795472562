"""mentornet: a home-grown legacy API with its key in the query, a cursor and 403 for everything."""

from __future__ import annotations

import base64
import binascii
import hmac
import time
from collections import deque
from typing import TYPE_CHECKING, Any, ClassVar

from fastapi import APIRouter, Request, Response

from include.sandbox.npos.dataset import Row, json_page
from include.sandbox.npos.enrolments import FIRST_INDEX
from include.sandbox.npos.mentornet_enrolment import enrolment_routes
from include.sandbox.npos.mentornet_records import (
    BAD_MATCHES,
    BAD_PROGRAMS,
    match,
    match_id,
    program,
    program_id,
)
from include.sandbox.npos.partner import Answer, Partner, Query, as_id, to_json
from include.sandbox.npos.world import DAY

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from include.sandbox.npos.enrolments import Enrolled
    from include.sandbox.npos.state import Resource, SandboxState
    from include.sandbox.npos.world import Learning

KEY = "mentornet-sandbox-key"
MOST = 1000
LAST = {"offerings": "null", "assignments": '""'}
"""The end of a list, as the two endpoints' authors saw it."""


class Mentornet(Partner):
    """The legacy partner.

    Args:
        state: The sandbox's state.
        rate: Requests it answers within one second; 0 means any number.
    """

    name = "mentornet"
    paths: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "/api/v1/list_programs": ("result", "programs"),
        "/api/v1/list_matches": ("result", "matches"),
    }

    def __init__(self, state: SandboxState, rate: int = 40) -> None:
        super().__init__(state)
        self._rate = rate
        self._answered: deque[float] = deque()

    def build(self, resource: Resource) -> list[Row]:
        """Return the programmes still offered, or the matches."""
        if resource == "offerings":
            rows = [
                self._row(program(self, offering), self.stamp(offering.modified), offering.number)
                for offering in self.world.offerings(self.state.day)
                if not offering.withdrawn
            ]
        else:
            rows = [
                self._row(match(self, learning), self.stamp(learning.modified), learning.index)
                for learning in self.world.assignments(self.state.day)
            ]
        odd = BAD_PROGRAMS if resource == "offerings" else BAD_MATCHES
        # Far above any index: new records must not push them to another place.
        return rows + [
            self._row(record, self.stamp(-30 * DAY), 10_000_000 + place)._replace(bad=bad)
            for place, (record, bad) in enumerate(odd)
        ]

    def _row(self, record: dict[str, Any], stamp: int, number: int) -> Row:
        ident = record.get("match_no") if "match_no" in record else record.get("prog_id")
        status = str(record.get("status") or record.get("state"))
        return Row(stamp, as_id(ident), to_json(record), status, number=number)

    def offering_key(self, index: int) -> str:
        """Return the number of a programme."""
        return str(program_id(index))

    def enrolled_id(self, entry: Enrolled) -> str:
        """Return the number of a match."""
        return match_id(FIRST_INDEX + entry.number)

    def enrolled_row(self, entry: Enrolled, learning: Learning) -> Row:
        """Return the match; it has no place for the sender's reference."""
        row = self._row(match(self, learning), self.stamp(learning.modified), learning.index)
        return row._replace(reference=entry.reference)

    def injected_row(self, record: Any, default: datetime) -> Row:
        """Return the row of an injected record."""
        fields = record if isinstance(record, dict) else {}
        return self._row(fields, int(default.timestamp()) * 1000, 0)._replace(blob=to_json(record))

    def vanished(self) -> list[str]:
        """Return the programmes listed on the first day or later and withdrawn since."""
        first = {o.number for o in self.world.offerings(0) if o.withdrawn}
        return sorted(
            str(program_id(offering.number))
            for offering in self.world.offerings(self.state.day)
            if offering.withdrawn and offering.number not in first
        )

    def router(self) -> APIRouter:
        """Return the two lists."""
        router = APIRouter()

        @router.get("/api/v1/list_programs")
        async def list_programs(request: Request) -> Response:
            return self._list("offerings", "programs", request)

        @router.get("/api/v1/list_matches")
        async def list_matches(request: Request) -> Response:
            return self._list("assignments", "matches", request)

        router.include_router(enrolment_routes(self))
        return router

    def refusal(self, request: Request) -> Response | None:
        """Return why a request is not answered, if it is not: another key, too many of them."""
        key = request.query_params.get("apikey", "")
        if not hmac.compare_digest(key.encode(), KEY.encode()):
            return self.refuse()
        if self._too_fast():
            return _error(403, "throttled", "Too many requests, please slow down.")
        return None

    def _list(self, resource: Resource, name: str, request: Request) -> Response:
        if refusal := self.refusal(request):
            return refusal
        query = request.query_params
        count, after = query.get("count", "50"), read_cursor(query.get("cursor", ""))
        if after is None or not (count.isascii() and count.isdigit() and 1 <= int(count[:9]) <= MOST):
            return _error(400, "bad_request", "Bad cursor or count.")
        data = self.dataset(resource)
        start = data.after(after)
        rows = data.created[start : start + int(count)]
        more = start + len(rows) < len(data.created)
        cursor = f'"{make_cursor(rows[-1].number)}"' if more else LAST[resource]
        head = f'{{"ok":true,"result":{{"{name}":'.encode()
        body = json_page(head, rows, b'},"next_cursor":' + cursor.encode() + b"}")
        return Response(body, media_type="application/json")

    def _too_fast(self) -> bool:
        now = time.monotonic()
        while self._answered and self._answered[0] <= now - 1:
            self._answered.popleft()
        if self._rate and len(self._answered) >= self._rate:
            return True
        self._answered.append(now)
        return False

    def refuse(self) -> Response:
        """Refuse the key."""
        return _error(403, "bad_key", "Unknown API key.")

    def renew(self) -> None:
        """Forget how fast it was asked."""
        self._answered.clear()

    def first_page(self, query: Query) -> Query:
        """Ask without a cursor."""
        return {key: value for key, value in query.items() if key != "cursor"}

    def promise(self, answer: Answer, query: Query) -> None:
        """Name the cursor after the page asked for."""
        after = read_cursor(query.get("cursor", ""))
        answer.body["next_cursor"] = make_cursor((after or 0) + int(query.get("count", "50")))

    def point_next(self, answer: Answer, url: str) -> None:
        """Name the address as the cursor."""
        answer.body["next_cursor"] = url

    def end(self, answer: Answer) -> None:
        """No cursor."""
        answer.body["next_cursor"] = None

    def renumber(self, record: dict[str, Any], number: int) -> dict[str, Any]:
        """Return the record under a new id."""
        if "match_no" in record:
            return {**record, "match_no": f"endless-{number}"}
        return {**record, "prog_id": 900_000_000 + number}


def make_cursor(number: int) -> str:
    """Return the cursor after the record with this number."""
    return base64.urlsafe_b64encode(f"m1:{number}".encode()).decode().rstrip("=")


def read_cursor(text: str) -> int | None:
    """Return the number in a cursor, -1 for none, ``None`` for one we never gave."""
    if not text:
        return -1
    try:
        plain = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None
    mark, _, number = plain.partition(":")
    return int(number) if mark == "m1" and number.isascii() and number.isdigit() else None


def _error(status: int, code: str, message: str) -> Response:
    return Response(
        to_json({"error": {"code": code, "message": message}}), status, media_type="application/json"
    )

"""learnstore: an xAPI 1.0.3 learning record store; statements by stored time, paged by a relative link."""

from __future__ import annotations

import base64
import hmac
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Request, Response

from include.sandbox.npos.dataset import Row, json_page
from include.sandbox.npos.learnstore_statements import statements
from include.sandbox.npos.partner import Answer, Query, ReadOnlyPartner, as_id, parse_stamp, to_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from include.sandbox.npos.state import Resource

USER, PASSWORD = "spotlight", "learnstore-sandbox-password"
VERSION = "1.0.3"
MOST = 500


class Learnstore(ReadOnlyPartner):
    """The learning record store. It has no offerings, and several statements of one registration."""

    name = "learnstore"
    paths: ClassVar[Mapping[str, tuple[str, ...]]] = {"/xapi/statements": ("statements",)}

    def build(self, resource: Resource) -> list[Row]:
        """Return every statement stored by the day; no offerings."""
        if resource == "offerings":
            return []
        told = (
            one for learning in self.world.assignments(self.state.day) for one in statements(self, learning)
        )
        return [
            Row(stamp, as_id(record["context"]["registration"]), to_json(record), number=number)
            for number, (stamp, record) in enumerate(told)
        ]

    def injected_row(self, record: Any, default: datetime) -> Row:
        """Return the row of an injected statement."""
        fields = record if isinstance(record, dict) else {}
        stored = parse_stamp(fields.get("stored"))
        stamp = int(default.timestamp()) * 1000 if stored is None else stored
        return Row(stamp, as_id(fields.get("context", {}).get("registration")), to_json(record))

    def registration(self, index: int) -> str:
        """Return the registration of an assignment."""
        return str(UUID(hex=self.world.token("registration", index, size=16)))

    def offering_key(self, index: int) -> str:
        """Return the id of an offering."""
        return f"https://learnstore.example/courses/{index}"

    def router(self) -> APIRouter:
        """Return the statements resource."""
        router = APIRouter(prefix="/xapi")

        @router.get("/statements")
        async def get_statements(request: Request) -> Response:
            return self._statements(request)

        return router

    def _statements(self, request: Request) -> Response:
        expected = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if not hmac.compare_digest(
            request.headers.get("authorization", "").encode(), f"Basic {expected}".encode()
        ):
            return self.refuse()
        if request.headers.get("x-experience-api-version") != VERSION:
            return Response("X-Experience-API-Version is missing or unknown", 400, media_type="text/plain")
        query = dict(request.query_params)
        rows = self._stored(query)
        if query.get("ascending") != "true":
            rows = rows[::-1]
        size = max(1, min(int(query.get("limit") or MOST), MOST))
        start = int(query.get("continuation", "0"))
        page = rows[start : start + size]
        more = ""
        if start + size < len(rows):
            more = "/xapi/statements?" + urlencode({**query, "continuation": str(start + size)})
        body = json_page(b'{"statements":', page, b',"more":' + to_json(more) + b"}")
        return Response(body, media_type="application/json", headers={"X-Experience-API-Version": VERSION})

    def _stored(self, query: Query) -> list[Row]:
        """Return the statements stored after ``since`` and at or before ``until``, as the standard says."""
        data = self.dataset("assignments")
        since, until = parse_stamp(query.get("since", "")), parse_stamp(query.get("until", ""))
        first = 0 if since is None else data.since(since + 1)
        last = len(data.rows) if until is None else data.since(until + 1)
        return data.rows[first:last]

    def refuse(self) -> Response:
        """Refuse the password."""
        return Response("Unauthorized", 401, {"WWW-Authenticate": "Basic"}, media_type="text/plain")

    def renew(self) -> None:
        """Nothing is remembered."""

    def first_page(self, query: Query) -> Query:
        """Ask without a continuation."""
        return {key: value for key, value in query.items() if key != "continuation"}

    def promise(self, answer: Answer, query: Query) -> None:
        """Name the page after the one asked for."""
        start = int(query.get("continuation", "0")) + int(query.get("limit") or MOST)
        answer.body["more"] = "/xapi/statements?" + urlencode({**query, "continuation": str(start)})

    def point_next(self, answer: Answer, url: str) -> None:
        """Name the address as the next page."""
        answer.body["more"] = url

    def end(self, answer: Answer) -> None:
        """No next page."""
        answer.body["more"] = ""

    def renumber(self, record: dict[str, Any], number: int) -> dict[str, Any]:
        """Return the statement under a registration nobody has seen."""
        context = {**record["context"], "registration": str(UUID(int=number))}
        return {**record, "context": context}

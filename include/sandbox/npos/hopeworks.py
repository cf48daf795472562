"""hopeworks: HSDS 3.0 services and learner progress behind OAuth2 client credentials."""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
import time
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qs

from fastapi import APIRouter, Request, Response

from include.sandbox.npos.dataset import Row, json_page
from include.sandbox.npos.enrolments import FIRST_INDEX
from include.sandbox.npos.hopeworks_enrolment import answer as _json
from include.sandbox.npos.hopeworks_enrolment import enrolment_routes
from include.sandbox.npos.hopeworks_records import BAD_PROGRESS, BAD_SERVICES, progress, progress_id, service
from include.sandbox.npos.partner import Answer, Partner, Query, as_id, parse_stamp, to_json
from include.sandbox.npos.world import DAY

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from include.sandbox.npos.enrolments import Enrolled
    from include.sandbox.npos.state import Resource
    from include.sandbox.npos.world import Learning

CLIENT_ID = "hopeworks-client"
CLIENT_SECRET = "hopeworks-sandbox-secret"  # noqa: S105 - a loopback sandbox's, published in the docs
TOKEN_SECONDS = 300
MOST_PER_PAGE = 1000
NEVER = 1_000_000


class Hopeworks(Partner):
    """The HSDS-shaped partner."""

    name = "hopeworks"
    paths: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "/services": ("contents",),
        "/learner-progress": ("contents",),
    }

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._tokens: dict[str, float] = {}

    def build(self, resource: Resource) -> list[Row]:
        """Return services or learner progress."""
        rows: list[Row] = []
        if resource == "offerings":
            for offering in self.world.offerings(self.state.day):
                record = service(self, offering)
                rows.append(self._row(record, self.stamp(offering.modified), offering.number))
        else:
            known = [self.offering_key(index) for index in range(self._known())]
            for learning in self.world.assignments(self.state.day):
                record = progress(self, learning, known[learning.offering])
                rows.append(self._row(record, self.stamp(learning.modified), learning.index))
        return rows + self._odd_rows(resource)

    def _known(self) -> int:
        return len(self.world.offerings(self.state.day))

    def _row(self, record: dict[str, Any], stamp: int, number: int) -> Row:
        status = str(record.get("status") or record.get("state"))
        return Row(
            stamp,
            as_id(record.get("id")),
            to_json(record),
            status,
            deleted=status == "defunct",
            number=number,
        )

    def _odd_rows(self, resource: Resource) -> list[Row]:
        moment = -30 * DAY
        stamp_name = "last_modified" if resource == "offerings" else "modified_at"
        odd = BAD_SERVICES if resource == "offerings" else BAD_PROGRESS
        service_id = _dashed(self.world.token("service", 0, size=16))
        made = []
        for position, (record, bad) in enumerate(odd):
            full = {**record, stamp_name: self.iso(moment)}
            if resource == "assignments":
                full["service_id"] = service_id
            # Far above any index: the place in order of creation must not depend on the day.
            number = 10_000_000 + position
            made.append(self._row(full, self.stamp(moment), number)._replace(bad=bad))
        return made

    def offering_key(self, index: int) -> str:
        """Return the id of a service."""
        return _dashed(self.world.token("service", index, size=16))

    def enrolled_id(self, entry: Enrolled) -> str:
        """Return the id of a progress record."""
        return progress_id(self, FIRST_INDEX + entry.number)

    def enrolled_row(self, entry: Enrolled, learning: Learning) -> Row:
        """Return the progress; it carries the sender's reference."""
        record = progress(self, learning, self.offering_key(learning.offering))
        record["external_reference"] = entry.reference
        return self._row(record, self.stamp(learning.modified), learning.index)

    def injected_row(self, record: Any, default: datetime) -> Row:
        """Return the row of an injected record."""
        fields = record if isinstance(record, dict) else {}
        text = fields.get("last_modified") or fields.get("modified_at")
        stamp = parse_stamp(text) if text else None
        return self._row(fields, stamp or int(default.timestamp()) * 1000, 0)._replace(blob=to_json(record))

    def router(self) -> APIRouter:
        """Return the token endpoint and the two lists."""
        router = APIRouter()

        @router.post("/oauth/token")
        async def token(request: Request) -> Response:
            return self._issue(request.headers, await request.body())

        @router.get("/services")
        async def services(request: Request) -> Response:
            return self._list("offerings", request)

        @router.get("/learner-progress")
        async def learner_progress(request: Request) -> Response:
            return self._list("assignments", request)

        router.include_router(enrolment_routes(self))
        return router

    def _issue(self, headers: Mapping[str, str], body: bytes) -> Response:
        if not headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            return _json(
                {"error": "invalid_request", "error_description": "the form must be urlencoded"}, 400
            )
        form = {key: values[0] for key, values in parse_qs(body.decode("utf-8", "replace")).items()}
        if form.get("grant_type") != "client_credentials":
            return _json({"error": "unsupported_grant_type"}, 400)
        given = _basic(headers.get("authorization", "")) or (
            form.get("client_id", ""),
            form.get("client_secret", ""),
        )
        if not (_same(given[0], CLIENT_ID) and _same(given[1], CLIENT_SECRET)):
            return _json({"error": "invalid_client"}, 401)
        token = secrets.token_urlsafe(32)
        now = time.monotonic()
        self._tokens = {old: end for old, end in self._tokens.items() if end > now}
        self._tokens[token] = now + TOKEN_SECONDS
        return _json({"access_token": token, "token_type": "Bearer", "expires_in": TOKEN_SECONDS}, 200)

    def authorised(self, request: Request) -> bool:
        """Return whether the request carries a token that is good."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and self._tokens.get(token, 0) > time.monotonic()

    def _list(self, resource: Resource, request: Request) -> Response:
        if not self.authorised(request):
            return self.unauthorised()
        query = request.query_params
        page, size = _whole(query.get("page", "1")), _whole(query.get("per_page", "50"))
        if page is None or page < 1 or size is None or not 1 <= size <= MOST_PER_PAGE:
            return _problem(f"page counts from 1 and per_page is 1 to {MOST_PER_PAGE}")
        since = query.get("modified_after")
        stamp = parse_stamp(since) if since is not None else None
        if since is not None and stamp is None:
            return _problem("modified_after is not an ISO 8601 moment")
        data = self.dataset(resource)
        start = data.since(stamp)
        total = len(data.rows) - start
        pages = -(-total // size)
        rows = data.rows[start + (page - 1) * size : start + page * size]
        head = to_json(
            {
                "total_items": total,
                "total_pages": pages,
                "page_number": page,
                "size": len(rows),
                "first_page": page == 1,
                "last_page": page >= pages,
                "empty": not rows,
            }
        )
        body = json_page(head[:-1] + b',"contents":', rows, b"}")
        return Response(body, media_type="application/json")

    def unauthorised(self) -> Response:
        """Refuse the token."""
        answer = _json({"error": "invalid_token"}, 401)
        answer.headers["WWW-Authenticate"] = 'Bearer error="invalid_token"'
        return answer

    def refuse(self) -> Response:
        """Make all tokens issued so far void."""
        self.renew()
        return self.unauthorised()

    def renew(self) -> None:
        """Forget all tokens."""
        self._tokens.clear()

    def first_page(self, query: Query) -> Query:
        """Ask for page 1."""
        return {**query, "page": "1"}

    def promise(self, answer: Answer, query: Query) -> None:
        """Claim a million pages."""
        answer.body.update(last_page=False, empty=False, total_pages=NEVER)
        answer.body["page_number"] = int(query.get("page", "1"))

    def point_next(self, answer: Answer, url: str) -> None:
        """Name the address in a Link header and in the envelope."""
        answer.headers["link"] = f'<{url}>; rel="next"'
        answer.body.update(next=url, last_page=False)

    def end(self, answer: Answer) -> None:
        """Show an empty envelope."""
        answer.body.update(total_items=0, total_pages=0, size=0, last_page=True, empty=True)

    def renumber(self, record: dict[str, Any], number: int) -> dict[str, Any]:
        """Return the record under a new id."""
        return {**record, "id": f"endless-{number}"}


def _dashed(token: str) -> str:
    """Return 32 hexadecimal digits in the form of a UUID."""
    return f"{token[:8]}-{token[8:12]}-{token[12:16]}-{token[16:20]}-{token[20:]}"


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(), expected.encode())


def _basic(header: str) -> tuple[str, str] | None:
    scheme, _, value = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        login, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return ("", "")
    return login, password


def _whole(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else None  # noqa: PLR2004 - fits


def _problem(detail: str) -> Response:
    return _json({"error": "bad_request", "error_description": detail}, 400)

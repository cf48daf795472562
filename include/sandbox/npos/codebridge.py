"""codebridge: OneRoster 1.2 classes, enrollments and results behind a static bearer token."""

from __future__ import annotations

import hmac
import operator
import re
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qsl, urlencode, urlsplit

from fastapi import APIRouter, Request, Response

from include.sandbox.npos.codebridge_enrolment import enrolment_routes, failure
from include.sandbox.npos.codebridge_records import class_id, enrollment, enrollment_id, one_class, result
from include.sandbox.npos.dataset import Dataset, Row, json_page
from include.sandbox.npos.enrolments import FIRST_INDEX
from include.sandbox.npos.partner import Answer, Partner, Query, parse_stamp, to_json
from include.sandbox.npos.partner import as_id as text_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from include.sandbox.npos.enrolments import Enrolled
    from include.sandbox.npos.state import Resource
    from include.sandbox.npos.world import Learning

TOKEN = "codebridge-sandbox-token"  # noqa: S105 - a loopback sandbox's, published in the docs
ROSTERING = "/ims/oneroster/rostering/v1p2"
GRADEBOOK = "/ims/oneroster/gradebook/v1p2"
MOST = 5000
KEPT_FILTERS = 32
REFERENCE = "metadata.externalReference"
COMPARISON = re.compile(
    r"^(dateLastModified|status|metadata\.externalReference)\s*(!=|>=|<=|=|>|<)\s*'([^']*)'$"
)
OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


class FilterError(ValueError):
    """The filter is not one this partner understands."""


class Codebridge(Partner):
    """The OneRoster-shaped partner."""

    name = "codebridge"
    soft_deletes = True
    paths: ClassVar[Mapping[str, tuple[str, ...]]] = {
        f"{ROSTERING}/classes": ("classes",),
        f"{ROSTERING}/enrollments": ("enrollments",),
        f"{GRADEBOOK}/results": ("results",),
    }

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._filtered: dict[tuple[str, str, bool], list[Row]] = {}
        self._filtered_version = (-1, -1)

    def build(self, resource: Resource) -> list[Row]:
        """Return classes or enrollments."""
        if resource == "offerings":
            return [
                self._row(one_class(self, offering), self.stamp(offering.modified), offering.number)
                for offering in self.world.offerings(self.state.day)
            ]
        return [
            self._row(enrollment(self, learning), self.stamp(learning.modified), learning.index)
            for learning in self.world.assignments(self.state.day)
        ]

    def _row(self, record: dict[str, Any], stamp: int, number: int) -> Row:
        status = str(record.get("status"))
        return Row(
            stamp,
            text_id(record.get("sourcedId")),
            to_json(record),
            status,
            deleted=status == "tobedeleted",
            number=number,
        )

    def offering_key(self, index: int) -> str:
        """Return the sourcedId of a class."""
        return class_id(self, index)

    def enrolled_id(self, entry: Enrolled) -> str:
        """Return the sourcedId of an enrollment."""
        return enrollment_id(self, FIRST_INDEX + entry.number)

    def enrolled_row(self, entry: Enrolled, learning: Learning) -> Row:
        """Return the enrollment; it carries the sender's reference."""
        record = self.enrolled(entry, learning)
        return self._row(record, self.stamp(learning.modified), learning.index)._replace(
            reference=entry.reference
        )

    def enrolled(self, entry: Enrolled, learning: Learning) -> dict[str, Any]:
        """Return one who was enrolled over the API as a OneRoster enrollment."""
        learning.deleted = learning.state == "withdrawn"
        record = enrollment(self, learning)
        record["metadata"]["externalReference"] = entry.reference
        return record

    def injected_row(self, record: Any, default: datetime) -> Row:
        """Return the row of an injected record."""
        fields = record if isinstance(record, dict) else {}
        text = fields.get("dateLastModified")
        stamp = parse_stamp(text) if text else None
        return self._row(fields, stamp or int(default.timestamp()) * 1000, 0)._replace(blob=to_json(record))

    def router(self) -> APIRouter:
        """Return the three lists."""
        router = APIRouter()

        @router.get(f"{ROSTERING}/classes")
        async def classes(request: Request) -> Response:
            return self._list("classes", request)

        @router.get(f"{ROSTERING}/enrollments")
        async def enrollments(request: Request) -> Response:
            return self._list("enrollments", request)

        @router.get(f"{GRADEBOOK}/results")
        async def results(request: Request) -> Response:
            return self._list("results", request)

        router.include_router(enrolment_routes(self))
        return router

    def _fresh(self) -> dict[str, Dataset]:
        fresh = super()._fresh()
        if self._filtered_version != self._version:
            self._filtered.clear()
            self._filtered_version = self._version
        return fresh

    def _source(self, name: str) -> list[Row]:
        if name == "classes":
            return self.dataset("offerings").rows
        if name == "enrollments":
            return self.dataset("assignments").rows
        made = (
            (learning, result(self, learning))
            for learning in self.world.assignments(self.state.day)
            if learning.score is not None
        )
        rows = [self._row(record, self.stamp(learning.modified), learning.index) for learning, record in made]
        return Dataset(rows).rows

    def _selected(self, name: str, wanted: str, *, ascending: bool) -> list[Row]:
        """Return the rows a filter leaves; kept, because a reading asks for them page by page."""
        self._fresh()
        key = (name, wanted, ascending)
        if key not in self._filtered:
            tests = comparisons(wanted)
            rows = [row for row in self._source(name) if all(test(row) for test in tests)]
            if len(self._filtered) >= KEPT_FILTERS:
                self._filtered.clear()
            self._filtered[key] = rows if ascending else rows[::-1]
        return self._filtered[key]

    def authorised(self, request: Request) -> bool:
        """Return whether the request carries the token."""
        given = request.headers.get("authorization", "")
        return hmac.compare_digest(given.encode(), f"Bearer {TOKEN}".encode())

    def _list(self, name: str, request: Request) -> Response:
        if not self.authorised(request):
            return self.refuse()
        query = request.query_params
        limit, offset = _whole(query.get("limit", "100")), _whole(query.get("offset", "0"))
        if limit is None or not 1 <= limit <= MOST or offset is None:
            return failure(400, "invaliddata", f"limit is 1 to {MOST}, offset 0 or more")
        if query.get("sort", "dateLastModified") != "dateLastModified":
            return failure(400, "invalid_sort_field", "sort is dateLastModified")
        ascending = "sort" in query and query.get("orderBy", "asc") == "asc"
        try:
            rows = self._selected(name, query.get("filter", ""), ascending=ascending)
        except FilterError as error:
            return failure(400, "invalid_filter_field", str(error))
        body = json_page(f'{{"{name}":'.encode(), rows[offset : offset + limit], b"}")
        headers = {
            "X-Total-Count": str(len(rows)),
            "Link": _links(str(request.url), limit, offset, len(rows)),
        }
        return Response(body, headers=headers, media_type="application/json")

    def refuse(self) -> Response:
        """Refuse the token."""
        answer = failure(401, "unauthorisedrequest", "the bearer token is missing, unknown or expired")
        answer.headers["WWW-Authenticate"] = "Bearer"
        return answer

    def renew(self) -> None:
        """Nothing to forget: the token is static."""

    def first_page(self, query: Query) -> Query:
        """Ask for offset 0."""
        return {**query, "offset": "0"}

    def promise(self, answer: Answer, query: Query) -> None:
        """Link to the page after the one asked for."""
        offset = int(query.get("offset", "0")) + int(query.get("limit", "100"))
        answer.headers["link"] = f'<{_at(answer.url, offset=offset)}>; rel="next"'
        answer.headers["x-total-count"] = "1000000000"

    def point_next(self, answer: Answer, url: str) -> None:
        """Name the address in the Link header."""
        answer.headers["link"] = f'<{url}>; rel="next"'

    def end(self, answer: Answer) -> None:
        """No link, nothing counted."""
        answer.headers.pop("link", None)
        answer.headers["x-total-count"] = "0"

    def renumber(self, record: dict[str, Any], number: int) -> dict[str, Any]:
        """Return the record under a new id."""
        return {**record, "sourcedId": f"endless-{number}"}


def comparisons(text: str) -> list[Callable[[Row], bool]]:
    """Return one test for each comparison of a OneRoster filter.

    Raises:
        FilterError: The text is no conjunction of comparisons of the two known fields.
    """
    return [_comparison(part) for part in text.split(" AND ")] if text else []


def _comparison(part: str) -> Callable[[Row], bool]:
    match = COMPARISON.match(part.strip())
    if match is None:
        raise FilterError(
            f"only dateLastModified, status and {REFERENCE}, compared with a value in single quotes"
        )
    field, sign, value = match.groups()
    compare = OPERATORS[sign]
    if field == "status":
        return lambda row: compare(row.status, value)
    if field == REFERENCE:
        return lambda row: compare(row.reference, value)
    stamp = parse_stamp(value)
    if stamp is None:
        raise FilterError("dateLastModified is compared with an ISO 8601 moment")
    return lambda row: compare(row.stamp, stamp)


def _links(url: str, limit: int, offset: int, total: int) -> str:
    last = max(0, (total - 1) // limit * limit)
    links = [("first", 0), ("last", last)]
    if offset + limit < total:
        links.append(("next", offset + limit))
    if offset > 0:
        links.append(("prev", max(0, offset - limit)))
    return ", ".join(f'<{_at(url, offset=to, limit=limit)}>; rel="{name}"' for name, to in links)


def _at(url: str, **changed: int) -> str:
    parts = urlsplit(url)
    query = {**dict(parse_qsl(parts.query)), **{key: str(value) for key, value in changed.items()}}
    return parts._replace(query=urlencode(query)).geturl()


def _whole(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 12 else None  # noqa: PLR2004 - fits

"""skillsfile: no API, a CSV export in a ZIP archive for each resource behind HTTP basic authentication."""

from __future__ import annotations

import base64
import hmac
from typing import TYPE_CHECKING, Any, ClassVar

import orjson
from fastapi import APIRouter, Request, Response

from include.sandbox.npos.dataset import Row
from include.sandbox.npos.partner import Answer, Query, ReadOnlyPartner, as_id, to_json
from include.sandbox.npos.skillsfile_records import (
    BAD_LEARNERS,
    COURSE_COLUMNS,
    LEARNER_COLUMNS,
    course,
    export,
    learner,
)
from include.sandbox.npos.world import DAY

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from include.sandbox.npos.state import Resource

USER, PASSWORD = "spotlight", "skillsfile-sandbox-password"
COLUMNS = {"offerings": COURSE_COLUMNS, "assignments": LEARNER_COLUMNS}
FILES = {"offerings": "courses", "assignments": "learners"}


class Skillsfile(ReadOnlyPartner):
    """The partner that exports files. Its lists have no pages, so faults about pages change nothing here."""

    name = "skillsfile"
    paths: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    def build(self, resource: Resource) -> list[Row]:
        """Return the courses still offered, or the learners' records."""
        if resource == "offerings":
            return [
                self._row(course(self, offering), self.stamp(offering.modified), offering.number)
                for offering in self.world.offerings(self.state.day)
                if not offering.withdrawn
            ]
        rows = [
            self._row(learner(self, learning), self.stamp(learning.modified), learning.index)
            for learning in self.world.assignments(self.state.day)
        ]
        return rows + [
            self._row(record, self.stamp(-30 * DAY), 10_000_000 + place)._replace(bad=bad)
            for place, (record, bad) in enumerate(BAD_LEARNERS)
        ]

    def _row(self, record: dict[str, Any], stamp: int, number: int) -> Row:
        ident = record.get("record_no") if "record_no" in record else record.get("course_ref")
        return Row(stamp, as_id(ident), to_json(record), str(record.get("state")), number=number)

    def injected_row(self, record: Any, default: datetime) -> Row:
        """Return the row of an injected record."""
        fields = record if isinstance(record, dict) else {}
        return self._row(fields, int(default.timestamp()) * 1000, 0)

    def vanished(self) -> list[str]:
        """Return the courses listed on the first day or later and withdrawn since."""
        first = {o.number for o in self.world.offerings(0) if o.withdrawn}
        return sorted(
            f"SF-{1000 + offering.number}"
            for offering in self.world.offerings(self.state.day)
            if offering.withdrawn and offering.number not in first
        )

    def offering_key(self, index: int) -> str:
        """Return the id of an offering."""
        return f"SF-{1000 + index}"

    def router(self) -> APIRouter:
        """Return the two exports."""
        router = APIRouter(prefix="/exports")

        @router.get("/courses.zip")
        async def courses(request: Request) -> Response:
            return self._export("offerings", request)

        @router.get("/learners.zip")
        async def learners(request: Request) -> Response:
            return self._export("assignments", request)

        return router

    def _export(self, resource: Resource, request: Request) -> Response:
        expected = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        given = request.headers.get("authorization", "")
        if not hmac.compare_digest(given.encode(), f"Basic {expected}".encode()):
            return self.refuse()
        rows = [orjson.loads(row.blob) for row in self.dataset(resource).created]
        name = f"{FILES[resource]}-{self.state.today:%Y%m%d}.csv"
        return Response(export(name, COLUMNS[resource], rows), media_type="application/zip")

    def refuse(self) -> Response:
        """Refuse the password."""
        return Response("Unauthorized", 401, {"WWW-Authenticate": "Basic"}, media_type="text/plain")

    def renew(self) -> None:
        """Nothing is remembered."""

    def first_page(self, query: Query) -> Query:
        """Return the query: there is one page only."""
        return query

    def promise(self, answer: Answer, query: Query) -> None:
        """There is no page after the first."""

    def point_next(self, answer: Answer, url: str) -> None:
        """There is no page after the first."""

    def end(self, answer: Answer) -> None:
        """There is no page after the first."""

    def renumber(self, record: dict[str, Any], number: int) -> dict[str, Any]:
        """Return the record under a new id."""
        return {**record, ("record_no" if "record_no" in record else "course_ref"): f"endless-{number}"}

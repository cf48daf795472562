"""What the three partners have in common: their data of the day and the form of their pages."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

import orjson

from include.sandbox.npos.dataset import Dataset, Row
from include.sandbox.npos.enrolments import Enrolments
from include.sandbox.npos.world import DAY, World

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    from fastapi import APIRouter, Request, Response

    from include.sandbox.npos.enrolments import Enrolled, Place
    from include.sandbox.npos.faults import Fault
    from include.sandbox.npos.state import Injected, Resource, SandboxState
    from include.sandbox.npos.world import Learning, Offering

Query = dict[str, str]
FAULT = "sandbox_fault"
"""Where a request's scope keeps the fault that the partner itself carries out."""


@dataclass
class Answer:
    """A good answer taken apart, so that a fault can change it."""

    body: dict[str, Any]
    headers: dict[str, str]
    url: str


class Partner(ABC):
    """One NPO's system. Its data are built when first asked for, once for each simulated day."""

    name: ClassVar[str]
    paths: ClassVar[Mapping[str, tuple[str, ...]]]
    """Path of each list and the keys that lead to the list in its body."""
    soft_deletes: ClassVar[bool] = False

    def __init__(self, state: SandboxState) -> None:
        self.state = state
        self.world = World(self.name, state.seed, state.scale, self.soft_deletes)
        self.enrolments = Enrolments(state.folder / f"enrolments-{self.name}.jsonl")
        self._ids: dict[str, int] = {}
        self._version = (-1, -1)
        self._base_version = -1
        self._base: dict[str, list[Row]] = {}
        self._offerings: dict[str, Offering] = {}
        self._datasets: dict[str, Dataset] = {}

    @abstractmethod
    def router(self) -> APIRouter:
        """Return the partner's own endpoints."""

    @abstractmethod
    def build(self, resource: Resource) -> list[Row]:
        """Return the day's records, the deliberately bad ones included."""

    @abstractmethod
    def injected_row(self, record: Any, default: datetime) -> Row:
        """Return the row of an injected record; ``default`` is its stamp when it has none."""

    @abstractmethod
    def offering_key(self, index: int) -> str:
        """Return the partner's id of an offering."""

    @abstractmethod
    def enrolled_row(self, entry: Enrolled, learning: Learning) -> Row:
        """Return the row of one who was enrolled over the API."""

    @abstractmethod
    def enrolled_id(self, entry: Enrolled) -> str:
        """Return the partner's id of an enrolment."""

    @abstractmethod
    def refuse(self) -> Response:
        """Refuse the request as with an expired credential."""

    @abstractmethod
    def first_page(self, query: Query) -> Query:
        """Return the query that asks for the first page of the same list."""

    @abstractmethod
    def promise(self, answer: Answer, query: Query) -> None:
        """Let the answer to ``query`` promise a page after it."""

    @abstractmethod
    def point_next(self, answer: Answer, url: str) -> None:
        """Let the answer name ``url`` as its next page."""

    @abstractmethod
    def end(self, answer: Answer) -> None:
        """Let the answer say that there is nothing, here or on a next page."""

    @abstractmethod
    def renumber(self, record: dict[str, Any], number: int) -> dict[str, Any]:
        """Return a copy of the record under an id nobody has seen before."""

    def bad_record(self) -> dict[str, Any]:
        """Return a record without id."""
        return {"note": "a record without id"}

    @abstractmethod
    def renew(self) -> None:
        """Forget what only this run knows (issued tokens, how fast it was asked)."""

    def vanished(self) -> list[str]:
        """Return ids of offerings once listed and no longer; only where withdrawn means gone."""
        return []

    def dataset(self, resource: Resource) -> Dataset:
        """Return the records of the simulated day."""
        return self._fresh()[resource]

    def _fresh(self) -> dict[str, Dataset]:
        self._renew_base()
        self.enrolments.settle(self.state.day)
        version = (self.state.version, self.enrolments.version)
        if self._version != version:
            enrolled = [
                self.enrolled_row(entry, learning)
                for entry, learning in self.enrolments.learnings(self.state.day)
            ]
            if self._version[0] != version[0]:
                self._datasets = {"offerings": Dataset(self._base["offerings"])}
            self._datasets["assignments"] = Dataset(self._base["assignments"] + enrolled)
            self._version = version
        return self._datasets

    def _renew_base(self) -> None:
        """Build what does not depend on enrolments; once a simulated day, it can take seconds."""
        if self._base_version != self.state.version:
            self._base = {
                resource: self._with_injected(resource) for resource in ("offerings", "assignments")
            }
            self._offerings = {
                self.offering_key(offering.number): offering
                for offering in self.world.offerings(self.state.day)
            }
            self._base_version = self.state.version

    def place(self, key: str) -> tuple[int | None, Place | None]:
        """Return the index of an offering and whether it takes anyone; nothing for an unknown one."""
        self._renew_base()
        offering = self._offerings.get(key)
        return (None, None) if offering is None else (offering.number, _place(offering))

    def places(self) -> dict[str, str]:
        """Return by offering id whether it takes anyone."""
        self._renew_base()
        return {key: _place(offering) for key, offering in self._offerings.items()}

    def enrolled_as(self, ident: str) -> Enrolled | None:
        """Return the enrolment of an id of the partner's."""
        for number in self.enrolments.numbers()[len(self._ids) :]:
            if entry := self.enrolments.number(number):
                self._ids[self.enrolled_id(entry)] = number
        return self.enrolments.number(self._ids.get(ident, -1))

    def now(self) -> int:
        """Return the moment, in minutes from the first day: the simulated day, the real time of day."""
        clock = datetime.now(UTC)
        return self.state.day * DAY + clock.hour * 60 + clock.minute

    def _with_injected(self, resource: Resource) -> list[Row]:
        rows = self.build(resource)
        for item in self.state.injected.get(self.name, []):
            if item.resource == resource:
                rows = _put(rows, self._injected(item))
        return rows

    def _injected(self, item: Injected) -> Row:
        row = self.injected_row(item.record, self.at(item.day * DAY))
        return row._replace(bad=item.bad or row.ident is None)

    def at(self, moment: int) -> datetime:
        """Return a moment (minutes from the first day) as UTC."""
        return datetime.combine(self.state.first_day, time(), UTC) + timedelta(minutes=moment)

    def iso(self, moment: int | None) -> str | None:
        """Return a moment as ISO 8601 UTC with milliseconds."""
        return None if moment is None else _iso(self.state.first_day, moment)

    def stamp(self, moment: int) -> int:
        """Return a moment in milliseconds since 1970."""
        return _epoch(self.state.first_day) + moment * 60_000


class ReadOnlyPartner(Partner):
    """An NPO whose system is read and takes no enrolments: it has nobody who was enrolled over its API."""

    def enrolled_id(self, entry: Enrolled) -> str:
        """Refuse: nobody is enrolled here over an API.

        Raises:
            TypeError: Always.
        """
        raise TypeError(f"{self.name} enrols nobody over an API: {entry.reference}")

    def enrolled_row(self, entry: Enrolled, learning: Learning) -> Row:  # noqa: ARG002 - the partner's contract
        """Refuse: nobody is enrolled here over an API.

        Raises:
            TypeError: Always.
        """
        raise TypeError(f"{self.name} enrols nobody over an API: {entry.reference}")


def _place(offering: Offering) -> Place:
    if offering.withdrawn or offering.state in {"draft", "paused", "closed"}:
        return "closed"
    return "full" if offering.state == "full" else "open"


def fault_of(request: Request) -> Fault | None:
    """Return what shall go wrong with this request inside the partner."""
    fault: Fault | None = request.scope.get(FAULT)
    return fault


def _put(rows: list[Row], row: Row) -> list[Row]:
    """Return the rows with ``row`` added, or in the place of the one with its id."""
    for position, old in enumerate(rows):
        if row.ident is not None and old.ident == row.ident:
            rows[position] = row._replace(number=old.number)
            return rows
    return [*rows, row._replace(number=1 + max((old.number for old in rows), default=0))]


@lru_cache(maxsize=16)
def _epoch(first_day: date) -> int:
    return int(datetime.combine(first_day, time(), UTC).timestamp()) * 1000


@lru_cache(maxsize=100_000)
def _iso(first_day: date, moment: int) -> str:
    exact = datetime.combine(first_day, time(), UTC) + timedelta(minutes=moment)
    return exact.strftime("%Y-%m-%dT%H:%M:%S.000Z")


def parse_stamp(text: Any) -> int | None:
    """Return an ISO 8601 text (no zone: UTC) in milliseconds since 1970, ``None`` if it is not one."""
    try:
        exact = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    exact = exact if exact.tzinfo else exact.replace(tzinfo=UTC)
    return round(exact.timestamp() * 1000)


def as_id(value: Any) -> str | None:
    """Return an id as text, ``None`` when there is none."""
    return None if value is None or str(value).strip() == "" else str(value)


def to_json(record: Any) -> bytes:
    """Return the record as JSON."""
    # Copied: orjson's own result keeps a much larger buffer, 500 MB more for 60,000 records.
    return bytes(memoryview(orjson.dumps(record)))

"""The whole way out on real servers: TCS, positions, generation, files, ESR, answers; and a run that dies."""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import shutil
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from include.errors import TransientError
from include.esr.confirmations.run import confirm, discover_answers
from include.esr.context import EsrContext
from include.esr.exports.export import export_file
from include.esr.generation.generate import generate
from include.esr.outbound import UNSENT, RecordState
from include.esr.tcs import Tcs
from include.sandbox.esr.answering import Answered, EsrSide, Played
from include.sandbox.esr.folders import DiskFolder
from include.sandbox.esr.strict import Row, read
from include.sandbox.esr.verdicts import Rules
from include.sandbox.tcs.process import TcsSandbox
from tests.conftest import HOME, empty_bucket, s3_client

KSS = "KSS"
DAY = date(2026, 7, 7)
FILE = "DE_KSS_RMF_20260701_00000017.DAT#1"
KINDS = ("APP", "DNC")
COUNTERS = {"APP": "APP", "DNC": "DNC", "DNF": "DNC", "RTC": "RTC"}
PEOPLE = 200_001
IN_A_FILE = frozenset(RecordState) - UNSENT - {RecordState.WITHDRAWN}
TOLD = {"rejected": "EXPORTED_PROCESSED_WITH_ERRORS"}
PROCESSED = "EXPORTED_AND_PROCESSED"
POINTS = {
    "committed": ("include.storage.mongo", "IntegrationStore", "commit"),
    "archived": ("include.storage.landing", "LandingZone", "put"),
    "landed": ("include.storage.landing", "LandingZone", "put_file"),
    "written": ("include.esr.files.sftp_out", "OutboundFolder", "write"),
    "renamed": ("include.esr.files.sftp_out", "OutboundFolder", "rename"),
    "removed": ("include.esr.files.sftp_out", "OutboundFolder", "remove"),
    "told": ("include.esr.tcs.session", "TcsSession", "tell"),
    "sent": ("include.events.publisher", "Publisher", "send"),
}


class KilledError(BaseException):
    """A run dies here; nothing in the product may catch it."""


class Trap:
    """Lets a run die right after the n-th time of a point; all it tries to do after that dies too."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fatal: tuple[str, int] | None = None
        self.is_dead = False
        self.passed: Counter[str] = Counter()
        for point, (module, owner, method) in POINTS.items():
            holder = getattr(importlib.import_module(module), owner)
            monkeypatch.setattr(holder, method, self._around(point, getattr(holder, method)))

    @contextlib.contextmanager
    def set_for(self, fatal: tuple[str, int] | None) -> Iterator[None]:
        """Let the block die at a point, if it comes so far."""
        self.fatal, self.is_dead, self.passed = fatal, False, Counter()
        try:
            with contextlib.suppress(KilledError):
                yield
        finally:
            self.fatal = None

    def _enter(self) -> None:
        if self.fatal and self.is_dead:
            raise KilledError

    def _leave(self, point: str) -> None:
        self.passed[point] += 1
        if self.fatal == (point, self.passed[point]):
            self.is_dead = True
            raise KilledError

    def _around(self, point: str, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        async def awaited(*args: Any, **kwargs: Any) -> Any:
            self._enter()
            result = await original(*args, **kwargs)
            self._leave(point)
            return result

        @functools.wraps(original)
        def called(*args: Any, **kwargs: Any) -> Any:
            self._enter()
            result = original(*args, **kwargs)
            self._leave(point)
            return result

        return awaited if inspect.iscoroutinefunction(original) else called


class Clock:
    """A clock that stands still until it is put forward."""

    def __init__(self) -> None:
        self.moment = afternoon(DAY)

    def __call__(self) -> datetime:
        return self.moment

    def forward(self, moment: datetime) -> None:
        """Put it forward to a moment, by ten minutes at least."""
        self.moment = max(moment, self.moment + timedelta(minutes=10))


@dataclass
class Chain:
    """One deanery's way out.

    Attributes:
        path: Where the two folders are on disk.
        answers: Every answer ESR has sent.
        bytes_of: Every file of ours as it was seen first.
    """

    ctx: EsrContext
    tcs: TcsSandbox
    path: Path
    clock: Clock
    side: EsrSide
    answers: list[Answered] = field(default_factory=list)
    bytes_of: dict[str, bytes] = field(default_factory=dict)
    name_of: dict[tuple[str, int], str] = field(default_factory=dict)

    # --- TCS and ESR's positions

    def post(self, number: str = "KSS/RXC01/800/GPST/901") -> int:
        """Load a post into TCS and return its id."""
        [post] = self.tcs.load_posts({"nationalPostNumber": number})
        return int(post["id"])

    def position(self, position: int, post: int, number: str = "KSS/RXC01/800/GPST/901", **facts: str) -> int:
        """Put a matched position into the store as reconciliation leaves it."""
        part = {
            "order": "20260701/00000017",
            "deanery": KSS,
            "position_number": f"P{position}",
            "host_lead_indicator": "Host Employer",
            "employing_org_vpd_code": "096",
        }
        self.ctx.store["esr_position"].insert_one(
            {
                "_id": position,
                "deanery": KSS,
                "number": number,
                "deleted": False,
                "revision": 1,
                "hash": "0",
                "file_id": FILE,
                "match": {"status": "MATCHED", "post_id": post, "at": self.clock()},
                "por": part | facts,
            }
        )
        return position

    def change_position(self, position: int, **values: Any) -> None:
        """Change a position as a later file would: ``deleted``, ``match.post_id`` with ``number``, ..."""
        named = {name.replace("__", "."): value for name, value in values.items()}
        self.ctx.store["esr_position"].update_one({"_id": position}, {"$set": named, "$inc": {"revision": 1}})

    def place(
        self, person: int, post: int, start: date = DAY + timedelta(30), days: int = 60, **about: Any
    ) -> int:
        """Add an approved placement of the nth person TCS knows."""
        return self.tcs.add_placement(PEOPLE + person, post, start, start + timedelta(days), **about)

    def person(self, contact: dict[str, Any] | None = None, personal: dict[str, Any] | None = None) -> int:
        """Load a person and return which one it is to ``place``."""
        [loaded] = self.tcs.load_people(
            {
                "gmcNumber": str(9_000_000 + uuid.uuid4().int % 900_000),
                "contactDetails": {"legalSurname": "Hopper", "legalForenames": "Grace"} | (contact or {}),
                "personalDetails": {"dateOfBirth": "1990-02-28"} | (personal or {}),
            }
        )
        return int(loaded["id"]) - PEOPLE

    # --- the stages

    def sweep(self, today: date = DAY) -> dict[str, int]:
        """Look at every post."""
        self.clock.forward(afternoon(today))
        with Tcs(self.ctx.settings) as tcs:
            return generate(self.ctx, KSS, tcs, today=today, sweep=True)

    def export(self, kind: Any = "APP", today: date = DAY) -> dict[str, int]:
        """Make and send a day's file."""
        self.clock.forward(afternoon(today))
        with Tcs(self.ctx.settings) as tcs:
            return export_file(self.ctx, kind, KSS, today=today, tcs=tcs)

    def send(self, today: date = DAY) -> None:
        """Do what ``esr_outbound`` does on a day."""
        self.clock.forward(afternoon(today))
        with Tcs(self.ctx.settings) as tcs:
            generate(self.ctx, KSS, tcs, today=today, sweep=True)
            for kind in KINDS:
                export_file(self.ctx, kind, KSS, today=today, tcs=tcs)  # type: ignore[arg-type]

    def play(self, today: date = DAY) -> Played:
        """Let ESR take what lies there and answer it."""
        played = self.side.play(today)
        self.answers += played.answers
        return played

    def confirm(self) -> dict[str, dict[str, int]]:
        """Apply every answer that can be; one to a file that is not marked as sent yet waits."""
        counts: dict[str, dict[str, int]] = {}
        self.clock.forward(self.clock() + timedelta(hours=1))
        for subject in discover_answers(self.ctx)[0]:
            with contextlib.suppress(TransientError):
                counts[subject] = confirm(self.ctx, subject)
        return counts

    def an_hour_later(self) -> None:
        """Let an hour pass where the store's own clock counts: leases, and calls that are in doubt."""
        time.sleep(0.05)  # what a run that died had sent is there by now
        hour = 3_600_000
        store = self.ctx.store
        store["esr_call"].update_many(
            {"state": "sending"}, [{"$set": {"sent_at": {"$subtract": ["$sent_at", hour]}}}]
        )
        store["esr_lease"].update_many({}, [{"$set": {"until": {"$subtract": ["$until", hour]}}}])

    def with_settings(self, **changes: Any) -> Chain:
        """Return the same chain with other settings."""
        return replace(self, ctx=replace(self.ctx, settings=self.ctx.settings.model_copy(update=changes)))

    # --- what came of it

    def records(self, kind: str = "APP") -> dict[str, dict[str, Any]]:
        """Return all records of a kind by id."""
        name = "esr_app_record" if kind == "APP" else "esr_notification"
        return {each["_id"]: each for each in self.ctx.store[name].find().sort("_id", 1)}

    def states(self, kind: str = "APP") -> dict[str, str]:
        """Return the state of each record."""
        return {key: each["state"] for key, each in self.records(kind).items()}

    def files(self) -> dict[str, bytes]:
        """Return every file of ours that lies for ESR or was taken or set aside by it."""
        out = self.path / "outbound"
        found = [*out.glob("*.DAT"), *out.glob("taken/*.DAT"), *out.glob("quarantine/*.DAT")]
        return {file.name: file.read_bytes() for file in sorted(found)}

    def rows(self, *kinds: str) -> dict[tuple[str, int], Row]:
        """Return every line ESR has or will take, by file and ordinal, as ESR's own reader has it."""
        rows = {}
        for name, body in self.files().items():
            reading = read(name, body)
            assert not reading.reasons, (name, reading.reasons)
            assert reading.name is not None
            if not kinds or reading.name.kind in kinds:
                rows.update({(name, row.ordinal): row for row in reading.rows})
        return rows

    def told(self) -> Counter[tuple[int, int, str, str]]:
        """Return how often TCS was told of each placement, position, file and status."""
        return Counter(
            (placement, body["positionId"], body["filename"], body["status"])
            for placement, bodies in self.tcs.placement_events().items()
            for body in bodies
        )

    def exports(self) -> dict[str, dict[str, Any]]:
        """Return our ledger by name."""
        return {each["_id"]: each for each in self.ctx.store["esr_export"].find().sort("_id", 1)}


def afternoon(day: date) -> datetime:
    """Return 14:00 of a summer's day in London."""
    return datetime(day.year, day.month, day.day, 13, tzinfo=UTC)


def person_of(row: Row) -> str:
    """Return who an APP line is of: every person has an address of his own."""
    return str(row.values["applicantEmailAddress"])


def places_of(record: dict[str, Any]) -> list[tuple[str, int]]:
    """Return the places a record has, and had before a person sent it once more."""
    now = [(record["file"], record["ordinal"])] if record["state"] in IN_A_FILE else []
    before = [
        (each["file"], each["ordinal"])
        for each in record["history"]
        if each["state"] == RecordState.TO_EXPORT and each.get("file")
    ]
    return before + now


def problems(chain: Chain) -> list[str]:
    """Return what must never be, whatever has happened and wherever a run has died."""
    found = [f"ESR set aside {one.file_name}: {one.reasons}" for one in chain.side.set_aside]
    found += _files_wrong(chain)
    rows = chain.rows()
    records = {**chain.records(), **chain.records("DNC")}
    pairs = Counter(
        (each["placement_id"], each["position_id"]) for each in records.values() if each["kind"] == "APP"
    )
    found += [f"{count} AppRecords of {pair}" for pair, count in pairs.items() if count > 1]
    places = Counter(place for each in records.values() for place in places_of(each))
    found += [f"{count} records have place {place}" for place, count in places.items() if count > 1]
    found += [f"ESR has line {place} of no record" for place in rows if place not in places]
    for each in records.values():
        place = (each["file"], each["ordinal"])
        if each["state"] in IN_A_FILE - {RecordState.IN_FILE} and place not in rows:
            found.append(f"{each['_id']} is {each['state']} and not in ESR's {place}")
        if each["state"] in UNSENT - {RecordState.TO_EXPORT} and not (each["reason"] or {}).get("code"):
            found.append(f"{each['_id']} is {each['state']} and does not say why")
    told = chain.told()
    found += [f"TCS was told {count} times {what}" for what, count in told.items() if count > 1]
    lines = {(file, int(row.values["positionId"])) for (file, _), row in chain.rows("APP").items()}
    found += [
        f"TCS was told {what}, of a line ESR has not" for what in told if (what[2], what[1]) not in lines
    ]
    return found


def _files_wrong(chain: Chain) -> Iterator[str]:
    """Numbers are used once, and what was seen of a file stays so."""
    exports = chain.exports()
    files = chain.files()
    for name in {*exports, *files}:
        _, _, kind, _, number = name.removesuffix(".DAT").split("_")
        before = chain.name_of.setdefault((COUNTERS[kind], int(number)), name)
        if before != name:
            yield f"{before} and {name} have one number"
    for name, body in files.items():
        is_new = name not in chain.bytes_of
        if chain.bytes_of.setdefault(name, body) != body:
            yield f"the bytes of {name} changed"
        if name not in exports:
            yield f"{name} is not on the ledger"
        elif is_new and chain.ctx.landing.get(exports[name]["object_key"]) != body:
            yield f"{name} is archived as something else"
    for name in chain.bytes_of.keys() - files.keys():
        yield f"{name} is gone"


def told_wrong(chain: Chain, placement_of: Callable[[Row], int], removed: set[int]) -> Iterator[str]:
    """Compare what TCS was told with the lines ESR got and what it said: each exactly once, nothing else.

    Args:
        chain: After a last run that was not disturbed.
        placement_of: The placement a line is of.
        removed: Placements that TCS did not have for a while; of these it may have refused to be told.
    """
    rows = chain.rows("APP")
    wanted = {
        (placement_of(row), int(row.values["positionId"]), file, "EXPORTED"): True
        for (file, _), row in rows.items()
    }
    for answer in chain.answers:
        if "_APP_" not in answer.to:
            continue
        outcomes = {
            each["ordinal"]: each["outcome"]
            for each in chain.ctx.store["esr_answer"].find({"export": answer.to})
        }
        for verdict in answer.verdicts:
            row = rows[answer.to, verdict.ordinal]
            status = TOLD["rejected"] if verdict.type == "ERROR" else PROCESSED
            became = outcomes.get(verdict.ordinal)
            if became not in {"applied", "superseded"}:
                yield f"the answer to {answer.to}:{verdict.ordinal} came to {became}"
            wanted[placement_of(row), int(row.values["positionId"]), answer.to, status] = became == "applied"
    told = chain.told()
    for what, is_told in wanted.items():
        if told[what] != is_told and what[0] not in removed:
            yield f"TCS was told {told[what]} times {what}"
    yield from (f"TCS was told {what}" for what in told if what not in wanted)


@contextlib.contextmanager
def opened_chain(esr_ctx: EsrContext, tcs: TcsSandbox, **changes: Any) -> Iterator[Chain]:
    """Open a chain with nothing in it."""
    store = esr_ctx.store
    for name in store.database.list_collection_names():
        store[name].delete_many({})
    empty_bucket(s3_client(esr_ctx.settings), esr_ctx.settings.landing_bucket)
    tcs.reset()
    folder = f"t{uuid.uuid4().hex[:12]}"
    path = HOME / "sftp" / "files" / folder
    values = {
        "esr_outbound_folder": f"{folder}/outbound",
        "esr_inbound_folder": f"{folder}/inbound",
        "tcs_timeout": 10,
        "tcs_lease_seconds": 30,
    }
    settings = esr_ctx.settings.model_copy(update=values | changes)
    clock = Clock()
    rules = Rules(fail=20, warn=15, inform=15, most_of_a_post=settings.esr_applicants_of_a_post)
    side = EsrSide(DiskFolder(_made(path / "outbound")), DiskFolder(_made(path / "inbound")), rules)
    try:
        yield Chain(replace(esr_ctx, settings=settings, now=clock), tcs, path, clock, side)
    finally:
        shutil.rmtree(path)


def _made(path: Path) -> Path:
    path.mkdir(parents=True)
    return path


@pytest.fixture
def chain(esr_ctx: EsrContext, topics: None, tcs_sandbox: TcsSandbox) -> Iterator[Chain]:
    """A deanery's way out with nothing in it, on the afternoon of ``DAY``."""
    with opened_chain(esr_ctx, tcs_sandbox) as opened:
        yield opened

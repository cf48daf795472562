"""Files of ours that ESR has, and ESR's answers to them, made by hand: lines as the domain page has them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from include.esr.confirmations.run import confirm, discover_answers
from include.esr.context import EsrContext
from include.esr.exports.ledger import Export
from include.esr.files import ledger
from include.esr.files.entry import Entry
from include.esr.names import Deanery, FileName, FileType
from include.esr.outbound import COLLECTIONS, ExportState, RecordState, entry
from include.sandbox.esr.world import FIRST_PERSON, FIRST_POST
from include.settings import Settings
from include.storage.landing import LandingZone
from include.storage.mongo import IntegrationStore
from tests.integration.esr.inbound import Exchange

SENT_AT = datetime(2026, 7, 7, 14, tzinfo=UTC)
NOON = datetime(2026, 7, 8, 12, tzinfo=UTC)
FIRST_POSITION = 7_000_000
PLACEMENTS = 95_000_000
MOST_PLACEMENTS = 50
"""Of a file with more, TCS does not know the placements: it is only applied, not told of."""
ANSWER_OF = {"APP": "APC", "DNC": "DCC", "DNF": "DCC"}


@dataclass
class Answering:
    """ESR's side and ours, as a test of confirmations needs them."""

    exchange: Exchange
    ctx: EsrContext

    def at(self, moment: datetime) -> Answering:
        """Return the same with a clock that stands still."""
        return replace(self, ctx=replace(self.ctx, now=lambda: moment))

    def with_settings(self, **changes: Any) -> Answering:
        return replace(self, ctx=replace(self.ctx, settings=self.ctx.settings.model_copy(update=changes)))

    # --- what we sent

    def sent(
        self,
        number: int = 1,
        records: int = 3,
        *,
        kind: str = "APP",
        deanery: str = "KSS",
        state: ExportState = ExportState.SENT,
        at: datetime = SENT_AT,
    ) -> str:
        """Put a file of ours on the ledger, with its records, and return its name."""
        name = FileName(Deanery(deanery), FileType(kind), date(2026, 7, 7), number)
        export = Export(name, f"{kind}/{deanery}/{number}", state, name.day, records, 0, at)
        document = export.to_document() | {"sha256": "0" * 64, "size": 1, "states": {state.value: at}}
        self.ctx.store["esr_export"].insert_one(document)
        is_sent = state in {ExportState.SENT, ExportState.ANSWERED}
        made = [
            record(kind, str(name), ordinal, number, is_sent=is_sent) for ordinal in range(1, records + 1)
        ]
        self.ctx.store[collection_of(kind)].insert_many(each | {"deanery": deanery} for each in made)
        if kind == "APP" and records <= MOST_PLACEMENTS:
            who = {"traineeId": FIRST_PERSON, "postId": FIRST_POST}
            self.exchange.tcs.load_placements(*({"id": each["placement_id"], **who} for each in made))
        return str(name)

    def record(self, ordinal: int, number: int = 1, kind: str = "APP") -> dict[str, Any]:
        """Return a record as it is now."""
        found = self.ctx.store[collection_of(kind)].find_one({"_id": record_id(kind, ordinal, number)})
        assert found is not None
        return found

    def states(self, number: int = 1, kind: str = "APP") -> list[str]:
        """Return the states of a file's records, in order."""
        query = {"file": self.export(number, kind)["_id"]}
        found = self.ctx.store[collection_of(kind)].find(query).sort("ordinal", 1)
        return [each["state"] for each in found]

    def export(self, number: int = 1, kind: str = "APP") -> dict[str, Any]:
        found = self.ctx.store["esr_export"].find_one({"type": kind, "sequence": number})
        assert found is not None
        return found

    # --- what ESR answers

    def put(
        self, lines: Sequence[str], number: int = 1, *, kind: str = "APC", day: int = 8, **frame: Any
    ) -> str:
        """Put an answer file into ESR's folder and return its ledger id as version 1."""
        name = answer_name(number, kind=kind, day=day, deanery=frame.pop("deanery", "KSS"))
        self.exchange.sftp.put(name, answer_body(name, lines, **frame))
        return f"{name}#1"

    def look(self) -> list[str]:
        """Look for answers; return what there is to do."""
        subjects, unsettled = discover_answers(self.ctx)
        assert unsettled == 0
        return subjects

    def apply(self) -> dict[str, dict[str, int]]:
        """Look for answers and take each to its end; return counts by file."""
        return {subject: confirm(self.ctx, subject) for subject in self.look()}

    def entry(self, file_id: str) -> Entry:
        return ledger.read(self.ctx.store, file_id)

    def outcomes(self, file_id: str) -> dict[int, str]:
        """Return what each good line of an answer file came to."""
        found = self.ctx.store["esr_answer"].find({"file_id": file_id}).sort("line", 1)
        return {each["line"]: each["outcome"] for each in found}

    def alerts(self, file_id: str) -> list[str]:
        return [alert.code for alert in self.entry(file_id).alerts]

    def told(self) -> list[tuple[int, str]]:
        """Return what TCS was told, in order: the place of the placement and the status."""
        return [
            (event["key"] - PLACEMENTS, event["body"]["status"])
            for event in self.exchange.tcs.told("event")
            if event["of"] == "placement"
        ]


def collection_of(kind: str) -> str:
    return COLLECTIONS["APP" if kind == "APP" else "DNC"]


def placement_of(ordinal: int, number: int) -> int:
    return PLACEMENTS + (number - 1) * 100_000 + ordinal


def position_of(ordinal: int, number: int = 1) -> int:
    return FIRST_POSITION + number * 100_000 + ordinal


def record_id(kind: str, ordinal: int, number: int = 1) -> str:
    if kind == "APP":
        return f"{placement_of(ordinal, number)}-{position_of(ordinal, number)}"
    return f"{kind}{number}-{ordinal}"


def post_number(ordinal: int) -> str:
    return f"KSS/RTD01/{ordinal:03d}/STR/001"


def record(kind: str, file: str, ordinal: int, number: int, *, is_sent: bool) -> dict[str, Any]:
    """Return a record's document as the export leaves it."""
    state = RecordState.EXPORTED if is_sent else RecordState.IN_FILE
    return {
        "_id": record_id(kind, ordinal, number),
        "kind": kind,
        "post_id": 50_000 + ordinal,
        "post_number": post_number(ordinal),
        "position_id": position_of(ordinal, number),
        "position_number": f"{position_of(ordinal, number)}",
        "placement_id": placement_of(ordinal, number) if kind == "APP" else None,
        "state": state.value,
        "file": file,
        "ordinal": ordinal,
        "resends": 0,
        "answer": None,
        "history": [entry(state, SENT_AT, why="exported")],
    }


def answer_name(number: int = 1, *, kind: str = "APC", day: int = 8, deanery: str = "KSS") -> str:
    return str(FileName(Deanery(deanery), FileType(kind), date(2026, 7, day), number))


def answer_body(
    name: str,
    lines: Sequence[str],
    *,
    counted: int | None = None,
    header: str | None = None,
    footer: bool = True,
) -> bytes:
    """Return an answer file; ``counted`` is what its footer says when that is wrong."""
    stem = name.removesuffix(".DAT")
    _, deanery, _, day, number = stem.split("_")
    first = f'HDR,"{stem}",{day},063000,"{deanery}",{int(number)}' if header is None else header
    last = [f"FTR,{len(lines) if counted is None else counted}"] if footer else []
    return "".join(f"{line}\n" for line in (first, *lines, *last)).encode()


def apc(
    ordinal: int,
    status: str = "SUCCESS",
    kind: str = "",
    text: str = '""',
    *,
    position: int | str | None = None,
    number: int = 1,
) -> str:
    """Return a line of an APC; ``text`` stands in it as it is."""
    where = position_of(ordinal, number) if position is None else position
    return (
        f'APC,{ordinal},"{post_number(ordinal)}","{status}","{kind}",{text},"APL{ordinal}",,{where},"{where}"'
    )


def dcc(
    ordinal: int,
    status: str = "SUCCESS",
    kind: str = "",
    text: str = '""',
    *,
    post: str | None = None,
    position: int | str | None = None,
    number: int = 1,
) -> str:
    """Return a line of a DCC."""
    where = position_of(ordinal, number) if position is None else position
    post = post_number(ordinal) if post is None else post
    return f'DCC,{ordinal},"{post}",{where},"{status}","{kind}",{text}'


def context(settings: Settings, store: IntegrationStore) -> EsrContext:
    """Return a context whose clock stands at noon of the day after."""
    # Long enough for a busy machine: what is tested here is not TCS being slow.
    settings = settings.model_copy(update={"tcs_timeout": 20, "tcs_lease_seconds": 40})
    return EsrContext("test__confirm", store, LandingZone(settings), settings, now=lambda: NOON)


@contextlib.contextmanager
def answering(exchange: Exchange) -> Iterator[Answering]:
    """Open a test's exchange for confirmations."""
    yield Answering(exchange, context(exchange.settings, exchange.store))


def later(**delta: float) -> datetime:
    return NOON + timedelta(**delta)

"""One slice of an answer file: its lines are judged in order and committed with everything they change."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from include.esr.confirmations.verdicts import AnswerOutcome, SentRecord, Verdict, judge, state_by
from include.esr.documents import FileState
from include.esr.files.entry import SavedMark
from include.esr.outbound import ANSWERED, MAX_HISTORY, RecordState
from include.esr.split import line_id
from include.esr.tcs.calls import queue_calls
from include.esr.tcs.exported import PROCESSED, PROCESSED_WITH_ERRORS, exported_call
from include.quality.gate import Reason
from include.quality.quarantine import Quarantined, release_between, set_aside
from include.storage.mongo import FenceMovedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from pymongo import UpdateOne
    from pymongo.client_session import ClientSession

    from include.esr.confirmations.reading import Slice
    from include.esr.confirmations.sent import SentFile
    from include.esr.confirmations.verdicts import AnswerLine
    from include.esr.context import EsrContext
    from include.esr.files.entry import Entry
    from include.esr.formats.reader import BadLine
    from include.esr.tcs.calls import Call
    from include.storage.mongo import Document, Write

STAGE = "confirm"
_LAST_LINE = 99_999_999
_STANDS = frozenset(
    {
        AnswerOutcome.APPLIED,
        AnswerOutcome.AMENDED,
        AnswerOutcome.REPEATED,
        AnswerOutcome.CONTRADICTS,
        AnswerOutcome.SUPERSEDED,
    }
)
"""What a line came to once and for all; the others are judged anew when the file is replayed."""
_READ = dict.fromkeys(
    (
        *("state", "position_id", "position_number", "placement_id", "post_number"),
        *("ordinal", "resends", "answer"),
    ),
    1,
)
_TCS_STATUS = {
    RecordState.CONFIRMED: PROCESSED,
    RecordState.CONFIRMED_WITH_WARNINGS: PROCESSED,
    RecordState.REJECTED: PROCESSED_WITH_ERRORS,
}


@dataclass(slots=True)
class _Answered:
    """A record on its way through the lines of a slice.

    Attributes:
        document: As it is in the store.
        now: As the lines so far leave it.
        line: The last one that changed it.
    """

    document: Document
    now: SentRecord
    history: list[dict[str, Any]] = field(default_factory=list)
    line: int = 0

    def take(self, verdict: Verdict, line: int) -> None:
        """Take a verdict."""
        if verdict.history:
            self.history.append(verdict.history)
        if verdict.answer:
            self.now = replace(self.now, state=verdict.answer.state, answer=verdict.answer)
            self.line = line


def plan_slice(
    ctx: EsrContext, entry: Entry, file: SentFile | None, part: Slice, *, at: datetime
) -> tuple[dict[str, int], Write]:
    """Judge the lines of a slice against the records as they are now.

    Returns:
        How many lines came to each outcome, and the write that commits records, line ledger, calls to TCS,
        lines set aside and the mark to go on from, all or nothing.
    """
    known = _known_lines(ctx, entry, part)
    fresh = [line for line in part.answers if known.get(_id(entry, line)) not in _STANDS]
    records = _records(ctx, file, fresh) if file else {}
    judged = [(line, _take(line, records, file, entry, at)) for line in fresh]
    changed = [each for each in records.values() if each.history or each.line]
    rows = [_row(entry, file, line, verdict, records, at) for line, verdict in judged]
    calls = list(_calls(changed, file, entry, at)) if file and file.kind == "APP" else []
    aside = [_quarantined(entry, bad) for bad in part.bad]

    def write(session: ClientSession, order: int) -> None:
        _move_mark(ctx, session, entry, part)
        if part.first_line == 1:
            release_between(ctx.store, session, entry.source.owner, *_all_lines(entry), at=at)
        _write_rows(ctx, session, rows, replaced=[row["_id"] for row in rows if row["_id"] in known])
        if file and changed:
            _write_records(ctx, session, file, changed, at)
        queue_calls(ctx.store, session, entry.source.owner, calls, order=order, at=at)
        set_aside(ctx.store, session, aside, at=at)

    return dict(Counter(verdict.outcome.value for _, verdict in judged)), write


def _id(entry: Entry, line: AnswerLine) -> str:
    return f"{entry.file_id}:{line.line}"


def _known_lines(ctx: EsrContext, entry: Entry, part: Slice) -> dict[str, str]:
    """Return what lines came to before, if the file was applied once and then replayed."""
    query = {"file_id": entry.file_id, "line": {"$gte": part.first_line, "$lt": part.next_line}}
    return {row["_id"]: row["outcome"] for row in ctx.store["esr_answer"].find(query, {"outcome": 1})}


def _records(ctx: EsrContext, file: SentFile, lines: Sequence[AnswerLine]) -> dict[int, _Answered]:
    """Return the records whose newest place is one of these lines' ordinals, by ordinal."""
    ordinals = sorted({line.ordinal for line in lines})
    found = ctx.store[file.collection].find({"file": file.name, "ordinal": {"$in": ordinals}}, _READ)
    return {document["ordinal"]: _Answered(document, SentRecord.of(document)) for document in found}


def _take(
    line: AnswerLine, records: Mapping[int, _Answered], file: SentFile | None, entry: Entry, at: datetime
) -> Verdict:
    if file is None:
        return Verdict(AnswerOutcome.UNKNOWN_FILE)
    record = records.get(line.ordinal)
    verdict = judge(line, record.now if record else None, records=file.records, file_id=entry.file_id, at=at)
    if record:
        record.take(verdict, line.line)
    return verdict


def _row(
    entry: Entry,
    file: SentFile | None,
    line: AnswerLine,
    verdict: Verdict,
    records: Mapping[int, _Answered],
    at: datetime,
) -> Document:
    """Return a line as the line ledger has it: nothing of what ESR wrote but the verdict."""
    record = records.get(line.ordinal)
    return {
        "_id": _id(entry, line),
        "file_id": entry.file_id,
        "line": line.line,
        "order": f"{entry.source.order}-{line.line:08d}",
        "export": file.name if file else None,
        "ordinal": line.ordinal,
        "record": record.now.id if record else None,
        "state": state_by(line.status, line.type).value,
        "outcome": verdict.outcome.value,
        "code": verdict.code,
        "at": at,
    }


def _calls(changed: Sequence[_Answered], file: SentFile, entry: Entry, at: datetime) -> Iterator[Call]:
    """Yield what TCS is to be told: of each record once, if its status is another than before the slice."""
    for record in changed:
        before, now = record.document["state"], record.now.state
        if now not in _TCS_STATUS or _TCS_STATUS.get(before) == _TCS_STATUS[now]:
            continue
        call = exported_call(record.document, status=_TCS_STATUS[now], at=at, file=file.name)
        # An answer that was taken back may come to count again: that is another thing to tell.
        yield replace(call, id=f"{call.id}|{entry.file_id}:{record.line}") if before in ANSWERED else call


def _quarantined(entry: Entry, bad: BadLine) -> Quarantined:
    return Quarantined(
        owner=entry.source.owner,
        resource=str(entry.type),
        external_id=line_id(entry.file_id, bad.line),
        stage=STAGE,
        reasons=(Reason(bad.code, bad.message),),
        payload=bad.text,
        raw_ref=f"{entry.key}#{bad.line}",
    )


def _move_mark(ctx: EsrContext, session: ClientSession, entry: Entry, part: Slice) -> None:
    moved = ctx.store["esr_file"].update_one(
        {
            "_id": entry.file_id,
            "state": FileState.LANDED.value,
            "saved": asdict(entry.saved) if entry.saved else None,
        },
        {"$set": {"saved": asdict(SavedMark(part.chunk, part.next_line))}},
        session=session,
    )
    if not moved.matched_count:
        raise FenceMovedError("the file was replayed or applied meanwhile", subject=entry.file_id)


def _write_rows(
    ctx: EsrContext, session: ClientSession, rows: Sequence[Document], *, replaced: Sequence[str]
) -> None:
    if replaced:
        ctx.store["esr_answer"].delete_many({"_id": {"$in": list(replaced)}}, session=session)
    if rows:
        ctx.store["esr_answer"].insert_many(rows, ordered=False, session=session)


def _write_records(
    ctx: EsrContext, session: ClientSession, file: SentFile, changed: Sequence[_Answered], at: datetime
) -> None:
    updates = [_update(record, at) for record in changed]
    ctx.store[file.collection].bulk_write(updates, ordered=False, session=session)


def _update(record: _Answered, at: datetime) -> UpdateOne:
    from pymongo import UpdateOne

    change: dict[str, Any] = {}
    if record.history:
        change["$push"] = {"history": {"$each": record.history, "$slice": -MAX_HISTORY}}
    if record.line and record.now.answer:
        answer = record.now.answer.to_document()
        change["$set"] = {"state": record.now.state.value, "answer": answer, "changed_at": at}
    return UpdateOne({"_id": record.now.id}, change)


def _all_lines(entry: Entry) -> tuple[str, str]:
    return line_id(entry.file_id, 0), line_id(entry.file_id, _LAST_LINE)

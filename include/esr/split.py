"""Split: a landed file becomes split records; bad lines are set aside one by one; the whole is judged.

Nothing here touches a position or a person: a file that is condemned has had no effect. Each chunk
commits with the checkpoint, so that a crash resumes at the chunk.
"""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from include.errors import TransientError
from include.esr import records
from include.esr.checks import PastFile, require_frame, require_history, require_types
from include.esr.documents import FileState, Source
from include.esr.errors import FileRejectedError
from include.esr.files import ledger
from include.esr.files.entry import SplitMark
from include.esr.files.receipts import prepare_receipt
from include.esr.formats.layout import load_format
from include.esr.formats.reader import DuplicateGuard, Start, read_chunks
from include.esr.names import FileType
from include.esr.tally import DELETED, Tally
from include.quality.gate import Reason
from include.quality.quarantine import Quarantined, release_between, set_aside
from include.storage.documents import QuarantineState
from include.storage.mongo import FenceMovedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pymongo.client_session import ClientSession

    from include.esr.context import EsrContext
    from include.esr.files.entry import Entry
    from include.esr.formats.layout import FileFormat
    from include.esr.formats.reader import BadLine, Chunk
    from include.esr.tcs import Tcs
    from include.storage.mongo import Write

NO_TYPE = "unknown"
"""Resource of a line in quarantine that has no known record type."""
STAGE = "split"
FILES_REMEMBERED = 5
"""How many earlier files of a deanery a new one is compared with."""


def split_file(ctx: EsrContext, file_id: str, tcs: Tcs) -> None:
    """Split a landed file and judge it; does nothing to a file that is further on.

    A file that was rejected before is rejected again, so that a task that is run again does not turn green.

    Raises:
        FileRejectedError: The file as a whole cannot be used; it is rejected on the ledger with evidence.
        TransientError: Store, landing zone or TCS did not answer; what was split so far stays.
    """
    # The fence is the file's own: two files of one deanery may be split side by side.
    for done in ctx.store.commit_each(file_id, partial(_plans, ctx, file_id)):
        ctx.progress(f"{done.good:,} lines split, {done.bad:,} set aside so far")
    _judge(ctx, file_id, tcs)
    entry = ledger.read(ctx.store, file_id)
    if entry.state is FileState.REJECTED and entry.reason is not None:
        raise FileRejectedError(entry.reason.message, code=entry.reason.code, subject=entry.name)


def _plans(ctx: EsrContext, file_id: str) -> Iterator[tuple[Tally, Write]]:
    entry = ledger.read(ctx.store, file_id)
    if entry.state is not FileState.LANDED:
        return
    landed = entry.landed
    layout = load_format(FileType(landed.source.name.type))
    tally, mark = read_tally(ctx, file_id), entry.split
    start = Start(mark.chunk, mark.line, mark.offset) if mark else Start()
    guard = DuplicateGuard(layout)
    if mark:
        _remember(ctx, file_id, layout, guard)
    with ctx.landing.open(landed.key, skip=start.offset) as stream:
        for read in read_chunks(
            stream,
            layout,
            encoding=landed.encoding or "utf-8",
            chunk_bytes=ctx.settings.esr_chunk_bytes,
            max_line_bytes=ctx.settings.esr_max_line_bytes,
            start=start,
        ):
            chunk = guard.take(read)
            kept = max(0, ctx.settings.esr_max_quarantined - tally.bad)
            tally.add(chunk)
            yield tally, _chunk_write(ctx, entry, chunk, tally.to_dict(), chunk.bad[:kept])


def _remember(ctx: EsrContext, file_id: str, layout: FileFormat, guard: DuplicateGuard) -> None:
    """Tell the guard the ids split before a crash."""
    columns = {code: record.unique for code, record in layout.records.items() if record.unique}
    for _, tables in records.chunks(ctx.store, file_id, codes=tuple(columns)):
        for code, table in tables.items():
            guard.remember(code, table[columns[code]])


def _chunk_write(
    ctx: EsrContext, entry: Entry, chunk: Chunk, tally: Mapping[str, Any], bad: Sequence[BadLine]
) -> Write:
    """Return the write of one chunk: its records, its bad lines, and the mark to go on from."""
    source, at = entry.source, ctx.now()
    documents = [
        records.to_document(source, chunk.number, code, table) for code, table in chunk.tables.items()
    ]
    aside = [_quarantined(source, f"{entry.key}", line) for line in bad]
    mark = SplitMark(chunk.number + 1, chunk.next_line, chunk.next_offset)

    def write(session: ClientSession, _order: int) -> None:
        moved = ctx.store["esr_file"].update_one(
            {"_id": source.file_id, "state": FileState.LANDED.value},
            {"$set": {"split": asdict(mark), "tally": tally}},
            session=session,
        )
        if not moved.matched_count:
            raise FenceMovedError("the file was replayed or judged meanwhile", subject=source.file_id)
        if chunk.number == 0:
            release_between(ctx.store, session, source.owner, *_line_ids(source.file_id), at=at)
        records.write_records(ctx.store, session, source.file_id, chunk.number, documents)
        set_aside(ctx.store, session, aside, at=at)

    return write


def _quarantined(source: Source, key: str, line: BadLine) -> Quarantined:
    return Quarantined(
        owner=source.owner,
        resource=line.record_type or NO_TYPE,
        external_id=line_id(source.file_id, line.line),
        stage=STAGE,
        reasons=(Reason(line.code, line.message),),
        payload=line.text,
        raw_ref=f"{key}#{line.line}",
    )


def line_id(file_id: str, line: int) -> str:
    """Return the id under which a line of a file is set aside; sorts by line."""
    return f"{file_id}:{line:08d}"


def _line_ids(file_id: str) -> tuple[str, str]:
    """Return the first and the last id a line of a file can have."""
    return line_id(file_id, 0), line_id(file_id, 99_999_999)


def read_tally(ctx: EsrContext, file_id: str) -> Tally:
    """Return what was counted of a file so far."""
    found = ctx.store["esr_file"].find_one({"_id": file_id}, {"tally": 1})
    return Tally.from_dict(found.get("tally") if found else None)


def _judge(ctx: EsrContext, file_id: str, tcs: Tcs) -> None:
    """Decide whether the file as a whole can be believed, and commit the verdict with its receipt."""
    entry = ledger.read(ctx.store, file_id)
    if entry.state is not FileState.LANDED:
        return
    source, tally = entry.source, read_tally(ctx, file_id)
    rejection: FileRejectedError | None = None
    unmatched: float | None = None
    try:
        require_frame(source.name, tally)
        require_types(source.name, tally)
        unmatched = _unmatched_share(ctx, file_id, tcs)
        if not _accepted(ctx, file_id):
            require_history(source.name, tally, unmatched, _past(ctx, entry))
    except FileRejectedError as error:
        rejection = error
    counts = {"records": tally.good, "quarantined": tally.bad, "deleted": tally.deleted}
    _commit_verdict(ctx, entry, rejection, counts, unmatched)


def _commit_verdict(
    ctx: EsrContext,
    entry: Entry,
    rejection: FileRejectedError | None,
    counts: Mapping[str, int],
    unmatched: float | None,
) -> None:
    lines, at = _bad_lines(ctx, entry), ctx.now()
    reason = Reason(rejection.code, rejection.message) if rejection else None

    def write(session: ClientSession, _order: int) -> None:
        judged = ctx.store["esr_file"].update_one(
            {
                "_id": entry.file_id,
                "state": FileState.LANDED.value,
                "split": asdict(entry.split) if entry.split else None,
            },
            {"$set": {"unmatched_share": unmatched}},
            session=session,
        )
        if not judged.matched_count:
            raise TransientError("the file was replayed or judged meanwhile; it is looked at again")
        if reason is not None:
            ledger.reject(ctx.store, session, entry.file_id, reason, at=at, counts=counts)
        else:
            ledger.advance(ctx.store, session, entry.file_id, FileState.SPLIT, at=at, counts=counts)
        prepare_receipt(ctx.store, session, entry, lines=lines, counts=counts, at=at)

    ctx.store.commit_plan(entry.file_id, lambda: (None, write))


def _unmatched_share(ctx: EsrContext, file_id: str, tcs: Tcs) -> float | None:
    """Return the share of the file's post numbers TCS does not have; ``None`` without numbers.

    Positions that are being deleted do not count.
    """
    import pyarrow.compute as pc

    numbers: set[str] = set()
    for _, tables in records.chunks(ctx.store, file_id, codes=("POS", "POR")):
        for table in tables.values():
            kept = table.filter(pc.not_equal(table["indicator"], DELETED))
            numbers.update(kept["deanery_number"].unique().to_pylist())
    return 1 - len(tcs.posts(numbers)) / len(numbers) if numbers else None


def _past(ctx: EsrContext, entry: Entry) -> list[PastFile]:
    """Return the deanery's earlier files of this type that were applied, the newest first."""
    found = (
        ctx.store["esr_file"]
        .find(
            {
                "deanery": entry.deanery,
                "type": entry.type,
                "order": {"$lt": entry.order},
                "state": {"$in": [FileState.RECONCILED.value, FileState.PUBLISHED.value]},
                "tally": {"$exists": True},
            },
            {"tally.data_lines": 1, "counts": 1, "unmatched_share": 1},
        )
        .sort("order", -1)
        .limit(FILES_REMEMBERED)
    )
    return [
        PastFile(
            each["tally"]["data_lines"],
            each["counts"]["deleted"] / max(1, each["counts"]["records"]),
            each.get("unmatched_share"),
        )
        for each in found
    ]


def _accepted(ctx: EsrContext, file_id: str) -> bool:
    """Tell whether this file is right however unlike the others it is.

    A person has said so, or it was applied before: TCS has changed since, the file has not.
    """
    found = ctx.store["esr_file"].find_one({"_id": file_id}, {"accepted": 1, "applied_at": 1})
    return bool(found and (found.get("accepted") or found.get("applied_at")))


def _bad_lines(ctx: EsrContext, entry: Entry) -> list[dict[str, Any]]:
    """Return what the receipt tells of each line set aside: where and why, not what stood in it."""
    first, last = _line_ids(entry.file_id)
    found = ctx.store["quarantine"].find(
        {
            "owner": entry.source.owner,
            "external_id": {"$gte": first, "$lte": last},
            "state": {"$ne": QuarantineState.RELEASED.value},
        },
        {"external_id": 1, "resource": 1, "reasons": 1},
    )
    return sorted(
        (
            {
                "line": int(each["external_id"].rpartition(":")[2]),
                "record_type": "" if each["resource"] == NO_TYPE else each["resource"],
                "code": each["reasons"][0]["code"],
                "text": each["reasons"][0]["message"],
            }
            for each in found
        ),
        key=lambda each: each["line"],
    )

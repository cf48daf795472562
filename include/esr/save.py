"""Save: split records become positions and people, slice by slice, each slice with its checkpoint."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from include.esr import records
from include.esr.documents import FileState
from include.esr.files import ledger
from include.esr.files.entry import SavedMark
from include.esr.files.sequence import require_turn
from include.esr.names import RMT, FileType
from include.esr.people.saving import plan_people, touched_ids
from include.esr.positions.merging import POSITION_TYPES, plan_positions
from include.quality.quarantine import release_between

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    import pyarrow as pa
    from pymongo.client_session import ClientSession

    from include.esr.context import EsrContext
    from include.esr.documents import Source
    from include.storage.mongo import Write

MOST = 10
"""A position or person has at most about five lines: ten times their number is more than most of a file."""


def save_file(ctx: EsrContext, file_id: str) -> None:
    """Apply a file's records, when it is its turn among the files of its deanery.

    Does nothing to a file that is saved already.

    Raises:
        NotYetError: The file before it in the deanery's sequence is not applied, or is missing and still
            waited for.
        TransientError: The store did not answer; what was saved so far stays.
    """
    entry = ledger.read(ctx.store, file_id)
    if entry.state is not FileState.SPLIT:
        return
    require_turn(ctx.store, entry, now=ctx.now(), wait_seconds=ctx.settings.esr_predecessor_wait)
    source, saved = entry.source, 0
    for lines in ctx.store.commit_each(source.owner, partial(_plans, ctx, file_id)):
        saved += lines
        ctx.progress(f"{saved:,} lines saved so far")

    def finish(session: ClientSession, _order: int) -> None:
        at = ctx.now()
        ledger.advance(ctx.store, session, file_id, FileState.SAVED, at=at)
        # Kept over a replay: what was applied once is not judged by its likeness to others again.
        ctx.store["esr_file"].update_one({"_id": file_id}, {"$set": {"applied_at": at}}, session=session)
        if source.name.type is FileType.RMF:
            _release_older(ctx, session, source, at)
        _alert_if_outdated(ctx, session, file_id, at)

    def prepare() -> tuple[None, Write | None]:
        again = ledger.read(ctx.store, file_id)
        return None, finish if again.state is FileState.SPLIT else None

    ctx.store.commit_plan(source.owner, prepare)


def _plans(ctx: EsrContext, file_id: str) -> Iterator[tuple[int, Write] | None]:
    entry = ledger.read(ctx.store, file_id)
    if entry.state is not FileState.SPLIT:
        return
    source, mark = entry.source, entry.saved or SavedMark(0, 0)
    older = entry.counts.get("older", 0)
    before: set[str] = set()
    for chunk, tables in records.chunks(ctx.store, file_id, first=mark.chunk):
        left = records.after(tables, mark.line - 1) if chunk == mark.chunk else tables
        for last, run in records.slices(left, ctx.settings.batch_size):
            touched = {f"position/{each}" for each in _position_ids(run)}
            touched |= {f"person/{each}" for each in touched_ids(run)}
            if not touched.isdisjoint(before):
                yield None  # told of again: what is stored of it must be known first
            before = touched
            lines, outdated, write = _plan(ctx, source, run)
            older += outdated
            yield lines, _slice_write(ctx, source, write, SavedMark(chunk, last + 1), older)


def _plan(ctx: EsrContext, source: Source, run: Mapping[str, pa.Table]) -> tuple[int, int, Write]:
    """Return how many lines a slice has, how many positions and people know newer, and what it writes."""
    at = ctx.now()
    positions, write_positions = plan_positions(ctx.store, source, run, at=at)
    people, write_people = plan_people(ctx.store, source, run, at=at)

    def write(session: ClientSession, order: int) -> None:
        for each in (write_positions, write_people):
            if each is not None:
                each(session, order)

    lines = sum(table.num_rows for table in run.values())
    return lines, positions["positions_older"] + people["stale"], write


def _slice_write(ctx: EsrContext, source: Source, write: Write, mark: SavedMark, older: int) -> Write:
    """Return the write of a slice together with the mark to go on from."""

    def both(session: ClientSession, order: int) -> None:
        write(session, order)
        ledger.mark(ctx.store, session, source.file_id, counts={"older": older}, saved=mark)

    return both


def _alert_if_outdated(ctx: EsrContext, session: ClientSession, file_id: str, at: datetime) -> None:
    """Tell a person when most of a file changed nothing because newer files had been applied."""
    counts = ledger.read(ctx.store, file_id).counts
    if counts.get("older", 0) * MOST <= counts.get("records", 0):
        return
    message = (
        f"newer files had told of {counts['older']} positions and people of this file: they stay as they "
        "are. If this is no old file that came late, look at the days in the names of the deanery's files"
    )
    ledger.add_alert(ctx.store, session, file_id, "mostly_older", message, at=at)


def _release_older(ctx: EsrContext, session: ClientSession, source: Source, at: datetime) -> None:
    """Release the bad lines of the deanery's older files: a full file says everything anew."""
    name = source.name
    for kind in sorted(RMT):
        first = f"DE_{name.deanery}_{kind}_"
        last = f"{first}{name.day:%Y%m%d}_{name.sequence:08d}"  # sorts before the ids of that file itself
        release_between(ctx.store, session, source.owner, first, last, at=at)


def _position_ids(run: Mapping[str, pa.Table]) -> set[int]:
    """Return the positions a slice tells of."""
    return {each for code in POSITION_TYPES if code in run for each in run[code]["position_id"].to_pylist()}

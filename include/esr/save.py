"""Save: split records become positions and people, slice by slice, each slice with its checkpoint."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from include.esr import records
from include.esr.documents import FileState
from include.esr.files import ledger
from include.esr.files.entry import SavedMark
from include.esr.files.sequence import require_turn
from include.esr.people.saving import plan_people, touched_ids
from include.esr.positions.merging import POSITION_TYPES, plan_positions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pyarrow as pa
    from pymongo.client_session import ClientSession

    from include.esr.context import EsrContext
    from include.esr.documents import Source
    from include.storage.mongo import Write

STAGE = "save"


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
        ledger.advance(ctx.store, session, file_id, FileState.SAVED, at=ctx.now())

    def prepare() -> tuple[None, Write | None]:
        again = ledger.read(ctx.store, file_id)
        return None, finish if again.state is FileState.SPLIT else None

    ctx.store.commit_plan(source.owner, prepare)


def _plans(ctx: EsrContext, file_id: str) -> Iterator[tuple[int, Write] | None]:
    entry = ledger.read(ctx.store, file_id)
    if entry.state is not FileState.SPLIT:
        return
    source, mark = entry.source, entry.saved or SavedMark(0, 0)
    before: set[str] = set()
    for chunk, tables in records.chunks(ctx.store, file_id, first=mark.chunk):
        left = records.after(tables, mark.line - 1) if chunk == mark.chunk else tables
        for last, run in records.slices(left, ctx.settings.batch_size):
            touched = {f"position/{each}" for each in _position_ids(run)}
            touched |= {f"person/{each}" for each in touched_ids(run)}
            if not touched.isdisjoint(before):
                yield None  # told of again: what is stored of it must be known first
            before = touched
            yield _plan(ctx, source, run, SavedMark(chunk, last + 1))


def _plan(ctx: EsrContext, source: Source, run: Mapping[str, pa.Table], mark: SavedMark) -> tuple[int, Write]:
    at = ctx.now()
    _, write_positions = plan_positions(ctx.store, source, run, at=at)
    _, write_people = plan_people(ctx.store, source, run, at=at)

    def write(session: ClientSession, order: int) -> None:
        for each in (write_positions, write_people):
            if each is not None:
                each(session, order)
        ledger.mark(ctx.store, session, source.file_id, saved=mark)

    return sum(table.num_rows for table in run.values()), write


def _position_ids(run: Mapping[str, pa.Table]) -> set[int]:
    """Return the positions a slice tells of."""
    return {each for code in POSITION_TYPES if code in run for each in run[code]["position_id"].to_pylist()}

"""Giving a file its number and its records, in one transaction: from then on nothing about it changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from include.esr.documents import owner
from include.esr.exports import ledger
from include.esr.exports.ledger import Export, collection_of
from include.esr.exports.numbers import next_number
from include.esr.exports.picking import Picked, pick_due
from include.esr.names import Deanery, FileName, FileType
from include.esr.outbound import ExportState, RecordState, entry, pushed
from include.storage.mongo import FenceMovedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date, datetime

    from pymongo import UpdateOne
    from pymongo.client_session import ClientSession

    from include.esr.context import EsrContext
    from include.quality.gate import Reason
    from include.storage.mongo import Write


@dataclass(slots=True)
class Allocation:
    """What came of allocating a day's file.

    Attributes:
        export: The file; ``None`` when nothing is due.
        fresh: Whether it was allocated now.
        invalid: Records that were due and are INVALID_DATA now.
        carried_over: Records that were due and wait for a later file.
        waiting: Records that are due once their posts have been looked at.
    """

    export: Export | None = None
    fresh: bool = False
    invalid: int = 0
    carried_over: int = 0
    waiting: int = 0


def key_of(file_type: FileType, deanery: str, day: date) -> str:
    """Return the ledger's key of a day's file."""
    return f"{file_type}/{deanery}/{day.isoformat()}"


def moment(ctx: EsrContext) -> datetime:
    """Return now as the store keeps it, in milliseconds."""
    now = ctx.now()
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def allocate(ctx: EsrContext, file_type: FileType, deanery: str, *, today: date) -> Allocation:
    """Return a day's file, allocated now if it was not before and something is due.

    Raises:
        TransientError: The store did not answer, or others kept committing; nothing was allocated.
    """
    key = key_of(file_type, deanery, today)

    def prepare() -> tuple[Allocation, Write | None]:
        known = ledger.find(ctx.store, key)
        if known is not None:
            return Allocation(known), None
        picked = pick_due(ctx.store, file_type, deanery, today=today, settings=ctx.settings)
        allocation = Allocation(
            invalid=len(picked.bad), carried_over=picked.carried_over, waiting=picked.waiting
        )
        if not picked.records and not picked.bad:
            return allocation, None
        at = moment(ctx)

        def write(session: ClientSession, _order: int) -> None:
            _set_aside(ctx, session, file_type, picked.bad, at)
            if picked.records:
                allocation.export = _open(ctx, session, (file_type, deanery), key, today, picked, at)
                allocation.fresh = True

        return allocation, write

    return ctx.store.commit_plan(owner(deanery), prepare)


def _open(
    ctx: EsrContext,
    session: ClientSession,
    of: tuple[FileType, str],
    key: str,
    today: date,
    picked: Picked,
    at: datetime,
) -> Export:
    file_type, deanery = of
    number = next_number(ctx.store, session, file_type)
    export = Export(
        name=FileName(Deanery(deanery), file_type, today, number),
        key=key,
        state=ExportState.ALLOCATED,
        day=today,
        records=len(picked.records),
        carried_over=picked.carried_over,
        made_at=at,
    )
    open_export(ctx, session, export)
    give_places(ctx, session, export, picked.records)
    return export


def open_export(ctx: EsrContext, session: ClientSession, export: Export) -> None:
    """Put a file that has just been given its number on the ledger."""
    ctx.store[ledger.EXPORTS].insert_one(export.to_document(), session=session)


def give_places(
    ctx: EsrContext, session: ClientSession, export: Export, records: Sequence[Mapping[str, Any]]
) -> None:
    """Give records their places in a file, in the order they come.

    Raises:
        FenceMovedError: One is not as it was picked any more.
    """
    updates = [_placed(export, record, ordinal) for ordinal, record in enumerate(records, start=1)]
    _write_all(ctx, session, export.collection, updates)


def _write_all(ctx: EsrContext, session: ClientSession, collection: str, updates: list[UpdateOne]) -> None:
    written = ctx.store[collection].bulk_write(updates, ordered=False, session=session)
    if written.matched_count < len(updates):
        raise FenceMovedError("a record changed since it was picked", subject=collection)


def _as_picked(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the filter for a record as it was picked.

    The fence guards it from runs for its deanery only: those of another may take it over, with its position.
    """
    return {name: record[name] for name in ("_id", "state", "deanery", "revision")}


def _placed(export: Export, record: Mapping[str, Any], ordinal: int) -> UpdateOne:
    from pymongo import UpdateOne

    place = {"file": export.id, "ordinal": ordinal}
    note = entry(RecordState.IN_FILE, export.made_at, why="in_file") | place
    return UpdateOne(
        _as_picked(record),
        {
            "$set": {"state": RecordState.IN_FILE.value, "changed_at": export.made_at, **place},
            "$push": pushed(note),
        },
    )


def _set_aside(
    ctx: EsrContext,
    session: ClientSession,
    file_type: FileType,
    bad: Sequence[tuple[Mapping[str, Any], Reason]],
    at: datetime,
) -> None:
    from pymongo import UpdateOne

    updates = [
        UpdateOne(
            _as_picked(record),
            {
                "$set": {
                    "state": RecordState.INVALID_DATA.value,
                    "reason": {"code": reason.code, "message": reason.message},
                    "changed_at": at,
                },
                "$push": pushed(entry(RecordState.INVALID_DATA, at, why=reason.code)),
            },
        )
        for record, reason in bad
    ]
    if updates:
        _write_all(ctx, session, collection_of(file_type), updates)

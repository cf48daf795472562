"""Receipts (RTC): each file that came in is answered in the evening, and again if its verdict changes."""

from __future__ import annotations

import re
from collections import Counter
from datetime import datetime, time
from typing import TYPE_CHECKING, Any

from include.errors import DataQualityError
from include.esr.documents import owner
from include.esr.exports import ledger
from include.esr.exports.allocating import moment, open_export
from include.esr.exports.failing import collected, raise_worst
from include.esr.exports.ledger import Export
from include.esr.exports.numbers import next_number
from include.esr.exports.sending import finish
from include.esr.formats.layout import load_format
from include.esr.formats.writer import check_record
from include.esr.names import Deanery, FileName, FileType
from include.esr.outbound import LONDON, ExportState, london_day
from include.events.drain import drain
from include.storage.mongo import store_errors

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pymongo.client_session import ClientSession

    from include.errors import IntegrationError
    from include.esr.context import EsrContext
    from include.storage.mongo import Write


def send_receipts(ctx: EsrContext, *, deanery: str | None = None) -> dict[str, int]:
    """Send the receipts whose time has come: 18:00 in London on the day they were prepared, or as set.

    A receipt that cannot be sent holds up no other. A file whose name tells no deanery gets none: nobody
    could be named in the receipt's own name.

    Args:
        ctx: What the stage works with.
        deanery: Only of this one.

    Returns:
        ``files`` sent, their ``records``, receipts still ``waiting`` for their time, ``published`` events.

    Raises:
        DataQualityError: A receipt cannot be written at all.
        IntegrationError: As ``sending.finish`` says, of one that failed; run it again.
    """
    counts = Counter(dict.fromkeys(("files", "records", "waiting", "published"), 0))
    failed: list[IntegrationError] = []
    for each in [deanery] if deanery else _deaneries(ctx):
        with collected(failed, ctx.progress):
            _send_of_deanery(ctx, each, counts, failed)
    raise_worst(failed)
    return dict(counts)


def is_due(prepared_at: datetime, now: datetime, *, hour: int) -> bool:
    """Tell whether a receipt's time has come: an hour of the day it was prepared, in London."""
    return now >= datetime.combine(london_day(prepared_at), time(hour), LONDON)


def rows_of(receipt: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the lines of a receipt: the file's verdict, the counts, each rejected line."""
    reason = receipt.get("reason") or {}
    text = reason.get("message") or (f"{receipt['more']} more are not named" if receipt["more"] else None)
    yield {
        "type": "FIL",
        "file_name": receipt["name"],
        "outcome": receipt["outcome"],
        "code": reason.get("code"),
        "text": text,
    }
    for code, counted in sorted((receipt.get("types") or {}).items()):
        yield {"type": "CNT", "record_type": code, **counted}
    for error in receipt["errors"]:
        yield {
            "type": "ERR",
            "source_line": error["line"],
            "record_type": error["record_type"],
            "code": error["code"],
            "text": error["text"],
        }


def sound_rows(receipt: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the lines of a receipt as they can stand in a file.

    What another stage says of a line may be longer than its column, or no type ESR has: that is left empty,
    and a line that is none even then is left out, rather than that ESR hears nothing of its file.

    Raises:
        DataQualityError: Of the line for the file itself, without which there is no receipt.
    """
    for row in rows_of(receipt):
        sound = _sound(row)
        if sound is not None:
            yield sound
        elif row["type"] == "FIL":
            raise DataQualityError(
                "its receipt cannot be written: name or verdict cannot stand in one. ESR is told nothing of "
                "this file; tell it by other means",
                subject=str(receipt["_id"]),
            )


def _sound(row: dict[str, Any]) -> dict[str, Any] | None:
    layout = load_format(FileType.RTC)
    for emptied in ((), ("record_type",), ("text",), ("record_type", "text")):
        tried = row | {name: None for name in emptied if name in row}
        if check_record(layout, tried) is None:
            return tried
    return None


def _deaneries(ctx: EsrContext) -> list[str]:
    unfinished = {"type": "RTC", "state": {"$in": [state.value for state in ledger.UNFINISHED]}}
    with store_errors("esr"):
        prepared = ctx.store["esr_receipt"].distinct("deanery", {"state": "prepared"})
        begun = ctx.store[ledger.EXPORTS].distinct("deanery", unfinished)
        untold = ctx.store["outbox"].distinct("owner", {"pending": True})
    whose = {owner(deanery): deanery.value for deanery in Deanery}
    return sorted({*filter(None, prepared), *begun, *(whose[each] for each in untold if each in whose)})


def _send_of_deanery(
    ctx: EsrContext, deanery: str, counts: Counter[str], failed: list[IntegrationError]
) -> None:
    for export in ledger.unfinished(ctx.store, deanery, FileType.RTC):
        with collected(failed, ctx.progress):
            _add(counts, finish(ctx, export))
    with store_errors(deanery):
        prepared = {"deanery": deanery, "state": "prepared"}
        found = list(ctx.store["esr_receipt"].find(prepared, {"prepared_at": 1}).sort("_id", 1))
    for receipt in found:
        if not is_due(receipt["prepared_at"], ctx.now(), hour=ctx.settings.esr_receipt_hour):
            counts["waiting"] += 1
            continue
        with collected(failed, ctx.progress):
            if (made := _allocate(ctx, deanery, receipt["_id"])) is not None:
                _add(counts, finish(ctx, made))
    drained = drain(ctx.store, ctx.settings, owner(deanery), now=ctx.now, progress=ctx.progress)
    counts["published"] += drained


def _add(counts: Counter[str], sent: Export) -> None:
    counts.update(files=1, records=sent.records)


def _allocate(ctx: EsrContext, deanery: str, file_id: str) -> Export | None:
    """Give a prepared receipt its number, with what it says now.

    ``None`` if it was sent meanwhile, or has its number already: another run sends it, or one failed to.

    Raises:
        DataQualityError: It cannot be written at all.
    """

    def prepare() -> tuple[list[Export], Write | None]:
        receipt = ctx.store["esr_receipt"].find_one({"_id": file_id, "state": "prepared"})
        if receipt is None:
            return [], None
        before: dict[str, Any] = {"key": {"$regex": f"^RTC/{re.escape(file_id)}/"}}
        unfinished = {"$in": [state.value for state in ledger.UNFINISHED]}
        begun = {"about.prepared_at": receipt["prepared_at"], "state": unfinished}
        if ctx.store[ledger.EXPORTS].find_one(before | begun, {"_id": 1}) is not None:
            return [], None
        rows = tuple(sound_rows(receipt))
        nth = ctx.store[ledger.EXPORTS].count_documents(before) + 1
        at, made = moment(ctx), list[Export]()

        def write(session: ClientSession, _order: int) -> None:
            number = next_number(ctx.store, session, FileType.RTC)
            export = Export(
                name=FileName(Deanery(deanery), FileType.RTC, london_day(at), number),
                key=f"RTC/{file_id}/{nth}",
                state=ExportState.ALLOCATED,
                day=london_day(at),
                records=len(rows),
                carried_over=0,
                made_at=at,
                rows=rows,
                about={"file_id": file_id, "prepared_at": receipt["prepared_at"]},
            )
            open_export(ctx, session, export)
            made[:] = [export]

        return made, write

    made = ctx.store.commit_plan(owner(deanery), prepare)
    return made[0] if made else None

"""What a day's export would send, written to a local file; nothing is changed anywhere."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from include.errors import DataQualityError
from include.esr.exports import ledger
from include.esr.exports.allocating import key_of, moment
from include.esr.exports.checking import require_sound
from include.esr.exports.ledger import FINISHED_WITH, Export
from include.esr.exports.numbers import coming_number
from include.esr.exports.picking import pick_due
from include.esr.exports.writing import body_of, row_of
from include.esr.names import Deanery, FileName, FileType
from include.esr.outbound import ExportState
from include.storage.mongo import store_errors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date
    from pathlib import Path

    from include.esr.context import EsrContext
    from include.esr.exports.picking import Picked
    from include.esr.outbound import Kind


@dataclass(frozen=True, slots=True)
class Preview:
    """What would be sent.

    Attributes:
        name: The file's name; its number is the next one now, not given: the real one may be another.
        path: Where it was written; ``None`` when nothing would be sent.
        records: Its lines.
        carried_over: Records that are due and would wait for a later file.
        invalid: Records that are due and could not stand in a file, with why.
        waiting: Records that are due once their posts have been looked at.
        state: Of the day's file on the ledger, when it has one: then that is shown, as it was or will be
            sent, and nothing is picked anew.
        before: Earlier files that are not sent yet and would be sent first.
        problem: Why the quality gate would refuse it.
    """

    kind: str
    deanery: str
    day: str
    name: str
    path: str | None
    records: int
    carried_over: int
    invalid: tuple[tuple[str, str], ...] = ()
    waiting: int = 0
    state: str | None = None
    before: tuple[str, ...] = ()
    problem: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON-able form."""
        return asdict(self)


def preview(ctx: EsrContext, kind: Kind, deanery: str, *, today: date, folder: Path) -> Preview:
    """Write the file a day's export would send into a local folder, readable by this user only.

    Args:
        ctx: What it works with.
        kind: Of the file.
        deanery: Whose records.
        today: The day.
        folder: Where to; it is made when missing.

    Raises:
        IntegrationError: The store did not answer.
    """
    file_type = FileType(kind)
    with store_errors(deanery):
        export, records, picked = _planned(ctx, file_type, deanery, today)
        unfinished = ledger.unfinished(ctx.store, deanery, *FINISHED_WITH[file_type])
    shown = Preview(
        kind=kind,
        deanery=deanery,
        day=today.isoformat(),
        name=export.id,
        path=None,
        records=len(records),
        carried_over=export.carried_over,
        invalid=tuple((record["_id"], reason.code) for record, reason in picked.bad) if picked else (),
        waiting=picked.waiting if picked else 0,
        state=export.state.value if export.key else None,
        before=tuple(each.id for each in unfinished if each.id != export.id and each.day <= today),
    )
    if not records:
        return shown
    rows = [row_of(record["fields"], file_type) for record in records]
    body = body_of(export.name, rows, made_at=export.made_at)
    path = folder / export.id
    _write(path, body)
    return replace(shown, path=str(path), problem=_problem(ctx, export, body, records))


def _planned(
    ctx: EsrContext, file_type: FileType, deanery: str, today: date
) -> tuple[Export, Sequence[Mapping[str, Any]], Picked | None]:
    """Return the day's file as it is, or as it would be allocated now (without a key), and its records."""
    known = ledger.find(ctx.store, key_of(file_type, deanery, today))
    if known is not None:
        return known, list(ledger.records_of(ctx.store, known)), None
    picked = pick_due(ctx.store, file_type, deanery, today=today, settings=ctx.settings)
    records = [{**record, "ordinal": place} for place, record in enumerate(picked.records, start=1)]
    export = Export(
        name=FileName(Deanery(deanery), file_type, today, coming_number(ctx.store, file_type)),
        key="",
        state=ExportState.ALLOCATED,
        day=today,
        records=len(records),
        carried_over=picked.carried_over,
        made_at=moment(ctx),
    )
    return export, records, picked


def _problem(
    ctx: EsrContext, export: Export, body: bytes, records: Sequence[Mapping[str, Any]]
) -> str | None:
    try:
        require_sound(export, body, records, ctx.settings)
    except DataQualityError as error:
        return error.message
    return None


def _write(path: Path, body: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(body)

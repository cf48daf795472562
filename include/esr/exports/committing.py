"""The steps of a file that is being sent, committed with what comes with them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from include.errors import FatalError
from include.esr.documents import owner
from include.esr.exports import ledger
from include.esr.exports.allocating import moment
from include.esr.exports.events import exported_event
from include.esr.names import FileType
from include.esr.outbound import ExportState, RecordState, entry, pushed
from include.esr.tcs.calls import queue_calls
from include.esr.tcs.exported import EXPORTED, exported_call
from include.storage.outbox import add_to_outbox

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from pymongo.client_session import ClientSession

    from include.esr.context import EsrContext
    from include.esr.exports.ledger import Export
    from include.esr.tcs.calls import Call
    from include.storage.mongo import Write


def commit_step(
    ctx: EsrContext, export: Export, state: ExportState, fields: Mapping[str, Any] | None = None
) -> Export:
    """Commit that a file is about to be uploaded, or lies on the server under its passing name.

    Raises:
        TransientError: Somebody else has taken it further, or is giving it up.
    """
    at = moment(ctx)

    def write(session: ClientSession, _order: int) -> None:
        ledger.advance(ctx.store, session, export, state, at=at, fields=fields)

    _commit(ctx, export, write)
    return replace(export, state=state, **(fields or {}))


def commit_sent(ctx: EsrContext, export: Export, *, taken: bool) -> Export:
    """Commit that ESR has a file: its records are exported, TCS and the event stream are to be told.

    Raises:
        TransientError: Somebody else has committed it, or it is being given up.
    """
    at = moment(ctx)
    sent = replace(export, state=ExportState.SENT, taken=taken)
    calls = _calls(ctx, export, at)

    def write(session: ClientSession, order: int) -> None:
        ledger.advance(ctx.store, session, export, ExportState.SENT, at=at, fields={"taken": taken})
        if export.about is None:
            _mark_records(ctx, session, export, at)
        else:
            _mark_receipt(ctx, session, export, at)
        queue_calls(ctx.store, session, owner(export.deanery), calls, order=order, at=at)
        event = exported_event(sent, run_id=ctx.run_id, at=at)
        add_to_outbox(ctx.store, session, owner(export.deanery), [event], order=order, at=at)

    _commit(ctx, export, write)
    return sent


def _commit(ctx: EsrContext, export: Export, write: Write) -> None:
    """Commit under the deanery's fence; what is written does not depend on anything it guards."""
    ctx.store.commit_plan(owner(export.deanery), lambda: (None, write))


def _calls(ctx: EsrContext, export: Export, at: datetime) -> list[Call]:
    if export.type is not FileType.APP:
        return []
    wanted = dict.fromkeys(("placement_id", "position_id", "position_number", "resends"), 1)
    found = ctx.store[export.collection].find({"file": export.id}, wanted).sort("ordinal", 1)
    return [exported_call(record, status=EXPORTED, at=at, file=export.id) for record in found]


def _mark_records(ctx: EsrContext, session: ClientSession, export: Export, at: datetime) -> None:
    state = RecordState.EXPORTED
    marked = ctx.store[export.collection].update_many(
        {"file": export.id, "state": RecordState.IN_FILE.value},
        {
            "$set": {"state": state.value, "exported_at": at, "changed_at": at},
            "$push": pushed(entry(state, at, why="exported")),
        },
        session=session,
    )
    if marked.modified_count != export.records:
        raise FatalError(
            f"{marked.modified_count} of its {export.records} records are in the file as the store has it; "
            "nothing was noted. The file is with ESR: a developer must look",
            subject=export.id,
        )


def _mark_receipt(ctx: EsrContext, session: ClientSession, export: Export, at: datetime) -> None:
    """Note that a receipt was sent, unless another verdict has come since: that one is still to be sent."""
    about = export.about or {}
    ctx.store["esr_receipt"].update_one(
        {"_id": about["file_id"], "prepared_at": about["prepared_at"]},
        {"$set": {"state": "sent", "file": export.id, "sent_at": at}},
        session=session,
    )
    ctx.store[ledger.EXPORTS].update_one({"_id": export.id}, {"$unset": {"rows": ""}}, session=session)

"""Sending a whole file once more, because ESR set it aside or lost it: all its records are due again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from include.errors import ConfigurationError
from include.esr.documents import owner
from include.esr.exports import ledger
from include.esr.exports.allocating import moment
from include.esr.exports.changing import change_of
from include.esr.exports.wording import require_said
from include.esr.generation.todo import note_todo
from include.esr.names import FileType
from include.esr.outbound import ANSWERED, ExportState, RecordState
from include.storage.mongo import FenceMovedError

if TYPE_CHECKING:
    from pymongo.client_session import ClientSession

    from include.esr.context import EsrContext
    from include.esr.exports.ledger import Export
    from include.storage.mongo import Write

_WHY_NOT = {
    ExportState.ANSWERED: "ESR has answered it, so it was not set aside: send single records once more "
    "('spotlight esr record resend')",
    ExportState.FAILED: "it was given up, and its records are due already",
}


def resend_file(ctx: EsrContext, name: str, *, why: str, by: str) -> dict[str, int]:
    """Have all records of a file that was sent go out again; harmless when repeated.

    Each gets the change of ``change_record``'s ``resend``; a record that a person has sent once more before
    is in this file no longer. They go with the next day's file, under another number.

    Args:
        ctx: What the stage works with.
        name: Of the file, an APP or DNC.
        why: The reason, in the person's words; no personal data of trainees.
        by: Who.

    Returns:
        ``records`` that are due again.

    Raises:
        ConfigurationError: There is no such file, it was not sent or is answered, or who or why is missing.
            Nothing was changed.
        TransientError: The store did not answer; nothing was changed.
    """
    require_said(why, by, subject=name)
    export = ledger.read(ctx.store, name)

    def prepare() -> tuple[int, Write | None]:
        _require_resendable(ctx, ledger.read(ctx.store, name))
        wanted = dict.fromkeys(("state", "file", "ordinal", "answer", "resends", "post_id"), 1)
        query = {"file": name, "state": RecordState.EXPORTED.value}
        records = list(ctx.store[export.collection].find(query, wanted))
        if not records:
            return 0, None

        def write(session: ClientSession, _order: int) -> None:
            _make_due(ctx, session, export, records, why=why, by=by)

        return len(records), write

    return {"records": ctx.store.commit_plan(owner(export.deanery), prepare)}


def _make_due(
    ctx: EsrContext,
    session: ClientSession,
    export: Export,
    records: list[dict[str, Any]],
    *,
    why: str,
    by: str,
) -> None:
    from pymongo import UpdateOne

    at = moment(ctx)
    updates = [
        UpdateOne(
            {"_id": record["_id"], "state": record["state"], "file": export.id},
            change_of(record, "resend", at, why=why, by=by),
        )
        for record in records
    ]
    done = ctx.store[export.collection].bulk_write(updates, ordered=False, session=session)
    if done.matched_count < len(updates):
        raise FenceMovedError("a record changed meanwhile", subject=export.id)
    ctx.store[ledger.EXPORTS].update_one(
        {"_id": export.id}, {"$set": {"resent": {"why": why, "by": by}}}, session=session
    )
    note_todo(ctx.store, [(export.deanery, record["post_id"]) for record in records], session=session)


def _require_resendable(ctx: EsrContext, export: Export) -> None:
    if export.type not in {FileType.APP, FileType.DNC}:
        raise ConfigurationError(
            f"a file {export.type} cannot be sent once more; nothing was changed. Make the snapshot of "
            "another day, or replay the file a receipt is for",
            subject=export.id,
        )
    # Its answer may be half applied, and the file not marked yet.
    answered = {"file": export.id, "state": {"$in": [state.value for state in ANSWERED]}}
    is_answered = ctx.store[export.collection].find_one(answered, {"_id": 1}) is not None
    state = ExportState.ANSWERED if is_answered else export.state
    if state is not ExportState.SENT:
        reason = _WHY_NOT.get(state, "it is not sent yet: run the export again, or give it up")
        raise ConfigurationError(f"this file is {state}: {reason}; nothing was changed", subject=export.id)

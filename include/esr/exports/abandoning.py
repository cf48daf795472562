"""Giving up a file of ours that cannot be sent: what was in it is due again, its number is never used again.

That must not happen while the file is on its way to ESR. Three steps keep the two apart: it is noted that the
file is being given up, which no later step of sending passes; its passing name is taken away by a rename, of
which only one can win; then it is given up. Killed in between, it is done again from the start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from include.errors import ConfigurationError
from include.esr.documents import owner
from include.esr.exports import ledger
from include.esr.exports.allocating import moment
from include.esr.exports.wording import require_said
from include.esr.files.sftp_out import open_outbound
from include.esr.generation.todo import note_todo
from include.esr.names import FileType
from include.esr.outbound import ExportState, RecordState, entry, pushed
from include.storage.mongo import store_errors

if TYPE_CHECKING:
    from datetime import datetime

    from pymongo.client_session import ClientSession

    from include.esr.context import EsrContext
    from include.esr.exports.ledger import Export
    from include.esr.files.sftp_out import OutboundFolder

GIVEN_UP = ".abandoned"


def abandon_file(ctx: EsrContext, name: str, *, why: str, by: str) -> dict[str, int]:
    """Give up a file that was not sent; its records are due again, those of a snapshot are done with.

    Args:
        ctx: What the stage works with.
        name: Of the file.
        why: The reason, in the person's words.
        by: Who.

    Returns:
        ``records`` that are due again.

    Raises:
        ConfigurationError: It was sent, or may have been; or who or why is missing. Nothing was changed.
        TransientError: Server or store did not answer; call it again.
    """
    require_said(why, by, subject=name)
    export = ledger.read(ctx.store, name)
    if export.state is ExportState.FAILED:
        with open_outbound(ctx.settings) as folder:  # left by a try that was killed at its very end
            folder.remove(name + GIVEN_UP)
        return {"records": 0}
    if export.state not in ledger.UNFINISHED:
        raise ConfigurationError(
            f"this file is {export.state}: it is with ESR and cannot be given up; nothing was changed",
            subject=name,
        )
    _mark(ctx, export, {"why": why, "by": by})
    export = ledger.read(ctx.store, name)  # no step of sending is committed from here on
    with open_outbound(ctx.settings) as folder:
        if not _taken_away(folder, export):
            _mark(ctx, export, None)
            raise ConfigurationError(
                "this file lies on the server for ESR, or ESR has taken it; nothing was changed. Run the "
                "export again, which notes it as sent",
                subject=name,
            )
        due_again = _give_up(ctx, export, why=why, by=by)
        folder.remove(name + GIVEN_UP)
    return {"records": due_again}


def _mark(ctx: EsrContext, export: Export, who: dict[str, str] | None) -> None:
    def write(session: ClientSession, _order: int) -> None:
        unfinished = {"$in": [state.value for state in ledger.UNFINISHED]}
        ctx.store[ledger.EXPORTS].update_one(
            {"_id": export.id, "state": unfinished}, {"$set": {"abandoning": who}}, session=session
        )

    ctx.store.commit_plan(owner(export.deanery), lambda: (None, write))


def _taken_away(folder: OutboundFolder, export: Export) -> bool:
    """Tell whether ESR cannot get the file any more: its passing name is ours alone now."""
    size = export.size or 0
    if export.sha256 is not None and folder.digest(export.id, size=size) == export.sha256:
        return False
    uploaded = export.parts[-1:] if export.state is ExportState.UPLOADED else ()
    for part in set(export.parts).difference(uploaded):
        folder.remove(part)
    if not uploaded:
        return True
    aside = export.id + GIVEN_UP
    if folder.digest(aside, size=size) == export.sha256:
        return True
    return folder.rename(uploaded[0], aside)


def _give_up(ctx: EsrContext, export: Export, *, why: str, by: str) -> int:
    at = moment(ctx)
    given_up = {"given_up": {"why": why, "by": by}, "abandoning": None}
    # Its key is free again, so that the day can have another file.
    fields: dict[str, Any] = given_up | {"key": f"{export.key}#{export.name.sequence}"}
    counted: list[int] = []

    def write(session: ClientSession, _order: int) -> None:
        ledger.advance(ctx.store, session, export, ExportState.FAILED, at=at, fields=fields)
        counted[:] = [_free(ctx, session, export, at, why=why, by=by) if export.about is None else 0]

    with store_errors(export.id):
        ctx.store.commit_plan(owner(export.deanery), lambda: (None, write))
    return counted[0]


def _free(ctx: EsrContext, session: ClientSession, export: Export, at: datetime, *, why: str, by: str) -> int:
    is_snapshot = export.type is FileType.DNF
    state = RecordState.WITHDRAWN if is_snapshot else RecordState.TO_EXPORT
    values: dict[str, Any] = {"state": state.value, "changed_at": at}
    if not is_snapshot:
        values |= {"file": None, "ordinal": None}
        posts = ctx.store[export.collection].distinct("post_id", {"file": export.id}, session=session)
        note_todo(ctx.store, [(export.deanery, post) for post in posts], session=session)
    freed = ctx.store[export.collection].update_many(
        {"file": export.id, "state": RecordState.IN_FILE.value},
        {"$set": values, "$push": pushed(entry(state, at, why=why, by=by))},
        session=session,
    )
    return 0 if is_snapshot else freed.modified_count

"""Files of ours that ESR has left without an answer for too long: told once each."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import structlog

from include.esr.documents import owner
from include.esr.names import FileType
from include.esr.outbound import ExportState
from include.storage.mongo import store_errors

if TYPE_CHECKING:
    from datetime import datetime

    from pymongo.client_session import ClientSession

    from include.esr.context import EsrContext
    from include.storage.mongo import Document, Write

UNANSWERED = "unanswered"
_ANSWERED_WITH = {FileType.APP: FileType.APC, FileType.DNC: FileType.DCC, FileType.DNF: FileType.DCC}


def unanswered(ctx: EsrContext, *, now: datetime) -> dict[str, int]:
    """Report every file that was sent ``esr_answer_wait`` ago or longer and is not answered.

    Each gets an alert on the ledger of our files and one log event, ``esr_export_unanswered``. The log
    comes first: who is killed in between tells of it twice, not never.

    Args:
        ctx: The stage's context.
        now: The time, UTC.

    Returns:
        ``unanswered``: how many there are; ``reported``: of these, how many are told of now.

    Raises:
        IntegrationError: As ``store_errors`` says.
    """
    query: dict[str, Any] = {
        "state": ExportState.SENT.value,
        "type": {"$in": sorted(_ANSWERED_WITH)},
        "resent": {"$exists": False},  # what was in it goes out again under another name
        "states.sent": {"$lte": now - timedelta(seconds=ctx.settings.esr_answer_wait)},
    }
    with store_errors("esr_export"):
        late = list(ctx.store["esr_export"].find(query, {"rows": 0}).sort([("deanery", 1), ("_id", 1)]))
    new = [each for each in late if all(alert["code"] != UNANSWERED for alert in each.get("alerts", ()))]
    for export in new:
        _report(ctx, export, now)
    return {"unanswered": len(late), "reported": len(new)}


def _report(ctx: EsrContext, export: Document, now: datetime) -> None:
    sent = export["states"][ExportState.SENT.value]
    message = (
        f"sent {sent:%Y-%m-%d %H:%M} UTC and not answered with a file {_ANSWERED_WITH[export['type']]} of "
        f"number {export['sequence']}: ask ESR whether it has the file; its {export['records']} records stay "
        "EXPORTED, and a late answer is applied as any other"
    )
    structlog.get_logger("spotlight.alerts").error(
        "esr_export_unanswered", file=export["_id"], deanery=export["deanery"], message=message
    )
    known = {"_id": export["_id"], "state": ExportState.SENT.value, "alerts.code": {"$ne": UNANSWERED}}
    alert = {"code": UNANSWERED, "message": message, "at": now}

    def write(session: ClientSession, _order: int) -> None:
        ctx.store["esr_export"].update_one(known, {"$push": {"alerts": alert}}, session=session)

    def prepare() -> tuple[None, Write]:
        return None, write

    ctx.store.commit_plan(owner(export["deanery"]), prepare)

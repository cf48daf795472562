"""The end of an answer file: its counts and alerts, the state of our file, and the event that tells of it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from include.esr.confirmations.sent import sent_file, taken_up
from include.esr.confirmations.verdicts import NEWER, OLDER, AnswerOutcome
from include.esr.documents import FileState
from include.esr.exports.events import answered_event
from include.esr.exports.ledger import Export
from include.esr.files import ledger
from include.esr.outbound import ExportState, RecordState
from include.storage.outbox import add_to_outbox

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from pymongo.client_session import ClientSession

    from include.esr.confirmations.sent import SentFile
    from include.esr.context import EsrContext
    from include.esr.files.entry import Entry
    from include.esr.tally import Tally
    from include.storage.mongo import Document, Write
    from include.storage.outbox import OutboxEntry

FIRST_ANSWER = 2
"""The event that our file was sent is its first."""

_NAMES = {
    RecordState.CONFIRMED: "confirmed",
    RecordState.CONFIRMED_WITH_WARNINGS: "warnings",
    RecordState.REJECTED: "rejected",
}
_COUNTED = (AnswerOutcome.APPLIED, AnswerOutcome.AMENDED, AnswerOutcome.CONTRADICTS)
_ASK = "nothing of them was applied: ask ESR what they answer"
_MESSAGES: Mapping[AnswerOutcome, str] = {
    AnswerOutcome.UNKNOWN_FILE: f"answers are for a file of this number that we did not send; {_ASK}",
    AnswerOutcome.UNKNOWN_ORDINAL: f"answers are for places our file does not have; {_ASK}",
    AnswerOutcome.POSITION_MISMATCH: f"answers name another position or post than our file has there; {_ASK}",
    AnswerOutcome.CONTRADICTS: "answers contradict ones that came before; the newer count, both are in the "
    "records' history: ask ESR which are right",
}


def end_file(ctx: EsrContext, file_id: str, tally: Tally, *, reached: int) -> dict[str, int]:
    """Note that all lines of an answer file are applied, in one transaction, and return its counts.

    Our file is answered as soon as one of its records is.

    Args:
        ctx: The stage's context.
        file_id: The answer file.
        tally: What is in it.
        reached: The line after its last.

    Raises:
        NotYetError: It was replayed meanwhile.
        IntegrationError: As ``store_errors`` says.
    """

    def prepare() -> tuple[dict[str, int], Write | None]:
        entry = ledger.read(ctx.store, file_id)
        if entry.state is not FileState.LANDED:
            return dict(entry.counts), None
        if entry.saved is None or entry.saved.line != reached:
            raise taken_up(file_id)
        at = ctx.now()
        counts = _counts(ctx, entry) | {"quarantined": tally.bad}
        file = sent_file(ctx, entry, now=at)
        return counts, _write(ctx, entry, file, counts, at)

    return ctx.store.commit_plan(ledger.read(ctx.store, file_id).source.owner, prepare)


def _counts(ctx: EsrContext, entry: Entry) -> dict[str, int]:
    """Count the file's lines by the line ledger: right also after a crash or a second run."""
    key = {"outcome": "$outcome", "state": "$state", "code": "$code"}
    found = ctx.store["esr_answer"].aggregate(
        [{"$match": {"file_id": entry.file_id}}, {"$group": {"_id": key, "n": {"$sum": 1}}}]
    )
    counts: Counter[str] = Counter(dict.fromkeys(("answers", *_NAMES.values()), 0))
    for group in found:
        outcome, number = AnswerOutcome(group["_id"]["outcome"]), group["n"]
        counts["answers"] += number
        counts[outcome.value] += number
        if outcome is AnswerOutcome.APPLIED or group["_id"].get("code") == NEWER:
            counts[_NAMES[RecordState(group["_id"]["state"])]] += number
    return dict(counts)


def _write(
    ctx: EsrContext, entry: Entry, file: SentFile | None, counts: dict[str, int], at: datetime
) -> Write:
    answers = _answers(ctx, entry, file) if file else {}
    alerts = list(_alerts(file, counts, _unanswered(ctx, file) if file else 0))
    export = ctx.store["esr_export"].find_one({"_id": file.name}) if file and any(answers.values()) else None

    def write(session: ClientSession, order: int) -> None:
        for code, message in alerts:
            ledger.add_alert(ctx.store, session, entry.file_id, code, message, at=at)
        ledger.advance(ctx.store, session, entry.file_id, FileState.RECONCILED, at=at, counts=counts)
        if export is not None and _is_news(export, answers):
            event = _event(ctx, entry, export, answers, at)
            add_to_outbox(ctx.store, session, entry.source.owner, [event], order=order, at=at)
            ctx.store["esr_export"].update_one(
                {"_id": export["_id"]}, _answered(entry, export, answers, at), session=session
            )

    return write


def _answers(ctx: EsrContext, entry: Entry, file: SentFile) -> dict[str, int]:
    """Count the records of our file by the newest answer to each, in whichever answer file it came.

    By the line ledger: a record that is sent again later was answered here all the same.
    """
    query = {"deanery": entry.deanery, "sequence": entry.sequence, "type": entry.type}
    files = [found["_id"] for found in ctx.store["esr_file"].find(query, {"_id": 1})]
    counted = {
        "file_id": {"$in": files},
        "export": file.name,
        "outcome": {"$in": [outcome.value for outcome in _COUNTED]},
        "code": {"$ne": OLDER},
    }
    found = ctx.store["esr_answer"].aggregate(
        [
            {"$match": counted},
            {"$sort": {"order": 1}},
            {"$group": {"_id": "$record", "state": {"$last": "$state"}}},
            {"$group": {"_id": "$state", "n": {"$sum": 1}}},
        ]
    )
    by_state = {group["_id"]: group["n"] for group in found}
    return {name: by_state.get(state.value, 0) for state, name in _NAMES.items()}


def _unanswered(ctx: EsrContext, file: SentFile) -> int:
    query = {"file": file.name, "state": RecordState.EXPORTED.value}
    return ctx.store[file.collection].count_documents(query)


def _alerts(file: SentFile | None, counts: Mapping[str, int], unanswered: int) -> Iterator[tuple[str, str]]:
    for outcome, message in _MESSAGES.items():
        if number := counts.get(outcome, 0):
            yield f"answers_{outcome}", f"{number} {message}"
    if number := counts["quarantined"]:
        message = (
            f"{number} lines cannot be read and are set aside one by one: ask ESR for them in a new file"
        )
        yield "answers_unreadable", message
    if file and unanswered and counts["answers"]:
        message = f"{unanswered} of the {file.records} records of {file.name} have no answer yet: ask ESR"
        yield "answers_missing", message


def _is_news(export: Document, answers: Mapping[str, int]) -> bool:
    return export["state"] != ExportState.ANSWERED or export.get("answers") != answers


def _answered(entry: Entry, export: Document, answers: Mapping[str, int], at: datetime) -> dict[str, Any]:
    state = ExportState.ANSWERED.value
    values: dict[str, Any] = {"state": state, "answers": dict(answers), "answered_by": entry.file_id}
    if state not in export["states"]:
        values[f"states.{state}"] = at
    return {"$set": values, "$inc": {"answer_events": 1}}


def _event(
    ctx: EsrContext, entry: Entry, export: Document, answers: Mapping[str, int], at: datetime
) -> OutboxEntry:
    return answered_event(
        Export.of(export),
        answer=entry.file_id,
        answers=answers,
        sequence=FIRST_ANSWER + export.get("answer_events", 0),
        run_id=ctx.run_id,
        at=at,
    )

"""What a person may do with one record: send it once more, take it out, let it in again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from include.errors import ConfigurationError
from include.esr.documents import owner
from include.esr.exports.abandoning import abandon_file
from include.esr.exports.allocating import moment
from include.esr.exports.wording import require_said
from include.esr.generation.todo import note_todo
from include.esr.outbound import ANSWERED, COLLECTIONS, UNSENT, RecordState, entry, pushed
from include.storage.mongo import FenceMovedError, store_errors

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from pymongo.client_session import ClientSession

    from include.esr.context import EsrContext
    from include.esr.outbound import Kind
    from include.storage.mongo import Document, Write

__all__ = ["Action", "abandon_file", "change_record"]

Action = Literal["resend", "withdraw", "reopen"]

_FROM: Mapping[Action, frozenset[RecordState]] = {
    "resend": ANSWERED | {RecordState.EXPORTED, RecordState.EXPIRED_UNSENT},
    "withdraw": UNSENT,
    "reopen": frozenset({RecordState.WITHDRAWN}),
}


def change_record(
    ctx: EsrContext, kind: Kind, record_id: str, action: Action, *, why: str, by: str
) -> Document:
    """Do what a person asks for with one record; who and why are kept in its history.

    ``resend`` makes one due again that was sent, or missed its window. ``withdraw`` keeps one from being
    sent. ``reopen`` takes that back. Its post is then looked at again by the next generation before it goes
    out: an applicant with what TCS says now. A notification that is sent once more repeats what it said; what
    has changed since is told by one of its own.

    Args:
        ctx: What the stage works with.
        kind: Where the record is kept.
        record_id: Its id.
        action: What to do.
        why: The reason, in the person's words; no personal data of trainees.
        by: Who.

    Returns:
        The record as it is now.

    Raises:
        ConfigurationError: There is no such record, its state does not allow it, or who or why is missing.
            Says what is possible; nothing was changed.
        TransientError: The store did not answer; nothing was changed.
    """
    require_said(why, by, subject=record_id)
    collection = COLLECTIONS[kind]
    with store_errors(record_id):
        found = ctx.store[collection].find_one({"_id": record_id}, {"deanery": 1})
    if found is None:
        raise ConfigurationError(f"there is no record of kind {kind} with this id", subject=record_id)

    def prepare() -> tuple[None, Write]:
        record = ctx.store[collection].find_one({"_id": record_id})
        if record is None:
            raise ConfigurationError(f"there is no record of kind {kind} with this id", subject=record_id)
        _require_possible(record, action)
        change = change_of(record, action, moment(ctx), why=why, by=by)

        def write(session: ClientSession, _order: int) -> None:
            done = ctx.store[collection].update_one(
                {"_id": record_id, "state": record["state"]}, change, session=session
            )
            if not done.matched_count:
                raise FenceMovedError("the record changed meanwhile", subject=record_id)
            if action != "withdraw":
                note_todo(ctx.store, [(record["deanery"], record["post_id"])], session=session)

        return None, write

    ctx.store.commit_plan(owner(found["deanery"]), prepare)
    with store_errors(record_id):
        return dict(ctx.store[collection].find_one({"_id": record_id}) or {})


def _require_possible(record: Mapping[str, Any], action: Action) -> None:
    state = RecordState(record["state"])
    possible = sorted(each for each, states in _FROM.items() if state in states)
    if record["kind"] == "DNF":
        raise ConfigurationError(
            "this is a line of a snapshot, which is sent as a whole or not at all; nothing was changed. Make "
            "the snapshot of another day",
            subject=record["_id"],
        )
    if action in possible:
        return
    place = " It has its place in a file that is being sent." if state is RecordState.IN_FILE else ""
    raise ConfigurationError(
        f"{action} is not possible: the record is {state}.{place} Nothing was changed; possible now: "
        f"{', '.join(possible) or 'nothing'}",
        subject=record["_id"],
    )


def change_of(
    record: Mapping[str, Any], action: Action, at: datetime, *, why: str, by: str
) -> dict[str, dict[str, Any]]:
    """Return the update of a record that a person has something done with.

    Args:
        record: With ``file``, ``ordinal``, ``answer`` and ``resends``.
        action: What to do.
        at: Now, UTC.
        why: The reason.
        by: Who.
    """
    state = RecordState.WITHDRAWN if action == "withdraw" else RecordState.TO_EXPORT
    note = entry(state, at, why=why, by=by)
    values: dict[str, Any] = {"state": state.value, "changed_at": at}
    if action == "resend":
        # Its new place will be another: an answer to the old file must not be taken for one to the new.
        note |= {name: record[name] for name in ("file", "ordinal", "answer") if record.get(name) is not None}
        values |= dict.fromkeys(("file", "ordinal", "exported_at", "answer", "reason"))
        values["resends"] = record["resends"] + 1
    elif action == "reopen":
        values["reason"] = None
    return {"$set": values, "$push": pushed(note)}

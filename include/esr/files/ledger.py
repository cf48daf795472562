"""The file ledger: every version of every file that came, its state, what was found and what was decided.

A change of state is made in a transaction of the caller, together with what it tells of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from include.errors import ConfigurationError, FatalError
from include.esr.documents import APPLIED, DONE, FileState
from include.esr.files.entry import Entry, Remote, SavedMark, Seen, SplitMark, document_of, entry_of, plain
from include.esr.names import RMT
from include.storage.mongo import store_errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import date, datetime

    from pymongo.client_session import ClientSession

    from include.esr.names import FileType
    from include.quality.gate import Reason
    from include.storage.mongo import Document, IntegrationStore

_NO_DETAILS = {"alerts": 0, "counts": 0, "split": 0, "saved": 0, "tally": 0}
_LIFE = tuple(FileState)[:-1]
_EARLIER = {state: _LIFE[: place + 1] for place, state in enumerate(_LIFE)} | {FileState.REJECTED: _LIFE[:-1]}
_AT_WORK = [state.value for state in FileState if state not in APPLIED]
MAX_ALERTS = 100
BEFORE, AFTER = 60, 20
"""How many files of a deanery before and after one its sequence is judged by."""


def read(store: IntegrationStore, file_id: str) -> Entry:
    """Return a version of a file.

    Raises:
        FatalError: It is not on the ledger.
    """
    found = store["esr_file"].find_one({"_id": file_id})
    if found is None:
        raise FatalError("this file is not on the ledger", subject=file_id)
    return entry_of(found)


def latest(store: IntegrationStore, name: str) -> Entry | None:
    """Return the newest version of a file by its name, ``None`` when there is none."""
    found = store["esr_file"].find_one({"name": name}, sort=[("version", -1)])
    return entry_of(found) if found else None


def versions(store: IntegrationStore, name: str, *, session: ClientSession | None = None) -> list[Entry]:
    """Return all versions of a file, oldest first."""
    return [
        entry_of(found)
        for found in store["esr_file"].find({"name": name}, sort=[("version", 1)], session=session)
    ]


def entries(
    store: IntegrationStore,
    *,
    deanery: str | None = None,
    state: FileState | None = None,
    since: date | None = None,
    until: date | None = None,
    limit: int = 1_000,
) -> list[Entry]:
    """Return what is on the ledger, by deanery and order; files whose name cannot be read come first.

    Args:
        store: The store.
        deanery: Of this deanery only.
        state: In this state only.
        since: With this day in their name or a later one.
        until: With this day in their name or an earlier one.
        limit: At most so many, the newest.
    """
    query: dict[str, Any] = {}
    if deanery is not None:
        query["deanery"] = deanery
    if state is not None:
        query["state"] = state.value
    # An order begins with the day, and has an index; '~' comes after every digit.
    days = {"$gte": f"{since:%Y%m%d}" if since else None, "$lte": f"{until:%Y%m%d}~" if until else None}
    if bounds := {operator: day for operator, day in days.items() if day}:
        query["order"] = bounds
    newest = (
        store["esr_file"].find(query).sort([("order", -1), ("states.landed", -1), ("_id", -1)]).limit(limit)
    )
    return sorted(
        map(entry_of, newest), key=lambda entry: (entry.deanery or "", entry.order or "", entry.name)
    )


def due(store: IntegrationStore, *, deanery: str | None = None, types: Iterable[FileType] = RMT) -> list[str]:
    """Return the ids of the files with work left to do, deanery by deanery, each in sequence.

    Args:
        store: The store.
        deanery: Of this deanery only.
        types: Of these types only: each stage has its own.
    """
    query: dict[str, Any] = {
        "state": {"$in": [state.value for state in FileState if state not in DONE]},
        "type": {"$in": sorted(types)},
    }
    query["deanery"] = deanery if deanery is not None else {"$ne": None}
    return [
        found["_id"]
        for found in store["esr_file"].find(
            query, {"_id": 1}, sort=[("deanery", 1), ("order", 1), ("_id", 1)]
        )
    ]


def misplaced(store: IntegrationStore) -> list[Entry]:
    """Return the files whose partner's copy is perhaps not yet where the verdict says."""
    with store_errors():
        found = store["esr_file"].find({"misplaced": True}, sort=[("order", 1), ("_id", 1)])
        return [entry_of(document) for document in found]


def names_of(store: IntegrationStore, sha256: str, *, other_than: str) -> list[str]:
    """Return the names of the files with some content, in order, but for one name."""
    return sorted(store["esr_file"].distinct("name", {"sha256": sha256, "name": {"$ne": other_than}}))


def siblings(store: IntegrationStore, entry: Entry) -> list[Entry]:
    """Return the files of its deanery that a file's place in the sequence depends on, itself included.

    Only RMF and RMC count: an answer of ESR has the number of our file. They are the nearest before and
    after it, all before it that are at work, and all with its number; in sequence, without their alerts,
    counts and marks.

    Raises:
        IntegrationError: As ``store_errors`` says.
    """
    mine: dict[str, Any] = {"deanery": entry.deanery, "type": {"$in": sorted(RMT)}}
    before, after = {"$lte": entry.order}, {"$gt": entry.order}
    found: dict[str, Document] = {}
    with store_errors(entry.file_id):
        for query, direction, most in (
            (mine | {"order": before}, -1, BEFORE + 1),
            (mine | {"order": after}, 1, AFTER),
            (mine | {"order": before, "state": {"$in": _AT_WORK}}, 1, 0),
            (mine | {"sequence": entry.sequence}, 1, 0),
        ):
            looked = store["esr_file"].find(query, _NO_DETAILS, sort=[("order", direction)], limit=most)
            found |= {document["_id"]: document for document in looked}
    return sorted(map(entry_of, found.values()), key=lambda each: (each.order or "", each.file_id))


def add(store: IntegrationStore, session: ClientSession, entry: Entry) -> None:
    """Put a new version of a file on the ledger."""
    store["esr_file"].insert_one(document_of(entry) | {"misplaced": entry.remote is None}, session=session)


def advance(
    store: IntegrationStore,
    session: ClientSession,
    file_id: str,
    state: FileState,
    *,
    at: datetime,
    counts: Mapping[str, int] | None = None,
    **fields: SplitMark | SavedMark | None,
) -> None:
    """Bring a file into a state, in the transaction that commits what the state tells of.

    Args:
        store: The store.
        session: Of the caller's transaction.
        file_id: The version of a file.
        state: The same as now, or a later one.
        at: Now.
        counts: What was found, by name (no dots in it); a name that is there is overwritten.
        fields: ``split`` and ``saved``: the marks to go on from.

    Raises:
        FatalError: It is not on the ledger, or further on already.
    """
    changes = _marks(counts, fields) | {"state": state.value, f"states.{state.value}": at}
    _move(store, session, file_id, state, changes)


def mark(
    store: IntegrationStore,
    session: ClientSession,
    file_id: str,
    *,
    counts: Mapping[str, int] | None = None,
    **fields: SplitMark | SavedMark | None,
) -> None:
    """Note how far the work on a file has come, without a change of state; arguments as ``advance``.

    Raises:
        FatalError: It is not on the ledger, or done already.
    """
    if changes := _marks(counts, fields):
        _move(store, session, file_id, FileState.RECONCILED, changes)


def reject(
    store: IntegrationStore,
    session: ClientSession,
    file_id: str,
    reason: Reason,
    *,
    at: datetime,
    counts: Mapping[str, int] | None = None,
) -> None:
    """Reject a file as a whole; what was found so far stays as evidence.

    Raises:
        FatalError: It is not on the ledger, or published already.
    """
    state = FileState.REJECTED
    changes = _marks(counts, {}) | {
        "state": state.value,
        f"states.{state.value}": at,
        "reason": {"code": reason.code, "message": reason.message},
        "misplaced": True,
    }
    _move(store, session, file_id, state, changes)


def note_seen(store: IntegrationStore, session: ClientSession, file_id: str, seen: Seen) -> None:
    """Note that another copy of a file took the place of the one that was fetched first."""
    store["esr_file"].update_one({"_id": file_id}, {"$set": {"seen": plain(seen)}}, session=session)


def note_remote(store: IntegrationStore, file_id: str, remote: Remote, *, at: datetime) -> None:
    """Note where the partner's copy of a file was moved. Not a state: it needs no transaction.

    Raises:
        IntegrationError: As ``store_errors`` says.
    """
    is_rejected = {"$eq": ["$state", FileState.REJECTED.value]}
    misplaced = {"$ne": [is_rejected, remote.folder == "rejected"]} if remote.folder != "gone" else False
    values = {"remote": {"$literal": plain(remote)}, "remote_moved_at": at, "misplaced": misplaced}
    with store_errors(file_id):
        # By the state it has now: a verdict may have come meanwhile.
        store["esr_file"].update_one({"_id": file_id}, [{"$set": values}])


def add_alert(
    store: IntegrationStore,
    session: ClientSession,
    file_id: str,
    code: str,
    message: str,
    *,
    at: datetime,
) -> None:
    """Add an alert to a file; the same one is there once, and there are at most ``MAX_ALERTS``."""
    store["esr_file"].update_one(
        {
            "_id": file_id,
            "alerts": {"$not": {"$elemMatch": {"code": code, "message": message}}},
            f"alerts.{MAX_ALERTS - 1}": {"$exists": False},
        },
        {"$push": {"alerts": {"code": code, "message": message, "at": at}}},
        session=session,
    )


def reset_for_replay(store: IntegrationStore, session: ClientSession, file_id: str, at: datetime) -> None:
    """Put a file back to where it had just landed, so that all of it is done anew.

    When it landed and its alerts stay.

    Raises:
        ConfigurationError: It was refused when it came: there is nothing to replay.
        FatalError: It is not on the ledger.
    """
    document = store["esr_file"].find_one({"_id": file_id}, session=session)
    if document is None:
        raise FatalError("this file is not on the ledger", subject=file_id)
    if document["refused_on_arrival"]:
        raise ConfigurationError(
            f"this file was rejected when it came ({document['reason']['code']}) and would be again: nothing "
            "to replay; ask the partner for a correct one",
            subject=file_id,
        )
    landed = document["states"].get(FileState.LANDED.value, at)
    states = {FileState.DISCOVERED.value: document["states"].get(FileState.DISCOVERED.value, landed)}
    store["esr_file"].update_one(
        {"_id": file_id},
        {
            "$set": {
                "state": FileState.LANDED.value,
                "states": states | {FileState.LANDED.value: landed},
                "reason": None,
                "counts": {},
                "split": None,
                "saved": None,
                "misplaced": True,
                "replayed_at": at,
            }
        },
        session=session,
    )


def _marks(counts: Mapping[str, int] | None, fields: Mapping[str, Any]) -> dict[str, Any]:
    return {f"counts.{name}": number for name, number in (counts or {}).items()} | {
        name: plain(value) for name, value in fields.items()
    }


def _move(
    store: IntegrationStore,
    session: ClientSession,
    file_id: str,
    state: FileState,
    changes: Mapping[str, Any],
) -> None:
    before = [earlier.value for earlier in _EARLIER[state]] + [state.value]
    moved = store["esr_file"].update_one(
        {"_id": file_id, "state": {"$in": before}}, {"$set": dict(changes)}, session=session
    )
    if moved.matched_count:
        return
    found = store["esr_file"].find_one({"_id": file_id}, {"state": 1}, session=session)
    is_now = f"is {found['state']} already" if found else "is not on the ledger"
    raise FatalError(
        f"cannot become {state.value}: it {is_now}; nothing of this step was committed. If it is to be done "
        "again, replay the file",
        subject=file_id,
    )

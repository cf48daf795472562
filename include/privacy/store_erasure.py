"""Erasure in the integration store: what one NPO's collections hold of a candidate, behind its fences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from include.npo.enrolment.record import ENDED
from include.npo.enrolment.records import fence_owner
from include.npo.enrolment.tombstones import bury
from include.privacy.subject import Held, enrolled_as
from include.privacy.unmapped import Unmapped, unmapped
from include.storage.documents import raw_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from pymongo.client_session import ClientSession

    from include.connectors.protocol import Connector
    from include.storage.mongo import IntegrationStore, Write

    Note = Callable[[ClientSession, Iterable[Held], Mapping[str, int]], None]


@dataclass(frozen=True, slots=True)
class Gone:
    """What was erased from the store.

    Attributes:
        held: What was asked for, and what was found beside it.
        events: Ids of the events that told of it.
    """

    held: tuple[Held, ...]
    events: tuple[str, ...]


def erase_from_store(
    store: IntegrationStore,
    npo_id: str,
    asked: Sequence[Held],
    references: set[str],
    connector: Connector | None,
    note: Note,
) -> Gone:
    """Erase a candidate's records, entities, versions, quarantine entries and events at one NPO.

    What a run commits meanwhile is looked for between fence and commit, so nothing is missed; all else
    before, so that it does not take long.

    Args:
        store: The store.
        npo_id: Where.
        asked: What the request names.
        references: The NPO's own of the candidate; by them records are found that are no entity yet.
        connector: Reads those; ``None`` where there are none, or they cannot be read.
        note: Keeps, inside the transaction, what was found beside ``asked``, and how much goes.

    Raises:
        IntegrationError: The store does not answer, or others kept committing.
    """

    def look(landed_after: int = 0) -> Unmapped:
        if connector is None or not references:
            return Unmapped()
        return unmapped(store, connector, npo_id, references, landed_after=landed_after)

    seen = store.fence(npo_id)
    before = look()

    def plan() -> tuple[Gone, Write]:
        since = look(landed_after=seen)
        held, entries = {*asked, *before.held, *since.held}, before.entries | since.entries
        held |= enrolled_as(store, npo_id, {one.external_id for one in held if one.external_id})
        more = held - {*asked}
        return _plan(store, npo_id, held, entries, lambda session, counts: note(session, more, counts))

    return store.commit_plan(npo_id, plan)


def _plan(
    store: IntegrationStore,
    npo_id: str,
    held: set[Held],
    entries: set[str],
    note: Callable[[ClientSession, Mapping[str, int]], None],
) -> tuple[Gone, Write]:
    ids = sorted({one.external_id for one in held if one.external_id})
    assignments = sorted({one.assignment_id for one in held})
    raw = [raw_key(npo_id, "assignments", one) for one in ids]
    aside = {"owner": npo_id, "resource": "assignments", "external_id": {"$in": ids}}
    deleted: dict[str, dict[str, Any]] = {
        "npo_raw": {"_id": {"$in": raw}},
        "npo_assignment": {"_id": {"$in": assignments}},
        "npo_version": {"entity_id": {"$in": assignments}},
        "quarantine": {"$or": [aside, {"_id": {"$in": sorted(entries)}}]},
    }
    told = {"partition_key": {"$in": assignments}}
    events = [doc["_id"] for doc in store["outbox"].find(told, {"_id": 1})]
    counts = {name: store[name].count_documents(query) for name, query in deleted.items()}
    counts["outbox"] = len(events)
    names_one = _positions_naming(store, npo_id, raw)

    def write(session: ClientSession, _order: int) -> None:
        note(session, counts)
        if names_one:
            store["fence"].update_one({"_id": npo_id}, {"$set": names_one}, session=session)
        for name, query in deleted.items():
            store[name].delete_many(query, session=session)
        # The id stays: it keeps a rebuilt store from telling of the candidate again.
        store["outbox"].update_many(
            told,
            {"$set": {"body": "", "erased": True}, "$unset": {"pending": "", "refused": ""}},
            session=session,
        )

    return Gone(tuple(sorted(held)), tuple(events)), write


def _positions_naming(store: IntegrationStore, npo_id: str, raw: Sequence[str]) -> dict[str, str]:
    """Return what takes these records' keys out of the stages' positions.

    A position names the last record it moved on; without the key it looks at that commit again.
    """
    left: dict[str, Any] = (store["fence"].find_one({"_id": npo_id}) or {}).get("left", {})
    return {
        f"left.assignments.{state}.key": ""
        for state, at in left.get("assignments", {}).items()
        if at["key"] in raw
    }


def erase_enrolments(store: IntegrationStore, npo_id: str, held: Sequence[Held], *, at: datetime) -> int:
    """Erase the enrolments of these assignments that have ended, and return how many.

    One that has begun anew since it was looked at stays: the partner is being told of it.

    Raises:
        IntegrationError: The store does not answer, or others kept committing.
    """
    ended = {
        "npo_id": npo_id,
        "assignment_id": {"$in": [one.assignment_id for one in held]},
        "state": {"$in": [state.value for state in ENDED]},
    }

    def plan() -> tuple[int, Write | None]:
        ids = [doc["assignment_id"] for doc in store["enrolment"].find(ended, {"assignment_id": 1})]
        if not ids:
            return 0, None
        return len(ids), lambda session, _order: bury(store, session, npo_id, ids, at=at)

    return store.commit_plan(fence_owner(npo_id), plan)

"""Erasure of one candidate: raw objects, store, quarantine, outbox and enrolments, with a receipt.

The request is committed first, together with the marks that keep the records from being landed again.
From then on every step can be repeated, so an erasure that was broken off is ended by the daily
``maintenance`` run or by asking again.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from include.errors import ConfigurationError
from include.npo.context import utc_now
from include.npo.enrolment.record import ENDED
from include.npo.enrolment.records import fence_owner
from include.privacy.erased import remember
from include.privacy.raw_objects import PageEraser, event_objects
from include.privacy.subject import Candidate, Held, held_about
from include.storage.documents import raw_key

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from pymongo.client_session import ClientSession

    from include.connectors.protocol import Connector
    from include.storage.landing import LandingZone
    from include.storage.mongo import IntegrationStore, Write

COLLECTION = "erasure"
NOT_REACHED = (
    "what consumers of the event stream have stored: each erases its own copy",
    "the NPO's own system: what it still sends of them is dropped here until it has erased them too",
    "backups of the integration store and of the landing zone, until they expire",
)


@dataclass(frozen=True, slots=True)
class ErasureContext:
    """What an erasure works with.

    Attributes:
        connector_of: Opens the connector of an NPO, whatever its row's status, without a credential.
    """

    store: IntegrationStore
    landing: LandingZone
    connector_of: Callable[[str], Connector]
    now: Callable[[], datetime] = utc_now
    progress: Callable[[str], None] = field(default=lambda _line: None)


def request_erasure(ctx: ErasureContext, candidate: Candidate, *, by: str, why: str) -> str | None:
    """Commit the request and the marks against landing again; return its id, ``None`` if nothing is held.

    Asking again for the same candidate adds what has come since to the open request.

    Raises:
        ConfigurationError: An enrolment of the candidate is under way: the partner would enrol somebody
            nobody here knows any more.
    """
    held = held_about(ctx.store, candidate)
    _require_none_under_way(ctx.store, held)
    key = request_key(candidate)
    earlier = ctx.store[COLLECTION].find_one({"_id": key})
    if not held:
        return key if earlier else None
    with ctx.store.client.start_session() as session:
        session.with_transaction(lambda inside: _open(ctx, inside, key, held, by=by, why=why))
    return key


def _require_none_under_way(store: IntegrationStore, held: Sequence[Held]) -> None:
    ids = [one.assignment_id for one in held]
    ended = [state.value for state in ENDED]
    under_way = store["enrolment"].distinct(
        "npo_id", {"assignment_id": {"$in": ids}, "state": {"$nin": ended}}
    )
    if under_way:
        raise ConfigurationError(
            f"an enrolment of this candidate is under way at {', '.join(sorted(under_way))}; nothing was "
            "erased: let the platform withdraw it, or wait for its outcome, and ask again"
        )


def request_key(candidate: Candidate) -> str:
    """Return the id of a candidate's erasure: a digest, so that the receipt names nobody."""
    told = f"{candidate.npo_id or ''}\n{candidate.reference}"
    return hashlib.sha256(told.encode()).hexdigest()[:32]


def _open(
    ctx: ErasureContext, session: ClientSession, key: str, held: Sequence[Held], *, by: str, why: str
) -> None:
    at = ctx.now()
    for npo_id, mine in _by_npo(held).items():
        remember(ctx.store, session, npo_id, "assignments", [one.external_id for one in mine], at=at)
    ctx.store[COLLECTION].update_one(
        {"_id": key},
        {
            "$set": {"open": True, "by": by, "why": why},
            "$addToSet": {
                "held": {"$each": [[one.npo_id, one.external_id, one.assignment_id] for one in held]}
            },
            "$setOnInsert": {"requested_at": at},
        },
        upsert=True,
        session=session,
    )


def carry_out(ctx: ErasureContext, key: str) -> dict[str, Any]:
    """Erase what an open request names and return its receipt; of one that is done, return that again.

    Raises:
        IntegrationError: A store does not answer or a page cannot be read; the request stays open.
    """
    request = ctx.store[COLLECTION].find_one({"_id": key})
    if request is None or not request.get("open"):
        return receipt_of(request or {"_id": key})
    held = [Held(*one) for one in request["held"]]
    counts: Counter[str] = Counter()
    for npo_id, mine in _by_npo(held).items():
        ctx.progress(f"{npo_id}: erasing {len(mine)} assignments")
        counts.update(_erase_at(ctx, npo_id, mine))
    done = {
        "open": False,
        "finished_at": ctx.now(),
        "npos": sorted({one.npo_id for one in held}),
        "assignments": len(held),
        "counts": dict(counts),
    }
    # The identifiers go last: until here they are what a repeated try works from.
    ctx.store[COLLECTION].update_one(
        {"_id": key, "held": request["held"]}, {"$set": done, "$unset": {"held": ""}}
    )
    return receipt_of(ctx.store[COLLECTION].find_one({"_id": key}) or {"_id": key})


def receipt_of(request: dict[str, Any]) -> dict[str, Any]:
    """Return what may be shown of a request: who asked, when and why, and what was erased where."""
    shown = {name: value for name, value in request.items() if name not in {"_id", "held"}}
    return {"receipt": request["_id"], **shown, "not_reached": list(NOT_REACHED)}


def open_requests(store: IntegrationStore) -> list[str]:
    """Return the ids of erasures that were asked for and are not done."""
    return [doc["_id"] for doc in store[COLLECTION].find({"open": True}, {"_id": 1}).sort("_id", 1)]


def _by_npo(held: Sequence[Held]) -> dict[str, list[Held]]:
    found: dict[str, list[Held]] = {}
    for one in held:
        found.setdefault(one.npo_id, []).append(one)
    return found


def _erase_at(ctx: ErasureContext, npo_id: str, held: Sequence[Held]) -> Counter[str]:
    external_ids = frozenset(one.external_id for one in held if one.external_id)
    assignment_ids = [one.assignment_id for one in held]
    events = [
        doc["_id"] for doc in ctx.store["outbox"].find({"partition_key": {"$in": assignment_ids}}, {"_id": 1})
    ]
    counts: Counter[str] = Counter(
        event_objects=ctx.landing.delete(event_objects(npo_id, events)),
    )
    # The store before the pages: a page is looked for by ids the request holds, not by what is stored.
    counts.update(
        ctx.store.commit_plan(npo_id, lambda: _store_plan(ctx.store, npo_id, external_ids, assignment_ids))
    )
    counts.update(ctx.store.commit_plan(fence_owner(npo_id), lambda: _enrolments(ctx.store, assignment_ids)))
    if external_ids:
        eraser = PageEraser(
            ctx.landing, ctx.connector_of(npo_id), npo_id, "assignments", external_ids, ctx.progress
        )
        counts.update(eraser.run())
    return counts


def _enrolments(store: IntegrationStore, assignment_ids: list[str]) -> tuple[dict[str, int], Write]:
    mine = {"assignment_id": {"$in": assignment_ids}}

    def write(session: ClientSession, _order: int) -> None:
        store["enrolment"].delete_many(mine, session=session)

    return {"enrolment": store["enrolment"].count_documents(mine)}, write


def _store_plan(
    store: IntegrationStore, npo_id: str, external_ids: frozenset[str], assignment_ids: list[str]
) -> tuple[dict[str, int], Write]:
    """Return what will go, counted, and the write that makes it go; the NPO's fence holds off its runs."""
    ids = sorted(external_ids)
    raw = [raw_key(npo_id, "assignments", one) for one in ids]
    deleted: dict[str, dict[str, Any]] = {
        "npo_raw": {"_id": {"$in": raw}},
        "npo_assignment": {"_id": {"$in": assignment_ids}},
        "npo_version": {"entity_id": {"$in": assignment_ids}},
        "quarantine": {"owner": npo_id, "resource": "assignments", "external_id": {"$in": ids}},
    }
    told = {"partition_key": {"$in": assignment_ids}}
    counts = {name: store[name].count_documents(query) for name, query in deleted.items()}
    counts["outbox"] = store["outbox"].count_documents(told)

    left: dict[str, Any] = (store["fence"].find_one({"_id": npo_id}) or {}).get("left", {})
    # A stage's position names the last record it moved on; without the key it looks at that commit again.
    names_one = {
        f"left.assignments.{state}.key": ""
        for state, at in left.get("assignments", {}).items()
        if at["key"] in raw
    }

    def write(session: ClientSession, _order: int) -> None:
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

    return counts, write

"""Erasure of one candidate: raw objects, store, quarantine, outbox and enrolments, with a receipt.

The request is committed first, together with the marks that keep the records from being landed again.
From then on every step can be repeated, so an erasure that was broken off is ended by the daily
``maintenance`` run or by asking again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from include.errors import ConfigurationError, IntegrationError
from include.npo.context import utc_now
from include.npo.enrolment.record import ENDED
from include.privacy.erased import digests, remember
from include.privacy.landed_ids import WantedIds
from include.privacy.raw_objects import event_objects
from include.privacy.store_erasure import erase_enrolments, erase_from_store
from include.privacy.subject import Candidate, Held, enrolled_as, held_about, references_of
from include.privacy.sweep import eraser, page_keys, sweep
from include.privacy.unmapped import anything_unmapped, unmapped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from pymongo.client_session import ClientSession

    from include.connectors.protocol import Connector
    from include.storage.landing import LandingZone
    from include.storage.mongo import IntegrationStore

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


@dataclass(frozen=True, slots=True)
class Found:
    """What is held about a candidate.

    Attributes:
        references: The NPOs' own references of the candidate, with the NPO.
        unread: Why records that never became an entity could not be looked through at some NPO.
    """

    held: tuple[Held, ...]
    references: tuple[tuple[str, str], ...]
    anything: bool
    unread: IntegrationError | None = None

    @property
    def npos(self) -> list[str]:
        """Return where something is held, or a reference is known."""
        return sorted({one.npo_id for one in self.held} | {npo_id for npo_id, _ in self.references})


def find(ctx: ErasureContext, candidate: Candidate) -> Found:
    """Return what is held about a candidate: assignments, and records that never became one.

    Raises:
        TransientError: The store does not answer.
    """
    held, entries = set(held_about(ctx.store, candidate)), 0
    references, unread = references_of(ctx.store, candidate), None
    for npo_id, reference in references:
        try:
            if not anything_unmapped(ctx.store, npo_id):
                continue
            found = unmapped(ctx.store, ctx.connector_of(npo_id), npo_id, {reference})
        except IntegrationError as error:
            unread = error
            continue
        held |= found.held | enrolled_as(ctx.store, npo_id, {one.external_id for one in found.held})
        entries += len(found.entries)
    return Found(tuple(sorted(held)), tuple(references), bool(held or entries), unread)


def request_erasure(ctx: ErasureContext, candidate: Candidate, *, by: str, why: str) -> str | None:
    """Commit the request and the marks against landing again; return its id, ``None`` if nothing is held.

    Asking again for the same candidate adds what has come since to the open request.

    Raises:
        ConfigurationError: An enrolment of the candidate is under way: the partner would enrol somebody
            nobody here knows any more. Or nothing is held for certain, and at some NPO cannot be told.
    """
    found = find(ctx, candidate)
    if under_way := _under_way(ctx.store, found.held):
        raise ConfigurationError(
            f"an enrolment of this candidate is under way at {under_way}; nothing was erased: let the "
            "platform withdraw it, or wait for its outcome, and ask again"
        )
    keys = request_keys(ctx.store, candidate)
    earlier = ctx.store[COLLECTION].find_one({"_id": {"$in": keys}}, {"_id": 1})
    key: str = earlier["_id"] if earlier else keys[0]
    if not found.anything:
        if found.unread is not None:
            raise found.unread
        return key if earlier else None
    with ctx.store.client.start_session() as session:
        session.with_transaction(lambda inside: _open(ctx, inside, key, found, by=by, why=why))
    return key


def _under_way(store: IntegrationStore, held: Iterable[Held]) -> str:
    """Return the NPOs at which an enrolment of these assignments has not ended."""
    ids = [one.assignment_id for one in held]
    ended = [state.value for state in ENDED]
    wanted = {"assignment_id": {"$in": ids}, "state": {"$nin": ended}}
    return ", ".join(sorted(store["enrolment"].distinct("npo_id", wanted)))


def _require_still_ended(store: IntegrationStore, held: Iterable[Held]) -> None:
    if npos := _under_way(store, held):
        raise ConfigurationError(
            f"an enrolment of this candidate has begun at {npos} since the erasure was asked for; it stays "
            "open, and maintenance goes on when that enrolment has ended"
        )


def request_keys(store: IntegrationStore, candidate: Candidate) -> list[str]:
    """Return the ids a candidate's erasure may have: digests, so that the receipt names nobody."""
    return digests(store, candidate.npo_id or "", candidate.reference)


def _open(ctx: ErasureContext, session: ClientSession, key: str, found: Found, *, by: str, why: str) -> None:
    at = ctx.now()
    for npo_id, mine in _by_npo(found.held).items():
        ids = [one.external_id for one in mine if one.external_id]
        remember(ctx.store, session, npo_id, "assignments", ids, at=at)
    ctx.store[COLLECTION].update_one(
        {"_id": key},
        {
            "$set": {"open": True, "by": by, "why": why},
            "$addToSet": {
                "held": {"$each": _listed(found.held)},
                "references": {"$each": [list(one) for one in found.references]},
            },
            "$setOnInsert": {"requested_at": at},
        },
        upsert=True,
        session=session,
    )


def _listed(held: Iterable[Held]) -> list[list[str]]:
    return [[one.npo_id, one.external_id, one.assignment_id] for one in sorted(held)]


def carry_out(ctx: ErasureContext, key: str) -> dict[str, Any]:
    """Erase what an open request names and return its receipt.

    Of one that is done, look through the pages landed since it was asked for, and return the receipt again.

    Raises:
        IntegrationError: A store does not answer, a page cannot be read, or an enrolment has begun; the
            request stays open with what is left. The candidate's data at other NPOs are gone.
    """
    request = ctx.store[COLLECTION].find_one({"_id": key})
    if request is None:
        return receipt_of({"_id": key})
    if not request.get("open"):
        return _swept_again(ctx, request)
    held = _by_npo([Held(*one) for one in request.get("held", [])])
    references = [(npo_id, reference) for npo_id, reference in request.get("references", [])]
    failed: list[IntegrationError] = []
    for npo_id in sorted({*held, *(npo_id for npo_id, _ in references)}):
        mine = {reference for owner, reference in references if owner == npo_id}
        ctx.progress(f"{npo_id}: erasing {len(held.get(npo_id, []))} assignments")
        try:
            _erase_at(ctx, key, npo_id, held.get(npo_id, []), mine)
        except IntegrationError as error:
            ctx.progress(f"{npo_id}: not done: {error}")
            failed.append(error)
    if failed:
        raise failed[0]
    # Unless it was asked for again meanwhile: then the next try goes on with that.
    ctx.store[COLLECTION].update_one(
        {"_id": key, "held.0": {"$exists": False}, "references.0": {"$exists": False}},
        {"$set": {"open": False, "finished_at": ctx.now()}, "$unset": {"held": "", "references": ""}},
    )
    return _receipt(ctx, key)


def _swept_again(ctx: ErasureContext, request: dict[str, Any]) -> dict[str, Any]:
    erased = 0
    for npo_id in request.get("npos", []):
        since = request["requested_at"]
        erased += sweep(ctx.store, ctx.landing, ctx.connector_of, npo_id, since=since, progress=ctx.progress)
    if erased:
        ctx.store[COLLECTION].update_one({"_id": request["_id"]}, {"$inc": {"counts.raw_records": erased}})
    return _receipt(ctx, request["_id"])


def _receipt(ctx: ErasureContext, key: str) -> dict[str, Any]:
    return receipt_of(ctx.store[COLLECTION].find_one({"_id": key}) or {"_id": key})


def receipt_of(request: dict[str, Any]) -> dict[str, Any]:
    """Return what may be shown of a request: who asked, when and why, and what was erased where."""
    shown = {name: value for name, value in request.items() if name not in {"_id", "held", "references"}}
    return {"receipt": request["_id"], **shown, "not_reached": list(NOT_REACHED)}


def open_requests(store: IntegrationStore) -> list[str]:
    """Return the ids of erasures that were asked for and are not done."""
    return [doc["_id"] for doc in store[COLLECTION].find({"open": True}, {"_id": 1}).sort("_id", 1)]


def _by_npo(held: Iterable[Held]) -> dict[str, list[Held]]:
    found: dict[str, list[Held]] = {}
    for one in held:
        found.setdefault(one.npo_id, []).append(one)
    return found


def _erase_at(
    ctx: ErasureContext, key: str, npo_id: str, asked: Sequence[Held], references: set[str]
) -> None:
    """Erase what one NPO sent or was sent of the candidate, and take it off the request."""
    _require_still_ended(ctx.store, asked)
    connector, unread = _connector(ctx, npo_id, references)

    def note(session: ClientSession, held: Iterable[Held], counts: Mapping[str, int]) -> None:
        """Keep with the request what was found beside it: the pages are looked through after the store."""
        ids = [one.external_id for one in held if one.external_id]
        remember(ctx.store, session, npo_id, "assignments", ids, at=ctx.now())
        more = {"$addToSet": {"held": {"$each": _listed(held)}}, "$inc": _counted(counts)}
        ctx.store[COLLECTION].update_one({"_id": key}, more, session=session)

    gone = erase_from_store(ctx.store, npo_id, asked, references, connector, note)
    # After the store: an event committed until then is known, and none is made any more.
    objects = ctx.landing.delete(event_objects(npo_id, gone.events))
    enrolments = erase_enrolments(ctx.store, npo_id, gone.held, at=ctx.now())
    counts: dict[str, int] = {"event_objects": objects, "enrolment": enrolments}
    _require_still_ended(ctx.store, gone.held)
    ids = frozenset(one.external_id for one in gone.held if one.external_id)
    if unread is not None:
        raise unread
    if connector is not None and ids:
        wanted = WantedIds(ids)
        erase = eraser(ctx.store, ctx.landing, connector, npo_id, wanted=wanted, progress=ctx.progress)
        counts |= erase.run(page_keys(ctx.landing, npo_id))
    _take_off(ctx, key, npo_id, gone.held, references, counts)


def _connector(
    ctx: ErasureContext, npo_id: str, references: set[str]
) -> tuple[Connector | None, IntegrationError | None]:
    """Open what reads an NPO's records, where there are any to read; else return why it cannot be opened."""
    needed = (references and anything_unmapped(ctx.store, npo_id)) or ctx.landing.folders(
        f"npo/{npo_id}/assignments/"
    )
    if not needed:
        return None, None
    try:
        return ctx.connector_of(npo_id), None
    except IntegrationError as error:
        return None, error


def _take_off(
    ctx: ErasureContext,
    key: str,
    npo_id: str,
    held: Sequence[Held],
    references: set[str],
    counts: Mapping[str, int],
) -> None:
    """Note what was erased at one NPO; the identifiers go last, a repeated try works from them."""
    assignments = len({one.assignment_id for one in held})
    ctx.store[COLLECTION].update_one(
        {"_id": key},
        {
            "$pullAll": {
                "held": _listed(held),
                "references": [[npo_id, reference] for reference in sorted(references)],
            },
            "$addToSet": {"npos": npo_id},
            "$inc": _counted(counts) | {"assignments": assignments},
        },
    )


def _counted(counts: Mapping[str, int]) -> dict[str, int]:
    return {f"counts.{what}": number for what, number in counts.items()}

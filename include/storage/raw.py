"""Raw records in the store: what landing reads and writes of ``npo_raw``."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from include.storage.documents import RawState, StoredVersion, raw_key
from include.storage.stage_position import (
    LINE,
    Position,
    back_to_start,
    bound,
    landing_order,
    move_position,
    position,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pymongo.client_session import ClientSession
    from pymongo.collection import Collection

    from include.npo.landing_plan import Incoming, LandingPlan
    from include.quality.gate import Reason
    from include.storage.landing import ResourceManifest
    from include.storage.mongo import IntegrationStore

MAX_BATCH_BYTES = 32 * 2**20  # records can be a thousand times larger than usual: batches must not
KEYS_AT_ONCE = 2_000  # a key has up to a thousand bytes, and a query is one document
_VERSION_FIELDS = {"content_hash": 1, "cursor": 1, "fetched_at": 1, "deleted_upstream": 1, "manifest": 1}
_PENDING_FIELDS = (
    "external_id",
    "payload",
    "content_hash",
    "cursor",
    "fetched_at",
    "deleted_upstream",
    "raw_ref",
    "run_id",
    "landed_at",
    "order",
)


def stored_versions(store: IntegrationStore, keys: Sequence[str]) -> dict[str, StoredVersion]:
    """Return what the store holds of these keys, one query."""
    found = store["npo_raw"].find({"_id": {"$in": list(keys)}}, _VERSION_FIELDS)
    return {
        doc["_id"]: StoredVersion(
            doc["content_hash"], doc["cursor"], doc["fetched_at"], doc["deleted_upstream"], doc["manifest"]
        )
        for doc in found
    }


def write_landed(
    store: IntegrationStore,
    session: ClientSession,
    manifest: ResourceManifest,
    plan: LandingPlan,
    *,
    at: datetime,
) -> None:
    """Write a landing plan: new records inserted, changed ones replaced."""
    from pymongo import ReplaceOne

    if not plan.new and not plan.changed:
        return
    raw, order = store["npo_raw"], landing_order(store, session, manifest.npo_id)
    document = partial(_document, manifest, order, at)
    if plan.new:
        raw.insert_many([document(record) for record in plan.new], ordered=False, session=session)
    if plan.changed:
        raw.bulk_write(
            [ReplaceOne({"_id": record.key}, document(record)) for record in plan.changed],
            ordered=False,
            session=session,
        )


def mark_seen(
    store: IntegrationStore, session: ClientSession, manifest: ResourceManifest, keys: Sequence[str]
) -> None:
    """Note that this extraction held these records; those it landed say so already."""
    if keys:
        read_at = _read_at(manifest)
        # The later extraction counts, whichever is landed last. What it saw is also the newer truth: an
        # older, different version that is landed after it is stale.
        store["npo_raw"].update_many(
            {"_id": {"$in": list(keys)}}, {"$max": {"seen": read_at, "fetched_at": read_at}}, session=session
        )


def _document(manifest: ResourceManifest, order: int, at: datetime, record: Incoming) -> dict[str, Any]:
    return {
        "_id": record.key,
        "npo_id": manifest.npo_id,
        "resource": manifest.resource,
        "external_id": record.external_id,
        "payload": record.payload,
        "content_hash": record.content_hash,
        "cursor": record.cursor,
        "fetched_at": record.fetched_at,
        "deleted_upstream": record.deleted,
        "raw_ref": record.raw_ref,
        "run_id": manifest.run_id,
        "manifest": manifest.key,
        "seen": _read_at(manifest),
        "landed_at": at,
        "order": order,
    }


def unseen(store: IntegrationStore, manifest: ResourceManifest) -> tuple[int, int]:
    """Return how many live records this extraction did not hold, and how many there are."""
    live = _live(manifest)
    raw = store["npo_raw"]
    return raw.count_documents(live | _not_seen_by(manifest)), raw.count_documents(live)


def unseen_keys(store: IntegrationStore, manifest: ResourceManifest, *, limit: int) -> list[str]:
    """Return the first keys of live records this extraction did not hold."""
    found = store["npo_raw"].find(_live(manifest) | _not_seen_by(manifest), {"_id": 1})
    return [doc["_id"] for doc in found.sort("_id", 1).limit(limit)]


def withdraw(
    store: IntegrationStore,
    session: ClientSession,
    manifest: ResourceManifest,
    keys: Sequence[str],
    *,
    at: datetime,
) -> None:
    """Mark records an extraction did not hold as deleted upstream, to be processed again."""
    store["npo_raw"].update_many(
        {"_id": {"$in": list(keys)}},
        {
            "$set": {
                "deleted_upstream": True,
                # Seen to be missing by this extraction: an older one that is landed again knows less.
                "manifest": manifest.key,
                "fetched_at": _read_at(manifest),
                "order": landing_order(store, session, manifest.npo_id),
                "landed_at": at,
            },
            "$unset": {"state": "", "pending": ""},
        },
        session=session,
    )


def _not_seen_by(manifest: ResourceManifest) -> dict[str, Any]:
    return {"seen": {"$lt": _read_at(manifest)}}


def _read_at(manifest: ResourceManifest) -> datetime:
    return datetime.fromisoformat(manifest.started_at)


def _live(manifest: ResourceManifest) -> dict[str, Any]:
    return _all_of(manifest.npo_id, manifest.resource) | {"deleted_upstream": False}


def _all_of(npo_id: str, resource: str) -> dict[str, Any]:
    first = raw_key(npo_id, resource, "")
    # '}' follows '|' in ASCII: the range holds every key that begins with the prefix.
    return {"_id": {"$gte": first, "$lt": f"{first[:-1]}}}"}}


def reopen(store: IntegrationStore, npo_id: str, resource: str) -> int:
    """Put every stored record back to landed and return how many; broken off, no record is passed over."""
    everything, raw = _all_of(npo_id, resource), store["npo_raw"]
    by_itself = {"$set": {"state": RawState.LANDED.value, "pending": True}}
    # From before records carried an order.
    raw.update_many(everything | {"order": {"$exists": False}}, by_itself)
    # First the line begins anew, then they join it: behind a stage's position they would count as done.
    _begin_anew(store, npo_id, resource)
    raw.update_many(
        everything | {"order": {"$exists": True}, "state": {"$exists": True}},
        {"$unset": {"state": "", "pending": ""}},
    )
    _begin_anew(store, npo_id, resource)  # a stage may have come along in between, past those that joined
    return raw.count_documents(everything)


def _begin_anew(store: IntegrationStore, npo_id: str, resource: str) -> None:
    store.commit_plan(
        npo_id, lambda: (None, lambda session, _order: back_to_start(store, session, npo_id, resource))
    )


class PendingRecord(NamedTuple):
    """A record that waits for a stage; ``payload`` is its JSON text.

    A tuple: two stages make one for every record, and it costs a fifth of a dataclass.
    """

    key: str
    external_id: str
    payload: str
    content_hash: str
    cursor: datetime | None
    fetched_at: datetime
    deleted: bool
    raw_ref: str
    run_id: str
    landed_at: datetime
    order: int | None = None

    @property
    def position(self) -> Position | None:
        """Return its place in the order of landing; ``None`` if it waits by itself."""
        return None if self.order is None else Position(self.order, self.key)


def next_in_line(
    store: IntegrationStore, npo_id: str, resource: str, *, limit: int, after: Position, upto: Position | None
) -> list[PendingRecord]:
    """Return the first records behind a position, in the order of landing.

    Those with a state of their own are left out: they are set aside, or wait by themselves, and one that is
    released at this moment must not pass a stage it has not been through.
    """
    found = (
        _plain(store)
        .find({"state": {"$exists": False}}, _PENDING_FIELDS)
        .min(bound(npo_id, resource, after))
        .max(bound(npo_id, resource, upto))
        .sort(LINE)
        .limit(limit)
        .hint("line")
    )
    return [_pending(doc, doc["order"]) for doc in _within_bytes(found)]


def next_pending(
    store: IntegrationStore,
    npo_id: str,
    resource: str,
    state: RawState,
    *,
    limit: int,
    after: str = "",
) -> list[PendingRecord]:
    """Return the first records that wait by themselves in a state, in key order, from behind ``after``.

    Those are records put back one by one, and those landed before records carried an order.
    """
    found = (
        _plain(store)
        .find(
            {
                "pending": True,
                "npo_id": npo_id,
                "resource": resource,
                "state": state.value,
                "_id": {"$gt": after},
            },
            _PENDING_FIELDS,
        )
        .sort("_id", 1)
        .limit(limit)
        .hint("waiting")
    )
    return [_pending(doc, None) for doc in _within_bytes(found)]


def _plain(store: IntegrationStore) -> Collection[dict[str, Any]]:
    """Return the collection with times read as naive UTC: the zone costs more than all the rest."""
    from bson.codec_options import CodecOptions

    return store["npo_raw"].with_options(codec_options=CodecOptions(tz_aware=False))


def _pending(doc: dict[str, Any], order: int | None) -> PendingRecord:
    cursor = doc["cursor"]
    return PendingRecord(
        doc["_id"],
        doc["external_id"],
        doc["payload"],
        doc["content_hash"],
        cursor and cursor.replace(tzinfo=UTC),
        doc["fetched_at"].replace(tzinfo=UTC),
        doc["deleted_upstream"],
        doc["raw_ref"],
        doc["run_id"],
        doc["landed_at"].replace(tzinfo=UTC),
        order,
    )


def _within_bytes(found: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield documents until their payloads fill a batch; always at least one."""
    size = 0
    for doc in found:
        yield doc
        size += len(doc["payload"])
        if size > MAX_BATCH_BYTES:
            return


def pending_batches(
    store: IntegrationStore, npo_id: str, resource: str, state: RawState, *, size: int
) -> Iterator[list[PendingRecord]]:
    """Yield everything that waits in a state, in batches, each record once.

    First what waits by itself, in key order, then what is in line, in the order of landing; no batch
    holds both.
    """
    after = ""
    while batch := next_pending(store, npo_id, resource, state, limit=size, after=after):
        after = batch[-1].key
        yield batch
    at = position(store, npo_id, resource, state)
    upto = position(store, npo_id, resource, RawState.LANDED) if state is RawState.VALID else None
    while (upto is None or at < upto) and (
        batch := next_in_line(store, npo_id, resource, limit=size, after=at, upto=upto)
    ):
        at = batch[-1].position or at
        yield batch


def state_of(store: IntegrationStore, key: str) -> RawState | None:
    """Return the state of a stored record, ``None`` if there is none under this key."""
    found = store["npo_raw"].find_one({"_id": key}, {"state": 1, "order": 1})
    if found is None:
        return None
    if "state" in found:  # set aside, or it waits by itself
        return RawState(found["state"])
    npo_id, resource, _ = key.split("|", 2)
    at = Position(found["order"], key)
    for state, behind in ((RawState.VALID, RawState.TRANSFORMED), (RawState.LANDED, RawState.VALID)):
        if at <= position(store, npo_id, resource, state):
            return behind
    return RawState.LANDED


def move_state(
    store: IntegrationStore,
    session: ClientSession,
    batch: Sequence[PendingRecord],
    *,
    now: RawState,
    to: RawState,
) -> None:
    """Move a batch's records that still wait in ``now`` to their next state.

    A batch of the line holds everything that waits in it up to its last record, so one position says it
    all. Of those that wait by themselves more may have come since the batch was read: only its own move.
    Records quarantined earlier in the same transaction wait no more.
    """
    if not batch:
        return
    npo_id, resource, _ = batch[0].key.split("|", 2)
    if last := batch[-1].position:
        move_position(store, session, npo_id, resource, now, last)
        return
    change: dict[str, Any] = {"$set": {"state": to.value}}
    if to is RawState.TRANSFORMED:
        change |= {"$unset": {"pending": "", "last_error": ""}}
    keys = [record.key for record in batch]
    for at in range(0, len(keys), KEYS_AT_ONCE):
        some = {"$in": keys[at : at + KEYS_AT_ONCE]}
        store["npo_raw"].update_many(
            {"_id": some, "pending": True, "state": now.value}, change, hint="_id_", session=session
        )


def hold_back(store: IntegrationStore, session: ClientSession, keys: Sequence[str], state: RawState) -> None:
    """Let records of a batch that is moved on wait by themselves, in ``state``, for a later run."""
    if keys:
        store["npo_raw"].update_many(
            {"_id": {"$in": list(keys)}}, {"$set": {"state": state.value, "pending": True}}, session=session
        )


def quarantine_raw(
    store: IntegrationStore, session: ClientSession, reasons: Mapping[str, Sequence[Reason]]
) -> None:
    """Mark records as quarantined: they wait for a person, not for a stage.

    Args:
        store: The store.
        session: Of the transaction that sets them aside.
        reasons: Why, by key.
    """
    from pymongo import UpdateOne

    changes = []
    for key, why in reasons.items():
        told = {"state": RawState.QUARANTINED.value, "last_error": ", ".join(reason.code for reason in why)}
        changes.append(
            UpdateOne({"_id": key}, {"$set": told, "$unset": {"pending": ""}, "$inc": {"attempt": 1}})
        )
    if changes:
        store["npo_raw"].bulk_write(changes, ordered=False, session=session)

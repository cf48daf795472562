"""Raw records in the store: what landing reads and writes of ``npo_raw``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from include.storage.documents import RawState, StoredVersion, raw_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pymongo.client_session import ClientSession

    from include.npo.landing_plan import Incoming, LandingPlan
    from include.quality.gate import Reason
    from include.storage.landing import ResourceManifest
    from include.storage.mongo import IntegrationStore

MAX_BATCH_BYTES = 32 * 2**20  # records can be a thousand times larger than usual: batches must not
_VERSION_FIELDS = {"content_hash": 1, "cursor": 1, "fetched_at": 1, "deleted_upstream": 1, "manifest": 1}


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

    raw = store["npo_raw"]
    if plan.new:
        raw.insert_many(
            [_document(manifest, record, at) for record in plan.new], ordered=False, session=session
        )
    if plan.changed:
        raw.bulk_write(
            [ReplaceOne({"_id": record.key}, _document(manifest, record, at)) for record in plan.changed],
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


def _document(manifest: ResourceManifest, record: Incoming, at: datetime) -> dict[str, Any]:
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
        "state": RawState.LANDED.value,
        "pending": True,
        "attempt": 0,
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
                "state": RawState.LANDED.value,
                "pending": True,
                "landed_at": at,
            }
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
    """Put every stored record back to landed and return how many; all stages look at them again."""
    return (
        store["npo_raw"]
        .update_many(_all_of(npo_id, resource), {"$set": {"state": RawState.LANDED.value, "pending": True}})
        .matched_count
    )


@dataclass(frozen=True, slots=True)
class PendingRecord:
    """A record that waits for a stage; ``payload`` is its JSON text."""

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


def next_pending(
    store: IntegrationStore,
    npo_id: str,
    resource: str,
    state: RawState,
    *,
    limit: int,
    after: str = "",
) -> list[PendingRecord]:
    """Return the first records that wait in a state, in key order, from behind the key ``after``."""
    found = (
        store["npo_raw"]
        .find(
            {
                "pending": True,
                "npo_id": npo_id,
                "resource": resource,
                "state": state.value,
                "_id": {"$gt": after},
            }
        )
        .sort("_id", 1)
        .limit(limit)
        .hint("waiting")
    )
    return [
        PendingRecord(
            doc["_id"],
            doc["external_id"],
            doc["payload"],
            doc["content_hash"],
            doc["cursor"],
            doc["fetched_at"],
            doc["deleted_upstream"],
            doc["raw_ref"],
            doc["run_id"],
            doc["landed_at"],
        )
        for doc in _within_bytes(found)
    ]


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
    """Yield everything that waits in a state, in batches and key order, each record once."""
    after = ""
    while batch := next_pending(store, npo_id, resource, state, limit=size, after=after):
        after = batch[-1].key
        yield batch


def move_state(
    store: IntegrationStore,
    session: ClientSession,
    batch: Sequence[PendingRecord],
    *,
    now: RawState,
    to: RawState,
    mapping_version: int | None = None,
) -> None:
    """Move a batch's records that still wait in ``now`` to their next state.

    The batch holds everything that waits between its first and its last key, so one range says it all;
    records quarantined earlier in the same transaction wait no more. The last state takes records off
    the list of what waits.
    """
    if not batch:
        return
    change: dict[str, Any] = {"$set": {"state": to.value}}
    if to is RawState.TRANSFORMED:
        change = {
            "$set": {"state": to.value, "mapping_version": mapping_version},
            "$unset": {"pending": "", "last_error": ""},
        }
    npo_id, resource, _ = batch[0].key.split("|", 2)
    store["npo_raw"].update_many(
        {
            "pending": True,
            "npo_id": npo_id,
            "resource": resource,
            "_id": {"$gte": batch[0].key, "$lte": batch[-1].key},
            "state": now.value,
        },
        change,
        hint="waiting",
        session=session,
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

    if reasons:
        store["npo_raw"].bulk_write(
            [
                UpdateOne(
                    {"_id": key},
                    {
                        "$set": {
                            "state": RawState.QUARANTINED.value,
                            "last_error": ", ".join(reason.code for reason in why),
                        },
                        "$unset": {"pending": ""},
                        "$inc": {"attempt": 1},
                    },
                )
                for key, why in reasons.items()
            ],
            ordered=False,
            session=session,
        )

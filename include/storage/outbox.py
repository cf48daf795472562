"""The outbox: events committed together with what they tell of, until the event stream has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from pymongo.client_session import ClientSession

    from include.storage.mongo import IntegrationStore


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """One event that waits: ``body`` is the CloudEvent as JSON bytes."""

    id: str
    type: str
    partition_key: str
    sequence: int
    body: bytes


def add_to_outbox(
    store: IntegrationStore,
    session: ClientSession,
    owner: str,
    entries: Sequence[OutboxEntry],
    *,
    order: int,
    at: datetime,
) -> None:
    """Add events inside the transaction of their entities; ``order`` is the commit's place in time."""
    if entries:
        store["outbox"].insert_many(
            [
                {
                    "_id": entry.id,
                    "owner": owner,
                    "type": entry.type,
                    "partition_key": entry.partition_key,
                    "sequence": entry.sequence,
                    "body": entry.body.decode(),
                    "order": order,
                    "created_at": at,
                    "pending": True,
                }
                for entry in entries
            ],
            ordered=False,
            session=session,
        )


def known_events(
    store: IntegrationStore, ids: Sequence[str], *, session: ClientSession | None = None
) -> set[str]:
    """Return which of these events were made before, sent or not; ``session`` is that of a transaction.

    An entity store that is rebuilt from what was landed comes to the same events; they are not told twice.
    """
    found = store["outbox"].find({"_id": {"$in": list(ids)}}, {"_id": 1}, session=session)
    return {doc["_id"] for doc in found}


def next_events(store: IntegrationStore, owner: str, *, limit: int) -> list[OutboxEntry]:
    """Return the next events of an owner, in the order they were committed."""
    found = (
        store["outbox"]
        .find({"pending": True, "owner": owner}, {"owner": 0, "created_at": 0})
        .sort([("order", 1), ("_id", 1)])
        .limit(limit)
    )
    return [
        OutboxEntry(doc["_id"], doc["type"], doc["partition_key"], doc["sequence"], doc["body"].encode())
        for doc in found
    ]


def mark_published(store: IntegrationStore, ids: Sequence[str], *, at: datetime) -> None:
    """Take events off the list of what waits: the event stream has them."""
    if ids:
        store["outbox"].update_many(
            {"_id": {"$in": list(ids)}}, {"$set": {"published_at": at}, "$unset": {"pending": ""}}
        )


def refuse(store: IntegrationStore, event_id: str, reason: str, *, at: datetime) -> None:
    """Set aside an event that cannot be sent: kept with the reason until it is released.

    One that was erased while it was on its way does not wait any more, and stays as it is.
    """
    store["outbox"].update_one(
        {"_id": event_id, "pending": True},
        {"$set": {"refused_at": at, "refused": reason}, "$unset": {"pending": ""}},
    )


def waiting(store: IntegrationStore, owner: str) -> int:
    """Return how many events of an owner wait."""
    return store["outbox"].count_documents({"pending": True, "owner": owner})


def refused(store: IntegrationStore, owner: str) -> int:
    """Return how many events of an owner are set aside."""
    return store["outbox"].count_documents(_set_aside(owner))


def release(store: IntegrationStore, owner: str) -> int:
    """Let the events of an owner that were set aside wait again, and return how many."""
    return (
        store["outbox"]
        .update_many(
            _set_aside(owner), {"$set": {"pending": True}, "$unset": {"refused": "", "refused_at": ""}}
        )
        .modified_count
    )


def _set_aside(owner: str) -> dict[str, Any]:
    return {"owner": owner, "refused": {"$exists": True}, "erased": {"$exists": False}}

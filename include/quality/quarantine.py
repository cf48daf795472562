"""Quarantine: records set aside one by one, with the reason and the evidence, so that nothing is lost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from include.storage.documents import QuarantineState, content_hash

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from pymongo.client_session import ClientSession

    from include.quality.gate import Reason
    from include.storage.mongo import IntegrationStore


MAX_PAYLOAD = 2**20


@dataclass(frozen=True, slots=True)
class Quarantined:
    """One record to set aside.

    Attributes:
        external_id: The partner's id, ``None`` when it has none.
        payload: The record as JSON text.
        raw_ref: ``<object key>#<position>`` of the landed page it came from.
    """

    owner: str
    resource: str
    external_id: str | None
    stage: str
    reasons: tuple[Reason, ...]
    payload: str
    raw_ref: str

    @property
    def key(self) -> str:
        """Return the document key: the same bad content is set aside once, however often it comes."""
        return quarantine_key(self.owner, self.resource, self.external_id, self.payload)


def quarantine_key(owner: str, resource: str, external_id: str | None, payload: str) -> str:
    """Return the key under which a record is set aside, if it is."""
    return f"{owner}|{resource}|{content_hash([external_id, payload])}"


def set_aside(
    store: IntegrationStore, session: ClientSession, records: Sequence[Quarantined], *, at: datetime
) -> None:
    """Write quarantine documents inside the transaction that moves the records' state."""
    from pymongo import UpdateOne

    if not records:
        return
    came_back = {"$set": {"state": QuarantineState.OPEN.value}}
    updates = [
        update
        for record in records
        for update in (
            UpdateOne(
                {"_id": record.key},
                {
                    "$set": _verdict(record, at),
                    "$setOnInsert": _evidence(record, at) | {"state": QuarantineState.OPEN.value},
                },
                upsert=True,
            ),
            # What a person discarded stays discarded.
            UpdateOne({"_id": record.key, "state": QuarantineState.RELEASED.value}, came_back),
        )
    ]
    store["quarantine"].bulk_write(updates, ordered=True, session=session)


def _verdict(record: Quarantined, at: datetime) -> dict[str, Any]:
    return {
        "stage": record.stage,
        "reasons": [{"code": reason.code, "message": reason.message} for reason in record.reasons],
        "last_seen": at,
    }


def _evidence(record: Quarantined, at: datetime) -> dict[str, Any]:
    return {
        "owner": record.owner,
        "resource": record.resource,
        "external_id": record.external_id,
        # A record too large for the store is in the landing zone, where raw_ref says.
        "payload": record.payload if len(record.payload) <= MAX_PAYLOAD else None,
        "raw_ref": record.raw_ref,
        "first_seen": at,
    }


def release(
    store: IntegrationStore,
    session: ClientSession,
    owner: str,
    resource: str,
    *,
    landed: Mapping[str, datetime],
    at: datetime,
) -> None:
    """Mark open entries as released: the record, or a later version of it, went through.

    Args:
        store: The store.
        session: Of the transaction in which the records go through.
        owner: Whose entries: an ``npo_id``, or ``esr/<deanery>``.
        resource: Of which resource.
        landed: When the version that went through was landed, by external id. An entry that landing made
            at that time or later is of another version and stays.
        at: Now.
    """
    query = {
        "owner": owner,
        "state": QuarantineState.OPEN.value,
        "resource": resource,
        "external_id": {"$in": list(landed)},
    }
    found = store["quarantine"].find(query, {"external_id": 1, "stage": 1, "last_seen": 1}, session=session)
    mended = [
        entry["_id"]
        for entry in found
        if entry["stage"] != "land_raw" or entry["last_seen"] < landed[entry["external_id"]]
    ]
    if mended:
        store["quarantine"].update_many(
            {"_id": {"$in": mended}},
            {"$set": {"state": QuarantineState.RELEASED.value, "released_at": at}},
            session=session,
        )


def release_between(
    store: IntegrationStore, session: ClientSession, owner: str, first: str, last: str, *, at: datetime
) -> None:
    """Mark open entries as released whose ``external_id`` lies between two (inclusive, as text).

    For what is about to be looked at anew: what is still bad then is set aside again and open again.
    """
    store["quarantine"].update_many(
        {
            "owner": owner,
            "state": QuarantineState.OPEN.value,
            "external_id": {"$gte": first, "$lte": last},
        },
        {"$set": {"state": QuarantineState.RELEASED.value, "released_at": at}},
        session=session,
    )


def open_count(store: IntegrationStore, owner: str, resource: str | None = None) -> int:
    """Return how many records of an owner wait in quarantine."""
    query: dict[str, Any] = {"owner": owner, "state": QuarantineState.OPEN.value}
    if resource is not None:
        query["resource"] = resource
    return store["quarantine"].count_documents(query)

"""Quarantine: records set aside one by one, with the reason and the evidence, so that nothing is lost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from include.storage.documents import QuarantineState, content_hash

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from pymongo.client_session import ClientSession

    from include.quality.gate import Reason
    from include.storage.mongo import IntegrationStore


@dataclass(frozen=True, slots=True)
class Quarantined:
    """One record to set aside.

    Attributes:
        external_id: The partner's id, ``None`` when it has none.
        payload: The record as JSON text.
        raw_ref: ``<object key>#<position>`` of the landed page it came from.
    """

    npo_id: str
    resource: str
    external_id: str | None
    stage: str
    reasons: tuple[Reason, ...]
    payload: str
    raw_ref: str

    @property
    def key(self) -> str:
        """Return the document key: the same bad content is set aside once, however often it comes."""
        return quarantine_key(self.npo_id, self.resource, self.external_id, self.payload)


def quarantine_key(npo_id: str, resource: str, external_id: str | None, payload: str) -> str:
    """Return the key under which a record is set aside, if it is."""
    return f"{npo_id}|{resource}|{content_hash([external_id, payload])}"


def set_aside(
    store: IntegrationStore, session: ClientSession, records: Sequence[Quarantined], *, at: datetime
) -> None:
    """Write quarantine documents inside the transaction that moves the records' state."""
    from pymongo import UpdateOne

    if not records:
        return
    store["quarantine"].bulk_write(
        [
            UpdateOne(
                {"_id": record.key},
                {"$set": _verdict(record, at), "$setOnInsert": _evidence(record, at), "$inc": {"seen": 1}},
                upsert=True,
            )
            for record in records
        ],
        ordered=False,
        session=session,
    )


def _verdict(record: Quarantined, at: datetime) -> dict[str, Any]:
    return {
        "state": QuarantineState.OPEN.value,
        "stage": record.stage,
        "reasons": [{"code": reason.code, "message": reason.message} for reason in record.reasons],
        "last_seen": at,
    }


def _evidence(record: Quarantined, at: datetime) -> dict[str, Any]:
    return {
        "npo_id": record.npo_id,
        "resource": record.resource,
        "external_id": record.external_id,
        "payload": record.payload,
        "raw_ref": record.raw_ref,
        "first_seen": at,
    }


def release(
    store: IntegrationStore,
    session: ClientSession,
    npo_id: str,
    resource: str,
    *,
    external_ids: Iterable[str],
    at: datetime,
) -> None:
    """Mark open entries as released: a later version of the record went through."""
    store["quarantine"].update_many(
        {
            "npo_id": npo_id,
            "state": QuarantineState.OPEN.value,
            "resource": resource,
            "external_id": {"$in": list(external_ids)},
        },
        {"$set": {"state": QuarantineState.RELEASED.value, "released_at": at}},
        session=session,
    )


def open_count(store: IntegrationStore, npo_id: str, resource: str | None = None) -> int:
    """Return how many records of an NPO wait in quarantine."""
    query: dict[str, Any] = {"npo_id": npo_id, "state": QuarantineState.OPEN.value}
    if resource is not None:
        query["resource"] = resource
    return store["quarantine"].count_documents(query)

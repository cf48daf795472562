"""Enrolments in the store: read, and committed together with the events that tell of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from include.npo.enrolment.outcomes import told
from include.npo.enrolment.record import EnrolmentRecord, Entry, Reason, State
from include.npo.identity import uuid5_text
from include.storage.outbox import OutboxEntry, add_to_outbox, known_events

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from pymongo.client_session import ClientSession

    from include.events.envelope import Event
    from include.npo.enrolment.lease import Lease
    from include.storage.mongo import Document, IntegrationStore

COLLECTION = "enrolment"
NPOS = "enrolment_npo"
_FIELDS = tuple(each.name for each in fields(EnrolmentRecord) if each.name != "reference")


def fence_owner(npo_id: str) -> str:
    """Return whose fence guards an NPO's enrolments: not the NPO's own, so that no pull waits for them."""
    return f"{npo_id}/enrolment"


def reference_of(npo_id: str, assignment_id: str) -> str:
    """Return the key by which an enrolment is known here and at the partner: the same in every try."""
    return uuid5_text(f"{npo_id}\nenrolment\n{assignment_id}")


@dataclass(slots=True)
class Changes:
    """What one commit changes: each record's last form and every event on the way there."""

    at: datetime
    records: dict[str, EnrolmentRecord] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    npo: dict[str, Any] = field(default_factory=dict)

    def add(self, before: EnrolmentRecord | None, after: EnrolmentRecord) -> EnrolmentRecord:
        """Take a move on and return the record with its version counted on."""
        counted, event = told(before, after, at=self.at)
        self.records[counted.reference] = counted
        if event is not None:
            self.events.append(event)
        return counted

    def __bool__(self) -> bool:
        """Tell whether there is anything to write."""
        return bool(self.records or self.npo)

    def write(
        self,
        store: IntegrationStore,
        npo_id: str,
        session: ClientSession,
        order: int,
        *,
        lease: Lease | None = None,
    ) -> None:
        """Write it in the caller's transaction.

        Raises:
            LeaseLostError: The lease it was worked out under has gone to somebody else.
        """
        from pymongo import ReplaceOne

        if lease is not None:
            lease.require(store, session)
        if self.records:
            store[COLLECTION].bulk_write(
                [
                    ReplaceOne({"_id": key}, to_document(record), upsert=True)
                    for key, record in self.records.items()
                ],
                ordered=False,
                session=session,
            )
        # A step that is done again after its record was lost comes to events that were told.
        ids = [event.id for event in self.events]
        known = known_events(store, ids, session=session) if ids else set()
        entries = [_entry(event) for event in self.events if event.id not in known]
        add_to_outbox(store, session, npo_id, entries, order=order, at=self.at)
        marks = self.npo | ({"publish": order} if self.events else {})
        if marks:
            store[NPOS].update_one({"_id": npo_id}, {"$set": marks}, upsert=True, session=session)


def _entry(event: Event) -> OutboxEntry:
    return OutboxEntry(event.id, event.type, event.partition_key, event.sequence, event.to_json())


def to_document(record: EnrolmentRecord) -> Document:
    """Return the stored form; ``due`` stands only where there is something to do."""
    values = {name: getattr(record, name) for name in _FIELDS}
    values["state"] = record.state.value
    values["reason"] = asdict(record.reason) if record.reason else None
    values["history"] = [asdict(entry) for entry in record.history]
    values["candidate"] = dict(record.candidate)
    kept = {name: value for name, value in values.items() if value is not None}
    due = {"due": True} if record.due_at is not None else {}
    return {"_id": record.reference, **kept, **due}


def from_document(document: Mapping[str, Any]) -> EnrolmentRecord:
    """Return the record of a stored form."""
    values = {name: document[name] for name in _FIELDS if name in document}
    values["state"] = State(values["state"])
    if "reason" in values:
        values["reason"] = Reason(**values["reason"])
    values["history"] = tuple(Entry(**entry) for entry in values.get("history", ()))
    return EnrolmentRecord(reference=document["_id"], **values)


def by_reference(store: IntegrationStore, references: Iterable[str]) -> dict[str, EnrolmentRecord]:
    """Return the enrolments with these references."""
    found = store[COLLECTION].find({"_id": {"$in": list(references)}})
    return {document["_id"]: from_document(document) for document in found}


def due_references(
    store: IntegrationStore, npo_id: str, *, now: datetime, limit: int, but: Iterable[str]
) -> list[str]:
    """Return the enrolments of an NPO with something to do now, longest due first."""
    query = {"due": True, "npo_id": npo_id, "due_at": {"$lte": now}, "_id": {"$nin": list(but)}}
    found = store[COLLECTION].find(query, {"_id": 1}).sort([("due_at", 1), ("_id", 1)]).limit(limit)
    return [document["_id"] for document in found]


def awaiting_references(store: IntegrationStore, npo_id: str, *, limit: int) -> list[str]:
    """Return enrolments of an NPO that wait for a person's approval."""
    query = {"npo_id": npo_id, "state": State.AWAITING_APPROVAL.value}
    return [document["_id"] for document in store[COLLECTION].find(query, {"_id": 1}).limit(limit)]

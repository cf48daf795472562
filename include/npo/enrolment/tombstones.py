"""What is left of an enrolment whose candidate was erased: what a later command needs, and nobody's name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from include.npo.enrolment.record import State
from include.npo.enrolment.records import COLLECTION

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime

    from pymongo.client_session import ClientSession

    from include.storage.mongo import IntegrationStore

KEPT_IN = "erased"
RESOURCE = "enrolment"


@dataclass(frozen=True, slots=True)
class Tombstone:
    """An erased enrolment.

    Attributes:
        state: Where it stood.
        version: Of what was published: events of a later command count on from it.
        sent: The partner may have the candidate.
    """

    state: State
    version: int
    sent: bool
    offering_id: str | None = None


def bury(
    store: IntegrationStore,
    session: ClientSession,
    npo_id: str,
    assignment_ids: Collection[str],
    *,
    at: datetime,
) -> None:
    """Delete an NPO's enrolments in the caller's transaction, and leave a tombstone of each.

    Without one the platform's withdrawal of an erased candidate would look like one that came before its
    command, and the partner would never hear of it.
    """
    from pymongo import ReplaceOne

    mine = {"npo_id": npo_id, "assignment_id": {"$in": list(assignment_ids)}}
    fields = {"state": 1, "version": 1, "attempts": 1, "external_id": 1, "offering_id": 1}
    left = [
        ReplaceOne(
            {"_id": found["_id"]},
            {
                "_id": found["_id"],
                "npo_id": npo_id,
                "resource": RESOURCE,
                "at": at,
                "state": found["state"],
                "version": found.get("version", 0),
                "sent": bool(found.get("attempts") or found.get("external_id")),
                "offering_id": found.get("offering_id"),
            },
            upsert=True,
        )
        for found in store[COLLECTION].find(mine, fields, session=session)
    ]
    if left:
        store[KEPT_IN].bulk_write(left, ordered=False, session=session)
        store[COLLECTION].delete_many(mine, session=session)


def tombstones(store: IntegrationStore, references: Collection[str]) -> Mapping[str, Tombstone]:
    """Return what is left of erased enrolments, by reference."""
    if not references:
        return {}
    found = store[KEPT_IN].find({"_id": {"$in": list(references)}, "resource": RESOURCE})
    return {
        each["_id"]: Tombstone(State(each["state"]), each["version"], each["sent"], each["offering_id"])
        for each in found
    }

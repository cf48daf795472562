"""What still waits to be done for an NPO: the state decides, whichever run left it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from include.storage.documents import RawState
from include.storage.raw import next_in_line
from include.storage.stage_position import position

if TYPE_CHECKING:
    from include.storage.mongo import IntegrationStore

RESOURCES = ("offerings", "assignments")
PENDING = {"pending": True}


def has_pending(store: IntegrationStore, npo_id: str) -> bool:
    """Return whether a record waits for a stage or an event waits for publication."""
    waits = (("npo_raw", {"npo_id": npo_id}), ("outbox", {"owner": npo_id}))
    return any(
        store[collection].find_one(whose | PENDING, {"_id": 1}) is not None for collection, whose in waits
    ) or any(in_line(store, npo_id, resource) for resource in RESOURCES)


def in_line(store: IntegrationStore, npo_id: str, resource: str) -> bool:
    """Return whether a landed record has not yet been through the last stage."""
    at = position(store, npo_id, resource, RawState.VALID)
    return bool(next_in_line(store, npo_id, resource, limit=1, after=at, upto=None))

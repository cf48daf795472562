"""What still waits to be done for an NPO: the state decides, whichever run left it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from include.storage.mongo import IntegrationStore

PENDING = {"pending": True}


def has_pending(store: IntegrationStore, npo_id: str) -> bool:
    """Return whether a record waits for a stage or an event waits for publication."""
    waits = (("npo_raw", {"npo_id": npo_id}), ("outbox", {"owner": npo_id}))
    return any(
        store[collection].find_one(whose | PENDING, {"_id": 1}) is not None for collection, whose in waits
    )

"""What still waits to be done for an NPO: the state decides, whichever run left it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from include.storage.mongo import IntegrationStore

PENDING = {"pending": True}


def has_pending(store: IntegrationStore, npo_id: str) -> bool:
    """Return whether a record waits for a stage or an event waits for publication."""
    return any(
        store[collection].find_one({"npo_id": npo_id, **PENDING}, {"_id": 1}) is not None
        for collection in ("npo_raw", "outbox")
    )

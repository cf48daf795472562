"""Leases: one process at a time tells TCS for a deanery; a killed one's lease runs out by itself.

Times are the store's own (``$$NOW``), so that workers need not agree on the time.
"""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from include.errors import NotYetError, TransientError
from include.storage.mongo import store_errors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo.client_session import ClientSession

    from include.storage.mongo import IntegrationStore

_NEVER = datetime.fromtimestamp(0, tz=UTC)


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease in hand.

    Attributes:
        owner: Whose calls it is for.
        token: Higher than that of every lease of this owner before; marks what was done under it.
        seconds: How long it lasts from each renewal.
    """

    owner: str
    token: int
    seconds: float

    def renew(self, store: IntegrationStore, session: ClientSession) -> float:
        """Make it last again, in a transaction of the caller: what that commits was done by the holder.

        Returns:
            Clock reading (``time.monotonic``) until which it certainly lasts if the transaction commits.

        Raises:
            NotYetError: It ran out and somebody else has it now.
        """
        began = time.monotonic()
        renewed = store["esr_lease"].update_one(
            {"_id": self.owner, "token": self.token},
            [{"$set": {"until": _from_now(self.seconds)}}],
            session=session,
        )
        if not renewed.matched_count:
            raise NotYetError(
                "this process was too slow and another one has taken over telling TCS; it goes on there",
                retry_after=self.seconds,
                subject=self.owner,
            )
        return began + self.seconds


@contextmanager
def held_lease(store: IntegrationStore, owner: str, *, seconds: float) -> Iterator[Lease]:
    """Hold the owner's lease for the block.

    Raises:
        NotYetError: Somebody else has it.
        IntegrationError: As ``store_errors`` says.
    """
    lease = _take(store, owner, seconds)
    try:
        yield lease
    finally:
        with suppress(TransientError), store_errors(owner):  # it runs out by itself
            store["esr_lease"].update_one({"_id": owner, "token": lease.token}, {"$set": {"until": _NEVER}})


def _take(store: IntegrationStore, owner: str, seconds: float) -> Lease:
    with store_errors(owner):
        # First of all there must be one: a filter by the store's time cannot create it.
        store["esr_lease"].update_one(
            {"_id": owner}, {"$setOnInsert": {"until": _NEVER, "token": 0}}, upsert=True
        )
        taken = store["esr_lease"].find_one_and_update(
            {"_id": owner, "$expr": {"$lte": ["$until", "$$NOW"]}},
            [{"$set": {"until": _from_now(seconds), "token": {"$add": ["$token", 1]}}}],
            return_document=True,
        )
        if taken is None:
            raise NotYetError(
                "another process is telling TCS, or one was killed doing so and its lease has not run out",
                retry_after=_seconds_left(store, owner),
                subject=owner,
            )
    return Lease(owner, int(taken["token"]), seconds)


def _seconds_left(store: IntegrationStore, owner: str) -> float:
    found = store["esr_lease"].find_one(
        {"_id": owner}, {"left": {"$divide": [{"$subtract": ["$until", "$$NOW"]}, 1000]}}
    )
    return max(float(found["left"]), 1.0) if found else 1.0


def _from_now(seconds: float) -> dict[str, Any]:
    return {"$add": ["$$NOW", round(seconds * 1000)]}

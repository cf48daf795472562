"""One process at a time works at an NPO's enrolments: a lease that its heart-beat keeps, and death ends."""

from __future__ import annotations

import threading
import time
import uuid
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from include.errors import IntegrationError, TransientError
from include.storage.mongo import store_errors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo.client_session import ClientSession

    from include.storage.mongo import IntegrationStore

_NPOS = "enrolment_npo"
_NEVER = datetime.fromtimestamp(0, tz=UTC)
_BEATS = 4
_SURE_FOR = 0.75
"""Of its time a lease is relied on for so long after the last beat: the rest is for a request to arrive."""


class LeaseLostError(TransientError):
    """This process was held up for so long that another one has taken over."""


@dataclass(slots=True)
class Lease:
    """A lease in hand.

    Attributes:
        lost: Set as soon as it is known that somebody else has it.
        beaten_at: When the last renewal that succeeded was asked for, by the monotonic clock.
    """

    npo_id: str
    holder: str
    seconds: float
    lost: threading.Event = field(default_factory=threading.Event)
    beaten_at: float = field(default_factory=time.monotonic)

    def sure(self) -> bool:
        """Return whether nobody else can have it, to be asked right before something is sent.

        A process that was stopped or starved for a while has not heard yet that it lost its lease.
        """
        return not self.lost.is_set() and time.monotonic() - self.beaten_at < self.seconds * _SURE_FOR

    def require(self, store: IntegrationStore, session: ClientSession) -> None:
        """Make the caller's transaction fail unless the lease is still ours, and make it last again.

        Raises:
            LeaseLostError: Somebody else has it.
        """
        if not self.renew(store, session):
            self.lost.set()
            raise LeaseLostError(
                "this process was too slow and another one has taken over; it goes on there",
                subject=self.npo_id,
            )

    def renew(self, store: IntegrationStore, session: ClientSession | None = None) -> bool:
        """Make it last again and return whether it is still ours."""
        renewed = store[_NPOS].update_one(
            {"_id": self.npo_id, "lease.holder": self.holder},
            [{"$set": {"lease.until": _from_now(self.seconds)}}],
            session=session,
        )
        return bool(renewed.matched_count)


@contextmanager
def held_lease(store: IntegrationStore, npo_id: str, *, seconds: float) -> Iterator[Lease | None]:
    """Hold the NPO's lease for the block; ``None`` where another process has it.

    Raises:
        IntegrationError: As ``store_errors`` says.
    """
    lease = _take(store, npo_id, seconds)
    if lease is None:
        yield None
        return
    ended = threading.Event()
    beat = threading.Thread(target=_keep, args=(store, lease, ended), name="enrolment-lease", daemon=True)
    beat.start()
    try:
        yield lease
    finally:
        ended.set()
        beat.join(seconds)
        with suppress(IntegrationError), store_errors(npo_id):  # it runs out by itself
            store[_NPOS].update_one(
                {"_id": npo_id, "lease.holder": lease.holder}, {"$set": {"lease.until": _NEVER}}
            )


def _keep(store: IntegrationStore, lease: Lease, ended: threading.Event) -> None:
    while not ended.wait(lease.seconds / _BEATS):
        began = time.monotonic()
        with suppress(IntegrationError), store_errors(lease.npo_id):
            if not lease.renew(store):
                lease.lost.set()
                return
            lease.beaten_at = began


def _take(store: IntegrationStore, npo_id: str, seconds: float) -> Lease | None:
    holder, began = uuid.uuid4().hex, time.monotonic()
    with store_errors(npo_id):
        # First of all there must be one: a filter by the store's time cannot create it.
        store[_NPOS].update_one({"_id": npo_id}, {"$setOnInsert": {"lease": {"until": _NEVER}}}, upsert=True)
        taken = store[_NPOS].find_one_and_update(
            {"_id": npo_id, "$expr": {"$lte": [{"$ifNull": ["$lease.until", _NEVER]}, "$$NOW"]}},
            [{"$set": {"lease": {"holder": holder, "until": _from_now(seconds)}}}],
        )
    return Lease(npo_id, holder, seconds, beaten_at=began) if taken is not None else None


def _from_now(seconds: float) -> dict[str, Any]:
    return {"$add": ["$$NOW", round(seconds * 1000)]}

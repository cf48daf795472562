"""Pending people, each in the hands of one process at a time.

Two processes that both find an absence missing in TCS would both create it, and one that wakes up late
would tell TCS what is outdated: who updates people claims them first. A claim that ran out says that its
holder died or failed on the way: what TCS was told by him is in doubt.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self

from include.errors import ConfigurationError, IntegrationError
from include.esr.people.plan import PendingPerson
from include.storage.mongo import store_errors

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from include.esr.context import EsrContext


@dataclass(frozen=True, slots=True)
class Held:
    """Claims that were just prolonged.

    Attributes:
        people: Whose claim is ours: nobody else may be told of.
        until: Clock reading (``time.monotonic``) after which a call that may not be repeated must not be
            sent any more: it could still be under way when the claims have run out.
    """

    people: frozenset[int]
    until: float


class Claims:
    """The people one process has claimed, kept alive by a heartbeat. A context manager.

    Attributes:
        token: Names this holder in the store.
        held_until: Until when the latest of the people others hold is claimed, ``None`` when none is.

    Raises:
        ConfigurationError: A claim does not outlast a call.
    """

    def __init__(self, ctx: EsrContext, deanery: str) -> None:
        if ctx.settings.tcs_lease_seconds <= ctx.settings.tcs_timeout:
            raise ConfigurationError(
                "SPOTLIGHT_TCS_LEASE_SECONDS must be longer than SPOTLIGHT_TCS_TIMEOUT: an absence still "
                "being created when its claim runs out could be created twice; nobody was updated",
                subject=deanery,
            )
        self._ctx = ctx
        self._deanery = deanery
        self._people = ctx.store["esr_person"]
        self._lease = timedelta(seconds=ctx.settings.tcs_lease_seconds)
        self._mine: list[int] = []
        self._after: int | None = None
        self._stop = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="person-claims", daemon=True)
        self.token = uuid.uuid4().hex
        self.held_until: datetime | None = None

    def __enter__(self) -> Self:
        """Start the heartbeat."""
        self._heart.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the heartbeat."""
        self._stop.set()
        self._heart.join()

    def take(self, size: int) -> list[PendingPerson]:
        """Claim the next due people; an empty list says that there are no more.

        Raises:
            TransientError: The store did not answer.
        """
        with store_errors(self._deanery):
            while due := self._due(size):
                self._after = due[-1]["_id"]
                doubtful = {entry["_id"] for entry in due if entry.get("claim")}
                if people := self._claim([entry["_id"] for entry in due], doubtful):
                    return people
        self._mine = []
        return []

    def _due(self, size: int) -> list[dict[str, Any]]:
        query: dict[str, Any] = {
            "deanery": self._deanery,
            "pending": True,
            "not_before": {"$lte": self._ctx.now()},
        }
        if self._after is not None:
            query["_id"] = {"$gt": self._after}
        return list(self._people.find(query, {"claim": 1}).sort("_id", 1).limit(size))

    def _claim(self, ids: list[int], doubtful: Collection[int]) -> list[PendingPerson]:
        now = self._ctx.now()
        self._people.update_many(
            {
                "_id": {"$in": ids},
                "pending": True,
                "$or": [{"claim": None}, {"claim.until": {"$lte": now}}],
            },
            {"$set": {"claim": {"by": self.token, "until": now + self._lease}}},
        )
        people, held = [], []
        for document in self._people.find({"_id": {"$in": ids}}).sort("_id", 1):
            claim = document.get("claim") or {}
            if claim.get("by") == self.token:
                people.append(PendingPerson.of(document, in_doubt=document["_id"] in doubtful))
            elif claim and document["pending"]:
                held.append(claim["until"])
        self.held_until = max([*held, *([self.held_until] if self.held_until else [])], default=None)
        self._mine = [person.id for person in people]
        return people

    def renew(self) -> Held:
        """Prolong the claims at hand and return those that are still ours.

        Raises:
            TransientError: The store did not answer.
        """
        ours = {"_id": {"$in": self._mine}, "claim.by": self.token}
        began = time.monotonic()
        with store_errors(self._deanery):
            self._people.update_many(ours, {"$set": {"claim.until": self._ctx.now() + self._lease}})
            people = frozenset(entry["_id"] for entry in self._people.find(ours, {"_id": 1}))
        return Held(people, began + self._lease.total_seconds() - self._ctx.settings.tcs_timeout)

    def leave(self, ids: Collection[int]) -> None:
        """Let some claims run out by themselves: a call for these people may still be under way."""
        self._mine = [person_id for person_id in self._mine if person_id not in ids]

    def give_back(self) -> None:
        """Let others have the people at hand at once; what TCS was told of them is in doubt."""
        ours = {"_id": {"$in": self._mine}, "claim.by": self.token}
        self._mine = []
        # On the way out of a failure, which is what is to be told; the claims run out by themselves.
        with contextlib.suppress(IntegrationError), store_errors(self._deanery):
            self._people.update_many(ours, {"$set": {"claim.until": self._ctx.now()}})

    def _beat(self) -> None:
        while not self._stop.wait(self._lease.total_seconds() / 3):
            # A beat that fails is made good by the next; whoever sends asks `renew` first.
            with contextlib.suppress(IntegrationError):
                self.renew()

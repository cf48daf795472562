"""An alarm clock for what is due in the store: a poll, another try, what a person has just approved."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from include.alarm import Alarm

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from include.storage.mongo import IntegrationStore

EVERY = 2.0
GRACE = 4.0
"""Seconds for a run that is under way: what it has just drained is due, and it comes to it by itself."""
LEAST = 15.0
"""Seconds between two alarms: polls start four runs a minute at most, however often NPOs allow them."""
MOST = 300.0
"""Seconds after which an NPO that no run gets on with is told of again: the sweep's."""


class DueTrigger(Alarm):
    """Fires when an NPO has enrolments to be worked at, or outcomes to be published, and no run is at it.

    Args:
        every: Seconds between two looks.
        grace: Seconds something has to be due.
        least: Seconds between two alarms; more where they change nothing.
    """

    def __init__(self, every: float = EVERY, grace: float = GRACE, least: float = LEAST) -> None:
        super().__init__(every)
        self.grace, self.least = grace, least
        self._unattended = Unattended(grace, least, MOST)
        self._store: IntegrationStore | None = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return how the triggerer makes this again."""
        return (
            "include.npo.enrolment.due_trigger.DueTrigger",
            {"every": self.every, "grace": self.grace, "least": self.least},
        )

    def look(self) -> dict[str, Any] | None:
        """Return how many NPOs wait for a run, where somebody should know."""
        from include.npo.context import utc_now
        from include.npo.enrolment.due import npos_to_work_at, npos_worked_at
        from include.settings import get_settings
        from include.storage.mongo import IntegrationStore, store_errors

        self._store = self._store or IntegrationStore(get_settings())
        with store_errors("enrolment"):
            held = npos_worked_at(self._store)  # first: what is let go meanwhile is in one of the two
            waiting = npos_to_work_at(self._store, at=utc_now())
        late = self._unattended.late(waiting, time.monotonic(), held=held)
        return {"npos": len(late)} if late else None

    async def cleanup(self) -> None:
        """Close the store."""
        if self._store is not None:
            await asyncio.to_thread(self._store.close)  # takes long where the store is gone


@dataclass(slots=True)
class Unattended:
    """Tells when a run is wanted: an NPO has something to do and no run takes it up.

    An NPO is forgotten when it has nothing to do any more. One that still has when a run has been at it
    (its events cannot be published, say) is told of less and less often.

    Args:
        grace: Seconds a run that is under way has to come to it.
        least: Seconds between any two alarms; doubled for an NPO with each one that changed nothing.
        most: Up to so many.
    """

    grace: float
    least: float
    most: float
    _next: dict[str, tuple[float, float]] = field(default_factory=dict)
    _silent_until: float = float("-inf")

    def late(self, waiting: Iterable[str], moment: float, *, held: Collection[str] = ()) -> list[str]:
        """Return the NPOs an alarm tells of, all that wait; none where it is not time for one.

        Args:
            waiting: NPOs with something to do that no run is at.
            moment: Now, in seconds.
            held: NPOs a run is at: whether it gets on with them is seen when it lets go.
        """
        first = (moment + self.grace, self.least)
        found = list(waiting)
        known = {npo_id: self._next[npo_id] for npo_id in held if npo_id in self._next}
        self._next = known | {npo_id: self._next.get(npo_id, first) for npo_id in found}
        if moment < self._silent_until or all(self._next[npo_id][0] > moment for npo_id in found):
            return []
        for npo_id in found:  # the run this starts works at all of them
            wait = self._next[npo_id][1]
            self._next[npo_id] = (moment + wait, min(wait * 2, self.most))
        self._silent_until = moment + self.least
        return found

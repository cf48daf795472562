"""An alarm clock for what is due in the store: a poll, another try, what a person has just approved."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from include.alarm import Alarm

if TYPE_CHECKING:
    from collections.abc import Iterable

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
        from include.npo.enrolment.due import npos_to_work_at
        from include.settings import get_settings
        from include.storage.mongo import IntegrationStore, store_errors

        self._store = self._store or IntegrationStore(get_settings())
        with store_errors("enrolment"):
            npos = npos_to_work_at(self._store, at=utc_now())
        late = self._unattended.late(npos, time.monotonic())
        return {"npos": len(late)} if late else None

    async def cleanup(self) -> None:
        """Close the store."""
        if self._store is not None:
            self._store.close()


@dataclass(slots=True)
class Unattended:
    """Tells of NPOs with something to do that no run takes up; of the same one less and less often.

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

    def late(self, npos: Iterable[str], moment: float) -> list[str]:
        """Return those to raise an alarm for, of all that have something to do at a moment (seconds)."""
        first = (moment + self.grace, self.least)
        self._next = {npo_id: self._next.get(npo_id, first) for npo_id in npos}
        if moment < self._silent_until:
            return []
        found = [npo_id for npo_id, (when, _) in self._next.items() if when <= moment]
        for npo_id in found:
            wait = self._next[npo_id][1]
            self._next[npo_id] = (moment + wait, min(wait * 2, self.most))
        if found:
            self._silent_until = moment + self.least
        return found

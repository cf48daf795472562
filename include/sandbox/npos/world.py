"""Offerings and assignments of one NPO on one simulated day: a pure function, nothing is stored.

Time is counted in minutes from 00:00 UTC of the first simulated day, so that the past is negative.
Each offering and each assignment draws its whole life from its own random generator; a later day
shows more of the same life, never another one.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from include.sandbox.npos.catalogue import THEMES, Theme

if TYPE_CHECKING:
    from collections.abc import Iterator

DAY = 24 * 60
SLOTS = (6 * 60, 11 * 60 + 30, 16 * 60 + 45, 20 * 60 + 10)
"""Minutes of the day at which changes are written: many records share one stamp."""
MIGRATION = -20 * DAY + SLOTS[0]
"""A bulk update that gave a third of the older assignments one and the same stamp."""
# Shares of lives, as bounds on one random number in [0, 1): see _steps.
REJECTED, WAITLISTED, STAYED, NEVER_STARTED, CANCELLED = 0.06, 0.14, 0.78, 0.90, 0.96
HELD, FAILED = 0.04, 0.08
# Which remainder of the index has that fate.
WITHDRAWN_OF_FOUR, DRAFT_OF_ELEVEN, DELETED_OF_FIFTY = 3, 5, 17
_PRICES = (0.0,) * 9 + (5.0, 10.0, 25.0)
_OFFERING_STATES = ("active",) * 8 + ("full", "paused", "closed")
UNIT_TOTALS = (4, 5, 6, 8, 10, 12)
CANCELLABLE = frozenset({"requested", "waitlisted", "accepted"})
FINAL = frozenset({"rejected", "completed", "failed", "withdrawn", "cancelled", "expired"})


class Offering(NamedTuple):
    """An offering as it stands on a day. Moments are minutes from the first day."""

    number: int
    theme: Theme
    run: int
    born: int
    modified: int
    withdrawn_at: int | None
    state: str  # draft, active, full, paused, closed
    places: int
    taken: int
    waitlist: int
    price: float
    starts: int
    ends: int
    mode: str  # in_person, online, hybrid
    enrolment: str  # open, approval, external_form, closed
    place: int

    @property
    def withdrawn(self) -> bool:
        """Return whether the organisation has taken the offering back."""
        return self.withdrawn_at is not None


@dataclass(slots=True)
class Learning:
    """An assignment as it stands on a day. Moments are minutes from the first day."""

    index: int
    offering: int
    person: int
    units_total: int
    requested_at: int
    modified: int
    state: str = "requested"
    reason: str | None = None
    units_done: int = 0
    accepted_at: int | None = None
    enrolled_at: int | None = None
    started_at: int | None = None
    last_activity_at: int | None = None
    due_at: int | None = None
    completed_at: int | None = None
    ended_at: int | None = None
    score: int | None = None
    deleted: bool = False
    attempt: int = 1

    @property
    def percent(self) -> float:
        """Return the progress in percent, one decimal."""
        return round(100 * self.units_done / self.units_total, 1)


@dataclass(frozen=True)
class World:
    """One NPO's data for ever; ask it for a day."""

    npo: str
    seed: int
    scale: float
    soft_deletes: bool = False

    @property
    def first_offerings(self) -> int:
        """Return how many offerings exist on the first day (withdrawn ones included)."""
        return max(4, round(40 * math.sqrt(self.scale)))

    @property
    def first_assignments(self) -> int:
        """Return how many assignments exist on the first day."""
        return max(1, round(600 * self.scale))

    @property
    def _new_a_day(self) -> int:
        return max(1, self.first_offerings // 100)

    @cached_property
    def _salt(self) -> dict[str, int]:
        return {
            kind: int.from_bytes(hashlib.blake2b(f"{self.seed}/{self.npo}/{kind}".encode()).digest()[:8])
            for kind in ("offering", "assignment")
        }

    def token(self, *parts: object, size: int = 5) -> str:
        """Return a stable hexadecimal token for the parts, ``2 * size`` characters."""
        text = "/".join(map(str, (self.seed, self.npo, *parts)))
        return hashlib.blake2b(text.encode(), digest_size=size).hexdigest()

    def offerings(self, day: int) -> list[Offering]:
        """Return the offerings known at 00:00 UTC of day number ``day``, oldest first."""
        total = self.first_offerings + self._new_a_day * day
        return [self._offering(index, day * DAY) for index in range(total)]

    def assignments(self, day: int) -> list[Learning]:
        """Return the assignments known at 00:00 UTC of day number ``day``, oldest first."""
        now = day * DAY
        a_day = max(1, self.first_assignments // 100)
        spans = [self._span(index) for index in range(self.first_offerings + self._new_a_day * (day + 1))]
        total = self.first_assignments + a_day * day
        return [self._assignment(index, a_day, spans, now) for index in range(total)]

    def _span(self, index: int) -> tuple[int, int | None]:
        """Return when an offering appears and when it is withdrawn."""
        late = index - self.first_offerings
        if late >= 0:
            born = late // self._new_a_day * DAY + SLOTS[0]
            return born, born + 30 * DAY if index % 4 == WITHDRAWN_OF_FOUR else None
        born = (-400 + (index * 37) % 150) * DAY + SLOTS[index % 4]
        return born, ((index // 4) * 3 - 9) * DAY + SLOTS[1] if index % 4 == WITHDRAWN_OF_FOUR else None

    def _offering(self, index: int, now: int) -> Offering:
        born, withdrawn_at = self._span(index)
        gone = withdrawn_at is not None and withdrawn_at < now
        rng = Random(self._salt["offering"] + index)
        gap = 6 + int(rng.random() * 15)
        until = withdrawn_at if gone and withdrawn_at is not None else now - 1
        phase = (until - born) // (gap * DAY)
        themes = THEMES[self.npo]
        places = (12, 16, 20, 24)[int(rng.random() * 4)]
        price = _PRICES[int(rng.random() * len(_PRICES))]
        starts = born // DAY + 14 + int(rng.random() * 30)
        phase_rng = Random(self._salt["offering"] + (index << 20) + phase)
        state = _OFFERING_STATES[int(phase_rng.random() * len(_OFFERING_STATES))]
        return Offering(
            number=index,
            theme=themes[index % len(themes)],
            run=index // len(themes) + 1,
            born=born,
            modified=withdrawn_at if gone and withdrawn_at is not None else born + phase * gap * DAY,
            withdrawn_at=withdrawn_at if gone else None,
            state="draft" if phase == 0 and index % 11 == DRAFT_OF_ELEVEN else state,
            places=places,
            taken=places if state == "full" else int(phase_rng.random() * places),
            waitlist=int(phase_rng.random() * 6) if state == "full" else 0,
            price=price,
            starts=starts,
            ends=starts + 30 + int(rng.random() * 400),
            mode=("in_person", "online", "hybrid")[int(rng.random() * 3)],
            enrolment=("open", "open", "approval", "external_form")[int(rng.random() * 4)]
            if state != "closed"
            else "closed",
            place=int(rng.random() * 8),
        )

    def _assignment(self, index: int, a_day: int, spans: list[tuple[int, int | None]], now: int) -> Learning:
        rng = Random(self._salt["assignment"] + index)
        late = index - self.first_assignments
        day = late // a_day if late >= 0 else -1 - int(rng.random() * 240)
        created = day * DAY + SLOTS[int(rng.random() * 4)]
        known = self.first_offerings + self._new_a_day * max(0, day)
        offering = _open_offering(int(rng.random() * known), created, spans[:known])
        learning = Learning(
            index=index,
            offering=offering,
            person=int(rng.random() * self.first_assignments),
            units_total=UNIT_TOTALS[int(rng.random() * len(UNIT_TOTALS))],
            requested_at=created,
            modified=created,
        )
        withdrawn_at = spans[offering][1]
        doomed = self.soft_deletes and index % 50 == DELETED_OF_FIFTY
        deleted_at = created + (100 + index % 60) * DAY if doomed else None
        end = min(moment for moment in (now, withdrawn_at, deleted_at) if moment is not None)
        _live(learning, rng, end)
        if withdrawn_at is not None and end == withdrawn_at < now and learning.state not in FINAL:
            state = "cancelled" if learning.state in CANCELLABLE else "withdrawn"
            _enter(learning, state, withdrawn_at, learning.units_done)
            learning.reason = "offering withdrawn"
        if index % 3 == 0 and learning.modified < MIGRATION:
            learning.modified = MIGRATION
        if deleted_at is not None and deleted_at < now:
            learning.deleted, learning.modified = True, max(deleted_at, learning.modified)
        return learning


def _open_offering(start: int, created: int, spans: list[tuple[int, int | None]]) -> int:
    """Return the first offering from ``start`` on that is open at ``created``."""
    for step in range(len(spans)):
        index = (start + step) % len(spans)
        born, withdrawn_at = spans[index]
        if born < created and (withdrawn_at is None or created < withdrawn_at):
            return index
    return 0


def _live(learning: Learning, rng: Random, end: int) -> None:
    """Let the assignment live until ``end`` (exclusive)."""
    moment = learning.requested_at
    for days, state, done in _steps(rng, learning.units_total):
        moment += days * DAY
        stamp = moment - moment % DAY + SLOTS[int(rng.random() * 4)]
        if stamp >= end:
            return
        _enter(learning, state, stamp, done)
        if state in {"completed", "failed"}:
            score = rng.random()
            learning.score = (50 if state == "completed" else 10) + int(
                score * (51 if state == "completed" else 38)
            )


def _enter(learning: Learning, state: str, stamp: int, done: int) -> None:
    learning.state, learning.modified, learning.units_done = state, stamp, done
    match state:
        case "accepted":
            learning.accepted_at = stamp
        case "enrolled":
            learning.enrolled_at = stamp
            learning.due_at = stamp - stamp % DAY + (30 + 9 * learning.units_total) * DAY
        case "in_progress":
            learning.started_at = learning.started_at or stamp
            learning.last_activity_at = stamp
        case "completed":
            learning.completed_at = learning.ended_at = learning.last_activity_at = stamp
        case _ if state in FINAL:
            learning.ended_at = stamp


def _steps(rng: Random, total: int) -> Iterator[tuple[int, str, int]]:
    """Yield one life as (days since the step before, state, units done)."""
    draw = rng.random
    luck = draw()
    if luck < REJECTED:
        yield 1 + int(draw() * 4), "rejected", 0
        return
    if luck < WAITLISTED:
        yield 1, "waitlisted", 0
        ending = ("cancelled", "expired", "", "", "")[int(draw() * 5)]
        if ending:
            yield 5 + int(draw() * 16), ending, 0
            return
    yield 1 + int(draw() * 4), "accepted", 0
    if luck > CANCELLED:
        yield 1 + int(draw() * 6), "cancelled", 0
        return
    yield 1 + int(draw() * 7), "enrolled", 0
    if luck > NEVER_STARTED:
        yield 5 + int(draw() * 30), ("expired", "withdrawn")[int(draw() * 2)], 0
        return
    yield 1 + int(draw() * 10), "in_progress", 0
    stop = total if luck < STAYED else 1 + int(draw() * (total - 1))
    for done in range(1, stop + 1):
        yield 2 + int(draw() * 6), "in_progress", done
        if draw() < HELD:
            yield 2 + int(draw() * 5), "on_hold", done
            yield 5 + int(draw() * 11), "in_progress", done
    if stop == total:
        yield 1 + int(draw() * 3), "failed" if draw() < FAILED else "completed", total
    else:
        yield 3 + int(draw() * 9), ("withdrawn", "withdrawn", "expired", "failed")[int(draw() * 4)], stop

"""What became of a post's placements since it was looked at last, as far as ESR could know. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from include.esr.placements.facts import PlacementFacts, PostView

DAY = timedelta(days=1)
LONGEST_GAP = timedelta(days=31)
"""What happened longer ago without anybody looking is for a snapshot (DNF) to tell."""


@dataclass(frozen=True, slots=True)
class Sight:
    """How far ahead ESR is told of a post: today's placements, and those that start within the horizon.

    Attributes:
        since: The last day before today that every post was looked at for; ``None``: it never was.
        seen_on: The latest day this post was noted for; ``None``: it never was.
    """

    today: date
    horizon_days: int
    since: date | None = None
    seen_on: date | None = None

    @property
    def first_day(self) -> date:
        """Return the first day whose dates are due today: a day nobody looked at posts for is made up for."""
        if self.since is None:
            return self.today
        return min(self.today, max(self.since + DAY, self.today - LONGEST_GAP))

    @property
    def last(self) -> date:
        """Return the last start day ESR is told of."""
        return self.today + timedelta(days=self.horizon_days)

    def is_current(self, placement: PlacementFacts) -> bool:
        """Tell whether somebody is in the post by it; without an end it goes on."""
        return is_told(placement) and _starts(placement) <= self.today and self._is_not_over(placement)

    def is_next(self, placement: PlacementFacts) -> bool:
        """Tell whether somebody comes by it, within the horizon."""
        return is_told(placement) and self.today < _starts(placement) <= self.last

    def holds(self, placement: PlacementFacts) -> bool:
        """Tell whether ESR is told of it."""
        return self.is_current(placement) or self.is_next(placement)

    def held(self, placement: PlacementFacts) -> bool:
        """Tell whether ESR was told of it when the post was looked at last, and it is not over since."""
        looked = max((day for day in (self.since, self.seen_on) if day is not None), default=None)
        if looked is None or not is_told(placement) or not self._is_not_over(placement):
            return False
        return _starts(placement) <= looked + timedelta(days=self.horizon_days)

    def was_to_come(self, placement: PlacementFacts) -> bool:
        """Tell whether it had not begun by the day before: of those nobody looked at, the first."""
        return _starts(placement) >= self.first_day

    def _is_not_over(self, placement: PlacementFacts) -> bool:
        return placement.end is None or placement.end >= self.today


@dataclass(frozen=True, slots=True)
class NewDates:
    """A placement whose first or last day changed.

    Attributes:
        start, end: The new day, ``None`` where it did not change.
    """

    placement: PlacementFacts
    start: date | None
    end: date | None


@dataclass(frozen=True, slots=True)
class Changes:
    """Everything that changed.

    Attributes:
        any: Whether ESR must be told who is in the post and who comes, again.
        withdrawn: Who was to come and does not.
        replaced: The same, with who comes instead: another trainee, at the same site, not known before.
        new_dates: Whose days changed.
    """

    any: bool = False
    withdrawn: tuple[PlacementFacts, ...] = ()
    replaced: tuple[tuple[PlacementFacts, PlacementFacts], ...] = ()
    new_dates: tuple[NewDates, ...] = ()


def changes_of(view: PostView, sight: Sight) -> Changes:
    """Return what changed; nothing at a first look, whatever is found then is no change."""
    if view.before is None:
        return Changes()
    before, now = _by_id(view.before), _by_id(view.placements)
    gone: list[PlacementFacts] = []
    come: list[PlacementFacts] = []
    dates: list[NewDates] = []
    is_any = False
    for placement_id in sorted(before.keys() | now.keys()):
        old, new = before.get(placement_id), now.get(placement_id)
        if old and new and _is_same_person(old, new):
            if (sight.held(old) or sight.holds(new)) and _differs(old, new):
                is_any = True
                dates += _new_dates(old, new, sight)
            continue
        gone += [old] if old and sight.held(old) else []
        come += [new] if new and sight.holds(new) else []
    missed = [placement for placement in gone if sight.was_to_come(placement)]
    replaced = _replacements(missed, [placement for placement in come if sight.is_next(placement)])
    without = {placement.id for placement, _ in replaced}
    return Changes(
        any=is_any or bool(gone or come),
        withdrawn=tuple(placement for placement in missed if placement.id not in without),
        replaced=tuple(replaced),
        new_dates=tuple(dates),
    )


def is_told(placement: PlacementFacts) -> bool:
    """Tell whether ESR can be told of it: eligible, with a start, and not over before it begins."""
    return (
        placement.eligible
        and placement.start is not None
        and (placement.end is None or placement.start <= placement.end)
    )


def site_of(placement: PlacementFacts) -> str:
    """Return its site code as it is compared: in one case, without spaces around."""
    return (placement.site_code or "").strip().casefold()


def by_start(placements: Iterable[PlacementFacts]) -> list[PlacementFacts]:
    """Return placements in the order they start."""
    return sorted(placements, key=lambda each: (_starts(each), each.id))


def _by_id(placements: Iterable[PlacementFacts]) -> dict[int, PlacementFacts]:
    return {placement.id: placement for placement in placements if is_told(placement)}


def _is_same_person(old: PlacementFacts, new: PlacementFacts) -> bool:
    """Tell whether it is still the same trainee's; a person not known is no other person."""
    return old.trainee_id == new.trainee_id or None in (old.trainee_id, new.trainee_id)


def _differs(old: PlacementFacts, new: PlacementFacts) -> bool:
    return (old.start, old.end, old.wte, site_of(old)) != (new.start, new.end, new.wte, site_of(new))


def _new_dates(old: PlacementFacts, new: PlacementFacts, sight: Sight) -> list[NewDates]:
    """Return the days that changed; a start that lay and lies in the past is no projected hire date."""
    comes = sight.was_to_come(old) or _starts(new) > sight.today
    start = new.start if comes and old.start != new.start else None
    end = new.end if old.end != new.end else None
    return [NewDates(new, start, end)] if start or end else []


def _replacements(
    gone: list[PlacementFacts], come: list[PlacementFacts]
) -> list[tuple[PlacementFacts, PlacementFacts]]:
    """Pair who does not come with who comes instead: each once, in the order they start."""
    free, pairs = by_start(come), []
    for old in by_start(gone):
        fits = [new for new in free if site_of(new) == site_of(old) and new.trainee_id != old.trainee_id]
        if fits:
            pairs.append((old, fits[0]))
            free.remove(fits[0])
    return pairs


def _starts(placement: PlacementFacts) -> date:
    return placement.start or date.max

"""What TCS says of posts now: their placements in full, long past ones left out."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from include.esr.placements.facts import ELIGIBLE_TYPES, PlacementFacts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from include.esr.tcs import Tcs
    from include.esr.tcs.answers import Person

_KEPT_BATCHES = 3


class Observer:
    """Asks TCS in bulk, once for each batch: one that must be planned anew does not ask again.

    Args:
        tcs: Open connection.
        first_day: The first day that is looked at; what ended before the day before it is left out.
    """

    def __init__(self, tcs: Tcs, first_day: date) -> None:
        self._tcs = tcs
        self._first_day = first_day
        self._placements: dict[tuple[int, ...], dict[int, tuple[PlacementFacts, ...]]] = {}
        self._people: dict[tuple[int, ...], dict[int, Person]] = {}

    def placements(self, posts: Sequence[int]) -> Mapping[int, tuple[PlacementFacts, ...]]:
        """Return the placements of posts; every post is in the answer, one TCS does not have with none."""
        asked = tuple(posts)
        if asked not in self._placements:
            _make_room(self._placements)
            self._placements[asked] = self._observed(asked)
        return self._placements[asked]

    def people(self, ids: set[int]) -> Mapping[int, Person]:
        """Return people; one TCS does not have is missing."""
        asked = tuple(sorted(ids))
        if asked not in self._people:
            _make_room(self._people)
            self._people[asked] = self._tcs.people(asked) if asked else {}
        return self._people[asked]

    def _observed(self, posts: tuple[int, ...]) -> dict[int, tuple[PlacementFacts, ...]]:
        summaries = self._tcs.placements_of_posts(posts)
        recent = {
            post: [
                facts for facts in map(PlacementFacts.of, summaries.get(post, ())) if not self._is_past(facts)
            ]
            for post in posts
        }
        # Only the placement in full has its approval and site; of a type ESR is not told of nobody asks.
        wanted = [facts.id for several in recent.values() for facts in several if _may_count(facts)]
        full = self._tcs.placements(wanted) if wanted else {}
        return {
            post: tuple(
                PlacementFacts.of(full[facts.id]) if _may_count(facts) else facts
                for facts in several
                if not _may_count(facts) or facts.id in full
            )
            for post, several in recent.items()
        }

    def _is_past(self, facts: PlacementFacts) -> bool:
        """Tell whether it ended before the day before: who became vacant since is still to be told of."""
        return facts.end is not None and facts.end < self._first_day - timedelta(days=1)


def _may_count(facts: PlacementFacts) -> bool:
    return (facts.type or "").strip().lower() in ELIGIBLE_TYPES


def _make_room(answers: dict[Any, Any]) -> None:
    while len(answers) >= _KEPT_BATCHES:
        del answers[next(iter(answers))]

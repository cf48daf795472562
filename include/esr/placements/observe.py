"""What TCS says of posts now: their placements in full, long past ones left out.

One record TCS always fails on must not stop a deanery. Who asks with a second connection is told for which
posts TCS failed; all others have their answer.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from include.connectors.retry import RetryPolicy
from include.errors import NotYetError, RateLimitedError, TransientError
from include.esr.placements.facts import ELIGIBLE_TYPES, PlacementFacts
from include.esr.tcs.answers import NotSentError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import date

    from include.esr.tcs import Tcs
    from include.esr.tcs.answers import Person
    from include.settings import Settings

    Ask = Callable[[Tcs, Sequence[int]], Mapping[int, Any]]

Found = TypeVar("Found")
Failures = dict[int, TransientError]

MOST_FAILURES = 100
"""Failed tries to find out whom TCS fails on: more say that it is TCS as a whole. One record takes ten."""
FAILURES_IN_A_ROW = 20
IMPATIENCE = RetryPolicy(attempts=2, first_wait=0.1, longest_wait=1)
_KEPT_BATCHES = 3


@dataclass(frozen=True, slots=True)
class Answers(Generic[Found]):
    """What TCS answered.

    Attributes:
        found: By id; one TCS does not have is missing, or has nothing.
        failed: Ids it could not be asked about, with why.
    """

    found: Mapping[int, Found]
    failed: Mapping[int, TransientError]


class Observer:
    """Asks TCS in bulk, once for each batch: one that must be planned anew does not ask again.

    Args:
        tcs: Open connection.
        first_day: The first day that is looked at; what ended before the day before it is left out.
        second: Another connection, by which to find out whom TCS fails on: what ``tcs`` is told of that
            would count as failures of TCS as a whole. Without it, a lookup that fails raises.
    """

    def __init__(self, tcs: Tcs, first_day: date, second: Tcs | None = None) -> None:
        self._tcs, self._second = tcs, second
        self._first_day = first_day
        self._failures = 0
        self._placements: dict[tuple[int, ...], Answers[tuple[PlacementFacts, ...]]] = {}
        self._people: dict[tuple[int, ...], Answers[Person]] = {}

    def placements(self, posts: Sequence[int]) -> Answers[tuple[PlacementFacts, ...]]:
        """Return the placements of posts; every post is found, one TCS does not have with none, or failed."""
        asked = tuple(posts)
        if asked not in self._placements:
            _make_room(self._placements)
            self._placements[asked] = self._observed(asked)
        return self._placements[asked]

    def people(self, ids: set[int]) -> Answers[Person]:
        """Return people; one TCS does not have is missing."""
        asked = tuple(sorted(ids))
        if asked not in self._people:
            _make_room(self._people)
            self._people[asked] = self._asked(lambda tcs, part: tcs.people(part), asked)
        return self._people[asked]

    def _observed(self, posts: tuple[int, ...]) -> Answers[tuple[PlacementFacts, ...]]:
        summaries = self._asked(lambda tcs, part: tcs.placements_of_posts(part), posts)
        recent = {
            post: [
                facts
                for facts in map(PlacementFacts.of, summaries.found.get(post, ()))
                if not self._is_past(facts)
            ]
            for post in posts
            if post not in summaries.failed
        }
        # Only the placement in full has its approval and site; of a type ESR is not told of nobody asks.
        wanted = [facts.id for several in recent.values() for facts in several if _may_count(facts)]
        full = self._asked(lambda tcs, part: tcs.placements(part), wanted)
        failed = dict(summaries.failed) | {
            post: full.failed[facts.id]
            for post, several in recent.items()
            for facts in several
            if facts.id in full.failed
        }
        found = {
            post: tuple(
                PlacementFacts.of(full.found[facts.id]) if _may_count(facts) else facts
                for facts in several
                if not _may_count(facts) or facts.id in full.found
            )
            for post, several in recent.items()
            if post not in failed
        }
        return Answers(found, failed)

    def _asked(self, ask: Ask, ids: Sequence[int]) -> Answers[Any]:
        if not ids:
            return Answers({}, {})
        try:
            return Answers(ask(self._tcs, ids), {})
        except TransientError as error:
            if self._second is None or _is_of_tcs_as_a_whole(error):
                raise
            return self._asked_in_parts(ask, self._second, ids)

    def _asked_in_parts(self, ask: Ask, second: Tcs, ids: Sequence[int]) -> Answers[Any]:
        """Ask again in smaller and smaller parts, until it is known whom TCS fails on.

        All parts of a size come before the smaller ones, so that those TCS answers stand between those it
        fails on and it is not taken for one that fails altogether.

        Raises:
            TransientError: It is TCS as a whole.
        """
        found: dict[int, Any] = {}
        failed: Failures = {}
        parts = deque(_halves(ids))
        while parts:
            part = parts.popleft()
            try:
                found |= ask(second, part)
            except TransientError as error:
                self._failures += 1
                if _is_of_tcs_as_a_whole(error) or self._failures > MOST_FAILURES:
                    raise
                if len(part) == 1:
                    failed[part[0]] = error
                else:
                    parts.extend(_halves(part))
        return Answers(found, failed)

    def _is_past(self, facts: PlacementFacts) -> bool:
        """Tell whether it ended before the day before: who became vacant since is still to be told of."""
        return facts.end is not None and facts.end < self._first_day - timedelta(days=1)


def _may_count(facts: PlacementFacts) -> bool:
    return (facts.type or "").strip().lower() in ELIGIBLE_TYPES


def looking(settings: Settings) -> Settings:
    """Return settings of a connection that looks at posts: a record TCS fails on opens no breaker.

    All tries of a lookup can be failures in a row, and so can those of a few.
    """
    failures = max(settings.tcs_breaker_failures, FAILURES_IN_A_ROW)
    return settings.model_copy(update={"tcs_breaker_failures": failures})


def second_connection(settings: Settings, progress: Callable[[str], None]) -> Tcs:
    """Return the connection for an observer to find out whom TCS fails on; it asks less patiently."""
    from include.esr.tcs import Tcs

    return Tcs(looking(settings), progress=progress, patience=IMPATIENCE)


def _is_of_tcs_as_a_whole(error: TransientError) -> bool:
    return isinstance(error, NotYetError | RateLimitedError | NotSentError)


def _halves(ids: Sequence[int]) -> Iterable[Sequence[int]]:
    middle = len(ids) // 2
    return filter(None, (ids[:middle], ids[middle:]))


def _make_room(answers: dict[Any, Any]) -> None:
    while len(answers) >= _KEPT_BATCHES:
        del answers[next(iter(answers))]

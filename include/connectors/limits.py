"""How much of a partner may be taken, and how much of ours an answer may."""

from __future__ import annotations

from dataclasses import dataclass
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, Protocol

from include.errors import NotYetError

if TYPE_CHECKING:
    from collections.abc import Callable

_MINUTE = 60.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Budget, time and size.

    Attributes:
        requests_per_minute: Of the NPO.
        max_concurrency: Requests under way at once.
        timeout: Seconds for connecting, and between two reads.
        total_timeout: Seconds for one whole answer.
        max_page_bytes: Decoded size of one answer.
        period: Seconds over which the requests are counted; a minute, shorter in tests.
    """

    requests_per_minute: int
    max_concurrency: int
    timeout: float
    total_timeout: float
    max_page_bytes: int
    period: float = _MINUTE

    def budget(self) -> Budget:
        """Return a budget that only this process knows of: where there is no store; tests."""
        return _OwnBudget(self)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a request waits for its turn where others share the budget; a longer wait ends it at once.

    Attributes:
        permit: Seconds until the requests a minute allow one more; where they are so few that the very next
            one is further off, until that.
        place: Seconds until one of those under way ends.
        told: Seconds the partner asked to be left alone.
        then: What becomes of a request whose turn is further off, in a message.
    """

    permit: float = 300
    place: float = 120
    told: float = 60
    then: str = "it is tried again by itself"


A_RUNS = Patience()
"""A worker's slot is in hand."""
A_PERSONS = Patience(permit=10, place=10, told=5, then="ask again then")
"""Somebody sits before a terminal."""


@dataclass(slots=True)
class Place:
    """One request's place among those under way.

    Attributes:
        place_id: Whose it is.
        renew_at: Monotonic time from which it wants to be renewed.
    """

    place_id: str = ""
    renew_at: float = float("inf")


class NoTurnError(NotYetError):
    """Nothing was sent: the partner is left alone for a while, or all places for requests stay taken."""


class Budget(Protocol):
    """What may be asked of a partner, and what came of it; safe to use from several threads."""

    def enter(self) -> Place:
        """Return as soon as one more request is within the budget; its place is to be left afterwards.

        Raises:
            NoTurnError: The partner is left alone for a while, or all places stay taken.
            RateLimitedError: The next request is too far off to wait for it here.
        """
        ...

    def keep(self, place: Place) -> None:
        """Hold a place on while its answer is still coming."""
        ...

    def leave(self, place: Place) -> None:
        """Give a place back; never raises."""
        ...

    def throttled(self, seconds: float | None) -> None:
        """Note that the partner wants to be left alone; ``None``: it did not say for how long."""
        ...

    def judged(self, *, well: bool) -> None:
        """Note how a whole request ended, after all its tries: answered, or the partner is unwell."""
        ...


class _OwnBudget:
    def __init__(self, limits: Limits) -> None:
        self._spend = _sliding_window(limits.requests_per_minute, limits.period)
        self._places = BoundedSemaphore(limits.max_concurrency)

    def enter(self) -> Place:
        self._spend()
        self._places.acquire()
        return Place()

    def keep(self, place: Place) -> None:
        """Nothing to do: a process holds its places until it ends."""

    def leave(self, place: Place) -> None:  # noqa: ARG002 - one is like the other
        self._places.release()

    def throttled(self, seconds: float | None) -> None:
        """Nothing to do: the request that was throttled waits itself."""

    def judged(self, *, well: bool) -> None:
        """Nothing to do: one process gives up by itself."""


def _sliding_window(requests: int, period: float) -> Callable[[], None]:
    from pyrate_limiter import InMemoryBucket, Limiter, Rate, SingleBucketFactory

    bucket = InMemoryBucket([Rate(requests, int(period * 1000))])
    # No background thread: what is out of the window is dropped when the next request comes.
    limiter = Limiter(SingleBucketFactory(bucket, schedule_leak=False))

    def acquire() -> None:
        bucket.leak(int(bucket.now()))  # type: ignore[no-untyped-call]
        limiter.try_acquire("request")

    return acquire

"""How much of a partner one run may take, and how much of ours an answer may."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_MINUTE = 60.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Budget, time and size.

    Attributes:
        requests_per_minute: Of one run.
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

    def budget(self) -> Callable[[], None]:
        """Return a function that returns as soon as another request is within the budget."""
        from pyrate_limiter import InMemoryBucket, Limiter, Rate, SingleBucketFactory

        bucket = InMemoryBucket([Rate(self.requests_per_minute, int(self.period * 1000))])
        # No background thread: what is out of the window is dropped when the next request comes.
        limiter = Limiter(SingleBucketFactory(bucket, schedule_leak=False))

        def acquire() -> None:
            bucket.leak(int(bucket.now()))  # type: ignore[no-untyped-call]
            limiter.try_acquire("request")

        return acquire

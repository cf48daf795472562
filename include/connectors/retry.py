"""When and how long to wait before a request is tried again."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from random import uniform
from typing import TYPE_CHECKING

from tenacity import Retrying, retry_if_exception

from include.errors import NotYetError, RateLimitedError, TransientError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenacity import RetryCallState


def utc_now() -> datetime:
    """Return the present moment."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Bounds of the waiting inside a run; a longer wait is the scheduler's business.

    Attributes:
        attempts: Tries of one request, the first included.
        first_wait: Seconds before the second try; doubled each time, with jitter.
        longest_wait: Seconds, the bound of that doubling.
        longest_told_wait: Seconds of Retry-After that are waited for here; beyond, the run is told.
        longest_request: Seconds after which no further try of a request is begun: a partner that answers
            a byte at a time may use up the whole time of each.
        sleep: Waits; tests pass their own.
        now: Tells the time.
    """

    attempts: int = 5
    first_wait: float = 1
    longest_wait: float = 30
    longest_told_wait: float = 60
    longest_request: float = 240
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], datetime] = utc_now

    def retrying(self) -> Retrying:
        """Return the loop that calls a function until it works or trying again makes no sense."""
        return Retrying(
            retry=retry_if_exception(_worth_another_try),
            stop=self._stop,
            wait=self._wait,
            sleep=self.sleep,
            reraise=True,
        )

    def _stop(self, state: RetryCallState) -> bool:
        told = _told(state)
        if told is not None and told > self.longest_told_wait:
            return True
        lasted = state.seconds_since_start or 0
        return state.attempt_number >= self.attempts or lasted > self.longest_request

    def _wait(self, state: RetryCallState) -> float:
        told = _told(state)
        if told is not None:
            return told + uniform(0, 1)  # noqa: S311 - jitter, nothing secret
        bound = min(self.longest_wait, self.first_wait * 2 ** (state.attempt_number - 1))
        return uniform(bound / 2, bound)  # noqa: S311 - jitter, nothing secret


def _worth_another_try(error: BaseException) -> bool:
    # What is not there yet is waited for by the scheduler: a worker's slot is too dear.
    return isinstance(error, TransientError) and not isinstance(error, NotYetError)


def _told(state: RetryCallState) -> float | None:
    error = state.outcome.exception() if state.outcome else None
    return error.retry_after if isinstance(error, RateLimitedError) else None

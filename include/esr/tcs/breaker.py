"""The circuit breaker: a service that keeps failing is left alone for a while, then probed with one call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from include.errors import NotYetError, RateLimitedError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from include.errors import TransientError


class CircuitBreaker:
    """Counts failures in a row; lives in one event loop.

    Calls that were under way side by side when the service hiccuped fail together and count as one
    failure: only a call that was begun after the last failure tells something new. Nor does the change of
    one record that fails again: it may be the record the service fails on.

    Args:
        failures: In a row until it opens.
        seconds: How long it stays open.
        clock: Seconds, monotonic.
        tell: Told one line when it opens or closes.
    """

    def __init__(
        self, *, failures: int, seconds: float, clock: Callable[[], float], tell: Callable[[str], None]
    ) -> None:
        self._limit, self._seconds, self._clock, self._tell = failures, seconds, clock, tell
        self._in_a_row = 0
        self._failed_changes: set[str] = set()
        self._last_failure = float("-inf")
        self._open_until: float | None = None
        self._probe: asyncio.Future[None] | None = None

    async def admit(self) -> bool:
        """Let a call pass, or wait for the probe that is under way; return whether this call is the probe.

        Raises:
            NotYetError: It is open.
        """
        import asyncio

        while self._open_until is not None:
            left = self._open_until - self._clock()
            if left > 0:
                raise NotYetError(
                    f"TCS failed {self._in_a_row} times in a row and is left alone for another "
                    f"{left:.0f} s; nothing is lost, the work waits where it is",
                    retry_after=left,
                )
            if self._probe is None:
                self._probe = asyncio.get_running_loop().create_future()
                return True
            await asyncio.shield(self._probe)
        return False

    def opened_by(self, failure: TransientError) -> NotYetError | None:
        """Return a failure as one that can wait, when it left the breaker open; else ``None``."""
        if self._open_until is None or isinstance(failure, NotYetError):
            return None
        asked = failure.retry_after if isinstance(failure, RateLimitedError) else None
        return NotYetError(
            f"{failure.message}; it is left alone for a while, nothing is lost, the work waits where it is",
            retry_after=max(self._open_until - self._clock(), asked or 0.0),
            subject=failure.subject,
        )

    def succeeded(self, *, probe: bool) -> None:
        """Note an answer of a service that works."""
        if probe:
            self._open_until = None
            self._tell("TCS answers again")
        if self._open_until is None:
            self._in_a_row = 0
        self._end(probe=probe)

    def failed(self, began: float, *, probe: bool, change: str | None = None) -> None:
        """Note a failure of a call begun at ``began``; ``change`` names the record it would have changed."""
        now = self._clock()
        tells = began >= self._last_failure and change not in self._failed_changes
        if probe or (self._open_until is None and tells):
            if change is not None:
                self._failed_changes.add(change)
            self._in_a_row += 1
            self._last_failure = now
            if self._in_a_row >= self._limit:
                self._open_until = now + self._seconds
                self._tell(
                    f"TCS failed {self._in_a_row} times in a row: left alone for {self._seconds:.0f} s"
                )
        self._end(probe=probe)

    def gave_up(self, *, probe: bool) -> None:
        """Note that a call ended without telling anything; if it was the probe, the next call is."""
        self._end(probe=probe)

    def _end(self, *, probe: bool) -> None:
        if probe and self._probe is not None:
            self._probe.set_result(None)
            self._probe = None

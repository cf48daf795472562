"""The circuit breaker: when it opens, who probes, when it closes."""

from __future__ import annotations

import asyncio

import pytest

from include.errors import NotYetError, RateLimitedError, TransientError
from include.esr.tcs.breaker import CircuitBreaker


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def breaker(clock: Clock, told: list[str]) -> CircuitBreaker:
    return CircuitBreaker(failures=3, seconds=30, clock=clock, tell=told.append)


def fail(breaker: CircuitBreaker, clock: Clock, times: int) -> None:
    for _ in range(times):
        began = clock.now
        clock.now += 1
        breaker.failed(began, probe=False)


def admitted(breaker: CircuitBreaker) -> bool:
    return asyncio.run(breaker.admit())


def test_it_opens_after_so_many_failures_in_a_row_and_says_how_long(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    fail(breaker, clock, 3)
    clock.now += 10
    with pytest.raises(NotYetError) as raised:
        admitted(breaker)
    assert raised.value.retry_after == pytest.approx(20)


def test_a_success_in_between_starts_the_count_anew(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, clock, 2)
    breaker.succeeded(probe=False)
    fail(breaker, clock, 2)
    assert admitted(breaker) is False


def test_calls_that_fail_side_by_side_count_as_one_failure(breaker: CircuitBreaker, clock: Clock) -> None:
    began = clock.now
    for _ in range(16):
        clock.now += 0.01
        breaker.failed(began, probe=False)
    assert admitted(breaker) is False


def test_a_change_that_fails_again_and_again_counts_once_and_others_count(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    def fail_on(change: str) -> None:
        began = clock.now
        clock.now += 1
        breaker.failed(began, probe=False, change=change)

    for _ in range(10):
        fail_on("one")
    fail_on("another")
    assert admitted(breaker) is False
    fail_on("a third")
    with pytest.raises(NotYetError):
        admitted(breaker)


def test_one_call_probes_and_the_others_wait_for_it(
    breaker: CircuitBreaker, clock: Clock, told: list[str]
) -> None:
    fail(breaker, clock, 3)
    clock.now += 31

    async def scene() -> None:
        assert await breaker.admit() is True
        others = [asyncio.ensure_future(breaker.admit()) for _ in range(5)]
        await asyncio.sleep(0)
        assert not any(other.done() for other in others)
        breaker.succeeded(probe=True)
        assert await asyncio.gather(*others) == [False] * 5

    asyncio.run(scene())
    assert told[-1] == "TCS answers again"


def test_a_failed_probe_opens_it_again_for_all_who_waited(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, clock, 3)
    clock.now += 31

    async def scene() -> None:
        assert await breaker.admit() is True
        other = asyncio.ensure_future(breaker.admit())
        await asyncio.sleep(0)
        breaker.failed(clock.now, probe=True)
        with pytest.raises(NotYetError):
            await other

    asyncio.run(scene())


def test_a_probe_that_was_given_up_leaves_the_next_call_to_probe(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    fail(breaker, clock, 3)
    clock.now += 31

    async def scene() -> None:
        assert await breaker.admit() is True
        other = asyncio.ensure_future(breaker.admit())
        await asyncio.sleep(0)
        breaker.gave_up(probe=True)
        assert await other is True

    asyncio.run(scene())


def test_a_straggler_from_before_neither_closes_nor_prolongs_it(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    fail(breaker, clock, 3)
    clock.now += 20
    breaker.succeeded(probe=False)
    breaker.failed(clock.now - 15, probe=False)
    with pytest.raises(NotYetError) as raised:
        admitted(breaker)
    assert raised.value.retry_after == pytest.approx(10)


def test_a_failure_that_opened_it_can_wait_and_says_until_when(breaker: CircuitBreaker, clock: Clock) -> None:
    failure = TransientError("503 for posts: TCS is unwell", subject="TCS")
    assert breaker.opened_by(failure) is None
    fail(breaker, clock, 3)
    later = breaker.opened_by(failure)
    assert later is not None
    assert "503 for posts" in later.message
    assert later.retry_after == 30


def test_a_service_that_asks_for_more_time_gets_it(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, clock, 3)
    later = breaker.opened_by(RateLimitedError("503 with Retry-After", retry_after=300))
    assert later is not None
    assert later.retry_after == 300

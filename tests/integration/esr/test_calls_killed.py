"""A process killed at any step of telling TCS: the next one tells the rest, nothing twice."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import pytest
from pymongo.client_session import ClientSession

from include.errors import NotYetError
from include.esr.tcs import Tcs, calls
from include.esr.tcs.calls import deliver
from include.esr.tcs.lease import Lease
from include.npo.context import utc_now
from include.settings import Settings
from include.storage.mongo import IntegrationStore
from tests.integration.esr.test_calls import OWNER, Telling, call, telling

__all__ = ["telling"]
FORK = multiprocessing.get_context("fork")
STEPS: dict[str, tuple[Any, str]] = {
    "doubts are settled": (calls._Delivery, "_settle"),
    "calls are chosen": (calls._Delivery, "_next"),
    "the lease is renewed": (Lease, "renew"),
    "calls are marked": (calls._Delivery, "_mark_sending"),
    "calls are told": (Tcs, "tell_posts_changed"),
    "it is noted that they were told": (calls._Delivery, "_note"),
}


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def deliver_and_die(settings: Settings, step: str, nth: int, last_words: Connection) -> None:
    """Deliver in a process of its own that is killed right after a step was done for the nth time.

    It says first in which session of MongoDB it dies.
    """
    owner, name = STEPS[step]
    whole: Callable[..., Any] = getattr(owner, name)
    done = 0

    def fatal(*args: Any, **kwargs: Any) -> Any:
        nonlocal done
        result = whole(*args, **kwargs)
        done += 1
        if done == nth:
            last_words.send([dict(arg.session_id) for arg in args if isinstance(arg, ClientSession)])
            die()
        return result

    setattr(owner, name, fatal)
    calls.CALLS_AT_ONCE = 8
    with Tcs(settings) as tcs:
        deliver(IntegrationStore(settings), OWNER, tcs, settings, now=utc_now)


def killed(telling: Telling, step: str, nth: int) -> None:
    hearing, last_words = FORK.Pipe(duplex=False)
    child = FORK.Process(target=deliver_and_die, args=(telling.settings, step, nth, last_words))
    child.start()
    child.join(30)
    assert child.exitcode == -signal.SIGKILL
    # A dead process's open transaction holds its documents until MongoDB aborts it, a minute later.
    telling.ctx.store.client.admin.command("killSessions", hearing.recv())


def finish(telling: Telling) -> dict[str, int]:
    """Deliver as the scheduler would: again whenever it is told when."""
    for _ in range(20):
        try:
            return telling.deliver()
        except NotYetError as later:
            time.sleep(later.retry_after)
    raise AssertionError("never delivered")


@pytest.mark.parametrize(
    ("step", "nth"),
    [(step, nth) for step in STEPS for nth in ((1,) if step == "doubts are settled" else (1, 2))],
)
def test_a_killed_delivery_is_finished_with_each_event_once(telling: Telling, step: str, nth: int) -> None:
    positions = range(1, 13)
    telling.queue(*(call(position) for position in positions))
    telling.queue(*(call(position, status="DELETED", nth=1) for position in positions))
    killed(telling, step, nth)
    finish(telling)
    told = telling.told()
    for position in positions:
        mine = [status for told_position, _, status in told if told_position == position]
        assert mine == ["RECONCILED", "DELETED"]
    assert set(telling.states().values()) == {"told"}


def test_a_process_killed_while_tcs_works_on_its_calls_leaves_no_second_event(telling: Telling) -> None:
    telling.queue(*(call(position) for position in range(1, 41)))
    telling.sandbox.misbehave({"call": "esr-changed", "kind": "delay_after", "seconds": 0.3, "after": 10})
    _, last_words = FORK.Pipe(duplex=False)
    child = FORK.Process(target=deliver_and_die, args=(telling.settings, "calls are told", 9, last_words))
    child.start()
    while len(telling.told()) < 15:
        time.sleep(0.02)
    child.kill()
    child.join()
    telling.sandbox.behave()
    finish(telling)
    assert len(telling.told()) == len(set(telling.told())) == 40

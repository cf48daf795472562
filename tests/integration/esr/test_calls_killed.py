"""A process killed at any step of telling TCS: the next one tells the rest, nothing twice."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection
from typing import Any

import pytest
from pymongo.client_session import ClientSession

from include.errors import NotYetError
from include.esr.tcs import Tcs, delivery
from include.esr.tcs.calls import deliver
from include.esr.tcs.exported import EXPORTED, PROCESSED
from include.esr.tcs.lease import Lease
from include.npo.context import utc_now
from include.sandbox.esr.world import FIRST_PERSON, FIRST_POST
from include.settings import Settings
from include.storage.mongo import IntegrationStore
from tests.integration.esr.test_calls import AT, OWNER, Telling, call, telling
from tests.integration.esr.test_calls_exported import exported

__all__ = ["telling"]
FORK = multiprocessing.get_context("fork")
STEPS: dict[str, tuple[Any, str]] = {
    "doubts are settled": (delivery.Delivery, "_settle"),
    "calls are chosen": (delivery.Delivery, "_next"),
    "the lease is renewed": (Lease, "renew"),
    "calls are marked": (delivery.Delivery, "_mark_sending"),
    "calls are told": (Tcs, "tell_posts_changed"),
    "applicants are told": (Tcs, "tell_placements_exported"),
    "it is noted that they were told": (delivery.Delivery, "_note"),
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
    delivery.CALLS_AT_ONCE = 8
    with Tcs(settings) as tcs:
        deliver(IntegrationStore(settings), OWNER, tcs, settings, now=utc_now)


def killed(telling: Telling, step: str, nth: int) -> None:
    hearing, last_words = FORK.Pipe(duplex=False)
    child = FORK.Process(target=deliver_and_die, args=(telling.settings, step, nth, last_words))
    child.start()
    child.join(30)
    assert child.exitcode == -signal.SIGKILL
    # A dead process's open transaction holds its documents until MongoDB aborts it, a minute later.
    if sessions := hearing.recv():  # of an empty list MongoDB makes everybody's, other workers' too
        telling.ctx.store.client.admin.command("killSessions", sessions)


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
    [
        (step, nth)
        for step in STEPS
        for nth in ((1,) if step == "doubts are settled" else (1, 2))
        if step != "applicants are told"
    ],
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


@pytest.mark.parametrize(
    ("step", "nth"),
    [("calls are marked", 2), ("applicants are told", 1), ("applicants are told", 2)]
    + [("it is noted that they were told", nth) for nth in (1, 2, 3)],
)
def test_a_killed_delivery_of_both_kinds_is_finished_with_each_event_once(
    telling: Telling, step: str, nth: int
) -> None:
    one = {"traineeId": FIRST_PERSON + 1, "postId": FIRST_POST}
    placements = [loaded["id"] for loaded in telling.sandbox.load_placements(*([one] * 12))]
    telling.queue(*(call(position) for position in range(1, 5)), *map(exported, placements))
    telling.queue(*(exported(each, status=PROCESSED, at=AT + timedelta(days=1)) for each in placements))
    killed(telling, step, nth)
    finish(telling)
    events = telling.sandbox.placement_events()
    for each in placements:
        assert [event["status"] for event in events[each]] == [EXPORTED, PROCESSED]
    assert len(telling.sandbox.told("event")) == 28


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

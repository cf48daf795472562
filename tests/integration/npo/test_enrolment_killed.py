"""A process killed after any side effect of an enrolment: the next one comes to the same end."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from include.events.publisher import Publisher
from include.npo.enrolment import inbox
from include.npo.enrolment.partner import Partner
from include.npo.enrolment.run import drain, enrol
from include.npo.enrolment.work import Worker
from include.settings import Settings
from include.storage.mongo import IntegrationStore
from tests.integration.npo.enrolling import Platform, Setup, TinyNpo, npo, opened, platform, row, world

__all__ = ["npo", "platform", "row", "world"]
FORK = multiprocessing.get_context("fork")
COMMANDS = 3
STEPS: dict[str, tuple[Any, str]] = {
    "something is committed": (IntegrationStore, "commit"),
    "messages are deleted": (inbox, "_delete"),
    "an enrolment is posted": (Partner, "post"),
    "a look-up is answered": (Partner, "lookup"),
    "events are sent": (Publisher, "send"),
}


def enrol_and_die(settings: Settings, npo_id: str, step: str, nth: int) -> None:
    """Run in a process of its own that is killed right after a step was done for the nth time."""
    owner, name = STEPS[step]
    whole: Callable[..., Any] = getattr(owner, name)
    done = 0

    def fatal(*args: Any, **kwargs: Any) -> Any:
        nonlocal done
        result = whole(*args, **kwargs)
        done += 1
        if done == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, fatal)
    drain(settings)
    enrol(npo_id, settings, open_partner=opened)


def killed(platform: Platform, step: str, nth: int) -> None:
    child = FORK.Process(target=enrol_and_die, args=(platform.settings, platform.npo_id, step, nth))
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL


def finish(platform: Platform) -> None:
    """Run as the scheduler would, until nothing is left to do."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        platform.hurry()
        platform.run()
        left = {"npo_id": platform.npo_id, "due": True}
        told = {"_id": platform.npo_id, "publish": {"$exists": True}}
        waiting = platform.store["enrolment"].count_documents({"npo_id": platform.npo_id}) < COMMANDS
        if not (
            waiting
            or platform.store["enrolment"].find_one(left)
            or platform.store["enrolment_npo"].find_one(told)
        ):
            return
        time.sleep(0.3)
    raise AssertionError("never came to an end")


@pytest.mark.parametrize(
    ("step", "nth"),
    [
        ("something is committed", 1),  # the inbox
        ("something is committed", 2),  # marked as posting
        ("something is committed", 3),  # the first outcome
        ("messages are deleted", 1),
        ("an enrolment is posted", 1),
        ("a look-up is answered", 1),
        ("events are sent", 1),
    ],
)
def test_killed_right_after_a_step_every_candidate_is_enrolled_once_and_told_once(
    platform: Platform, npo: TinyNpo, row: Setup, step: str, nth: int
):
    platform.settings = platform.settings.model_copy(update={"enrolment_lease_seconds": 1.0})
    row()
    npo.honours_key = False
    npo.faults = ["lost", "lost", "lost"] if step == "a look-up is answered" else []
    platform.send(*(platform.command(f"a-{each}") for each in range(COMMANDS)))
    if step == "a look-up is answered":
        platform.run()
        platform.hurry()
    killed(platform, step, nth)
    finish(platform)
    assert len(npo.enrolments) == COMMANDS
    assert npo.doubled() == []
    told = {event["id"]: event["data"]["enrolment"]["status"] for event in platform.outcomes()}
    assert Counter(told.values()) == {"requested": COMMANDS, "accepted": COMMANDS}


def enrol_and_stand_still(settings: Settings, npo_id: str) -> None:
    """Run in a process of its own that is stopped when it is about to send."""
    whole = Worker._ask

    def stopped(*args: Any) -> Any:
        os.kill(os.getpid(), signal.SIGSTOP)
        time.sleep(0.2)  # of several threads this one may run on for a moment
        return whole(*args)

    setattr(Worker, "_ask", stopped)  # noqa: B010 - mypy knows it as a method
    enrol(npo_id, settings, open_partner=opened)


def test_a_process_that_stood_still_does_not_send_what_another_has_sent_meanwhile(
    platform: Platform, npo: TinyNpo, row: Setup
):
    platform.settings = platform.settings.model_copy(update={"enrolment_lease_seconds": 1.0})
    row()
    npo.honours_key = False
    platform.send(platform.command("a-0"))
    drain(platform.settings)
    child = FORK.Process(target=enrol_and_stand_still, args=(platform.settings, platform.npo_id))
    child.start()
    try:
        _, status = os.waitpid(child.pid or 0, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        assert platform.record("a-0")["state"] == "posting"
        deadline = time.monotonic() + 30
        while platform.record("a-0")["state"] != "accepted" and time.monotonic() < deadline:
            platform.hurry()
            platform.run()
        os.kill(child.pid or 0, signal.SIGCONT)
        child.join(30)
    finally:
        child.kill()
    assert (len(npo.enrolments), npo.doubled()) == (1, [])
    assert platform.record("a-0")["state"] == "accepted"

"""The alarms that wake the enrolment DAG: when they go off, and when they hold their peace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from include import queue_trigger
from include.npo.enrolment.due_trigger import DueTrigger, Unattended


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[bool]]:
    """Return a function that shows an alarm these depths at these moments, and tells when it went off."""

    def looked(*looks: tuple[float, int], quiet: float = 20.0) -> list[bool]:
        trigger = queue_trigger.QueueTrigger("enrolment", "candidate-assignments", quiet=quiet)
        moments, depths = [at for at, _ in looks], [depth for _, depth in looks]
        monkeypatch.setattr("include.queue_trigger.time.monotonic", lambda: moments.pop(0))
        monkeypatch.setattr(queue_trigger._Depth, "read", lambda _: depths.pop(0))
        return [trigger.look() is not None for _ in looks]

    return looked


def test_messages_that_wait_raise_the_alarm_once_and_again_when_nobody_came(queue: Any):
    assert queue((100, 3), (102, 3), (118, 4), (121, 4), (123, 4)) == [True, False, False, True, False]


def test_a_message_after_the_queue_was_drained_raises_the_alarm_at_once(queue: Any):
    assert queue((100, 1), (102, 1), (104, 0), (106, 1)) == [True, False, False, True]


def test_an_npo_is_told_of_when_no_run_has_come_to_it_in_its_grace():
    unattended = Unattended(grace=5, least=15, most=300)
    assert [unattended.late(["a"], at) for at in (100, 104, 105)] == [[], [], ["a"]]


def test_an_npo_a_run_came_to_in_time_is_not_told_of():
    unattended = Unattended(grace=5, least=15, most=300)
    looks: list[tuple[float, list[str]]] = [(100, ["a"]), (103, []), (106, ["a"]), (109, ["a"]), (112, ["a"])]
    assert [unattended.late(npos, at) for at, npos in looks] == [[], [], [], [], ["a"]]


def test_an_npo_no_run_gets_on_with_is_told_of_less_and_less_often():
    unattended = Unattended(grace=0, least=15, most=60)
    told = [at for at in range(301) if unattended.late(["a"], at)]
    assert told == [0, 15, 45, 105, 165, 225, 285]


def test_polls_of_many_npos_raise_no_more_than_one_alarm_in_a_while_and_forget_none():
    unattended = Unattended(grace=5, least=15, most=300)
    due = {100.0: "a", 101.0: "b", 107.0: "c"}
    alarms = {
        at: unattended.late([npo for since, npo in due.items() if since <= at], at) for at in range(100, 121)
    }
    assert {at: sorted(npos) for at, npos in alarms.items() if npos} == {
        105: ["a", "b"],
        120: ["a", "b", "c"],
    }


@pytest.mark.parametrize("stuck", [1, 20])
def test_npos_no_run_gets_on_with_raise_few_alarms_although_runs_hold_them_in_between(stuck: int):
    """A run is at each of them for three seconds after each alarm, the triggerer looks every two."""
    unattended = Unattended(grace=4, least=15, most=300)
    npos = [f"npo{number}" for number in range(stuck)]
    alarms: list[int] = []
    for at in range(0, 3600, 2):
        held = [npo for npo in npos if alarms and 2 < at - alarms[-1] - npos.index(npo) % 4 < 6]
        if unattended.late([npo for npo in npos if npo not in held], at, held=held):
            alarms.append(at)
    assert len(alarms) <= 17


def test_an_npo_that_only_a_run_was_at_is_told_of_after_the_grace_only():
    unattended = Unattended(grace=5, least=15, most=300)
    looks: list[tuple[int, list[str], list[str]]] = [
        (0, [], ["a"]),
        (2, ["a"], []),
        (6, ["a"], []),
        (7, ["a"], []),
    ]
    assert [unattended.late(npos, at, held=held) for at, npos, held in looks] == [[], [], [], ["a"]]


def test_the_triggerer_can_make_the_alarm_for_what_is_due_again():
    path, options = DueTrigger().serialize()
    make: Callable[..., Any] = DueTrigger
    assert path == "include.npo.enrolment.due_trigger.DueTrigger"
    assert make(**options).serialize() == (path, options)

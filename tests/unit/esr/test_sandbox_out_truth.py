"""The demo's judgement of the way out sees what is missing, what is too much and what is told wrongly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from include.esr.names import FileType
from include.sandbox.demo.outbound import _positions
from include.sandbox.demo.outbound_truth import (
    PROCESSED,
    WITH_ERRORS,
    Ends,
    OutDay,
    _applicants_wrong,
    _told_wrong,
    position_key,
)
from include.sandbox.demo.steps import moment_of
from include.sandbox.esr.answering import Applicant, EsrSide, outcome
from include.sandbox.esr.folders import DiskFolder
from include.sandbox.esr.verdicts import Rules
from include.sandbox.esr.world import FIRST_POST
from tests.unit.esr.test_sandbox_answering import DAY, applicant, made

WHO = Applicant(20_000_001, "20260805", "6000001", "19900228")
FILE = "DE_KSS_APP_20260708_00000007.DAT"


@pytest.fixture
def side(tmp_path: Path) -> EsrSide:
    return EsrSide(DiskFolder(tmp_path / "out"), DiskFolder(tmp_path / "in"), Rules(fail=20, warn=20))


def day(side: EsrSide, tmp_path: Path, *numbers: int, due: dict[tuple[int, int], Applicant]) -> OutDay:
    name, body = made(FileType.APP, *(applicant(number) for number in numbers))
    DiskFolder(tmp_path / "out").put(name, body)
    return OutDay(DAY, side.play(DAY), due, {})


@pytest.mark.parametrize(
    ("due", "problem"),
    [
        ({(1, 20_000_001): WHO}, None),
        ({}, "1 applicants of 2026-07-08 should not have been sent"),
        (
            {(1, 20_000_001): WHO, (2, 20_000_002): WHO._replace(position=20_000_002)},
            "1 of 2 applicants of 2026-07-08 were not sent",
        ),
    ],
)
def test_who_was_sent_is_compared_with_who_had_to_be(side, tmp_path, due, problem):
    found = list(_applicants_wrong(day(side, tmp_path, 1, due=due)))
    assert [line[: len(problem)] for line in found] == [problem] if problem else found == []


def nothing(_: Counter[Any]) -> None:
    """Leave all as it is."""


def twice(told: Counter[Any]) -> None:
    told[next(iter(told))] += 1


def silent(told: Counter[Any]) -> None:
    del told[FILE, 20_000_001, "EXPORTED"]


def swapped(told: Counter[Any]) -> None:
    """Tell the opposite of a rejection."""
    key = next(key for key in told if key[2] == WITH_ERRORS)
    del told[key]
    told[key[0], key[1], PROCESSED] = 1


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (nothing, None),
        (twice, "TCS was told 1 things of applicants more than once"),
        (silent, "TCS knows 199 exported applicants, not the 200 that were sent"),
        (swapped, "TCS was told something else than ESR's verdict of 1 applicants"),
    ],
)
def test_what_tcs_was_told_is_compared_with_lines_and_verdicts(
    side, tmp_path, change: Callable[[Counter[Any]], None], problem
):
    played = day(side, tmp_path, *range(200), due={})
    [answer] = played.played.answers
    told: Counter[Any] = Counter({(FILE, 20_000_000 + number, "EXPORTED"): 1 for number in range(200)})
    for verdict in answer.verdicts:
        word = WITH_ERRORS if outcome(verdict) == "rejected" else PROCESSED
        told[FILE, verdict.position, word] = 1
    change(told)
    tcs: Any = SimpleNamespace(exported=lambda: told)
    store: Any = None
    assert list(_told_wrong(Ends(store, tcs, side), [played])) == ([problem] if problem else [])


def test_a_position_is_named_only_where_esr_has_one_of_that_kind():
    host, lead, another = 20_000_000, 20_000_001, 20_000_002
    positions = _positions({host: FIRST_POST, lead: FIRST_POST, another: FIRST_POST})
    assert positions == {position_key(lead, FIRST_POST): lead}


@pytest.mark.parametrize(("on", "hour"), [(date(2026, 7, 8), 13), (date(2026, 11, 8), 14)])
def test_files_are_due_at_two_in_london(on, hour):
    assert moment_of(on) == datetime(on.year, on.month, on.day, hour, tzinfo=UTC)

"""The sequence of a deanery's files: who goes first, what is missing, what came twice."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from include.esr.documents import APPLIED, FileState, file_id
from include.esr.files.entry import Entry
from include.esr.files.sequence import Turn, recheck_after, repeated_number, turn_of
from include.esr.names import Deanery, FileType

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)


def entry(
    sequence: int, *, day: int | None = None, state: str = "landed", version: int = 1, kind: str = "RMC"
):
    moment = date(2026, 3, day or sequence)
    name = f"DE_KSS_{kind}_{moment:%Y%m%d}_{sequence:08d}.DAT"
    return Entry(
        file_id(name, version),
        name,
        version,
        FileState(state),
        {"landed": NOON},
        deanery=Deanery.KSS,
        type=FileType(kind),
        day=moment,
        sequence=sequence,
        order=f"{moment:%Y%m%d}-{sequence:08d}-{kind}-{version:03d}",
    )


def test_the_first_file_of_a_deanery_expects_nothing():
    assert turn_of(entry(17), [entry(17)]) == Turn()


@pytest.mark.parametrize("state", sorted(APPLIED))
def test_a_file_follows_one_that_was_applied(state):
    assert turn_of(entry(17), [entry(16, state=state), entry(17)]) == Turn()


@pytest.mark.parametrize("state", sorted(set(FileState) - APPLIED))
def test_a_file_waits_for_one_before_it_that_is_not_applied(state):
    before = entry(16, state=state)
    assert turn_of(entry(17), [before, entry(17)]) == Turn((before.file_id,))


def test_a_file_waits_for_all_before_it_not_only_the_last():
    old = entry(14)
    siblings = [old, entry(15, state="published"), entry(16, state="published"), entry(17)]
    assert turn_of(entry(17), siblings) == Turn((old.file_id,))


def test_a_version_waits_for_the_one_before_it():
    first, second = entry(17), entry(17, version=2)
    assert turn_of(second, [first, second]) == Turn((first.file_id,))
    assert turn_of(first, [first, second]) == Turn()


def test_nobody_waits_for_what_comes_after():
    assert turn_of(entry(17), [entry(17), entry(18), entry(30)]) == Turn()


@pytest.mark.parametrize(("last", "missing"), [(15, (16, 16)), (10, (11, 16))])
def test_numbers_between_are_missing(last, missing):
    assert turn_of(entry(17), [entry(last, state="published")]) == Turn((), missing)


def test_rmf_and_rmc_share_one_counter():
    assert turn_of(entry(17), [entry(16, kind="RMF", state="published")]) == Turn()


def test_other_files_of_the_deanery_do_not_count():
    assert turn_of(entry(17), [entry(15, kind="RMC", state="published"), entry(16, kind="APC")]) == Turn(
        (), (16, 16)
    )


def test_two_files_whose_days_and_numbers_disagree_do_not_wait_for_each_other():
    low, high = entry(17, day=5), entry(18, day=4)
    siblings = [entry(16, day=3, state="published"), low, high]
    assert turn_of(high, siblings) == Turn()
    assert turn_of(low, siblings) == Turn((high.file_id,))


def test_a_counter_that_was_set_back_is_no_gap():
    assert turn_of(entry(1, day=20), [entry(19, state="published")]) == Turn()


def numbered(*numbers: int) -> list[Entry]:
    """Return files of these numbers, a day each, all published."""
    return [entry(number, day=day, state="published") for day, number in enumerate(numbers, start=1)]


@pytest.mark.parametrize(
    ("numbers", "missing"),
    [
        ((16, 17, 18, 1, 3), (2, 2)),
        ((1, 2, 3, 4, 5, 6, 1, 3), (2, 2)),
        ((16, 17, 18, 2, 1, 3), None),
        ((16, 18, 17, 19), None),
        ((16, 17, 18, 17, 19), None),
        ((16, 17, 18, 17, 20), (19, 19)),
        ((16, 18, 19, 17), None),
        ((16, 18, 19), None),
        ((15, 18, 19, 16, 17), None),
    ],
)
def test_after_a_counter_was_set_back_a_gap_is_one_again(numbers, missing):
    files = numbered(*numbers)
    assert turn_of(files[-1], files) == Turn((), missing)


def test_a_predecessor_that_was_rejected_is_not_missing():
    assert turn_of(entry(17), [entry(15, state="published"), entry(16, state="rejected")]) == Turn()


def test_a_number_that_came_with_another_day_or_type_is_a_repeat():
    known = [entry(17, day=4), entry(17, day=5, kind="RMF"), entry(16)]
    [alert] = repeated_number(entry(17, day=6), known, at=NOON)
    assert alert.code == "sequence_repeat"
    assert known[0].name in alert.message
    assert known[1].name in alert.message


@pytest.mark.parametrize(
    "known", [[entry(17)], [entry(17, version=2)], [entry(16)], [entry(17, day=5, kind="APC")]]
)
def test_its_own_versions_and_other_kinds_of_files_are_no_repeat(known):
    assert list(repeated_number(entry(17), known, at=NOON)) == []


@pytest.mark.parametrize(("rest", "wait"), [(0, 5), (20, 5), (100, 25), (3600, 900)])
def test_the_longer_a_file_at_work_rests_the_later_it_is_looked_at_again(rest: float, wait: float):
    before = entry(16, state="split")
    siblings = [before, entry(15, state="published"), entry(17)]
    turn = turn_of(entry(17), siblings)
    assert recheck_after(turn, siblings, now=NOON + timedelta(seconds=rest)) == wait

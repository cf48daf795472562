"""Who must be sent is counted by the domain page's rules; the demo changes the same placements every time."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from include.sandbox.demo import esr
from include.sandbox.demo.changes import change_placements
from include.sandbox.esr.expected import expected_applicants
from include.sandbox.esr.world import FIRST_PERSON, FIRST_PLACEMENT, FIRST_POST, TURNOVER, World
from include.sandbox.tcs.state import TcsState, as_told

WORLD = World(people=39)
PLACEMENT = FIRST_PLACEMENT + 50_000_000
POST = FIRST_POST + 2
PERSON = FIRST_PERSON + 2
TODAY = date(2026, 7, 8)


def tcs_with(start: date, **fields: Any) -> TcsState:
    """TCS with one loaded placement at a post where nobody else is coming."""
    body = {"traineeId": PERSON, "postId": POST, "dateFrom": start.isoformat(), "dateTo": "2027-08-03"}
    return as_told(WORLD, [{"kind": "placement", "body": body | fields}])


@pytest.mark.parametrize(("days", "due"), [(1, False), (2, True), (90, True), (91, False)], ids=str)
def test_the_window_is_two_days_on_to_thirteen_weeks(days, due):
    found = expected_applicants(tcs_with(TODAY + timedelta(days=days)), {11: POST}, TODAY)
    assert bool(found) is due


@pytest.mark.parametrize(
    "fields", [{"placementType": "OOPE"}, {"lifecycleState": "DRAFT"}, {"postId": FIRST_POST + 3}]
)
def test_nobody_is_due_of_another_type_as_a_draft_or_elsewhere(fields):
    found = expected_applicants(tcs_with(TURNOVER, **fields), {11: POST}, TODAY)
    assert found == {}


def test_an_applicant_is_of_a_placement_and_a_position():
    found = expected_applicants(tcs_with(TURNOVER), {11: POST, 12: POST, 13: FIRST_POST + 3}, TODAY)
    assert {key: (who.position, who.start) for key, who in found.items() if key[0] == PLACEMENT} == {
        (PLACEMENT, 11): (11, "20260805"),
        (PLACEMENT, 12): (12, "20260805"),
    }
    who = found[PLACEMENT, 11]
    assert who.registration == WORLD.gmc_number(2)
    assert who.dob == WORLD.personal(2)["dateOfBirth"].replace("-", "")


def test_the_turnover_moves_all_placements():
    world = World(people=39, turnover=date(2027, 2, 3))
    coming = next(one for person in range(39) if (one := world.future(person)) is not None)
    assert world.placement_details(coming)["dateFrom"] == "2027-02-03"


class Recorder:
    """Stands where the stand-in's admin stands and keeps what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    def approve_placement(self, placement_id: int) -> None:
        self.asked.append(("approve", placement_id))

    def remove_placement(self, placement_id: int) -> None:
        self.asked.append(("remove", placement_id))

    def move_placement(self, placement_id: int, start: date) -> None:
        self.asked.append(("move", placement_id, start))

    def add_placement(self, trainee_id: int, post_id: int, start: date, end: date, **_: Any) -> int:
        self.asked.append(("add", trainee_id, post_id, start, end))
        return 1_000 + len(self.asked)


def test_between_the_demo_s_days_three_placements_change_each_way():
    _, truth = esr.make_files()
    known = as_told(esr.WORLD, [])
    recorder = Recorder()
    changes = change_placements(recorder, known, truth.matched.values(), TODAY)  # type: ignore[arg-type]
    assert [len(part) for part in (changes.approved, changes.withdrawn, changes.moved, changes.added)] == [
        3
    ] * 4
    before = expected_applicants(known, truth.matched, TODAY)
    sent = {placement for placement, _ in before}
    assert sent >= {*changes.withdrawn, *changes.moved}
    assert not sent & {*changes.approved, *changes.added}
    again = Recorder()
    change_placements(again, known, truth.matched.values(), TODAY)  # type: ignore[arg-type]
    assert recorder.asked == again.asked


def test_on_the_demo_s_first_day_there_are_applicants_of_every_deanery():
    for deanery in esr.DEANERIES:
        _, truth = esr.make_files([deanery])
        assert len(expected_applicants(as_told(esr.WORLD, []), truth.matched, TODAY)) > 40

"""Placements in full, what people are registered as, and odd shapes of either, through the client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from include.errors import ConfigurationError, TransientError
from include.esr.tcs.answers import Placement, UnreadableAnswerError
from include.esr.tcs.client import Tcs
from include.sandbox.esr.world import FIRST_PERSON, FIRST_PLACEMENT, FIRST_POST, World
from include.sandbox.tcs.process import TcsSandbox
from tests.integration.esr.tcs_client import QUICK, tcs_settings

WORLD = World()
ID = FIRST_PLACEMENT + 2
"""Of person 1, in post 1."""
FULL = {"placementId": 5, "id": 5, "nationalPostNumber": "NTH/1", "traineeId": 9, "dateFrom": "2026-08-05"}


@pytest.fixture
def tcs(tcs_sandbox: TcsSandbox) -> Iterator[Tcs]:
    with Tcs(tcs_settings(tcs_sandbox), patience=QUICK) as tcs:
        yield tcs


def test_a_placement_in_full_has_what_a_summary_has_and_more(tcs: Tcs, tcs_sandbox: TcsSandbox) -> None:
    [loaded] = tcs_sandbox.load_placements(
        {"traineeId": FIRST_PERSON + 1, "postId": FIRST_POST + 1, "placementWholeTimeEquivalent": 0.6}
    )
    placement = tcs.placements([loaded["id"]])[loaded["id"]]
    contact = WORLD.contact(1)
    assert placement == Placement(
        id=loaded["id"],
        post_number=WORLD.post_number(1),
        trainee_id=FIRST_PERSON + 1,
        first_day="2025-08-06",
        last_day="2026-08-04",
        kind="In post",
        status="CURRENT",
        lifecycle_state="APPROVED",
        site_code="RTD01",
        gmc_number=WORLD.gmc_number(1),
        whole_time_equivalent=0.6,
        forenames=contact["forenames"],
        legal_forenames=contact["legalForenames"],
        surname=contact["surname"],
        legal_surname=contact["legalSurname"],
        email=contact["email"],
        grade="ST3",
    )
    summaries = {one.id: one for one in tcs.placements_of_posts([FIRST_POST + 1])[FIRST_POST + 1]}
    summary = summaries[loaded["id"]]
    assert (summary.lifecycle_state, summary.site_code, summary.gmc_number) == (None, None, None)
    assert (summary.surname, summary.whole_time_equivalent, summary.grade) == (
        placement.surname,
        0.6,
        "ST3",
    )


def test_a_placement_tcs_does_not_have_is_the_only_one_missing(tcs: Tcs, tcs_sandbox: TcsSandbox) -> None:
    tcs_sandbox.remove_placement(ID)
    others = [FIRST_PLACEMENT, FIRST_PLACEMENT + 4]
    assert set(tcs.placements([ID, *others, 17])) == {
        other for other in others if tcs_sandbox.get(f"placements/{other}")
    }
    assert tcs.calls["GET placements"] == 4


@pytest.mark.parametrize(
    ("field", "value", "told", "expected"),
    [
        ("placementWholeTimeEquivalent", "0.8", "whole_time_equivalent", 0.8),
        ("placementWholeTimeEquivalent", 1, "whole_time_equivalent", 1.0),
        ("placementWholeTimeEquivalent", None, "whole_time_equivalent", None),
        ("placementWholeTimeEquivalent", "full time", "whole_time_equivalent", None),
        ("placementWholeTimeEquivalent", "NaN", "whole_time_equivalent", None),
        ("placementWholeTimeEquivalent", -1, "whole_time_equivalent", None),
        ("placementWholeTimeEquivalent", True, "whole_time_equivalent", None),
        ("placementWholeTimeEquivalent", [0.8], "whole_time_equivalent", None),
        ("placementWholeTimeEquivalent", "9" * 400, "whole_time_equivalent", None),
        ("traineeGmcNumber", 6000001, "gmc_number", "6000001"),
        ("traineeGmcNumber", " 6000001 ", "gmc_number", "6000001"),
        ("traineeGmcNumber", "", "gmc_number", None),
        ("traineeGmcNumber", {}, "gmc_number", None),
        ("siteCode", 12, "site_code", None),
        ("lifecycleState", None, "lifecycle_state", None),
        ("dateTo", 20260804, "last_day", None),
        ("traineeId", "9", "trainee_id", 9),
        ("traineeId", None, "trainee_id", None),
    ],
)
def test_an_odd_value_is_absent_and_the_placement_stays(
    tcs: Tcs, tcs_sandbox: TcsSandbox, field: str, value: Any, told: str, expected: Any
) -> None:
    tcs_sandbox.misbehave({"call": "placements/5", "kind": "body", "body": FULL | {field: value}})
    placement = tcs.placements([5])[5]
    assert getattr(placement, told) == expected
    assert placement.post_number == "NTH/1"


def test_a_placement_that_has_only_its_id_in_full_is_that_placement(
    tcs: Tcs, tcs_sandbox: TcsSandbox
) -> None:
    tcs_sandbox.misbehave({"call": "placements/5", "kind": "body", "body": {"id": 5}})
    assert tcs.placements([5]) == {5: Placement(5, None)}


@pytest.mark.parametrize(
    "body",
    [{}, [], {"id": 6}, {"id": 5, "placementId": 6}, {"id": None}, {"id": 5, "traineeId": "x"}],
)
def test_another_shape_of_the_whole_is_an_error_and_never_nothing_found(
    tcs: Tcs, tcs_sandbox: TcsSandbox, body: Any
) -> None:
    tcs_sandbox.misbehave({"call": "placements/5", "kind": "body", "body": body})
    with pytest.raises(UnreadableAnswerError):
        tcs.placements([5])


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 500},
        {"kind": "status", "status": 404, "body": {"message": "no Route matched"}},
        {"kind": "status", "status": 404, "body": ""},
        {"kind": "not_json"},
        {"kind": "drop"},
    ],
)
@pytest.mark.parametrize("look", [Tcs.placements, Tcs.placement_events])
def test_a_lookup_that_fails_is_never_nothing_found(
    tcs: Tcs, tcs_sandbox: TcsSandbox, look: Any, fault: dict[str, Any]
) -> None:
    tcs_sandbox.misbehave({"call": f"placements/{ID}"} | fault)
    with pytest.raises(TransientError):
        look(tcs, [ID])


def test_a_client_without_rights_is_told_so(tcs: Tcs, tcs_sandbox: TcsSandbox) -> None:
    tcs_sandbox.misbehave({"call": "placements/", "kind": "status", "status": 403})
    with pytest.raises(ConfigurationError):
        tcs.placements([ID])


def test_a_person_says_what_they_are_registered_as(tcs: Tcs, tcs_sandbox: TcsSandbox) -> None:
    loaded = tcs_sandbox.load_people({"gmcNumber": "8123456"}, {"gdcNumber": "8765"}, {})
    doctor, dentist, neither = (person["id"] for person in loaded)
    people = tcs.people([doctor, dentist, neither])
    assert [(people[each].gmc_number, people[each].gdc_number) for each in (doctor, dentist, neither)] == [
        ("8123456", None),
        (None, "8765"),
        (None, None),
    ]


@pytest.mark.parametrize(
    ("details", "number"),
    [
        (None, None),
        ("6000001", None),
        ({}, None),
        ({"gmcNumber": None}, None),
        ({"gmcNumber": ""}, None),
        ({"gmcNumber": 6000001}, "6000001"),
    ],
)
def test_odd_registrations_are_none(
    tcs: Tcs, tcs_sandbox: TcsSandbox, details: Any, number: str | None
) -> None:
    tcs_sandbox.misbehave(
        {"call": "people/5", "kind": "body", "body": {"id": 5, "gmcDetails": details}},
    )
    assert tcs.people([5])[5].gmc_number == number


@pytest.mark.parametrize("events", [None, {}, [{}], [{"exportedAt": "x"}], [7]])
def test_events_of_a_placement_that_cannot_be_read_decide_nothing(
    tcs: Tcs, tcs_sandbox: TcsSandbox, events: Any
) -> None:
    tcs_sandbox.misbehave({"call": "placements/5", "kind": "body", "body": FULL | {"esrEvents": events}})
    with pytest.raises(UnreadableAnswerError):
        tcs.placement_events([5])

"""Lookups and changes through the client, against the stand-in for TCS."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from include.esr.tcs.answers import PostChanged, Verdict
from include.esr.tcs.client import MAX_LIST_BYTES, Tcs, _batches
from include.sandbox.esr.world import FIRST_PERSON, FIRST_POST, World
from include.sandbox.tcs.process import TcsSandbox
from tests.integration.esr.tcs_client import tcs_settings

WORLD = World()
MANY = 450


@pytest.fixture
def tcs(tcs_sandbox: TcsSandbox) -> Iterator[Tcs]:
    with Tcs(tcs_settings(tcs_sandbox)) as tcs:
        yield tcs


def test_hundreds_of_posts_take_a_few_calls_and_none_is_cut_off_at_a_page(tcs: Tcs) -> None:
    numbers = [WORLD.post_number(post) for post in range(MANY)]
    posts = tcs.posts(numbers)
    assert {number: post.id for number, post in posts.items()} == {
        number: FIRST_POST + post for post, number in enumerate(numbers)
    }
    assert tcs.calls["POST posts/filter/deanery"] == 3


def test_a_number_tcs_does_not_have_is_the_only_one_missing(tcs: Tcs) -> None:
    number = WORLD.post_number(3)
    assert set(tcs.posts([number, "KSS/XXX/000/NONE/000", number.lower()])) == {number}


def test_nothing_asked_is_no_call(tcs: Tcs) -> None:
    assert (tcs.posts([]), tcs.people([]), tcs.absences([]), tcs.tell_posts_changed([])) == ({}, {}, {}, [])
    assert not tcs.calls


def test_people_are_found_by_registration_and_an_ambiguous_number_gives_both(
    tcs: Tcs, tcs_sandbox: TcsSandbox
) -> None:
    loaded = tcs_sandbox.load_people(
        {"gmcNumber": "8123456"}, {"gmcNumber": "8123456"}, {"gdcNumber": "8765"}
    )
    first, second, dentist = (person["id"] for person in loaded)
    assert tcs.people_by_registration("GMC", ["8123456", "8999999", "8765"]) == {
        "8123456": (first, second),
        "8999999": (),
        "8765": (),
    }
    assert tcs.people_by_registration("GDC", ["8765"]) == {"8765": (dentist,)}


def test_what_cannot_be_a_registration_number_is_nobodys_and_not_asked_for(tcs: Tcs) -> None:
    hostile = ["1,2", "../people/1", "6000001?x=", "", " "]
    assert tcs.people_by_registration("GMC", hostile) == dict.fromkeys(hostile, ())
    assert not tcs.calls


def test_people_and_placements_come_by_id_and_an_unknown_id_is_missing(tcs: Tcs) -> None:
    known = FIRST_PERSON + 1
    people = tcs.people([known, 17])
    assert set(people) == {known}
    assert people[known].contact["id"] == people[known].personal["id"] == known
    placements = tcs.placements_of_people([known, 17])
    assert set(placements) == {known}
    assert {placement.trainee_id for placement in placements[known]} == {known}
    assert placements[known][0].post_number == WORLD.post_number(1)
    of_post = tcs.placements_of_posts([FIRST_POST + 1])[FIRST_POST + 1]
    assert placements[known][0] in of_post


def test_an_absence_is_created_found_and_changed(tcs: Tcs) -> None:
    absence = {
        "personId": FIRST_PERSON + 1,
        "absenceAttendanceId": "45/6 ä",
        "startDate": "2026-01-01",
        "id": 5,
    }
    assert tcs.absences(["45/6 ä", "7"]) == {"45/6 ä": None, "7": None}
    assert tcs.create_absences([absence])[0].applied
    found = tcs.absences(["45/6 ä"])["45/6 ä"]
    assert found is not None
    assert found.id != 5, "TCS gives the id: one that is sent would be refused"
    assert tcs.patch_absences({found.id: {"durationInDays": 3}})[found.id].applied
    again = tcs.absences(["45/6 ä"])["45/6 ä"]
    assert again is not None
    assert again.fields["durationInDays"] == 3
    assert again.fields["startDate"] == "2026-01-01"


def test_details_of_many_people_are_changed_and_a_bad_one_is_refused_alone(
    tcs: Tcs, tcs_sandbox: TcsSandbox
) -> None:
    people = range(FIRST_PERSON, FIRST_PERSON + 40)
    changes = {person: {"workEmail": f"p{person}@example.org"} for person in people}
    changes[FIRST_PERSON + 3] = {"noSuchField": "secret value"}
    outcomes = tcs.patch_contacts(changes)
    refused = [person for person, outcome in outcomes.items() if not outcome.applied]
    assert refused == [FIRST_PERSON + 3]
    assert outcomes[FIRST_PERSON + 3].refused
    assert outcomes[FIRST_PERSON + 3].status == 400
    assert "secret" not in outcomes[FIRST_PERSON + 3].reason
    assert tcs_sandbox.get(f"people/{FIRST_PERSON + 9}")["contactDetails"]["workEmail"] == (
        f"p{FIRST_PERSON + 9}@example.org"
    )
    assert tcs.patch_personal({FIRST_PERSON: {"gender": "Female"}})[FIRST_PERSON].applied


def test_posts_are_told_and_show_it_and_one_that_is_gone_is_refused(tcs: Tcs) -> None:
    def change(post_id: int) -> PostChanged:
        body = {"filename": "F", "postId": post_id, "positionNumber": "1", "positionId": 9}
        return PostChanged(
            post_id, {**body, "status": "RECONCILED", "eventDateTime": "2026-03-04T10:00:00.120Z"}
        )

    outcomes = tcs.tell_posts_changed([change(FIRST_POST), change(17)])
    assert [outcome.verdict for outcome in outcomes] == [Verdict.APPLIED, Verdict.REFUSED]
    events = tcs.post_events([FIRST_POST, FIRST_POST + 1, 17])
    assert set(events) == {FIRST_POST, FIRST_POST + 1}
    assert [(event.position_id, event.status) for event in events[FIRST_POST]] == [(9, "RECONCILED")]
    assert events[FIRST_POST + 1] == ()


@pytest.mark.parametrize("length", [10, 600, 5_000])
def test_lists_of_ids_are_bounded_in_number_and_in_length(length: int) -> None:
    values = [f"{at:0{length}d}" for at in range(25)]
    batches = list(_batches(values, 10))
    assert [value for batch in batches for value in batch] == values
    assert all(batch and len(batch) <= 10 for batch in batches)
    assert all(len(batch) == 1 or len(",".join(batch)) <= MAX_LIST_BYTES for batch in batches)

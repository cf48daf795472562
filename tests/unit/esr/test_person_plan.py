"""What TCS is still to be told of a person."""

from __future__ import annotations

import pytest

from include.esr.people.mapping import Composite
from include.esr.people.parts import Parts
from include.esr.people.plan import (
    PendingPerson,
    PersonStatus,
    Result,
    absence_change,
    due_against,
    due_since,
    fits,
    found_by_registration,
    new_absence,
    settled_without_tcs,
    told_now,
)
from include.esr.tcs.answers import Absence, Person, Placement

ABSENCES = {"7": {"startDate": "2026-03-01", "durationInDays": 5}}


def person(told=None, **composite):
    composite.setdefault("registrations", {"GMC": "7000001"})
    return PendingPerson(1, 3, "file#1", Composite(**composite), told)


def test_only_what_tcs_has_otherwise_is_due():
    one = person(contact={"title": "Dr", "address1": "1 Hill"}, personal={"gender": "Female"})
    due = due_against(one, Person(9, {"title": "Dr", "address1": None}, {"gender": "Male"}))
    assert (due.contact, due.personal) == ({"address1": "1 Hill"}, {"gender": "Female"})


def test_what_tcs_has_beyond_the_files_is_left_alone():
    assert not due_against(person(), Person(9, {"title": "Dr"}, {"gender": "Male"}))


def test_what_was_told_is_not_due_again():
    one = person(contact={"title": "Dr"}, absences=ABSENCES)
    assert not due_since(one, told_now(one, 9))


def test_a_changed_absence_is_due_and_the_others_are_not():
    before = person(absences={**ABSENCES, "8": {"startDate": "2026-01-01"}})
    after = person(absences={**ABSENCES, "8": {"startDate": "2026-01-02"}})
    assert due_since(after, told_now(before, 9)).absences == {"8": {"startDate": "2026-01-02"}}


def test_what_tcs_did_not_take_is_due_again():
    one = person(contact={"title": "Dr", "workEmail": "x"}, absences=ABSENCES)
    due = due_since(one, told_now(one, 9, ["title", "absence 7"]))
    assert due.contact == {"title": "Dr"}
    assert due.absences == ABSENCES


def test_what_another_person_of_tcs_was_told_does_not_count():
    one = person(contact={"title": "Dr"})
    moved = person(told_now(one, 9), contact={"title": "Dr"})
    assert moved.told_as(9) is not None
    assert moved.told_as(10) is None
    assert told_now(moved, 10).tcs_id == 10


def test_a_field_the_files_no_longer_tell_of_stays_told():
    told = told_now(person(contact={"title": "Dr"}), 9)
    later = person(told, contact={"workEmail": "x"})
    again = person(told_now(later, 9), contact={"title": "Dr", "workEmail": "x"})
    assert not due_since(again, again.told)


@pytest.mark.parametrize(
    ("one", "status"),
    [
        (person(), PersonStatus.NOTHING_TO_TELL),
        (person(contact={"title": "Dr"}, registrations={}), PersonStatus.NO_REGISTRATION),
        (
            person(told_now(person(contact={"title": "Dr"}), 9), contact={"title": "Dr"}),
            PersonStatus.UP_TO_DATE,
        ),
    ],
)
def test_who_needs_no_call_is_settled_without_one(one, status):
    settled = settled_without_tcs(one)
    assert settled is not None
    assert settled.status is status


def test_another_registration_is_looked_up_even_if_nothing_else_changed():
    told = told_now(person(contact={"title": "Dr"}), 9)
    assert settled_without_tcs(person(told, contact={"title": "Dr"}, registrations={"GMC": "7"})) is None


@pytest.mark.parametrize(
    ("registered", "ids"),
    [
        ({}, ()),
        ({("GMC", "7"): (), ("GDC", "1"): (4,)}, (4,)),
        ({("GMC", "7"): (4,), ("GDC", "1"): (4,)}, (4,)),
        ({("GMC", "7"): (4, 5)}, (4, 5)),
        ({("GMC", "7"): (4,), ("GDC", "1"): (5,)}, (4, 5)),
        ({("GMC", "8"): (4,)}, ()),
    ],
)
def test_one_person_with_one_of_the_registrations_is_meant(registered, ids):
    one = person(registrations={"GMC": "7", "GDC": "1"})
    assert found_by_registration(one, registered) == ids


def test_a_placement_without_a_post_number_fits_nobody():
    assert not fits(person(), [Placement(1, None)])
    assert fits(person(post_numbers=frozenset({"NTH/1"})), [Placement(1, None), Placement(2, "NTH/1")])


@pytest.mark.parametrize("known", [5, 5.0, "5"])
def test_the_same_number_written_otherwise_is_no_change(known):
    fields = {"durationInDays": 5, "startDate": "2026-03-01"}
    told = {"durationInDays": known, "startDate": "2026-03-01", "amendedDate": "2026-01-01"}
    assert absence_change(fields, Absence(1, "7", told)) == {}


def test_a_new_absence_has_no_id_and_names_the_person():
    body = new_absence("7", {"startDate": "2026-03-01"}, 9)
    assert body == {"id": None, "personId": 9, "absenceAttendanceId": "7", "startDate": "2026-03-01"}


def test_no_value_of_a_person_shows_in_a_repr_or_in_what_is_noted_as_told():
    one = person(contact={"legalSurname": "Ito"}, absences=ABSENCES)
    due = due_against(one, Person(9, {}, {}))
    result = Result(one, PersonStatus.UPDATED, told_now(one, 9), ("legalSurname",))
    parts = Parts.from_dict({"PER": {"at": "1", "gone": False, "values": {"last_name": "Ito"}}})
    for shown in (
        repr(one),
        repr(due),
        repr(result),
        repr(parts),
        repr(parts.details),
        str(told_now(one, 9)),
    ):
        assert "Ito" not in shown
        assert "2026-03-01" not in shown

"""What a notification says: the columns of DNC, and the key it is known by."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest

from include.esr.formats.layout import load_format
from include.esr.formats.writer import write_file
from include.esr.names import Deanery, FileName, FileType
from include.esr.notifications.documents import content_of, document_of, known_of, mended
from include.esr.notifications.notification import (
    RECORD_CODE,
    Notification,
    NotificationType,
)
from include.esr.notifications.vpd import VPD_COLUMNS, padded_vpd
from include.esr.outbound import RecordState
from include.esr.placements.facts import PositionFacts
from tests.unit.esr.notification_views import (
    CURRENT,
    HOST,
    NEXT,
    TODAY,
    changed,
    day,
    placement,
    told,
    view,
)

NOW = datetime(2026, 3, 4, 9, tzinfo=UTC)


def incumbents(current=CURRENT, comes=NEXT, position=HOST) -> Notification:
    return Notification.about(
        NotificationType.INCUMBENTS,
        view(),
        position,
        vacant=comes is None,
        current=current,
        next=comes,
    )


def test_incumbents_fill_these_columns_and_no_others():
    assert incumbents().fields == {
        "notification_title_code": "1",
        "deanery_body": "KSS",
        "deanery_post_number": "KSS/RXC01/800/GPST/003",
        "managing_deanery_body_code": "KSS",
        "host_lead_employer_status": "Host Employer",
        "new_training_position_location": "RXC",
        "current_trainee_last_name": "Surname1",
        "current_trainee_first_name": "Forename1",
        "current_trainee_gmc_number": "7001",
        "current_trainee_projected_end_date": day(30),
        "current_trainee_vpd_for_next_placement": "096",
        "current_trainee_working_hours_indicator": "1.0",
        "next_appointment_trainee_last_name": "Surname2",
        "next_appointment_trainee_first_name": "Forename2",
        "next_appointment_trainee_gmc_number": "7002",
        "next_appointment_current_placement_vpd": "096",
        "next_appointment_projected_start_date": day(31),
        "next_appointment_trainee_email_address": "t2@example.org",
        "next_appointment_trainee_grade": "ST1",
        "post_speciality": "800",
        "working_hour_indicator": "1.0",
        "post_vacant_at_next_rotation": "false",
        "medical_rotation_post_delete_indicator": "false",
    }


def test_a_vacant_post_names_nobody():
    fields = incumbents(None, None).fields
    assert fields["post_vacant_at_next_rotation"] == "true"
    assert not [name for name in fields if "trainee" in name or "appointment" in name or "hour" in name]


def test_a_replacement_names_who_does_not_come_and_who_does():
    instead = placement(3, 35, 200, wte=0.8)
    fields = told(view(instead, before=(NEXT,)))[0].fields
    assert {name: value for name, value in fields.items() if "trainee" in name or "with" in name} == {
        "withdrawn_trainee_last_name": "Surname2",
        "withdrawn_trainee_first_name": "Forename2",
        "withdrawn_trainee_gmc_number": "7002",
        "withdrawal_reason": "3",
        "replacement_trainee_last_name": "Surname3",
        "replacement_trainee_first_name": "Forename3",
        "replacement_trainee_gmc_number": "7003",
        "replacement_trainee_current_placement_vpd": "096",
        "replacement_trainee_projected_hire_date": day(35),
    }
    assert fields["working_hour_indicator"] == "0.8"


def test_changed_dates_name_whose_they_are():
    moved = changed(NEXT, start=day(40), end=day(210))
    fields = told(view(moved, before=(NEXT,)))[0].fields
    assert fields["next_appointment_trainee_last_name"] == "Surname2"
    assert fields["next_appointment_projected_start_date"] == day(40)
    assert fields["change_of_projected_hire_date"] == day(40)
    assert fields["change_of_projected_end_date"] == day(210)
    assert "current_trainee_last_name" not in fields


def test_without_a_managing_office_the_deanery_manages():
    assert incumbents(position=PositionFacts(11)).fields["managing_deanery_body_code"] == "KSS"


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("96", "096"),
        ("6", "006"),
        ("096", "096"),
        ("4096", "4096"),
        (" 96 ", "096"),
        ("A6", "A6"),
        ("²", "²"),
        ("", ""),
        (None, ""),
    ],
)
def test_incident_vpd_sent_as_96_it_is_text_of_three_digits(given, sent):
    assert padded_vpd(given) == sent
    position = replace(HOST, vpd=given)
    notifications = [
        incumbents(position=position),
        told(view(placement(3, 35, 200), before=(NEXT,), positions=(position,)))[0],
    ]
    filled = {name: value for each in notifications for name, value in each.fields.items()}
    assert {filled.get(name, "") for name in VPD_COLUMNS} == {sent}


@pytest.mark.parametrize(
    ("wte", "text"),
    [
        (1.0, "1.0"),
        (1, "1.0"),
        (0.8, "0.8"),
        (0.66666, "0.6667"),
        (0.0, "0.0"),
        (None, None),
        (float("nan"), None),
    ],
)
def test_working_hours_are_the_whole_time_equivalent_as_text(wte, text):
    fields = incumbents(changed(CURRENT, wte=wte), changed(NEXT, wte=wte)).fields
    assert fields.get("current_trainee_working_hours_indicator") == text
    assert fields.get("working_hour_indicator") == text


@pytest.mark.parametrize(
    ("number", "specialty"),
    [
        ("NTH/RTD01/080/STR/005", "080"),
        ("NTH/RTD01/080/STR/005/M", "080"),
        ("NTH/RTD01/080", None),
        ("", None),
    ],
)
def test_the_specialty_is_the_third_part_of_the_post_number(number, specialty):
    assert replace(incumbents(), post_number=number).fields.get("post_speciality") == specialty


@pytest.mark.parametrize("surname", [" O'Brien\n", "\tO'Brien"])
def test_what_stands_around_a_name_is_left_out(surname):
    assert incumbents(changed(CURRENT, surname=surname)).fields["current_trainee_last_name"] == "O'Brien"


@pytest.mark.parametrize("name", ['Søren "Sam"', "O'Brien, Jr", "back\\slash\\", "Ełżbieta", "Nguyễn"])
def test_awkward_names_can_be_sent(name):
    content = content_of(incumbents(changed(CURRENT, surname=name)))
    assert (content.state, content.fields["current_trainee_last_name"]) == (RecordState.TO_EXPORT, name)


@pytest.mark.parametrize(
    ("awkward", "code"),
    [
        ({"current": changed(CURRENT, surname="a\nb")}, "control_character"),
        ({"next": changed(NEXT, forenames="x" * 1001)}, "too_long"),
        ({"post_number": "x" * 31}, "too_long"),
        ({"post_number": " "}, "missing_value"),
        ({"position": replace(HOST, vpd="4096")}, "bad_vpd"),
        ({"position": replace(HOST, vpd="A6")}, "bad_vpd"),
    ],
)
def test_what_cannot_stand_in_a_file_is_set_aside_with_the_reason(awkward, code):
    content = content_of(replace(incumbents(), **awkward))
    assert content.state is RecordState.INVALID_DATA
    assert content.reason is not None
    assert content.reason.code == code
    assert "a\nb" not in content.reason.message


def test_every_kind_can_be_written_to_its_file():
    everything = (
        told(view(CURRENT, changed(NEXT, start=day(40)), before=(CURRENT, NEXT, placement(4, 31, 99))))
        + told(view(placement(3, 35, 99), before=(NEXT,)))
        + told(view(positions=(PositionFacts(13, is_new=True),), reconciled=frozenset({13})))
    )
    assert {each.type.value for each in everything} == {"1", "2", "3", "4", "5"}
    name = FileName(Deanery.KSS, FileType.DNC, TODAY, 1)
    lines = [{"type": RECORD_CODE, **each.fields} for each in everything]
    written = write_file(name, load_format(FileType.DNC), lines, at=NOW)
    assert written.count(b"\nNOT,") == len(everything)


# The key


@pytest.mark.parametrize(
    "same",
    [
        incumbents(changed(CURRENT, surname="Else", forenames="Else", gmc="1", email="e", grade="g")),
        incumbents(position=replace(HOST, vpd="096", host_lead="Lead Employer", managing_office=None)),
        incumbents(changed(CURRENT, site_code="rxc01", type="Parental leave")),
        incumbents(changed(CURRENT, wte=1)),
    ],
)
def test_names_and_other_details_do_not_make_another_notification(same):
    assert same.key == incumbents().key


@pytest.mark.parametrize(
    "other",
    [
        incumbents(None),
        incumbents(CURRENT, None),
        incumbents(NEXT, CURRENT),
        incumbents(changed(CURRENT, id=9)),
        incumbents(changed(CURRENT, trainee_id=9)),
        incumbents(changed(CURRENT, end=day(9))),
        incumbents(changed(CURRENT, wte=0.5)),
        incumbents(CURRENT, changed(NEXT, start=day(9))),
        incumbents(CURRENT, changed(NEXT, wte=0.5)),
        incumbents(position=replace(HOST, vpd="97")),
        incumbents(position=replace(HOST, id=12)),
        replace(incumbents(), post_id=8),
        replace(incumbents(), vacant=True),
        replace(incumbents(), type=NotificationType.NEW_DATES),
        replace(incumbents(), changed_start=day(9)),
        replace(incumbents(), changed_end=day(9)),
    ],
)
def test_whatever_else_differs_makes_another_notification(other):
    assert other.key != incumbents().key


def test_a_new_post_is_one_whatever_else_is_said_of_it():
    new = replace(incumbents(None, None), type=NotificationType.NEW_POST)
    assert replace(new, vacant=False, position=replace(HOST, vpd="97")).key == new.key


# Documents


def document(notification: Notification, *, today: date = TODAY, turn: int = 1) -> dict[str, Any]:
    content = content_of(notification)
    return document_of(notification, content, record_id="x", kind="DNC", today=today, turn=turn, at=NOW)


def test_a_position_is_told_in_the_order_it_was_said_and_changes_before_who_is_there():
    first, second = incumbents(), replace(incumbents(), type=NotificationType.NEW_DATES)
    other = replace(incumbents(), post_number="KSS/RXC01/800/GPST/002")
    ranks = [
        document(other, turn=9)["rank"],
        document(second)["rank"],
        document(first)["rank"],
        document(second, turn=2)["rank"],
        document(first, turn=10)["rank"],
        document(incumbents(position=replace(HOST, id=101)))["rank"],
        document(other, today=day(1))["rank"],
    ]
    assert ranks == sorted(ranks)


def test_days_are_stored_as_text_and_read_again():
    stored = document(incumbents())
    assert stored["fields"]["current_trainee_projected_end_date"] == day(30).isoformat()
    assert (stored["placement_id"], stored["trainee_id"], stored["start"]) == (2, 1002, "2026-04-04")
    known = known_of({**stored, "about": None})
    assert (known.key, known.placements) == (incumbents().key, frozenset({1, 2}))


def test_an_invalid_one_is_made_anew_with_the_name_as_it_is_now():
    bad = changed(CURRENT, surname="a\nb")
    stored = document(incumbents(bad))
    known = known_of(stored)
    now = changed(CURRENT, surname="ab", end=day(99))
    again = mended(known, stored["about"], view(now, NEXT, positions=(replace(HOST, vpd="97"),)))
    assert again is not None
    assert again.key == known.key
    assert again.fields["current_trainee_last_name"] == "ab"
    assert again.fields["current_trainee_projected_end_date"] == day(30)


@pytest.mark.parametrize(
    "post",
    [
        view(CURRENT, changed(NEXT, start=day(40)), before=(CURRENT, NEXT)),
        view(changed(CURRENT, end=day(9)), before=(CURRENT,)),
        view(CURRENT, before=(CURRENT, NEXT)),
        view(placement(3, 35, 99), before=(NEXT,)),
    ],
)
def test_making_anew_keeps_what_is_told_of_every_kind(post):
    for notification in told(post):
        bad = replace(notification, position=replace(HOST, ods_code="a\nb"))
        stored = document(bad)
        assert stored["state"] == "INVALID_DATA"
        again = mended(known_of(stored), stored["about"], post)
        assert again is not None
        assert (again.key, again.fields) == (notification.key, notification.fields)


def test_a_name_is_not_taken_from_another_trainee():
    stored = document(incumbents(changed(CURRENT, surname="a\nb")))
    again = mended(known_of(stored), stored["about"], view(changed(CURRENT, trainee_id=9), NEXT))
    assert again is not None
    assert again.fields["current_trainee_last_name"] == "a\nb"


def test_an_invalid_one_of_a_position_that_is_gone_is_not_made_anew():
    stored = document(incumbents(changed(CURRENT, surname="a\nb")))
    assert mended(known_of(stored), stored["about"], view(CURRENT, positions=())) is None
    assert mended(known_of(stored), None, view(CURRENT)) is None


def test_nothing_shows_who_is_named():
    assert "Surname1" not in f"{incumbents()!r} {content_of(incumbents())!r}"

"""Which records there are, in which state, and why: the rules of AppRecords case by case."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from include.esr.applicants.rules import trainees_wanted
from include.esr.outbound import UNSENT, RecordState, Window, london_day
from tests.unit.esr.applicant_views import (
    POST,
    SETTINGS,
    START,
    TO_EXPORT,
    TODAY,
    Records,
    person,
    placement,
    position,
    view,
)

LEFT_ALONE = sorted(set(RecordState) - UNSENT)
GONE = RecordState.DELETED_BEFORE_EXPORT
EXPIRED = RecordState.EXPIRED_UNSENT
INVALID = RecordState.INVALID_DATA


def later(days):
    return TODAY + timedelta(days=days)


def made(*views, people=(), today=TODAY):
    records = Records(*people)
    records.generate(*views, today=today)
    return records


@pytest.mark.parametrize(
    ("kind", "is_made"),
    [
        ("In post", True),
        ("In Post - Acting Up", True),
        ("In post - Extension", True),
        ("Parental Leave", True),
        ("Long-term sick", True),
        ("Suspended", True),
        ("Phased Return", True),
        ("  IN POST ", True),
        ("Locum", False),
        ("OOPE", False),
        ("", False),
        (None, False),
    ],
)
def test_only_placements_of_the_eligible_types_become_applicants(kind, is_made):
    assert bool(made(view([placement(type=kind)])).known) is is_made


def test_a_draft_is_no_applicant_and_becomes_one_when_it_is_approved():
    records = made(view([placement(approved=False)]))
    assert records.known == {}
    records.generate(view())
    assert records.outcome() == TO_EXPORT


def test_a_placement_has_a_record_in_each_position_host_and_lead():
    posts = view([placement(1), placement(2)], [position(7), position(8, host_lead="Lead Employer")])
    assert sorted(made(posts).known) == ["1-7", "1-8", "2-7", "2-8"]


def test_the_same_placement_seen_twice_has_one_record():
    assert list(made(view(), view()).known) == ["1-7"]


def test_a_post_without_a_position_has_no_applicants():
    assert made(view(positions=[])).known == {}


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (later(2), TO_EXPORT),
        (later(90), TO_EXPORT),
        (later(91), TO_EXPORT),  # not due yet, but there
        (later(1), (EXPIRED, "too_late")),
        (later(0), (EXPIRED, "too_late")),
        (later(-28), (EXPIRED, "too_late")),
        (later(-29), None),
        (later(-400), None),
    ],
)
def test_first_seen_too_late_is_expired_and_long_ago_is_history(start, expected):
    records = made(view([placement(start=start)]))
    assert records.outcome() == expected
    assert records.alerts == (["1-7"] if expected and expected[0] is EXPIRED else [])


@pytest.mark.parametrize(
    ("today", "first", "last"),
    [
        (date(2026, 7, 6), date(2026, 7, 8), date(2026, 10, 4)),
        (date(2026, 1, 30), date(2026, 2, 1), date(2026, 4, 30)),
        (date(2026, 12, 30), date(2027, 1, 1), date(2027, 3, 30)),
        (date(2028, 2, 27), date(2028, 2, 29), date(2028, 5, 27)),
        (date(2027, 2, 27), date(2027, 3, 1), date(2027, 5, 28)),
        (date(2026, 3, 28), date(2026, 3, 30), date(2026, 6, 26)),  # clocks go forward on the 29th
        (date(2026, 10, 24), date(2026, 10, 26), date(2027, 1, 22)),  # clocks go back on the 25th
    ],
)
def test_the_window_is_from_2_days_to_the_day_before_13_weeks(today, first, last):
    assert Window.on(today, SETTINGS) == Window(first, last)
    records, post = Records(), view([placement(start=first, end=first + timedelta(days=180))])
    records.generate(post, today=today)
    assert records.outcome() == TO_EXPORT
    records.generate(post, today=today + timedelta(days=1))
    assert records.outcome() == (EXPIRED, "started_unsent")


@pytest.mark.parametrize(
    ("moment", "day"),
    [
        (datetime(2026, 7, 5, 22, 59, tzinfo=UTC), date(2026, 7, 5)),
        (datetime(2026, 7, 5, 23, 0, tzinfo=UTC), date(2026, 7, 6)),
        (datetime(2026, 1, 5, 23, 59, tzinfo=UTC), date(2026, 1, 5)),
        (datetime(2026, 3, 29, 0, 30, tzinfo=UTC), date(2026, 3, 29)),
        (datetime(2026, 10, 24, 23, 30, tzinfo=UTC), date(2026, 10, 25)),
        (datetime(2026, 10, 25, 23, 30, tzinfo=UTC), date(2026, 10, 25)),
    ],
)
def test_today_is_the_day_in_london(moment, day):
    assert london_day(moment) == day


def test_incident_entered_late_it_does_not_stay_to_export_past_its_window():
    records = made(view([placement(start=later(3))]))
    assert records.generate(view([placement(start=later(3))]), today=later(1)) == 0
    records.generate(view([placement(start=later(3))]), today=later(2))
    assert (records.outcome(), records.alerts) == ((EXPIRED, "started_unsent"), ["1-7"])
    assert records.generate(view([placement(start=later(3))]), today=later(3)) == 0
    assert records.alerts == ["1-7"]


def test_a_record_nobody_looked_at_for_months_still_expires_in_sight():
    records = made(view([placement(start=later(10))]))
    records.generate(view([placement(start=later(10))]), today=later(100))
    assert (records.outcome(), records.alerts) == ((EXPIRED, "started_unsent"), ["1-7"])
    assert records.known["1-7"].fields["last_name"] == "O'Neil"


def test_a_record_whose_placement_ended_and_is_not_shown_any_more_still_expires_in_sight():
    records = made(view([placement(start=later(10), end=later(40))]))
    records.generate(view([]), today=later(41))
    assert (records.outcome(), records.alerts) == ((EXPIRED, "started_unsent"), ["1-7"])
    assert records.generate(view([]), today=later(42)) == 0


@pytest.mark.parametrize("change", [[], [placement(start=later(3), approved=False)]])
def test_an_expired_record_stays_so_when_its_placement_is_over(change):
    records = made(view([placement(start=later(1), end=later(40))]))
    assert records.generate(view(change), today=later(41)) == 0
    assert records.state() is EXPIRED


@pytest.mark.parametrize("today", [TODAY, later(-20)])
def test_an_older_day_run_again_does_not_bring_an_expired_record_back(today):
    records = made(view([placement(start=later(3))]))
    records.generate(view([placement(start=later(3))]), today=later(2))
    assert records.generate(view([placement(start=later(3))]), today=today) == 0
    assert records.state() is EXPIRED


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (later(4), TO_EXPORT),
        (later(60), TO_EXPORT),
        (later(3), (EXPIRED, "too_late")),
        (later(-200), (EXPIRED, "too_late")),
    ],
)
def test_new_dates_bring_an_expired_record_back_if_they_are_in_time(start, expected):
    records = made(view([placement(start=later(2))]), today=later(1))
    assert records.state() is EXPIRED
    records.generate(view([placement(start=start)]), today=later(2))
    assert records.outcome() == expected


def test_new_dates_are_judged_on_the_latest_day_it_was_looked_at():
    records = made(view([placement(start=later(2))]), today=later(1))
    records.generate(view([placement(start=later(-5))]), today=later(-10))
    assert records.state() is EXPIRED


def test_moved_to_an_earlier_day_that_is_too_late_it_expires_at_once():
    records = made(view())
    records.generate(view([placement(start=later(1))]))
    assert (records.outcome(), records.alerts) == ((EXPIRED, "too_late"), ["1-7"])


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ([], "placement_gone"),
        ([placement(2)], "placement_gone"),
        ([placement(approved=False)], "placement_not_approved"),
        ([placement(type="Locum")], "placement_type"),
        ([placement(type=None, approved=False)], "placement_type"),
    ],
)
@pytest.mark.parametrize("state", [RecordState.TO_EXPORT, INVALID])
def test_a_placement_gone_before_export_is_deleted_and_back_again_is_due(change, code, state):
    records = made(view())
    records.set(state=state)
    records.generate(view(change))
    assert records.outcome() == (GONE, code)
    assert records.generate(view(change)) == 0
    records.generate(view([placement(start=START + timedelta(days=7))]))
    assert records.outcome() == TO_EXPORT
    assert records.known["1-7"].fields["effective_date"] == "2026-08-12"


@pytest.mark.parametrize("positions", [[], [position(8)]])
def test_incident_a_deleted_position_gives_no_applicant(positions):
    records = made(view())
    records.generate(view(positions=positions))
    assert records.outcome() == (GONE, "position_gone")
    records.generate(view())
    assert records.outcome() == TO_EXPORT


def test_deleted_and_back_after_its_start_it_is_expired_and_told():
    records = made(view())
    records.generate(view([]))
    records.generate(view(), today=START)
    assert (records.outcome(), records.alerts) == ((EXPIRED, "too_late"), ["1-7"])


def test_deleted_and_back_long_after_its_start_it_is_history():
    records = made(view())
    records.generate(view([]))
    assert records.generate(view(), today=START + timedelta(days=29)) == 0
    assert records.state() is GONE


def test_a_deleted_and_recreated_placement_is_another_applicant():
    records = made(view([placement(1)]))
    records.generate(view([placement(2)]))
    assert (records.outcome("1-7"), records.outcome("2-7")) == ((GONE, "placement_gone"), TO_EXPORT)


@pytest.mark.parametrize("state", LEFT_ALONE)
@pytest.mark.parametrize(
    "change",
    [
        [],
        [placement(start=START + timedelta(days=7))],
        [placement(approved=False)],
        [placement(start=later(-1))],
    ],
)
def test_what_is_sent_or_taken_out_is_left_alone(state, change):
    records = made(view())
    records.set(state=state)
    assert records.generate(view(change)) == 0
    assert records.state() is state


def test_dates_moved_before_export_are_those_that_are_sent():
    records = made(view())
    records.generate(view([placement(start=date(2026, 9, 2), end=date(2027, 9, 1))]))
    record = records.known["1-7"]
    assert (record.start, record.revision) == (date(2026, 9, 2), 2)
    assert {record.fields[name] for name in ("effective_date", "projected_hire_date")} == {"2026-09-02"}
    assert record.fields["projected_end_date"] == "2027-09-01"


@pytest.mark.parametrize(
    ("broken", "people", "code"),
    [
        (placement(end=None), (), "end_missing"),
        (placement(start=None), (), "start_missing"),
        (placement(end=date(2026, 8, 4)), (), "end_before_start"),
        (placement(trainee_id=None), (), "trainee_missing"),
        (placement(), (person(999),), "person_unknown"),
        (placement(), (person(contact={"legalSurname": None}),), "missing_value"),
        (placement(), (person(contact={"title": "x" * 2000}),), "too_long"),
    ],
)
def test_data_esr_could_not_use_is_said_and_mended_it_is_due(broken, people, code):
    records = made(view([broken]), people=people)
    assert records.outcome() == (INVALID, code)
    assert records.generate(view([broken])) == 0
    records.people[100] = person()
    records.generate(view())
    assert records.outcome() == TO_EXPORT


def test_data_that_stays_wrong_until_the_window_closes_is_expired_with_the_reason():
    records = made(view(), people=(person(contact={"legalSurname": None}),))
    records.generate(view(), today=START)
    assert (records.outcome(), records.alerts) == ((EXPIRED, "started_unsent"), ["1-7"])
    assert "missing_value" in records.known["1-7"].reason.message


def test_a_placement_without_a_start_that_ended_long_ago_is_history():
    assert made(view([placement(start=None, end=later(-29))])).known == {}


def test_a_record_whose_start_vanishes_from_tcs_is_never_left_to_export():
    records = made(view())
    records.generate(view([placement(start=None, end=later(-60))]))
    assert records.outcome() == (INVALID, "start_missing")


def test_a_record_follows_its_placement_and_position_to_another_post():
    records = made(view())
    other = view(key=6, number="KSS/OTHER/1")
    records.generate(view([], []), other)
    record = records.known["1-7"]
    assert (record.post_id, record.post_number, record.fields["deanery_number"]) == (
        6,
        "KSS/OTHER/1",
        "KSS/OTHER/1",
    )
    assert records.outcome() == TO_EXPORT
    assert records.generate(view([], []), other) == 0


def test_a_position_of_another_post_has_its_placements_instead():
    records = made(view([placement(1)]))
    records.generate(view([placement(1)], []), view([placement(2)], key=6, number="KSS/OTHER/1"))
    assert (records.outcome("1-7"), records.outcome("2-7")) == ((GONE, "position_gone"), TO_EXPORT)


@pytest.mark.parametrize("start", [later(1), later(-100)])
def test_what_a_person_sends_once_more_goes_out_however_late(start):
    records = made(view([placement(start=START)]))
    records.set(state=RecordState.TO_EXPORT, resends=1, start=start)
    records.generate(view([placement(start=start)]))
    assert records.outcome() == TO_EXPORT


def test_another_trainee_of_a_placement_long_begun_is_not_sent_with_the_data_of_the_one_before():
    records = made(view([placement(start=later(3))]))
    records.set(resends=1)
    records.generate(view([placement(start=later(3), trainee_id=101)]), today=later(60))
    assert records.outcome() == (INVALID, "person_unknown")
    assert "last_name" not in records.known["1-7"].fields


def test_unchanged_is_not_written_again():
    records = made(view())
    assert [records.generate(view(), today=later(day)) for day in range(3)] == [0, 0, 0]


@pytest.mark.parametrize(
    "change",
    [
        view(positions=[position(number="08")]),
        view(number=POST + "/S"),
        view([placement(end=date(2027, 3, 1))]),
        view([placement(gmc="7000001")]),
    ],
)
def test_every_change_of_what_would_be_sent_is_written_once(change):
    records = made(view())
    assert records.generate(change) == 1
    assert records.known["1-7"].revision == 2
    assert records.generate(change) == 0


def wanted(*views, sent=(), today=TODAY):
    return trainees_wanted(views, set(sent), today=today, settings=SETTINGS)


@pytest.mark.parametrize(
    ("facts", "is_wanted"),
    [
        ({}, True),
        ({"start": later(400)}, True),
        ({"start": later(-28)}, True),
        ({"start": None}, True),
        ({"start": later(-29)}, False),
        ({"approved": False}, False),
        ({"type": "Locum"}, False),
        ({"trainee_id": None}, False),
    ],
)
def test_people_are_asked_for_where_they_decide_something(facts, is_wanted):
    assert wanted(view([placement(**facts)])) == ({100} if is_wanted else set())


def test_people_are_not_asked_for_once_every_record_of_theirs_is_sent():
    host_and_lead = view(positions=[position(7), position(8)])
    assert wanted(host_and_lead, sent=["1-7", "1-8"]) == set()
    assert wanted(host_and_lead, sent=["1-7"]) == {100}
    assert wanted(view(positions=[])) == set()


def test_details_of_nobody_are_in_a_repr():
    records = Records(replace(person(), contact={"legalSurname": "Secretname"}))
    records.generate(view())
    (decision,) = records.decisions(view([placement(start=later(40))]))
    assert "Secret" not in f"{decision}{records.known}{decision.pair}"

"""Which notifications a post gives on a day: triggers, types, pairing, vacancy (domain page, section 3)."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.esr.notifications.rules import snapshot
from include.esr.placements.facts import ELIGIBLE_TYPES, PositionFacts
from tests.unit.esr.notification_views import (
    CURRENT,
    HORIZON,
    HOST,
    LEAD,
    NEXT,
    TODAY,
    changed,
    day,
    names,
    placement,
    told,
    view,
)


def rows(*placements, today=TODAY):
    return [names(each) for each in snapshot(view(*placements), today, horizon_days=HORIZON)]


# Who is in the post, and who comes


def test_current_and_next_of_one_site_are_one_notification():
    assert rows(CURRENT, NEXT) == [("1", 1, 2)]


@pytest.mark.parametrize("site", ["rxc01", " RXC01 ", "rXc01"])
def test_site_codes_are_compared_in_any_case(site):
    assert rows(CURRENT, changed(NEXT, site_code=site)) == [("1", 1, 2)]


def test_current_and_next_of_two_sites_stand_alone():
    assert rows(CURRENT, changed(NEXT, site_code="RXC02")) == [("1", 1, None), ("1", None, 2)]


def test_current_and_next_without_a_site_are_of_one():
    assert rows(changed(CURRENT, site_code=None), changed(NEXT, site_code=" ")) == [("1", 1, 2)]


def test_only_the_earliest_of_those_who_come_at_a_site_is_next():
    assert rows(NEXT, placement(3, 60, 90)) == [("1", None, 2)]


def test_the_earliest_of_each_site_is_next():
    assert rows(NEXT, placement(3, 60, 90, site_code="RXC02")) == [("1", None, 2), ("1", None, 3)]


def test_who_leaves_first_is_followed_by_who_comes_on_the_day_all_come():
    leaves_last, leaves_first = placement(1, -50, 40), placement(2, -50, 20)
    assert rows(leaves_last, leaves_first, placement(3, 41, 90), placement(4, 41, 90)) == [
        ("1", 2, 3),
        ("1", 1, 4),
    ]


def test_of_two_in_the_post_one_may_have_nobody_to_follow():
    assert rows(CURRENT, placement(3, -5, 40), NEXT) == [("1", 1, 2), ("1", 3, None)]


def test_who_has_no_end_stays():
    assert rows(changed(CURRENT, end=None)) == [("1", 1, None)]


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (0, 9, ("1", 1, None)),
        (-9, 0, ("1", 1, None)),
        (0, 0, ("1", 1, None)),
        (1, 9, ("1", None, 1)),
        (91, 99, ("1", None, 1)),
        (92, 99, ("1", None, None)),
        (-9, -1, ("1", None, None)),
        (9, 8, ("1", None, None)),
    ],
)
def test_the_days_of_being_current_and_next_are_inclusive(start, end, expected):
    assert rows(placement(1, start, end)) == [expected]


@pytest.mark.parametrize(
    "today", [date(2026, 12, 31), date(2028, 2, 28), date(2026, 3, 28), date(2026, 10, 24)]
)
def test_thirteen_weeks_are_ninety_one_days_over_year_leap_and_clock_changes(today):
    at_last = changed(NEXT, start=today + timedelta(days=91), end=None)
    too_late = changed(NEXT, start=today + timedelta(days=92), end=None)
    assert rows(at_last, today=today) == [("1", None, 2)]
    assert rows(too_late, today=today) == [("1", None, None)]


@pytest.mark.parametrize(
    "not_told", [{"approved": False}, {"type": "Career break"}, {"type": None}, {"start": None}]
)
def test_who_is_not_eligible_or_has_no_start_is_not_there(not_told):
    assert rows(changed(CURRENT, **not_told)) == [("1", None, None)]


@pytest.mark.parametrize("kind", sorted(ELIGIBLE_TYPES))
def test_every_eligible_type_is_told_whatever_its_case(kind):
    assert rows(changed(CURRENT, type=f" {kind.upper()} ")) == [("1", 1, None)]


@pytest.mark.parametrize(
    ("placements", "vacant"),
    [((), [True]), ((CURRENT,), [True]), ((NEXT,), [False]), ((CURRENT, NEXT), [False])],
)
def test_a_post_is_vacant_at_next_rotation_when_nobody_is_next(placements, vacant):
    assert [each.vacant for each in snapshot(view(*placements), TODAY, horizon_days=HORIZON)] == vacant


def test_host_and_lead_position_get_one_each():
    post = view(CURRENT, NEXT, positions=(LEAD, HOST), reconciled=frozenset({11, 12}))
    assert [(each.position.id, *names(each)) for each in told(post)] == [
        (11, "1", 1, 2),
        (12, "1", 1, 2),
    ]


# What makes ESR be told


def test_a_post_as_it_was_gives_nothing():
    assert told(view(CURRENT, NEXT)) == []


def test_a_first_look_gives_nothing_by_itself():
    assert told(view(CURRENT, NEXT, before=None)) == []


@pytest.mark.parametrize("before", [None, (CURRENT, NEXT)])
def test_a_position_that_was_reconciled_is_told_of_alone(before):
    post = view(CURRENT, NEXT, positions=(HOST, LEAD), reconciled=frozenset({12}), before=before)
    assert [(each.position.id, *names(each)) for each in told(post)] == [(12, "1", 1, 2)]


def test_a_new_position_is_a_new_post_too():
    new = PositionFacts(13, is_new=True)
    post = view(CURRENT, positions=(HOST, new), reconciled=frozenset({13}), before=None)
    assert [(each.position.id, each.type.value) for each in told(post)] == [(13, "5"), (13, "1")]


def test_a_position_is_new_only_when_it_was_reconciled():
    assert told(view(CURRENT, positions=(PositionFacts(13, is_new=True),))) == []


def test_incident_stale_deleted_positions_a_post_without_positions_gives_nothing():
    starts_today = placement(1, 0, 9)
    post = view(starts_today, NEXT, positions=(), before=(), reconciled=frozenset({11}))
    assert told(post) == []
    assert snapshot(post, TODAY, horizon_days=HORIZON) == []


@pytest.mark.parametrize("before", ["none", "same"])
@pytest.mark.parametrize(
    ("start", "is_told"), [(-1, False), (0, True), (1, False), (90, False), (91, True), (92, False)]
)
def test_a_start_today_and_one_in_exactly_thirteen_weeks_are_told(start, is_told, before):
    begins = placement(1, start, 200)
    post = view(begins, before=None if before == "none" else (begins,))
    assert bool(told(post)) == is_told


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ((), [("1", None, None)]),
        ((placement(5, 92, 200),), [("1", None, None)]),
        ((NEXT,), []),
        ((CURRENT,), []),
        ((changed(NEXT, approved=False),), [("1", None, None)]),
    ],
)
def test_a_post_whose_last_placement_ended_yesterday_is_vacant_if_nobody_follows(others, expected):
    ended = placement(4, -100, -1)
    assert [names(each) for each in told(view(ended, *others))] == expected


@pytest.mark.parametrize("end", [-2, 0])
def test_a_placement_that_ended_on_another_day_tells_nothing(end):
    assert told(view(placement(4, -100, end))) == []


@pytest.mark.parametrize(
    "before", [(changed(CURRENT, approved=False),), (changed(CURRENT, type="Career break"),), ()]
)
def test_a_placement_that_became_approved_is_told(before):
    assert [names(each) for each in told(view(CURRENT, before=before))] == [("1", 1, None)]


def test_a_placement_approved_beyond_the_horizon_tells_nothing():
    assert told(view(CURRENT, placement(3, 92, 200), before=(CURRENT,))) == []


@pytest.mark.parametrize("which", [CURRENT, NEXT])
def test_a_changed_whole_time_equivalent_is_told(which):
    post = view(changed(which, wte=0.6), before=(which,))
    assert [each.type.value for each in told(post)] == ["1"]


def test_a_move_to_another_site_is_told():
    post = view(CURRENT, changed(NEXT, site_code="RXC02"), before=(CURRENT, NEXT))
    assert [names(each) for each in told(post)] == [("1", 1, None), ("1", None, 2)]


@pytest.mark.parametrize(
    "detail",
    [
        {"surname": "New"},
        {"grade": "ST2"},
        {"email": None},
        {"gmc": "1"},
        {"site_code": "rxc01 "},
        {"type": "Parental leave"},
    ],
)
def test_another_detail_tells_nothing_by_itself(detail):
    assert told(view(CURRENT, changed(NEXT, **detail), before=(CURRENT, NEXT))) == []


# Withdrawal


@pytest.mark.parametrize(
    "now",
    [
        (),
        (changed(NEXT, approved=False),),
        (changed(NEXT, type="Career break"),),
        (changed(NEXT, start=None),),
    ],
)
def test_who_was_to_come_and_does_not_is_withdrawn_and_the_rest_told_after_it(now):
    withdrawal, rest = told(view(CURRENT, *now, before=(CURRENT, NEXT)))
    assert (withdrawal.type.value, withdrawal.withdrawn, withdrawal.vacant) == ("2", NEXT, True)
    assert withdrawal.fields["withdrawal_reason"] == "3"
    assert (names(rest), rest.vacant) == (("1", 1, None), True)


def test_a_withdrawal_from_an_empty_post_leaves_it_vacant():
    assert [names(each)[0] for each in told(view(before=(NEXT,)))] == ["2", "1"]


def test_who_is_in_the_post_and_goes_is_no_withdrawal_but_the_rest_is_told():
    assert [names(each) for each in told(view(NEXT, before=(CURRENT, NEXT)))] == [("1", None, 2)]


@pytest.mark.parametrize(("start", "is_told"), [(0, True), (1, True), (90, True), (91, False), (92, False)])
def test_a_withdrawal_is_told_if_esr_was_told_of_the_placement_by_yesterday(start, is_told):
    types = [each.type.value for each in told(view(before=(placement(3, start, 200),)))]
    assert types == (["2", "1"] if is_told else [])


@pytest.mark.parametrize(
    ("swept", "seen_on", "horizon", "is_told"),
    [
        (-1, -1, 90, True),
        (-1, -1, 91, False),
        (-1, 0, 91, True),  # seen today before, when ESR was told of it
        (0, -30, 91, True),
        (None, 0, 91, True),
        (-3, -3, 88, True),
        (-3, -3, 89, False),  # nobody looked when it came into sight
        (-3, -1, 90, True),
        (-3, 1, 92, True),
        (None, -40, 51, True),
        (None, -40, 52, False),
    ],
)
def test_a_withdrawal_is_told_if_esr_could_know_since_the_post_was_looked_at_last(
    swept, seen_on, horizon, is_told
):
    post = view(
        before=(placement(3, horizon, 200),),
        swept=None if swept is None else day(swept),
        seen_on=day(seen_on),
    )
    assert [each.type.value for each in told(post)] == (["2", "1"] if is_told else [])


def test_incident_told_and_withdrawn_on_one_day_at_the_horizon_is_corrected_on_that_day():
    comes = placement(3, 91, 200)
    assert [names(each) for each in told(view(CURRENT, comes))] == [("1", 1, 3)]
    withdrawal, rest = told(view(CURRENT, before=(CURRENT, comes), seen_on=TODAY))
    assert (withdrawal.type.value, withdrawal.withdrawn) == ("2", comes)
    assert names(rest) == ("1", 1, None)


# Days nobody looked


GAPS = [1, 2, 4, 31]
"""Days since the last sweep: 1 is none missed."""


@pytest.mark.parametrize("gap", GAPS)
@pytest.mark.parametrize("ahead", [0, HORIZON])
def test_a_start_of_a_day_nobody_looked_on_is_told_by_the_next_sweep(gap, ahead):
    for missed in range(gap):
        post = view(placement(3, ahead - missed, 300), swept=day(-gap), seen_on=day(-gap))
        assert [each.type.value for each in told(post)] == ["1"]
    before = view(placement(3, ahead - gap, 300), swept=day(-gap), seen_on=day(-gap))
    assert told(before) == []


@pytest.mark.parametrize("gap", GAPS)
def test_an_end_of_a_day_nobody_looked_on_is_told_by_the_next_sweep(gap):
    for missed in range(1, gap + 1):
        (vacant,) = told(view(placement(3, -99, -missed), swept=day(-gap), seen_on=day(-gap)))
        assert (names(vacant), vacant.vacant) == (("1", None, None), True)
    assert told(view(placement(3, -99, -gap - 1), swept=day(-gap), seen_on=day(-gap))) == []


def test_after_forty_days_without_a_sweep_one_month_is_made_up_for():
    def types(facts):
        return [each.type.value for each in told(view(facts, swept=day(-40), seen_on=day(-40)))]

    assert types(placement(3, -31, 300)) == ["1"]
    assert types(placement(3, -32, 300)) == []
    assert types(placement(3, HORIZON - 31, 300)) == ["1"]
    assert types(placement(3, HORIZON - 32, 300)) == []
    assert types(placement(3, -99, -32)) == ["1"]
    assert types(placement(3, -99, -33)) == []


def test_a_first_sweep_and_a_second_one_of_a_day_make_up_for_nothing():
    late = placement(3, -1, 300)
    assert told(view(late, swept=None)) == []
    assert told(view(late, swept=TODAY)) == []
    assert [names(each) for each in told(view(placement(3, 0, 300), swept=TODAY))] == [("1", 3, None)]


def test_who_was_to_come_on_a_day_nobody_looked_on_and_did_not_is_withdrawn():
    never_came = placement(3, -2, 200)
    types = [each.type.value for each in told(view(before=(never_came,), swept=day(-4), seen_on=day(-4)))]
    assert types == ["2", "1"]
    assert [each.type.value for each in told(view(before=(never_came,), swept=day(-1)))] == ["1"]


def test_a_placement_of_the_past_that_is_left_out_tells_nothing():
    assert told(view(CURRENT, before=(CURRENT, placement(3, -50, -1)))) == []


# Replacement


def test_another_trainee_in_the_stead_of_one_who_was_to_come_is_a_replacement():
    instead = placement(3, 35, 200)
    replacement, rest = told(view(CURRENT, instead, before=(CURRENT, NEXT)))
    assert replacement.type.value == "3"
    assert (replacement.withdrawn, replacement.replacement) == (NEXT, instead)
    assert names(rest) == ("1", 1, 3)


@pytest.mark.parametrize(
    "other",
    [
        {"site_code": "RXC02"},
        {"trainee_id": NEXT.trainee_id},
        {"start": day(92)},
        {"start": day(-1)},
    ],
)
def test_another_site_the_same_trainee_or_no_next_is_no_replacement(other):
    post = view(CURRENT, changed(placement(3, 35, 200), **other), before=(CURRENT, NEXT))
    assert told(post)[0].type.value == "2"


def test_who_was_known_to_come_before_replaces_nobody():
    later = placement(3, 60, 200)
    assert told(view(CURRENT, later, before=(CURRENT, NEXT, later)))[0].type.value == "2"


def test_a_replacement_is_of_one_and_the_other_is_withdrawn():
    both = (NEXT, placement(4, 31, 200))
    types = [each.type.value for each in told(view(placement(3, 40, 200), before=both))]
    assert types == ["2", "3", "1"]


def test_a_placement_that_is_another_trainees_now_is_a_replacement():
    post = view(CURRENT, changed(NEXT, trainee_id=9), before=(CURRENT, NEXT))
    assert [each.type.value for each in told(post)] == ["3", "1"]


# Changed dates


@pytest.mark.parametrize(
    ("which", "change", "start", "end"),
    [
        (NEXT, {"start": day(40)}, day(40), None),
        (NEXT, {"end": day(150)}, None, day(150)),
        (NEXT, {"start": day(40), "end": day(150)}, day(40), day(150)),
        (NEXT, {"start": day(120)}, day(120), None),
        (NEXT, {"start": day(0)}, day(0), None),
        (placement(3, 120, 200), {"start": day(91)}, day(91), None),
        (CURRENT, {"end": day(50)}, None, day(50)),
        (CURRENT, {"end": day(-3)}, None, day(-3)),
        (CURRENT, {"start": day(3)}, day(3), None),
        (changed(CURRENT, end=None), {"end": day(9)}, None, day(9)),
        (placement(3, -100, -1), {"end": day(20)}, None, day(20)),
    ],
)
def test_changed_dates_are_told_with_who_is_there_then(which, change, start, end):
    moved, *rest = told(view(changed(which, **change), before=(which,)))
    assert moved.type.value == "4"
    assert (moved.changed_start, moved.changed_end) == (start, end)
    assert {each.type.value for each in rest} == {"1"}


@pytest.mark.parametrize(("which", "change"), [(CURRENT, {"start": day(-90)}), (CURRENT, {"end": None})])
def test_a_start_of_the_past_and_an_end_taken_away_are_no_changed_dates(which, change):
    types = [each.type.value for each in told(view(changed(which, **change), before=(which,)))]
    assert types == ["1"]


def test_dates_that_change_out_of_esrs_sight_tell_nothing():
    far = placement(3, 120, 200)
    assert told(view(CURRENT, changed(far, start=day(110)), before=(CURRENT, far))) == []


# Properties

quick = settings(max_examples=80, deadline=None)
days = st.integers(-120, 120)
placements = st.builds(
    lambda number, start, length, **other: placement(number, start, start + length, **other),
    st.integers(1, 6),
    days,
    st.integers(-2, 200),
    approved=st.booleans(),
    site_code=st.sampled_from(["RXC01", "rxc01", "RXC02", None]),
    trainee_id=st.integers(1, 4),
    wte=st.sampled_from([1.0, 0.6, None]),
)
posts = st.lists(placements, max_size=6, unique_by=lambda each: each.id).map(tuple)


@quick
@given(posts)
def test_a_post_as_it_was_gives_nothing_unless_a_date_tells(now):
    dates = {each.start for each in now} | {each.end for each in now}
    if not dates & {day(0), day(91), day(-1)}:
        assert told(view(*now)) == []


@quick
@given(now=posts, before=posts)
def test_the_same_look_gives_the_same_keys_in_any_order_of_placements(now, before):
    first = told(view(*now, before=before, positions=(HOST, LEAD)))
    again = told(view(*reversed(now), before=before[::-1], positions=(LEAD, HOST)))
    assert [each.key for each in first] == [each.key for each in again]
    assert len({each.key for each in first}) == len(first)


@quick
@given(now=posts, before=posts)
def test_changes_stand_before_who_is_there_and_never_without(now, before):
    types = [each.type.value for each in told(view(*now, before=before))]
    assert types == [each for each in types if each != "1"] + ["1"] * types.count("1")
    assert not types or "1" in types


@quick
@given(posts)
def test_a_snapshot_names_each_one_who_is_there_once_and_is_never_empty(now):
    told_of = rows(*now)
    assert told_of
    there = [each.id for each in now if each.eligible and each.start <= TODAY <= each.end]
    assert sorted(current for _, current, _ in told_of if current) == sorted(there)

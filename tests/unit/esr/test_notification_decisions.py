"""What is saved of what a look gives: only what was not said before."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.esr.notifications.decisions import OVERTAKEN, POSITION_GONE, Known, decide, still_invalid
from include.esr.outbound import RecordState
from tests.unit.esr.notification_views import (
    CURRENT,
    HOST,
    LEAD,
    NEXT,
    TODAY,
    changed,
    day,
    placement,
    told,
    view,
)


class Store:
    """What was saved, as a store keeps it: sent at once unless told otherwise."""

    def __init__(self) -> None:
        self.known: dict[str, Known] = {}

    def look(self, post, *, today: date = TODAY, state: RecordState = RecordState.EXPORTED) -> list[str]:
        """Look at a post and return the types of what is saved."""
        decisions = decide([post], told(post, today=today), self.known.values(), today=today)
        made = []
        for making in decisions.makings:
            if not making.is_new:
                continue  # only its details may be others
            notification = making.notification
            made.append(notification.type.value)
            self.known[making.id] = Known(
                making.id,
                notification.post_id,
                notification.position.id,
                notification.type,
                notification.key,
                making.turn,
                today.isoformat(),
                frozenset(notification.placements),
                state,
                "hash",
                1,
            )
        for taking in decisions.takings_back:
            self.known[taking.known.id] = replace(taking.known, state=RecordState.DELETED_BEFORE_EXPORT)
        return made

    def set(self, state: RecordState) -> None:
        self.known = {key: replace(each, state=state) for key, each in self.known.items()}


@pytest.fixture
def store() -> Store:
    return Store()


def look_again(*placements, **other):
    """Return a post a position of which was reconciled."""
    return view(*placements, **{"reconciled": frozenset({HOST.id})} | other)


@pytest.mark.parametrize(
    "state", [each for each in RecordState if each is not RecordState.DELETED_BEFORE_EXPORT]
)
def test_what_was_said_before_is_not_saved_again_whatever_became_of_it(store, state):
    post = view(CURRENT, changed(NEXT, start=day(40)), before=(CURRENT, NEXT))
    assert store.look(post, state=state) == ["4", "1"]
    assert store.look(post, state=state) == []
    assert len(store.known) == 2


def test_a_trainee_approved_again_after_a_withdrawal_is_told_again(store):
    draft, approved = changed(NEXT, approved=False), NEXT
    assert store.look(view(approved, before=(draft,))) == ["1"]
    for _ in range(2):
        assert store.look(view(draft, before=(approved,))) == ["2", "1"]
        assert store.look(view(approved, before=(draft,))) == ["1"]
    assert store.look(look_again(approved)) == []


def test_dates_changed_back_and_forth_are_told_each_time(store):
    store.look(look_again(CURRENT, NEXT))
    moved = changed(NEXT, start=day(40))
    for old, new in [(NEXT, moved), (moved, NEXT), (NEXT, moved)]:
        assert store.look(view(CURRENT, new, before=(CURRENT, old))) == ["4", "1"]
        assert store.look(look_again(CURRENT, new)) == []


def test_a_post_that_is_vacant_again_is_told_again(store):
    for _ in range(2):
        store.look(look_again(CURRENT))
        assert store.look(look_again()) == ["1"]
        assert store.look(look_again()) == []


def test_what_is_said_of_another_site_does_not_make_this_one_news(store):
    other = placement(3, 10, 99, site_code="RXC02")
    assert store.look(look_again(CURRENT, other)) == ["1", "1"]
    moved = changed(other, start=day(12))
    assert store.look(view(CURRENT, moved, before=(CURRENT, other))) == ["4", "1"]


def test_an_earlier_day_that_is_run_again_saves_nothing(store):
    for offset in (0, 31):
        store.look(look_again(CURRENT, NEXT), today=day(offset))
    assert len(store.known) == 2
    assert store.look(look_again(CURRENT, NEXT), today=TODAY) == []
    assert store.look(look_again(CURRENT, NEXT), today=day(31)) == []


def test_a_new_post_is_told_once(store):
    new = replace(HOST, is_new=True)
    assert store.look(look_again(CURRENT, positions=(new,))) == ["5", "1"]
    assert store.look(look_again(CURRENT, NEXT, positions=(replace(new, vpd="1"),))) == ["1"]


@pytest.mark.parametrize("state", [RecordState.TO_EXPORT, RecordState.INVALID_DATA])
def test_what_was_not_sent_of_a_position_that_is_gone_is_taken_back(store, state):
    post = look_again(CURRENT, NEXT, positions=(HOST, LEAD))
    store.look(post, state=state)
    gone = view(CURRENT, NEXT, positions=(LEAD,))
    decisions = decide([gone], [], store.known.values(), today=TODAY)
    assert [taking.reason for taking in decisions.takings_back] == [POSITION_GONE]


@pytest.mark.parametrize(
    "state", [RecordState.IN_FILE, RecordState.EXPORTED, RecordState.WITHDRAWN, RecordState.REJECTED]
)
def test_what_was_sent_or_withdrawn_stays_when_its_position_goes(store, state):
    store.look(look_again(CURRENT), state=state)
    assert decide([view(positions=())], [], store.known.values(), today=TODAY).takings_back == ()


def test_what_was_taken_back_is_told_when_the_position_is_back(store):
    store.look(look_again(CURRENT), state=RecordState.TO_EXPORT)
    assert store.look(view(CURRENT, positions=())) == []
    assert store.look(look_again(CURRENT)) == ["1"]
    assert len(store.known) == 1


def test_an_invalid_one_is_given_up_when_something_newer_is_said(store):
    store.look(look_again(CURRENT), state=RecordState.INVALID_DATA)
    post = view(CURRENT, NEXT, before=(CURRENT,))
    decisions = decide([post], told(post), store.known.values(), today=TODAY)
    assert [taking.reason for taking in decisions.takings_back] == [OVERTAKEN]
    assert list(still_invalid(store.known.values(), decisions)) == []


def test_an_invalid_one_with_nothing_newer_may_be_mended(store):
    store.look(look_again(CURRENT), state=RecordState.INVALID_DATA)
    decisions = decide([view(CURRENT)], [], store.known.values(), today=TODAY)
    assert len(list(still_invalid(store.known.values(), decisions))) == 1


def test_what_came_after_an_invalid_one_is_told_even_if_it_was_before(store):
    store.look(look_again(CURRENT))
    store.look(view(CURRENT, NEXT, before=(CURRENT,)), state=RecordState.INVALID_DATA)
    assert store.look(view(CURRENT, before=(CURRENT, NEXT))) == ["2", "1"]
    states = [each.state for each in store.known.values()]
    assert states.count(RecordState.DELETED_BEFORE_EXPORT) == 1


quick = settings(max_examples=80, deadline=None)
some = st.builds(
    lambda number, start, length, **other: placement(number, start, start + length, **other),
    st.integers(1, 3),
    st.integers(-3, 95),
    st.integers(0, 40),
    approved=st.booleans(),
    site_code=st.sampled_from(["RXC01", "RXC02"]),
    trainee_id=st.integers(1, 3),
)
post_states = st.lists(some, max_size=3, unique_by=lambda each: each.id).map(tuple)


@quick
@given(st.lists(st.tuples(post_states, st.integers(0, 3)), max_size=6))
def test_whatever_happens_a_look_done_again_saves_nothing(looks):
    store, before, today = Store(), (), TODAY
    for now, later in looks:
        today = day((today - TODAY).days + later)
        post = look_again(*now, before=before)
        store.look(post, today=today)
        assert store.look(post, today=today) == []  # killed before it was noted, or planned anew
        assert store.look(replace(post, before=now), today=today) == []
        before = now


@quick
@given(st.lists(post_states, min_size=1, max_size=6))
def test_whatever_happens_the_last_said_of_each_who_is_there_is_true(states):
    store, before = Store(), ()
    for now in states:
        store.look(look_again(*now, before=before))
        before = now
    truth = [each for each in told(look_again(*before)) if each.type == "1"]
    by_turn = sorted(store.known.values(), key=lambda each: each.turn)
    for row in truth:
        named = set(row.placements)
        of_the_same = [
            each.turn
            for each in by_turn
            if each.type == "1" and (each.placements & named or not (each.placements and named))
        ]
        said = [each.turn for each in by_turn if each.key == row.key]
        assert said[-1] == of_the_same[-1]

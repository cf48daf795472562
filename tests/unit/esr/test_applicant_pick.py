"""Which applicants go into the next file, in which order, and which must wait."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.esr.applicants.rules import pick


def due(key, start="2026-08-05", post="A"):
    return {"_id": key, "start": start, "post_number": post}


def ids(records):
    return [record["_id"] for record in records]


@pytest.mark.parametrize(
    ("number", "picked", "carried_over"), [(0, 0, 0), (39, 39, 0), (40, 40, 0), (41, 40, 1), (100, 40, 60)]
)
def test_at_most_40_of_one_post_go_into_a_file(number, picked, carried_over):
    records, rest = pick([due(f"{n}-7") for n in range(number)], most_of_a_post=40, most=1000)
    assert (len(records), rest) == (picked, carried_over)


def test_host_and_lead_positions_of_a_post_count_together():
    several = [due(f"{n}-{position}") for n in range(25) for position in (7, 8)]
    assert len(pick(several, most_of_a_post=40, most=1000)[0]) == 40


def test_those_that_start_first_go_first():
    late, early = due("1-7", "2026-09-01"), due("2-7", "2026-08-31")
    assert pick([late, early], most_of_a_post=1, most=10) == ([early], 1)


def test_a_tie_of_days_is_decided_by_id_whatever_order_they_come_in():
    several = [due(f"{n}-7") for n in range(60)]
    first = pick(several, most_of_a_post=40, most=1000)
    assert pick(several[::-1], most_of_a_post=40, most=1000) == first
    assert ids(first[0]) == sorted(ids(several))[:40]


def test_a_full_post_holds_back_no_other_post():
    several = [due(f"{n}-7", "2026-08-01") for n in range(41)] + [due("x", "2026-09-01", "B")]
    records, rest = pick(several, most_of_a_post=40, most=1000)
    assert (ids(records)[-1], rest) == ("x", 1)


def test_a_file_holds_no_more_than_it_may():
    several = [due(f"{n}-7", post=str(n)) for n in range(12)]
    records, rest = pick(several, most_of_a_post=40, most=10)
    assert (len(records), rest) == (10, 2)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from("ABC")), max_size=40),
    st.integers(1, 4),
    st.integers(1, 12),
)
def test_file_after_file_sends_each_once_and_never_too_many(drawn, most_of_a_post, most):
    waiting = [due(f"{n:03}", f"2026-08-0{day + 1}", post) for n, (day, post) in enumerate(drawn)]
    sent = []
    while waiting:
        records, rest = pick(waiting, most_of_a_post=most_of_a_post, most=most)
        assert records
        assert len(records) <= most
        assert all(
            sum(record["post_number"] == post for record in records) <= most_of_a_post for post in "ABC"
        )
        sent += ids(records)
        waiting = [record for record in waiting if record["_id"] not in sent]
        assert rest == len(waiting)
    assert len(sent) == len(set(sent)) == len(drawn)

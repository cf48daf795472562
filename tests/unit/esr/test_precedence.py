"""Which of two files counts, also when they are of two deaneries."""

from __future__ import annotations

import pytest

from include.esr.precedence import Age, counts_beside, leads

HELD = Age("20260304-0017", "KSS", "2026-03-01")


@pytest.mark.parametrize(
    ("coming", "counts"),
    [
        (Age("20260304-0018", "KSS"), True),
        (Age("20260304-0017", "KSS"), True),
        (Age("20260304-0016", "KSS", "2026-03-04"), False),
        (Age("20260304-0018", "KSS", deleted=True), True),
        (Age("20260305-0001", "NTH"), True),
        (Age("20260303-9999", "NTH", "2026-03-04"), False),
        (Age("20260304-0001", "NTH", "2026-03-02"), True),
        (Age("20260304-9999", "NTH", "2026-03-01"), False),
        (Age("20260304-9999", "NTH"), False),
        (Age("20260305-9999", "NTH", "2026-03-05", deleted=True), False),
    ],
)
def test_of_one_deanery_the_order_counts_and_of_two_the_day_then_the_update(coming, counts):
    assert counts_beside(coming, HELD) is counts


@pytest.mark.parametrize(("day", "counts"), [("20260303", False), ("20260304", True), ("20260305", True)])
def test_a_d_keeps_nothing_from_a_deanery_that_has_the_record_on_the_same_day(day, counts):
    held = HELD._replace(deleted=True)
    assert counts_beside(Age(f"{day}-0001", "NTH"), held) is counts


def test_of_two_that_tie_the_holders_leads():
    other = HELD._replace(order="20260304-9999", deanery="NTH")
    for holder in ("KSS", "NTH"):
        assert leads(HELD, other, holder=holder) is (holder == "KSS")
        assert leads(other, HELD, holder=holder) is (holder == "NTH")

"""What a person on call is told about the registry."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from include.registry.catalogue import Catalogue
from include.registry.health import problems
from include.registry.models import BrokenRow

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def test_a_healthy_registry_is_not_talked_about():
    assert list(problems(Catalogue((), (), "registry", NOW), now=NOW)) == []


def test_every_broken_row_has_a_line_with_its_name_and_problem():
    broken = (BrokenRow("a1", "timezone: wrong"), BrokenRow("b2", "no connector 'x'"))
    told = list(problems(Catalogue((), broken, "registry", NOW), now=NOW))
    assert [line.split(" of ")[0] for line in told] == ["row 'a1'", "row 'b2'"]
    assert "timezone: wrong" in told[0]
    assert "no connector 'x'" in told[1]


@pytest.mark.parametrize(
    ("age", "words"),
    [
        (timedelta(minutes=14), "14 min old"),
        (timedelta(hours=3, minutes=5), "3 h 5 min old"),
        (timedelta(days=2, hours=1), "2 d old"),
    ],
)
def test_an_outage_tells_the_age_of_the_snapshot(age: timedelta, words: str):
    outage = Catalogue((), (), "snapshot", NOW - age, "registry: does not answer")
    [told] = problems(outage, now=NOW)
    assert told.startswith("registry: does not answer")
    assert words in told

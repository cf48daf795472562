"""From a row's schedule to a cron expression."""

from __future__ import annotations

from collections import Counter

import pytest

from include.registry.schedules import PRESETS, cron_expression


@pytest.mark.parametrize(
    ("preset", "fixed"),
    [("@hourly", "* * * *"), ("@daily", "* * *"), ("@weekly", "* * 0"), ("@monthly", "1 * *")],
)
def test_a_preset_keeps_its_rhythm(preset: str, fixed: str):
    assert cron_expression("hopeworks", preset).endswith(fixed)


def test_the_spread_of_an_npo_never_moves():
    # Literal values: a change of the hash would start every integration at another time.
    assert [cron_expression("hopeworks", preset) for preset in PRESETS] == [
        "9 * * * *",
        "9 16 * * *",
        "9 16 * * 0",
        "9 16 1 * *",
    ]


def test_a_thousand_npos_use_every_minute_and_no_minute_is_crowded():
    minutes = Counter(cron_expression(f"npo_{number}", "@hourly").split()[0] for number in range(1000))
    assert len(minutes) == 60
    assert max(minutes.values()) < 40


def test_daily_presets_are_spread_over_the_hours_too():
    assert len({cron_expression(f"npo_{number}", "@daily").split()[1] for number in range(500)}) == 24


@pytest.mark.parametrize(
    "expression", ["*/15 * * * *", "5 3 * * 1-5", "0 6,18 1 */2 *", "0 0 * MAR,APR THU-FRI"]
)
def test_a_cron_expression_stays_as_written(expression: str):
    assert cron_expression("hopeworks", expression) == expression


@pytest.mark.parametrize(
    "schedule",
    [
        "",
        "every day",
        "@once",
        "@continuous",
        "61 * * * *",
        "* * * * * *",
        "R * * * *",
        "H * * * *",
        "0 r(1-5) * * *",
        "*/15,h * * * *",
        "0 0 30 2 *",
        "0 0 31 4 *",
    ],
)
def test_what_never_comes_due_or_is_no_cron_is_refused(schedule: str):
    with pytest.raises(ValueError, match="cron"):
        cron_expression("hopeworks", schedule)

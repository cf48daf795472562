"""What lies in a window, and when reading may stop: one rule for extract and landing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.connectors.manifest import Incremental
from include.connectors.protocol import Window
from include.connectors.windows import is_past, lies_inside
from tests.conformance.rows import connect, make_manifest, make_row, read
from tests.conformance.tiny_server import Reply, Seen, serving

DAY = datetime(2026, 5, 4, tzinfo=UTC)
TICK = timedelta(microseconds=1)
WEEK = Window(DAY, DAY + timedelta(days=7))


@pytest.mark.parametrize(
    ("changed", "inside"),
    [
        (WEEK.since, True),
        (DAY - TICK, False),
        (DAY + timedelta(days=7), False),
        (DAY + timedelta(days=7) - TICK, True),
        (None, True),
    ],
)
def test_the_lower_bound_is_inside_and_the_upper_is_not(changed: datetime | None, inside: bool) -> None:
    assert lies_inside(WEEK, changed) is inside
    assert lies_inside(Window(), changed)


@pytest.mark.parametrize(
    ("order", "changes", "past"),
    [
        ("descending", [DAY - TICK, DAY - timedelta(days=1)], True),
        ("descending", [DAY, DAY - TICK], False),
        ("descending", [None, DAY - TICK], True),
        ("descending", [None, None], False),
        ("descending", [], False),
        ("descending", [DAY + timedelta(days=9)], False),
        ("none", [DAY - TICK], False),
        ("ascending", [DAY - TICK], False),
        ("ascending", [DAY + timedelta(days=7)], True),
        ("ascending", [DAY + timedelta(days=7) - TICK, DAY + timedelta(days=8)], False),
    ],
)
def test_reading_stops_only_where_the_order_promises_that_nothing_follows(
    order: Any, changes: list[datetime | None], past: bool
) -> None:
    incremental = Incremental(cursor_path="u", client_filter=True, order=order)
    assert is_past(incremental, WEEK, changes) is past
    assert not is_past(None, WEEK, changes)


@given(
    st.lists(st.integers(0, 40) | st.none(), max_size=30),
    st.integers(0, 40),
    st.integers(1, 7),
    st.booleans(),
)
def test_stopping_early_loses_nothing_of_the_window(
    hours: list[int | None], since: int, size: int, newest_first: bool
) -> None:
    known = sorted((hour for hour in hours if hour is not None), reverse=newest_first)
    feed: list[datetime | None] = [DAY + timedelta(hours=hour) for hour in known]
    bound = DAY + timedelta(hours=since)
    window = Window(since=bound) if newest_first else Window(until=bound)
    incremental = Incremental(
        cursor_path="u", client_filter=True, order="descending" if newest_first else "ascending"
    )
    read_on: list[datetime | None] = []
    for start in range(0, len(feed), size):
        page = feed[start : start + size]
        read_on += page
        if is_past(incremental, window, page):
            break
    assert [one for one in read_on if lies_inside(window, one)] == [
        one for one in feed if lies_inside(window, one)
    ]


def feed(*days_ago: int | None) -> list[dict[str, Any]]:
    return [
        {"id": f"r{n}", "changed": (DAY - timedelta(days=ago)).isoformat() if ago is not None else None}
        for n, ago in enumerate(days_ago)
    ]


@pytest.mark.parametrize(("order", "asked"), [("descending", 3), ("none", 5)])
def test_a_newest_first_feed_is_read_until_a_whole_page_lies_before_the_window(
    order: str, asked: int
) -> None:
    records = feed(0, 1, 2, None, 4, 4, 6, 7, 8, 9)

    def answer(seen: Seen) -> Reply:
        page = int(seen.query.get("p", ["0"])[0])
        assert "since" not in seen.query
        following = f"/items?p={page + 1}" if page < 4 else None
        return Reply(body={"items": records[page * 2 : page * 2 + 2], "next": following})

    data = make_manifest()
    data["resources"]["offerings"]["incremental"] = {
        "cursor_path": "changed",
        "client_filter": True,
        "order": order,
    }
    with serving(answer) as server:
        row = make_row(server.url, manifest=data)
        pages = read(connect(row), window=Window(since=DAY - timedelta(days=2)))
        assert len(pages) == len(server.seen) == asked

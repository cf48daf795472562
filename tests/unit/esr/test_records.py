"""Slices of split records: every line once, in order, at most so many, whatever the types and sizes."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from include.esr import records


def table(lines: list[int]) -> pa.Table:
    return pa.table({"line": pa.array(lines, pa.int64())})


chunks = st.lists(st.sampled_from(["POS", "POR", "PER"]), min_size=1, max_size=60).map(
    lambda codes: {
        code: table([at + 2 for at, each in enumerate(codes) if each == code]) for code in sorted(set(codes))
    }
)


def lines_of(tables: dict[str, pa.Table]) -> list[int]:
    return sorted(line for each in tables.values() for line in each["line"].to_pylist())


@given(tables=chunks, size=st.integers(1, 70))
def test_slices_hold_every_line_once_in_order_and_no_more_than_asked(tables: dict[str, pa.Table], size: int):
    seen: list[int] = []
    for last, run in records.slices(tables, size):
        mine = lines_of(run)
        assert 0 < len(mine) <= size
        assert mine[-1] == last
        seen += mine
    assert seen == lines_of(tables)


@given(tables=chunks, line=st.integers(0, 70))
def test_what_comes_after_a_line_is_every_later_line(tables: dict[str, pa.Table], line: int):
    assert lines_of(records.after(tables, line)) == [each for each in lines_of(tables) if each > line]


def test_a_slice_keeps_each_type_to_its_own_lines():
    tables = {"POS": table([2, 4, 6]), "POR": table([3, 5])}
    [(last, run), (_, rest)] = records.slices(tables, 3)
    assert (last, run["POS"]["line"].to_pylist(), run["POR"]["line"].to_pylist()) == (4, [2, 4], [3])
    assert lines_of(rest) == [5, 6]


def test_a_chunk_of_which_every_line_is_done_has_no_slices_left():
    tables = {"POS": table([2, 4]), "POR": table([3])}
    assert list(records.slices(records.after(tables, 4), 3)) == []

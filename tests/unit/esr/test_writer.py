"""What we write is what we read: every format goes there and back; what ESR could not read is refused."""

from __future__ import annotations

import io
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.errors import RecordError
from include.esr.formats.frame import is_named, tail_is_footer
from include.esr.formats.layout import ColumnType, load_format
from include.esr.formats.reader import read_chunks
from include.esr.formats.writer import write_file
from include.esr.names import Deanery, FileName, FileType
from tests.unit.esr.reading import REAL

AT = datetime(2026, 3, 4, 14, 30, 5, tzinfo=UTC)
POS = {"type": "POS", "position_id": 7607373, "indicator": "C", "deanery_number": "WES/1"}


def name_of(file_type: FileType) -> FileName:
    return FileName(Deanery.WES, file_type, date(2026, 3, 4), 17)


def write(*records, file_type=FileType.RMF) -> bytes:
    return write_file(name_of(file_type), load_format(file_type), records, at=AT)


def line_of(record, file_type=FileType.RMF) -> str:
    return write(record, file_type=file_type).decode().split("\n")[1]


CONTROLS = [chr(code) for code in range(32) if code != 9] + ["\x7f"]
texts = st.text(
    st.sampled_from('"",,\\\t\' é') | st.characters(exclude_categories=["Cs"], exclude_characters=CONTROLS),
    min_size=1,
    max_size=40,
)
pools = st.fixed_dictionaries(
    {
        ColumnType.TEXT: st.lists(texts, min_size=1, max_size=5),
        ColumnType.INTEGER: st.lists(st.integers(0, 10**18 - 1), min_size=1, max_size=3),
        ColumnType.DIGITS: st.just(["1", "01", "0" * 18]),
        ColumnType.DECIMAL: st.lists(
            st.decimals(-(10**9), 10**9, places=3).map(float), min_size=1, max_size=2
        ),
        ColumnType.DATE: st.lists(st.dates(), min_size=1, max_size=3),
    }
)


@st.composite
def records(draw, fmt):
    """Right records; their columns share a few drawn values, so that wide lines are drawn quickly."""
    pool, made = draw(pools), []
    for code in draw(st.lists(st.sampled_from(sorted(fmt.records)), min_size=1, max_size=5)):
        step = draw(st.integers(0, 10))
        values = [
            _value(column, pool, step * place) for place, column in enumerate(fmt.records[code].columns)
        ]
        made.append({"type": code} | dict(zip(fmt.records[code].names, values, strict=True)))
    return made


def _value(column, pool, choice):
    choices = [*(column.allowed or pool[column.type]), None]
    value = choices[choice % len(choices)]
    if isinstance(value, str):
        value = value[: column.max_length]
    if column.mandatory and not str(value or "").strip():
        return column.allowed[0] if column.allowed else {ColumnType.TEXT: "x"}.get(column.type, choices[0])
    return value


@pytest.mark.parametrize("file_type", FileType)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_every_format_goes_there_and_back(file_type, data):
    fmt, name = load_format(file_type), name_of(file_type)
    written = data.draw(records(fmt))
    body = write(*written, file_type=file_type)
    (chunk,) = read_chunks(io.BytesIO(body), fmt, encoding="utf-8", chunk_bytes=2**20, max_line_bytes=2**20)
    assert chunk.bad == []
    assert chunk.header
    assert is_named(name, chunk.header.stem)
    assert chunk.footer
    assert chunk.footer.count == chunk.data_lines == len(written)
    rows = {row.pop("line"): row for table in chunk.tables.values() for row in table.to_pylist()}
    assert [rows[line] for line in sorted(rows)] == [
        {name: value for name, value in record.items() if name != "type"} for record in written
    ]


def test_a_file_has_frame_dialect_and_line_end_as_the_layout_says():
    assert write(POS | {"position_title": 'the "old" post', "last_update_date": date(2026, 3, 1)}) == (
        b'HDR,"DE_WES_RMF_20260304_00000017",20260304,143005,"WES",17\n'
        b'POS,7607373,20260301,"C",,"the ""old"" post",,,,"WES/1",,,,,,\n'
        b"FTR,1\n"
    )


def test_the_real_line_is_written_as_it_came():
    fmt = load_format(FileType.RMF)
    lines = b"\n".join([write().split(b"\n")[0], REAL.encode(), b"FTR,1"])
    (chunk,) = read_chunks(io.BytesIO(lines), fmt, encoding="utf-8", chunk_bytes=2**20, max_line_bytes=2**16)
    (row,) = chunk.tables["POS"].drop_columns("line").to_pylist()
    assert line_of(row | {"type": "POS"}) == REAL.removesuffix('""')  # empty is nothing or ""


def test_the_same_records_and_moment_give_the_same_bytes():
    assert write(POS, POS) == write(POS, POS)


def test_the_footer_counts_the_records_and_is_seen_as_one():
    body = write(POS, POS, POS)
    assert body.endswith(b"\nFTR,3\n")
    assert tail_is_footer(body[-64:])


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"position_title": "a\nb"}, "control_character"),
        ({"position_title": "a\rb"}, "control_character"),
        ({"position_title": "a\0b"}, "control_character"),
        ({"position_title": "\ud800"}, "bad_encoding"),
        ({"position_title": "x" * 1001}, "too_long"),
        ({"position_title": 5}, "bad_text"),
        ({"deanery_number": "x" * 31}, "too_long"),
        ({"deanery_number": None}, "missing_value"),
        ({"deanery_number": ""}, "missing_value"),
        ({"deanery_number": "  "}, "missing_value"),
        ({"position_id": None}, "missing_value"),
        ({"position_id": "7"}, "bad_integer"),
        ({"position_id": -1}, "bad_integer"),
        ({"position_id": 10**18}, "bad_integer"),
        ({"position_id": True}, "bad_integer"),
        ({"position_id": 1.5}, "bad_integer"),
        ({"last_update_date": "20260301"}, "bad_date"),
        ({"indicator": "X"}, "bad_value"),
        ({"type": "FOO"}, "unknown_record_type"),
        ({"type": "HDR"}, "unknown_record_type"),
        ({"colour": "red"}, "unknown_column"),
    ],
)
def test_what_esr_could_not_read_is_refused(change, code):
    with pytest.raises(RecordError, match="record 2: ") as caught:
        write(POS, POS | change)
    assert caught.value.code == code
    assert caught.value.subject == "DE_WES_RMF_20260304_00000017.DAT"


def test_a_record_without_type_is_refused():
    with pytest.raises(RecordError) as caught:
        write({"position_id": 1})
    assert caught.value.code == "unknown_record_type"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e-12, Decimal("1e20")])
def test_a_number_esr_could_not_read_is_refused(value):
    record = {"type": "ABS", "person_id": 1, "indicator": "C", "absence_id": "2", "absence_duration": value}
    with pytest.raises(RecordError) as caught:
        write(record)
    assert caught.value.code == "bad_decimal"


@pytest.mark.parametrize(
    ("value", "written"), [(8, "8"), (8.0, "8.0"), (0.5, "0.5"), (Decimal("1.50"), "1.50")]
)
def test_a_number_is_written_plainly(value, written):
    record = {"type": "ABS", "person_id": 1, "indicator": "C", "absence_id": "2", "absence_duration": value}
    assert line_of(record) == f'ABS,1,,"C",,,{written},2'


def test_a_refusal_never_shows_the_value():
    with pytest.raises(RecordError) as caught:
        write(POS | {"position_title": "SECRET\n"})
    assert str(caught.value) == (
        "DE_WES_RMF_20260304_00000017.DAT: record 1: POS column 6 (position_title) "
        "holds a newline, NUL or other control character"
    )

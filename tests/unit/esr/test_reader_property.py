"""Whatever a file holds, the reader accounts for every line once, and where chunks end changes nothing."""

from __future__ import annotations

import csv
import re
from collections import Counter
from datetime import date

from hypothesis import given, settings
from hypothesis import strategies as st

from include.esr.formats.frame import BLANK, MAX_TAIL, without_tail
from include.esr.formats.layout import ColumnType
from tests.unit.esr.reading import HEADER, REAL, RMF, chunks_of, joined, read

SOUND_QUOTES = re.compile(r'(?:[^",]*|"(?:[^"]|"")*")(?:,(?:[^",]*|"(?:[^"]|"")*"))*')
SEEN_BEFORE_QUOTES = {"line_too_long", "bad_encoding", "nul_byte", "control_character", "empty_line"}
MAX_LINE = 200
quick = settings(max_examples=60, deadline=None)

ids = st.integers(1, 6).map(str)
days = st.sampled_from(["", "20260304", "20240229", "20260230", "x"])
indicators = st.sampled_from(["C", '"C"', '"D"', "D", "X", ""])
values = st.sampled_from(
    [
        "",
        '""',
        '"a"',
        "a",
        "\\",
        '"\\"',
        '"a,b"',
        '"a""b"',
        '""""',
        '"',
        'a"',
        '"a" b',
        "é",
        '"Ωé"',
        "\t",
        "\0",
        "\x01",
    ]
)


@st.composite
def records(draw):
    """A line of some record type, each of its values right or wrong."""
    record = RMF.records[draw(st.sampled_from(["POS", "POR", "ABS", "PBD"]))]
    by_type = {
        ColumnType.INTEGER: ids,
        ColumnType.DIGITS: ids,
        ColumnType.DATE: days,
        ColumnType.DECIMAL: ids,
        ColumnType.TEXT: values,
    }
    filled = [
        draw(indicators if column.name == "indicator" else by_type[column.type])
        if column.mandatory or draw(st.booleans())
        else ""
        for column in record.columns
    ]
    return ",".join([record.code, *filled])


junk = st.text(st.sampled_from('POSABSHDRFTR,"\\ \ré\0x1\N{REPLACEMENT CHARACTER}'), max_size=30)
long_lines = st.integers(MAX_LINE - 5, 400).map(lambda length: "POS," + "é" * length)
whole_lines = st.sampled_from(
    [REAL, REAL, REAL[:80], HEADER, "FTR,3", "", "ABS", 'ABS,1,,"C",,,,1', "PBD,1,,C,GMC,123,20301231"]
)


@st.composite
def bodies(draw):
    """The bytes of a file and the encoding it is said to have."""
    encoding = draw(st.sampled_from(["utf-8", "cp1252"]))
    lines = draw(
        st.lists(st.one_of(whole_lines, whole_lines, records(), records(), junk, long_lines), max_size=25)
    )
    if draw(st.booleans()):
        lines = [HEADER, *lines, f"FTR,{len(lines)}"]
    ends = draw(st.lists(st.sampled_from(["\n", "\n", "\r\n"]), min_size=len(lines), max_size=len(lines)))
    text = "".join(line + end for line, end in zip(lines, ends, strict=True))
    body = text.encode(encoding, errors="replace")
    if draw(st.booleans()):
        body = body.replace(b"x", draw(st.sampled_from([b"\xff", b"\x81", b"\xc3", b"\xe2\x82"])))
    if draw(st.booleans()):
        body = body.removesuffix(b"\n")
    return draw(st.sampled_from([b"", b"", b"\xef\xbb\xbf"])) + body, encoding


def lines_of(body):
    """Count lines, but for blank ones at the end of a file that has others."""
    content = without_tail(body) if body.strip(BLANK) else body
    return content.count(b"\n") + (not content.endswith(b"\n") and content != b"")


def options(encoding):
    return {"encoding": encoding, "max_line_bytes": MAX_LINE}


@quick
@given(bodies())
def test_every_line_is_header_footer_good_or_bad_and_only_once(file):
    body, encoding = file
    whole = read(body, guard=True, **options(encoding))
    lines = lines_of(body)
    framing = ([1] if whole.header else []) + ([lines] if whole.footer else [])
    seen = Counter(framing) + Counter(whole.good_lines) + Counter(line.line for line in whole.bad)
    assert seen == Counter(range(1, lines + 1))
    assert whole.data_lines == lines - len(framing)
    assert [line.line for line in whole.bad] == sorted(line.line for line in whole.bad)


@quick
@given(bodies(), st.integers(1, 2000))
def test_where_chunks_end_changes_nothing(file, chunk_bytes):
    body, encoding = file
    whole = read(body, guard=True, **options(encoding))
    pieces = read(body, guard=True, chunk_bytes=chunk_bytes, **options(encoding))
    whole.chunks = pieces.chunks
    assert pieces == whole


@quick
@given(bodies(), st.integers(1, 300))
def test_reading_on_from_any_chunk_gives_the_same_rest(file, chunk_bytes):
    body, encoding = file
    chunks = chunks_of(body, chunk_bytes=chunk_bytes, **options(encoding))
    for read_before, chunk in enumerate(chunks, start=1):
        rest = chunks_of(body, chunk_bytes=chunk_bytes, start=chunk.next, **options(encoding))
        assert rest == chunks[read_before:]
        assert chunk.next.number == read_before


@quick
@given(bodies(), st.integers(1, 2000))
def test_a_chunk_is_no_larger_than_asked_unless_it_is_one_line(file, chunk_bytes):
    body, encoding = file
    began = 0
    for chunk in chunks_of(body, chunk_bytes=chunk_bytes, **options(encoding)):
        longest = chunk_bytes + (MAX_TAIL if chunk.next_offset == len(body) else 0)
        assert chunk.next_offset - began <= longest or chunk.next_line - chunk.first_line == 1
        began = chunk.next_offset
    assert began == len(body)


@quick
@given(bodies())
def test_a_good_line_reads_as_the_standard_library_reads_it(file):
    body, encoding = file
    for chunk in chunks_of(body, **options(encoding)):
        for code, table in chunk.tables.items():
            for row in table.to_pylist():
                fields = next(csv.reader([chunk.text_of(row["line"])], strict=True))
                assert fields[0] == code
                assert [_plain(row[name]) for name in RMF.records[code].names] == [
                    _plain(_converted(field, column))
                    for field, column in zip(fields[1:], RMF.records[code].columns, strict=True)
                ]


@quick
@given(bodies())
def test_quotes_are_judged_as_the_rule_says(file):
    body, encoding = file
    for chunk in chunks_of(body, **options(encoding)):
        codes = {line.line: line.code for line in chunk.bad}
        for line in range(chunk.first_line, chunk.next_line):
            if codes.get(line) not in SEEN_BEFORE_QUOTES:
                sound = SOUND_QUOTES.fullmatch(chunk.text_of(line)) is not None
                assert sound == (codes.get(line) != "bad_quotes")


@quick
@given(st.binary(max_size=600), st.integers(1, 700), st.sampled_from(["utf-8", "cp1252"]))
def test_bytes_of_any_kind_are_read_without_a_crash(body, chunk_bytes, encoding):
    whole = joined(chunks_of(body, chunk_bytes=chunk_bytes, **options(encoding)))
    # A few random bytes can be a sound footer; a header or a record is too long to come up by chance.
    assert len(whole.bad) + (whole.footer is not None) == lines_of(body)


def _converted(text, column):
    if not text:
        return None
    match column.type:
        case ColumnType.INTEGER:
            return int(text)
        case ColumnType.DECIMAL:
            return float(text)
        case ColumnType.DATE:
            return date(int(text[:4]), int(text[4:6]), int(text[6:]))
    return text


def _plain(value):
    return value if value is None else str(value)

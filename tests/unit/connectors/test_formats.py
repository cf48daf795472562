"""CSV, JSON lines, ZIP and gzip: what becomes records, what is set aside, what is refused."""

from __future__ import annotations

import csv
import gzip
import io
import time
import tracemalloc
import zipfile
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.connectors.answer import NotJsonError, parse_body
from include.connectors.formats import MAX_MEMBERS
from include.connectors.manifest_format import ResponseFormat
from include.errors import ConfigurationError, TransientError

CSV = ResponseFormat(format="csv")
LIMIT = 4 * 2**20


def read(body: bytes | str, expects: ResponseFormat = CSV, content_type: str = "", **words: Any) -> Any:
    body = body.encode() if isinstance(body, str) else body
    return parse_body(
        body, content_type, words.pop("charset", None), expects, limit=words.pop("limit", LIMIT)
    )


def refusal(
    body: bytes | str, expects: ResponseFormat = CSV, content_type: str = "", **words: Any
) -> NotJsonError:
    with pytest.raises(NotJsonError) as caught:
        read(body, expects, content_type, **words)
    return caught.value


def zipped(
    files: dict[str, bytes | str] | list[tuple[str, bytes | str]], method: int = zipfile.ZIP_DEFLATED
) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, content in files.items() if isinstance(files, dict) else files:
            archive.writestr(name, content)
    return packed.getvalue()


# --- CSV ---

ROWS = [{"id": "1", "name": "Anna"}, {"id": "2", "name": "Bo"}]


@pytest.mark.parametrize(
    "body",
    [
        "id,name\n1,Anna\n2,Bo\n",
        "id,name\r\n1,Anna\r\n2,Bo\r\n",
        "id,name\r1,Anna\r2,Bo\r",
        "id,name\n1,Anna\n2,Bo",
        "\ufeffid,name\n1,Anna\n2,Bo\n",
        ' id , name \n1,Anna\n"2","Bo"\n',
        "\n\nid,name\n\n1,Anna\n\n2,Bo\n\n",
        "id,name,\n1,Anna,\n2,Bo,x\n",
    ],
    ids=[
        "unix",
        "windows",
        "old-mac",
        "no-last-line-end",
        "mark",
        "spaces-and-quotes",
        "blank-lines",
        "nameless-column",
    ],
)
def test_rows_become_objects_by_the_names_of_the_first_row(body: str) -> None:
    assert read(body) == ROWS


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ('"a,b"', "a,b"),
        ('"a\nb"', "a\nb"),
        ('"a\r\nb"', "a\r\nb"),
        ('"say ""hi"""', 'say "hi"'),
        ('""', ""),
        ("", ""),
        ("5'10", "5'10"),
        ("a\\", "a\\"),
    ],
)
def test_a_quoted_field_keeps_delimiters_quotes_and_line_ends(field: str, value: str) -> None:
    assert read(f"id,name\r\n1,{field}\r\n2,Bo\r\n") == [{"id": "1", "name": value}, ROWS[1]]


def test_delimiter_quote_skipped_rows_and_names_are_the_manifests() -> None:
    form = ResponseFormat(format="csv", delimiter=";", quote="'", skip_rows=2)
    assert read("Report of today\n\nid;name\n1;'An;na'\n", form) == [{"id": "1", "name": "An;na"}]
    named = ResponseFormat(format="csv", columns=("id", "name"))
    assert read("1,Anna\n2,Bo\n", named) == ROWS
    assert read("", named) == []


def test_a_ragged_row_is_kept_for_itself_and_the_others_go_on() -> None:
    assert read("id,name\n1,Anna\n7\n8,x,y\n2,Bo\n") == [ROWS[0], ["7"], ["8", "x", "y"], ROWS[1]]


def test_a_row_with_an_odd_quote_is_kept_as_text_and_the_others_go_on() -> None:
    assert read('id,name\n1,Anna\n3,"An"na\n2,Bo\n') == [ROWS[0], '3,"An"na', ROWS[1]]


@pytest.mark.parametrize(
    "body", ["id,name\n1,Anna\n2", 'id,name\n1,Anna\n2,"B', 'id,name\n1,"Anna\n2,Bo\n', ""]
)
def test_a_cut_off_file_is_worth_another_try(body: str) -> None:
    error = refusal(body)
    assert error.fault == "truncated"
    assert isinstance(error.as_failure("GET x", "acme"), TransientError)


@pytest.mark.parametrize(
    "body",
    [
        '{"error": {"code": "internal", "message": "Try later"}}',
        '[{"id": 1}, {"id": 2}]',
        "Service unavailable",
        "Service unavailable, try later\n"[:19] + "\nagain\n",
        "id;name\n1;Anna\n",
        "id,id\n1,2\n",
        ",,\n1,2,3\n",
    ],
    ids=["json-object", "json-list", "text", "lines", "other-delimiter", "doubled-name", "no-name"],
)
def test_what_is_no_table_is_never_an_empty_one(body: str) -> None:
    error = refusal(body)
    assert error.fault == "malformed"
    assert isinstance(error.as_failure("GET x", "acme"), ConfigurationError)
    assert "Anna" not in str(error)


@pytest.mark.parametrize(
    "page",
    [
        "<!DOCTYPE html><html>",
        "  \n<html lang='en'>",
        "<?xml version='1.0'?><a/>",
        "\ufeff<HTML>",
        "<!-- x --><p>",
    ],
)
@pytest.mark.parametrize("archive", ["none", "zip", "gzip"])
def test_a_web_page_is_told_as_one(page: str, archive: Any) -> None:
    error = refusal(page, ResponseFormat(format="csv", archive=archive), "text/html")
    assert error.fault == "html"
    assert "an HTML page instead of CSV" in str(error)


# --- charsets ---

NAMES = "id,name\n1,Zoë's €5\n"


@pytest.mark.parametrize(
    ("encoding", "content_type", "charset", "sent"),
    [
        ("utf-8", "", None, "utf-8"),
        ("utf-8", "", None, "utf-8-sig"),
        ("utf-8", "", None, "utf-16"),
        ("cp1252", "", None, "cp1252"),
        ("cp1252", "", None, "utf-8-sig"),
        ("utf-8", "text/csv; charset=cp1252", None, "cp1252"),
        ("utf-8", "", "cp1252", "cp1252"),
        ("utf-8", "text/csv; charset=klingon", None, "utf-8"),
    ],
)
def test_a_right_declaration_anywhere_is_enough(
    encoding: str, content_type: str, charset: str | None, sent: str
) -> None:
    form = ResponseFormat(format="csv", encoding=encoding)
    assert read(NAMES.encode(sent), form, content_type, charset=charset) == [{"id": "1", "name": "Zoë's €5"}]


@pytest.mark.parametrize("sent", ["cp1252", "utf-16-le", "utf-16-be"])
def test_text_in_another_charset_than_declared_is_refused(sent: str) -> None:
    error = refusal(NAMES.encode(sent))
    assert error.fault == "charset"
    assert "response.encoding" in str(error)


def test_a_wide_charset_does_not_pass_for_a_narrow_one() -> None:
    assert (
        refusal(NAMES.encode("utf-16-le"), ResponseFormat(format="csv", encoding="cp1252")).fault == "charset"
    )


# --- JSON lines ---

LINES = ResponseFormat(format="jsonl")


def test_json_lines_are_one_value_each_and_blank_lines_none() -> None:
    assert read('{"id": 1}\r\n\n{"id": 2}\n', LINES) == [{"id": 1}, {"id": 2}]
    assert read("", LINES) == []


def test_a_bad_line_is_kept_as_text_and_the_others_go_on() -> None:
    assert read('{"id": 1}\n{"id":\n{"id": 2}\n', LINES) == [{"id": 1}, '{"id":', {"id": 2}]


@pytest.mark.parametrize(
    ("body", "fault"),
    [('{"id": 1}\n{"id": 2', "truncated"), ("busy\ncome back\n", "malformed"), ("<html>", "html")],
)
def test_what_is_no_json_lines_is_told(body: str, fault: str) -> None:
    assert refusal(body, LINES).fault == fault


# --- archives ---

ZIP = ResponseFormat(format="csv", archive="zip", member="learners-*.csv")
GZIP = ResponseFormat(format="csv", archive="gzip")
TABLE = "id,name\n1,Anna\n2,Bo\n"


@pytest.mark.parametrize(
    "files",
    [
        {"learners-1.csv": TABLE},
        {"out/learners-1.csv": TABLE, "out/": "", "readme.txt": "hello"},
        {"../../etc/learners-1.csv": TABLE},
        {"learners-1.csv": TABLE, "__MACOSX/._learners-1.csv": "x", ".learners-0.csv": "x"},
    ],
    ids=["one", "folders", "a-path-that-climbs", "mac"],
)
def test_the_one_member_that_matches_is_read(files: dict[str, bytes | str]) -> None:
    assert read(zipped(files), ZIP) == ROWS
    assert read(zipped(files, zipfile.ZIP_STORED), ZIP) == ROWS


def test_json_may_be_packed_too() -> None:
    body = zipped({"x.json": '{"data": [1]}'})
    assert read(body, ResponseFormat(archive="zip")) == {"data": [1]}
    assert read(gzip.compress(b'{"data": [1]}'), ResponseFormat(archive="gzip")) == {"data": [1]}


@pytest.mark.parametrize(
    "files",
    [
        {"readme.txt": "hello"},
        {"learners-1.csv": TABLE, "learners-2.csv": TABLE},
        [("learners-1.csv", TABLE), ("learners-1.csv", "id,name\n")],
        {},
        {"learners-1.csv": zipped({"a.csv": TABLE})},
        {"learners-1.csv": gzip.compress(TABLE.encode())},
    ],
    ids=["none-matches", "two-match", "one-name-twice", "empty", "zip-in-zip", "gzip-in-zip"],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_archive_without_exactly_one_plain_member_is_refused(files: Any) -> None:
    error = refusal(zipped(files), ZIP)
    assert error.fault == "archive"
    assert isinstance(error.as_failure("GET x", "acme"), ConfigurationError)


def test_an_encrypted_member_is_refused() -> None:
    body = bytearray(zipped({"learners-1.csv": TABLE}))
    directory = body.index(b"PK\x01\x02")
    body[6] |= 1
    body[directory + 8] |= 1
    assert "encrypted" in str(refusal(bytes(body), ZIP))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_ways_of_packing_are_refused(method: int) -> None:
    assert refusal(zipped({"learners-1.csv": TABLE}, method), ZIP).fault == "archive"


def test_an_archive_of_very_many_files_is_refused_before_its_directory_is_read() -> None:
    body = zipped({f"{number}.txt": "" for number in range(MAX_MEMBERS + 1)}, zipfile.ZIP_STORED)
    assert "files; refused" in str(refusal(body, ZIP))


@pytest.mark.parametrize("packed", ["zip", "gzip"])
def test_what_unpacks_to_more_than_a_page_is_refused_without_unpacking_it_all(packed: str) -> None:
    content = b"id,name\n" + b"\0" * (32 * 2**20)
    body = zipped({"learners-1.csv": content}) if packed == "zip" else gzip.compress(content)
    assert len(body) < 2**16
    del content
    tracemalloc.start()
    try:
        error = refusal(body, ZIP if packed == "zip" else GZIP, limit=2**20)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert error.fault == "archive"
    assert "1048576 bytes" in str(error)
    assert peak < 4 * 2**20


def test_what_unpacks_to_very_many_times_its_size_is_refused_below_the_limit_too() -> None:
    body = gzip.compress(b"id,name\n" + b"\0" * (2 * 2**20))
    assert "times its size" in str(refusal(body, GZIP))


def test_a_size_the_archive_lies_about_is_not_believed() -> None:
    body = bytearray(zipped({"learners-1.csv": b"id,name\n" + b"1,a\n" * 700_000}))
    directory = body.index(b"PK\x01\x02")
    body[directory + 24 : directory + 28] = (10).to_bytes(4, "little")
    assert refusal(bytes(body), ZIP, limit=2**20).fault in ("archive", "truncated")


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("packed", ["zip", "gzip"])
def test_a_cut_off_archive_is_worth_another_try(packed: str, keep: float) -> None:
    table = "id,name\n" + "".join(f"{number},Name {number * 7919 % 1000}\n" for number in range(500))
    body = zipped({"learners-1.csv": table}) if packed == "zip" else gzip.compress(table.encode())
    error = refusal(body[: int(len(body) * keep)], ZIP if packed == "zip" else GZIP)
    assert error.fault == "truncated"


def test_a_damaged_archive_is_worth_another_try() -> None:
    body = bytearray(zipped({"learners-1.csv": TABLE}, zipfile.ZIP_STORED))
    body[body.index(b"Anna")] ^= 1
    assert refusal(bytes(body), ZIP).fault == "truncated"


def test_several_gzip_files_in_a_row_are_one() -> None:
    assert read(gzip.compress(b"id,name\n1,Anna\n") + gzip.compress(b"2,Bo\n"), GZIP) == ROWS


@pytest.mark.parametrize(("body", "expects"), [(TABLE, ZIP), (TABLE, GZIP), ('{"error": 1}', ZIP)])
def test_what_is_no_archive_is_told(body: str, expects: ResponseFormat) -> None:
    assert refusal(body, expects).fault == "archive"


def test_plain_json_is_read_as_before() -> None:
    assert parse_body(b'{"a": 1}', "", None, ResponseFormat()) == {"a": 1}


# --- any table, any bytes ---

CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(CELL, min_size=3, max_size=3), max_size=6), st.sampled_from(",;\t|"), st.booleans())
def test_any_table_that_python_writes_is_read_back(
    rows: list[list[str]], delimiter: str, packed: bool
) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows([["id", "b", "c"], *rows])
    form = ResponseFormat(format="csv", delimiter=delimiter, archive="zip" if packed else "none")
    body = text.getvalue().encode()
    found = read(zipped({"a.csv": body}) if packed else body, form)
    assert found == [dict(zip(("id", "b", "c"), row, strict=True)) for row in rows]


@settings(deadline=None, max_examples=150)
@given(
    st.binary(max_size=120)
    | st.binary(max_size=40).map(lambda junk: b"PK\x03\x04" + junk)
    | st.binary(max_size=40).map(lambda junk: b"\x1f\x8b\x08" + junk)
    | st.binary(max_size=30).map(lambda junk: b"id,name\n" + junk),
    st.sampled_from(["json", "jsonl", "csv"]),
    st.sampled_from(["none", "zip", "gzip"]),
)
def test_any_bytes_are_records_or_one_error(body: bytes, form: Any, archive: Any) -> None:
    try:
        read(body, ResponseFormat(format=form, archive=archive))
    except NotJsonError as error:
        assert error.fault in ("truncated", "html", "charset", "malformed", "archive")  # noqa: PT017 - or records


@pytest.mark.parametrize(
    ("expects", "head", "line"),
    [(CSV, "a,b\n", ",\n"), (ResponseFormat(format="jsonl"), "", "1\n")],
    ids=["csv", "jsonl"],
)
def test_a_page_of_more_records_than_one_may_hold_is_refused_while_it_is_read(
    monkeypatch: pytest.MonkeyPatch, expects: ResponseFormat, head: str, line: str
) -> None:
    monkeypatch.setattr("include.connectors.formats.MAX_RECORDS", 1_000)
    assert len(read(head + line * 1_000, expects)) == 1_000
    body = (head + line * 1_000_000).encode()
    tracemalloc.start()
    try:
        assert "more than 1000 records" in str(refusal(body, expects))
        assert tracemalloc.get_traced_memory()[1] < 20 * len(body)
    finally:
        tracemalloc.stop()


def test_a_large_table_is_read_in_the_time_of_a_page() -> None:
    body = b"id,a,b,c\n" + b"12345,some text,2026-01-01,99\n" * 200_000
    began = time.process_time()
    assert len(read(body, limit=2**24)) == 200_000
    assert time.process_time() - began < 5

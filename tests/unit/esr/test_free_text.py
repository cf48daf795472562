"""ESR's own words in APC and DCC may hold anything: the columns around them are right, or the line is bad."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from include.esr.formats.layout import FileFormat, RecordFormat, load_format
from include.esr.formats.reader import read_chunks
from include.esr.formats.writer import write_file
from include.esr.names import FileName, FileType
from include.npo.context import utc_now
from tests.unit.esr.reading import Whole, joined

FORMATS = {FileType.APC: load_format(FileType.APC), FileType.DCC: load_format(FileType.DCC)}
POST = "NTH/RTD01/080/STR/005"
APC = f'APC,7,"{POST}",SUCCESS,WARNING,%s,"A,1",,7607373,"34611829"'
AROUND_APC = {
    "esr_vacancy_id": 7,
    "deanery_number": POST,
    "load_status_code": "SUCCESS",
    "message_type": "WARNING",
    "applicant_number": "A,1",
    "assignment_id": None,
    "position_id": 7607373,
    "position_number": "34611829",
}
DCC = f'DCC,3,"{POST}",7607373,FAIL,ERROR,%s'
AROUND_DCC = {
    "ordinal": 3,
    "deanery_post_number": POST,
    "position_id": 7607373,
    "load_status_code": "FAIL",
    "message_type": "ERROR",
}
KINDS = {FileType.APC: (APC, AROUND_APC), FileType.DCC: (DCC, AROUND_DCC)}
BOTH = pytest.mark.parametrize("kind", KINDS)
quick = settings(max_examples=150, deadline=None)


def read(body: str, kind: FileType, *, chunk_bytes: int = 2**20) -> Whole:
    stream = io.BytesIO(body.encode())
    chunks = read_chunks(
        stream, FORMATS[kind], encoding="utf-8", chunk_bytes=chunk_bytes, max_line_bytes=64 * 1024
    )
    return joined(chunks)


def only(whole: Whole, kind: FileType) -> dict[str, Any]:
    """Return the one good row, without its line."""
    assert whole.reasons == []
    [row] = whole.rows[kind.value]
    del row["line"]
    return row


TEXTS = {
    "Doha, Qatar": "Doha, Qatar",
    "Country: Doha, Qatar, is not known, at all": "Country: Doha, Qatar, is not known, at all",
    "": None,
    '""': None,
    '"Doha, Qatar"': "Doha, Qatar",
    '"the ""Old"" Road"': 'the "Old" Road',
    'the "Old" Road': 'the "Old" Road',
    'the "Old, Road': 'the "Old, Road',
    '"Old" Road, "New" Road': '"Old" Road, "New" Road',
    '"': '"',
    ",": ",",
    '","': ",",
    '",': '",',
    ',"': ',"',
    ',,"",,': ',,"",,',
    '"a","b"': '"a","b"',
    '1,2,"3,': '1,2,"3,',
    "Medical and Dental\\": "Medical and Dental\\",
    "SUCCESS,WARNING,no,A2,5,6,P": "SUCCESS,WARNING,no,A2,5,6,P",
}


@BOTH
@pytest.mark.parametrize(("written", "text"), TEXTS.items())
def test_a_message_may_hold_commas_and_quotes_as_they_came(
    kind: FileType, written: str, text: str | None
) -> None:
    line, around = KINDS[kind]
    assert only(read(line % written + "\n", kind), kind) == around | {"message_text": text}


@BOTH
@quick
@given(text=st.text(st.sampled_from(',,""ab \\é|'), max_size=30))
@example(text='",A2,,5,"P')
@example(text='"x","A2",,5,"P"')
def test_whatever_a_message_holds_the_columns_around_it_are_right(kind: FileType, text: str) -> None:
    line, around = KINDS[kind]
    row = only(read(line % text + "\n", kind), kind)
    said = row.pop("message_text")
    assert row == around
    assert (said or "") in (text, _unquoted(text))


def _unquoted(text: str) -> str:
    return text[1:-1].replace('""', '"')


@BOTH
@quick
@given(texts=st.lists(st.text(st.sampled_from(',"ab'), max_size=8), max_size=8), size=st.integers(1, 200))
def test_where_chunks_end_changes_nothing(kind: FileType, texts: list[str], size: int) -> None:
    body = "".join(KINDS[kind][0] % text + "\n" for text in texts)
    whole, pieces = read(body, kind), read(body, kind, chunk_bytes=size)
    whole.chunks = pieces.chunks
    assert pieces == whole


BAD = {
    "too few columns": (f"APC,7,{POST},SUCCESS,WARNING,Doha", "too_few_columns"),
    "too few for all its commas": (f"APC,7,{POST},SUCCESS,WARNING,Doha, Qatar,A1,5,P", "bad_integer"),
    "no ordinal": (f"APC,,{POST},SUCCESS,WARNING,Doha, Qatar,A1,,5,P", "missing_value"),
    "no such verdict": (f"APC,7,{POST},MAYBE,WARNING,Doha, Qatar,A1,,5,P", "bad_value"),
    "a position that is no number": (f"APC,7,{POST},SUCCESS,WARNING,Doha, Qatar,A1,,x,P", "bad_integer"),
    "a stray quote before the text": (f'APC,7,{POST}",SUCCESS,WARNING,Doha,A1,,5,P', "bad_quotes"),
    "a stray quote after the text": (f'APC,7,{POST},SUCCESS,WARNING,Doha,A1,,5,P"1', "bad_quotes"),
    "a newline in the text": (f'APC,7,{POST},SUCCESS,WARNING,"Doha', "bad_quotes"),
    "a text beyond all measure": (APC % ("a," * 2_001), "too_long"),
}


@pytest.mark.parametrize(("line", "code"), BAD.values(), ids=BAD)
def test_a_line_that_cannot_be_put_right_is_set_aside_as_it_came_and_the_others_are_read(
    line: str, code: str
) -> None:
    whole = read("".join(each + "\n" for each in (APC % "Doha, Qatar", line, APC % "ok")), FileType.APC)
    assert whole.reasons == [(2, "APC", code)]
    assert whole.bad[0].text == line[:4096]
    assert [row["line"] for row in whole.rows["APC"]] == [1, 3]


def test_a_line_too_bad_to_be_text_is_not_mended() -> None:
    whole = read(APC % "Doha, \0Qatar" + "\n", FileType.APC)
    assert whole.reasons == [(1, "APC", "nul_byte")]


@BOTH
@given(text=st.text(st.sampled_from(',"ab é'), min_size=1, max_size=20).filter(str.strip))
@quick
def test_what_our_writer_writes_comes_back(kind: FileType, text: str) -> None:
    name = FileName.parse(f"DE_NTH_{kind}_20260304_00000017.DAT")
    row = KINDS[kind][1] | {"message_text": text}
    body = write_file(name, FORMATS[kind], [row | {"type": kind.value}], at=utc_now()).decode()
    assert only(read(body, kind), kind) == row


@pytest.mark.parametrize(
    "columns",
    [
        [{"name": "a", "free_text": True}, {"name": "b", "free_text": True}],
        [{"name": "a", "type": "integer", "free_text": True}],
        [{"name": "a", "allowed": ["x"], "free_text": True}],
    ],
)
def test_a_layout_has_one_free_text_at_most_and_that_may_be_anything(columns: list[dict[str, Any]]) -> None:
    with pytest.raises(ValidationError):
        RecordFormat.model_validate({"code": "ABC", "columns": columns})


def test_only_answers_of_esr_have_a_free_text() -> None:
    def has(fmt: FileFormat) -> bool:
        return any(record.free_text is not None for record in fmt.records.values())

    assert {kind for kind in FileType if has(load_format(kind))} == {FileType.APC, FileType.DCC}

"""Rules a line must keep, one reason each; what is hard to read but right stays right."""

from __future__ import annotations

from datetime import date, time

import pyarrow as pa
import pytest

from include.esr.formats.reader import DuplicateGuard, Footer, Header
from tests.unit.esr.reading import HEADER, REAL, RMF, chunks_of, framed, joined, read

ABS = 'ABS,7,20260301,"C",20260302,20260303,1.5,88'
POR = 'POR,9,,"C","1","Title","KSS/1","KSS","Host Employer","RBD","096","Trust","Site"'


def pos(**values: str) -> str:
    """Return a right POS line, some of its columns as given."""
    columns = {"position_id": "1", "indicator": '"C"', "deanery_number": '"WES/1"'} | values
    return ",".join(["POS", *(columns.get(name, "") for name in RMF.records["POS"].names)])


def test_a_trailing_backslash_stays_in_the_field():
    (row,) = read(framed(REAL)).rows["POS"]
    assert len(row) == 16  # the line's number and 15 columns after the record type
    assert row["position_title"] == "Medical and Dental\\"
    assert row["occupation_code"] == "Specialty Registrar (Cornerways)"
    assert row["deanery_number"] == "WES/J82150/800/GPST/003"
    assert row["grade_desc"] == "Specialty Registrar ST2/ SpR2"


def test_values_come_in_their_type_and_empty_ones_are_null():
    whole = read(framed(ABS, POR, REAL))
    assert whole.rows["ABS"] == [
        {
            "line": 2,
            "person_id": 7,
            "last_update_date": date(2026, 3, 1),
            "indicator": "C",
            "absence_start": date(2026, 3, 2),
            "absence_end": date(2026, 3, 3),
            "absence_duration": 1.5,
            "absence_id": "88",
        }
    ]
    assert whole.rows["POR"][0]["employing_org_vpd_code"] == "096"
    assert whole.rows["POS"][0]["last_update_date"] is None
    assert whole.rows["POS"][0]["workplace_org"] is None  # ""


def test_columns_have_the_types_promised_even_when_all_are_empty():
    (chunk,) = chunks_of(framed("ABS,7,,C,,,,88").encode())
    assert {field.name: str(field.type) for field in chunk.tables["ABS"].schema} == {
        "line": "int64",
        "person_id": "int64",
        "last_update_date": "date32[day]",
        "indicator": "string",
        "absence_start": "date32[day]",
        "absence_end": "date32[day]",
        "absence_duration": "double",
        "absence_id": "string",
    }


def test_header_and_footer_are_read():
    whole = read(framed(ABS))
    assert whole.header == Header("DE_WES_RMF_20260304_00000017", date(2026, 3, 4), time(14, 30), "WES", 17)
    assert whole.footer == Footer(1)
    assert whole.data_lines == 1


@pytest.mark.parametrize(
    ("value", "read_as"),
    [
        ('"a ""quoted"" word"', 'a "quoted" word'),
        ('""""', '"'),
        ('"""a"""', '"a"'),
        ('"a,b"', "a,b"),
        ('","', ","),
        ("\\", "\\"),
        ('"\\"', "\\"),
        ('"\\\\"', "\\\\"),
        ("plain", "plain"),
        ('""', None),
        ("", None),
        ('"Zoë Ω 🩺"', "Zoë Ω 🩺"),
        ('"a\tb"', "a\tb"),
        ('" padded "', " padded "),
        ('"NULL"', "NULL"),
        ("NA", "NA"),
        ("N/A", "N/A"),
    ],
)
def test_a_hard_value_is_read_as_it_is(value, read_as):
    line = pos(position_title=value, workplace_org=value)
    whole = read(framed(line, line.replace("POS,1", "POS,2")))
    assert [row["position_title"] for row in whole.rows["POS"]] == [read_as, read_as]
    assert [row["workplace_org"] for row in whole.rows["POS"]] == [read_as, read_as]
    assert whole.bad == []


BAD = [
    ("FOO,1", "", "unknown_record_type"),
    ("POSX,1", "", "unknown_record_type"),
    ("PO", "", "unknown_record_type"),
    (" " + ABS, "", "unknown_record_type"),
    ('"ABS",7', "", "unknown_record_type"),
    ("abs,7", "", "unknown_record_type"),
    ("   ", "", "unknown_record_type"),
    ("", "", "empty_line"),
    ("ABS", "ABS", "too_few_columns"),
    ("ABS,7,,C", "ABS", "too_few_columns"),
    (ABS + ",", "ABS", "too_many_columns"),
    (REAL.replace("General Practice", 'General", "Practice'), "POS", "bad_quotes"),
    (REAL + '"', "POS", "bad_quotes"),
    (REAL.replace('"C"', '"C'), "POS", "bad_quotes"),
    (pos(position_title='a"b'), "POS", "bad_quotes"),
    (pos(position_title='a"b"'), "POS", "bad_quotes"),
    (pos(position_title='"a"b'), "POS", "bad_quotes"),
    (pos(position_title='"""'), "POS", "bad_quotes"),
    (pos(position_title='"a" '), "POS", "bad_quotes"),
    (pos(position_title='"a"\\"'), "POS", "bad_quotes"),
    (pos(position_title="a\0b"), "POS", "nul_byte"),
    (pos(position_title="a\x07b"), "POS", "control_character"),
    (pos(position_title="a\x7fb"), "POS", "control_character"),
    (pos(position_title="a\rb"), "POS", "control_character"),
    (pos(position_title="x" * 70_000), "POS", "line_too_long"),
    (pos(position_title="x" * 1001), "POS", "too_long"),
    (pos(deanery_number="X" * 31), "POS", "too_long"),
    (pos(deanery_number='"É' + "X" * 30 + '"'), "POS", "too_long"),
    (pos(deanery_number=""), "POS", "missing_value"),
    (pos(deanery_number='""'), "POS", "missing_value"),
    (pos(deanery_number='"  "'), "POS", "missing_value"),
    (pos(position_id=""), "POS", "missing_value"),
    (pos(indicator=""), "POS", "missing_value"),
    (pos(indicator="X"), "POS", "bad_value"),
    (pos(indicator="c"), "POS", "bad_value"),
    (pos(indicator='" C"'), "POS", "bad_value"),
    (POR.replace("Host Employer", "Guest"), "POR", "bad_value"),
    (pos(position_id="A12"), "POS", "bad_integer"),
    (pos(position_id="0x1F"), "POS", "bad_integer"),
    (pos(position_id="-5"), "POS", "bad_integer"),
    (pos(position_id="1.0"), "POS", "bad_integer"),
    (pos(position_id=" 1"), "POS", "bad_integer"),
    (pos(position_id="٣"), "POS", "bad_integer"),
    (pos(position_id="9" * 19), "POS", "bad_integer"),
    (pos(last_update_date="20260230"), "POS", "bad_date"),
    (pos(last_update_date="20261301"), "POS", "bad_date"),
    (pos(last_update_date="20260001"), "POS", "bad_date"),
    (pos(last_update_date="20260100"), "POS", "bad_date"),
    (pos(last_update_date="00000101"), "POS", "bad_date"),
    (pos(last_update_date="2026-1-1"), "POS", "bad_date"),
    (pos(last_update_date="2026010"), "POS", "bad_date"),
    (pos(last_update_date="20230229"), "POS", "bad_date"),
    (ABS.replace("1.5", "x"), "ABS", "bad_decimal"),
    (ABS.replace("1.5", "nan"), "ABS", "bad_decimal"),
    (ABS.replace("1.5", "1e5"), "ABS", "bad_decimal"),
    (ABS.replace("1.5", '"1,5"'), "ABS", "bad_decimal"),
    (ABS.replace(",88", ",8X"), "ABS", "bad_integer"),
    (ABS.replace(",88", "," + "9" * 19), "ABS", "bad_integer"),
    (HEADER, "HDR", "misplaced_header"),
    ("FTR,1", "FTR", "misplaced_footer"),
]


@pytest.mark.parametrize(("line", "record_type", "code"), BAD, ids=[f"{b[2]}-{i}" for i, b in enumerate(BAD)])
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_a_bad_line_is_set_aside_with_one_reason_and_its_neighbours_go_on(line, record_type, code, end):
    whole = read(framed(REAL, line, ABS, end=end))
    assert whole.reasons == [(3, record_type, code)]
    assert whole.good_lines == [2, 4]
    assert whole.data_lines == 3
    assert whole.bad[0].text == line[:4096]


@pytest.mark.parametrize("value", ["20240229", "00010101", "47121231", "99991231"])
def test_a_day_the_calendar_has_is_right(value):
    (row,) = read(framed(pos(last_update_date=value))).rows["POS"]
    assert row["last_update_date"] == date(int(value[:4]), int(value[4:6]), int(value[6:]))


def test_a_text_at_its_limit_is_right():
    (row,) = read(framed(pos(deanery_number='"' + "É" * 30 + '"'))).rows["POS"]
    assert row["deanery_number"] == "É" * 30


def test_the_reason_names_the_column_and_never_the_value():
    (bad,) = read(framed(pos(position_id="SECRET"))).bad
    assert bad.message == "column 2 (position_id) is not a whole number of at most 18 digits"
    assert "SECRET" not in repr(bad)
    (chunk,) = chunks_of(framed(REAL).encode())
    assert "Cornerways" not in repr(chunk)


def test_a_line_with_several_faults_is_set_aside_once():
    whole = read(framed(pos(position_id="x", indicator="Q", deanery_number="", last_update_date="1")))
    assert whole.reasons == [(2, "POS", "bad_integer")]


def test_an_embedded_newline_costs_both_halves_and_nothing_else():
    whole = read(framed(REAL, REAL.replace("Dental", "Dental\nand"), ABS))
    assert whole.reasons == [(3, "POS", "bad_quotes"), (4, "", "bad_quotes")]
    assert whole.good_lines == [2, 5]


def test_a_stray_quote_never_swallows_the_lines_after_it():
    whole = read(framed(pos(position_title='"open'), REAL, pos(position_title='open"'), ABS))
    assert [line for line, _, code in whole.reasons if code == "bad_quotes"] == [2, 4]
    assert whole.good_lines == [3, 5]


def test_all_lines_of_a_type_may_be_bad():
    whole = read(framed("ABS", "ABS,1", "ABS,2,3"))
    assert whole.rows == {}
    assert [code for *_, code in whole.reasons] == ["too_few_columns"] * 3


@pytest.mark.parametrize(
    ("line", "record_type", "code"),
    [
        ('HDR,"DE_WES_RMF_20260304_00000017",20260304,143000,"WES",x', "HDR", "bad_integer"),
        ('HDR,"DE_WES_RMF_20260304_00000017",20260304,246000,"WES",1', "HDR", "bad_time"),
        ('HDR,"DE_WES_RMF_20260304_00000017",20260304,"WES",1', "HDR", "too_few_columns"),
    ],
)
def test_an_unsound_header_is_a_bad_line(line, record_type, code):
    whole = read(f"{line}\n{ABS}\nFTR,1\n")
    assert whole.header is None
    assert whole.reasons == [(1, record_type, code)]


def test_an_unsound_footer_is_a_bad_line():
    whole = read(f"{HEADER}\n{ABS}\nFTR,many\n")
    assert whole.footer is None
    assert whole.reasons == [(3, "FTR", "bad_integer")]


class TestWholeFiles:
    def test_an_empty_file_has_no_chunk(self):
        assert chunks_of(b"") == []

    def test_only_a_byte_order_mark_is_an_empty_line(self):
        assert read(b"\xef\xbb\xbf").reasons == [(1, "", "empty_line")]

    def test_a_byte_order_mark_at_the_start_is_left_out(self):
        whole = read(b"\xef\xbb\xbf" + framed(REAL).encode())
        assert whole.header is not None
        assert whole.bad == []

    @pytest.mark.parametrize("tail", ["\n", "\r\n" * 2000, "\x1a", "\n\x1a\n"])
    @pytest.mark.parametrize("chunk_bytes", [1, 64, len(framed(REAL, ABS)), 2**20])
    def test_the_footer_is_the_last_line_that_is_not_blank(self, tail, chunk_bytes):
        whole = read(framed(REAL, ABS) + tail, chunk_bytes=chunk_bytes)
        assert (whole.footer, whole.bad, whole.data_lines) == (Footer(2), [], 2)

    def test_a_missing_last_newline_changes_nothing(self):
        assert read(framed(REAL, ABS)[:-1]) == read(framed(REAL, ABS))

    @pytest.mark.parametrize("chunk_bytes", [64, 2**20])
    def test_crlf_reads_like_lf(self, chunk_bytes):
        crlf = read(framed(REAL, ABS, end="\r\n"), chunk_bytes=chunk_bytes)
        assert crlf.rows == read(framed(REAL, ABS)).rows
        assert crlf.footer == Footer(2)

    def test_windows_1252_is_read_as_what_it_means(self):
        line = pos(position_title='"Zoë €5 œuvre"')
        whole = read(framed(line).encode("cp1252"), encoding="cp1252")
        assert whole.rows["POS"][0]["position_title"] == "Zoë €5 œuvre"

    @pytest.mark.parametrize(("encoding", "byte"), [("utf-8", b"\xff"), ("cp1252", b"\x81")])
    def test_a_byte_the_encoding_does_not_have_costs_its_line(self, encoding, byte):
        body = framed(REAL, pos(position_title="@"), pos(position_title="ë"), ABS).encode(encoding)
        whole = read(body.replace(b"@", byte), encoding=encoding)
        assert whole.reasons == [(3, "POS", "bad_encoding")]
        assert whole.good_lines == [2, 4, 5]
        assert "\N{REPLACEMENT CHARACTER}" in whole.bad[0].text

    def test_a_replacement_character_is_a_character(self):
        assert read(framed(pos(position_title="\N{REPLACEMENT CHARACTER}"))).bad == []

    def test_a_long_line_is_told_once_and_its_rest_skipped(self):
        whole = read(framed(REAL, "POS," + "x" * 10_000_000, ABS), chunk_bytes=4096)
        assert whole.reasons == [(3, "POS", "line_too_long")]
        assert whole.good_lines == [2, 4]
        assert len(whole.bad[0].text) == 4096
        assert whole.footer == Footer(3)

    def test_a_long_line_without_end_ends_the_file(self):
        whole = read(HEADER + "\n" + "x" * 300_000, chunk_bytes=1024)
        assert whole.reasons == [(2, "", "line_too_long")]
        assert whole.footer is None

    def test_a_line_longer_than_a_chunk_is_read_when_a_line_may_be_that_long(self):
        whole = read(framed(REAL, pos(position_title="x" * 900)), chunk_bytes=64)
        assert whole.good_lines == [2, 3]

    def test_a_file_of_nothing_but_newlines_does_not_fill_the_memory(self):
        chunks = chunks_of(b"\n" * 100_000, chunk_bytes=64 * 1024)
        assert max(len(chunk.bad) for chunk in chunks) == 64 * 1024 // 32
        assert sum(len(chunk.bad) for chunk in chunks) == 100_000
        assert chunks[-1].next_line == 100_001

    @pytest.mark.parametrize("length", [99, 100, 101])
    @pytest.mark.parametrize("chunk_bytes", [32, 4096])
    def test_the_limit_of_a_line_does_not_depend_on_the_chunk(self, length, chunk_bytes):
        line = "ABS" + "x" * (length - 3)
        whole = read(framed(line, end="\r\n"), chunk_bytes=chunk_bytes, max_line_bytes=100)
        assert whole.bad[0].code == ("line_too_long" if length > 100 else "unknown_record_type")


class TestDuplicates:
    def test_the_first_line_with_an_id_stays(self):
        whole = read(framed(pos(position_title="first"), ABS, pos(position_title="again")), guard=True)
        assert [row["position_title"] for row in whole.rows["POS"]] == ["first"]
        assert whole.reasons == [(4, "POS", "duplicate_id")]
        assert whole.bad[0].text == pos(position_title="again")

    @pytest.mark.parametrize("chunk_bytes", [64, 2**20])
    def test_it_is_found_in_the_same_chunk_and_across_chunks(self, chunk_bytes):
        ids = [5, 1, 9, 5, 2, 1, 7, 5]
        body = framed(*(pos(position_id=str(i)) for i in ids))
        whole = read(body, guard=True, chunk_bytes=chunk_bytes)
        assert [row["position_id"] for row in whole.rows["POS"]] == [5, 1, 9, 2, 7]
        assert [line for line, *_ in whole.reasons] == [5, 7, 9]

    def test_both_halves_of_a_position_share_its_id(self):
        assert read(framed(pos(position_id="9"), POR), guard=True).bad == []

    def test_a_person_may_have_several_addresses(self):
        address = 'ADD,7,,"C","","Y","1 Street","","","Town","","BS1","UK"'
        assert len(read(framed(address, address), guard=True).rows["ADD"]) == 2

    def test_a_bad_line_does_not_take_its_id(self):
        whole = read(framed(pos(indicator="X"), pos()), guard=True)
        assert whole.good_lines == [3]

    def test_ids_are_remembered_over_many_chunks_of_any_size(self):
        guard, ids = DuplicateGuard(RMF), [(7 * i) % 400 for i in range(800)]
        body = framed(*(f'ABS,1,,"C",,,,{number}' for number in ids)).encode()
        chunks = chunks_of(body, chunk_bytes=500)
        assert len(chunks) > 20
        repeated = [line.line for chunk in chunks for line in guard.take(chunk).bad]
        assert repeated == list(range(402, 802))

    def test_leading_zeros_make_another_id(self):
        ids = ["7", "07", "007", "07", "1" + "0" * 17, "0" * 18, "0"]
        whole = read(framed(*(f'ABS,1,,"C",,,,{each}' for each in ids)), guard=True)
        assert [row["absence_id"] for row in whole.rows["ABS"]] == [*ids[:3], *ids[4:]]
        assert whole.reasons == [(5, "ABS", "duplicate_id")]

    def test_texts_read_before_a_restart_are_remembered(self):
        guard = DuplicateGuard(RMF)
        guard.remember("ABS", pa.chunked_array([["088"], ["88"]], pa.string()))
        (chunk,) = chunks_of(framed(ABS, ABS.replace(",88", ",0088")).encode())
        assert joined([guard.take(chunk)]).reasons == [(2, "ABS", "duplicate_id")]

    def test_what_was_read_before_a_restart_is_remembered(self):
        guard = DuplicateGuard(RMF)
        guard.remember("POS", pa.chunked_array([[1], [2]], pa.int64()))
        (chunk,) = chunks_of(framed(pos(position_id="2"), pos(position_id="3")).encode())
        assert joined([guard.take(chunk)]).reasons == [(2, "POS", "duplicate_id")]

"""Header, footer and first and last bytes: is a file whole, and the one its name says."""

from __future__ import annotations

import gzip

import pytest

from include.esr.checks import require_frame
from include.esr.errors import FileRejectedError
from include.esr.formats.frame import sniff, tail_is_footer
from include.esr.names import FileName
from include.esr.tally import Tally
from tests.unit.esr.reading import HEADER, REAL, chunks_of, framed

NAME = FileName.parse("DE_WES_RMF_20260304_00000017.DAT")
CHANGES = FileName.parse("DE_WES_RMC_20260304_00000017.DAT")


def check(body: str, name: FileName = NAME) -> None:
    tally = Tally()
    for chunk in chunks_of(body.encode()):
        tally.add(chunk)
    require_frame(name, Tally.from_dict(tally.to_dict()))


def test_a_sound_frame_passes():
    check(framed(REAL))


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("", "empty_file"),
        (f"{REAL}\nFTR,1\n", "missing_header"),
        ("FTR,0\n", "missing_header"),
        (framed(REAL).replace("HDR,", "HDX,"), "missing_header"),
        (framed(REAL).replace('"WES",17', '"KSS",17'), "header_mismatch"),
        (framed(REAL).replace('"WES",17', '"WES",18'), "header_mismatch"),
        (framed(REAL).replace("_00000017", "_00000018"), "header_mismatch"),
        (framed(REAL).replace("_RMF_", "_RMC_"), "header_mismatch"),
        (framed(REAL).replace("DE_WES", "nonsense"), "header_mismatch"),
        (f"{HEADER}\n", "missing_footer"),
        (f"{HEADER}\n{REAL}\n", "missing_footer"),
        (f"{HEADER}\n{REAL}\nFTR,1\n{REAL}\n", "missing_footer"),
        (f"{HEADER}\n{REAL}\nFTR,2\n", "footer_count"),
        (f"{HEADER}\n{REAL}\nFTR,0\n", "footer_count"),
        (f"{HEADER}\n{REAL}\nFOO,1\nFTR,1\n", "footer_count"),
        (f"{HEADER}\nFTR,0\n", "no_records"),
    ],
)
def test_a_file_with_an_unsound_frame_is_rejected(body, code):
    with pytest.raises(FileRejectedError) as caught:
        check(body)
    assert caught.value.code == code
    assert caught.value.subject == str(NAME)


def test_a_sequence_of_seven_digits_is_the_same_file():
    check(framed(REAL).replace("_00000017", "_0000017"))


def test_a_day_without_changes_is_sound():
    check(framed().replace("_RMF_", "_RMC_"), CHANGES)


@pytest.mark.parametrize("counted", [1, 2])
def test_a_record_broken_in_two_does_not_condemn_the_file_however_it_was_counted(counted):
    broken = REAL.replace("Dental", "Dental\n")
    check(f"{HEADER}\n{broken}\nFTR,{counted}\n")


def test_a_blank_line_does_not_condemn_the_file():
    check(f"{HEADER}\n{REAL}\n\nFTR,1\n")


@pytest.mark.parametrize("tail", ["\n", "\r\n\r\n", "\x1a", "\n\x1a", "\x1a\x1a\r\n", "  \n"])
def test_blank_lines_and_a_dos_end_of_file_after_the_footer_do_not_condemn_the_file(tail):
    check(framed(REAL) + tail)


@pytest.mark.parametrize(
    "head",
    [
        gzip.compress(b"HDR", mtime=0),
        b"PK\x03\x04....",
        b"\xff\xfeH\0D\0R\0",
        b"H\0D\0R\0,\0",
        b"\x7fELF\x02\x01\x01\0\0\0\0\0",
        b"%PDF-1.7",
    ],
)
def test_what_is_not_text_is_refused_at_once(head):
    with pytest.raises(FileRejectedError) as caught:
        sniff(head, subject="x")
    assert caught.value.code == "not_an_esr_file"


@pytest.mark.parametrize(
    "head", [b"", HEADER.encode(), b"\xef\xbb\xbfHDR", HEADER.encode() + b"\r\nPOS,1,\0,C", b"nonsense"]
)
def test_text_is_left_to_the_reader(head):
    sniff(head)


@pytest.mark.parametrize(
    ("tail", "is_footer"),
    [
        (b"...\nFTR,12\n", True),
        (b"...\r\nFTR,12\r\n", True),
        (b"...\nFTR,12", False),  # perhaps half of FTR,1234
        (b"FTR,12\n", False),  # perhaps the end of another line
        (b"...\nFTR,\n", False),
        (b"...\nFTR,x\n", False),
        (b"...\nFTR,12\n\n", True),
        (b"...\nFTR,12\r\n\r\n\x1a", True),
        (b"...\nFTR,12\x1a", True),
        (b"...\nFTR,12 ", False),
        (b"...\nFTR,12\nPOS,1\n", False),
        (b"", False),
    ],
)
def test_only_a_whole_last_line_is_a_footer(tail, is_footer):
    assert tail_is_footer(tail) is is_footer

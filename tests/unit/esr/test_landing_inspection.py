"""What one pass over a file's bytes finds."""

from __future__ import annotations

import hashlib
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.esr.files.landing import BLOCK, inspect


def decodes(body: bytes, encoding: str) -> bool:
    try:
        body.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


@given(st.binary(max_size=300) | st.text(max_size=100).map(str.encode))
def test_a_file_is_measured_as_its_bytes_say(body):
    found = inspect(io.BytesIO(body))
    lines = body.count(b"\n") + (not body.endswith(b"\n") and bool(body))
    assert (found.sha256, found.size, found.lines) == (hashlib.sha256(body).hexdigest(), len(body), lines)
    text = body.decode(errors="surrogateescape")
    broken = sum("\udc80" <= letter <= "\udcff" for letter in text)
    letters = sum(not letter.isascii() for letter in text) - broken
    wanted = next((each for each in ("utf-8", "cp1252") if decodes(body, each)), None)
    assert found.encoding == ("utf-8" if letters > broken else wanted)
    assert found.is_broken == (letters > broken > 0)


@pytest.mark.parametrize("letter", ["é", "€", "𝄞"])
def test_a_letter_across_two_blocks_is_one_letter(letter):
    raw = letter.encode()
    for before in range(1, len(raw)):
        body = b"x" * (BLOCK - before) + raw + b"\n"
        assert inspect(io.BytesIO(body)).encoding == "utf-8"


def test_one_bad_byte_does_not_make_every_name_mojibake():
    for body in ("Zoë\nÖz\n".encode() + b"\xff\n", b"\xff\n" + b"x" * 2 * BLOCK + "Zoë Öz".encode()):
        found = inspect(io.BytesIO(body))
        assert (found.encoding, found.is_broken) == ("utf-8", True)


def test_a_letter_cut_off_at_the_end_is_not_utf_8():
    assert inspect(io.BytesIO("é".encode()[:1])).encoding == "cp1252"


@pytest.mark.parametrize(
    ("body", "whole"),
    [
        (b"HDR\nPOS,1\nFTR,1\n", True),
        (b"HDR\r\nPOS,1\r\nFTR,1\r\n", True),
        (b"HDR\nFTR,0\n", True),
        (b"HDR\nPOS,1\nFTR,1\n\n", True),
        (b"HDR\nPOS,1\nFTR,1\r\n\r\n\x1a", True),
        (b"HDR\nPOS,1\nFTR,1\x1a", True),
        (b"HDR\nPOS,1\nFTR,2\n\n", False),
        (b"HDR\nPOS,1\nFTR,2\n", False),
        (b"HDR\nPOS,1\nFTR,1", False),
        (b"HDR\nPOS,1\nFTR,x\n", False),
        (b"HDR\nPOS,1\nPOS,1\n", False),
        (b"", False),
    ],
)
def test_a_file_is_whole_when_its_last_line_counts_the_others(body, whole):
    assert inspect(io.BytesIO(body)).is_whole is whole

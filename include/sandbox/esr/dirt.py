"""Everything that can be wrong with a file, by name.

A trailing backslash, a doubled quote and a comma inside a value are no dirt: every file has them.
"""

from __future__ import annotations

import gzip
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from include.sandbox.esr.records import text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

BAD_POSITION = 10_000_001
"""Positions of bad lines are from here on: whoever takes one of them has taken a bad line."""
LONG_LINE_BYTES = 10_000_000
BOMB_BYTES = 64 * 2**20


class Dirt(StrEnum):
    """One kind of dirt; the value is its name on a command line."""

    BAD_QUOTES = "bad_quotes"
    STRAY_QUOTE = "stray_quote"
    EMBEDDED_NEWLINE = "embedded_newline"
    NUL_BYTE = "nul_byte"
    LONG_LINE = "long_line"
    UNKNOWN_RECORD = "unknown_record"
    TOO_FEW = "too_few"
    TOO_MANY = "too_many"
    BAD_INDICATOR = "bad_indicator"
    BAD_ID = "bad_id"
    MISSING_ID = "missing_id"
    BAD_DATE = "bad_date"
    DUPLICATE_POSITION = "duplicate_position"
    LONG_NUMBER = "long_number"
    BLANK_LINE = "blank_line"
    MISSING_HEADER = "missing_header"
    WRONG_HEADER = "wrong_header"
    MISSING_FOOTER = "missing_footer"
    WRONG_FOOTER = "wrong_footer"
    HEADER_ONLY = "header_only"
    NO_RECORDS = "no_records"
    EMPTY = "empty"
    TRUNCATED = "truncated"
    CP1252 = "cp1252"
    UNDECODABLE = "undecodable"
    CRLF = "crlf"
    GZIP_BOMB = "gzip_bomb"


class Bad(NamedTuple):
    """What to put into the file, without the last line end, and the code for each of its lines."""

    line: str
    codes: tuple[str, ...]


_LINE_CODES = {
    Dirt.BAD_QUOTES: ("bad_quotes",),
    Dirt.STRAY_QUOTE: ("bad_quotes",),
    Dirt.EMBEDDED_NEWLINE: ("bad_quotes", "bad_quotes"),
    Dirt.NUL_BYTE: ("nul_byte",),
    Dirt.LONG_LINE: ("line_too_long",),
    Dirt.UNKNOWN_RECORD: ("unknown_record_type",),
    Dirt.TOO_FEW: ("too_few_columns",),
    Dirt.TOO_MANY: ("too_many_columns",),
    Dirt.BAD_INDICATOR: ("bad_value",),
    Dirt.BAD_ID: ("bad_integer",),
    Dirt.MISSING_ID: ("missing_value",),
    Dirt.BAD_DATE: ("bad_date",),
    Dirt.DUPLICATE_POSITION: ("duplicate_id",),
    Dirt.LONG_NUMBER: ("too_long",),
    Dirt.BLANK_LINE: ("empty_line",),
}
LINES = frozenset(_LINE_CODES)
"""Dirt of single lines: the rest of the file is good."""

CONDEMNS = {
    Dirt.MISSING_HEADER: "missing_header",
    Dirt.WRONG_HEADER: "header_mismatch",
    Dirt.MISSING_FOOTER: "missing_footer",
    Dirt.WRONG_FOOTER: "footer_count",
    Dirt.HEADER_ONLY: "missing_footer",
    Dirt.NO_RECORDS: "no_records",
    Dirt.EMPTY: "empty_file",
    Dirt.TRUNCATED: "missing_footer",
    Dirt.UNDECODABLE: "undecodable",
    Dirt.GZIP_BOMB: "not_an_esr_file",
}
"""Dirt that condemns the file as a whole, with the reason for it."""


def bad_line(dirt: Dirt, number: int, last_pos: tuple[str, ...] | None) -> Bad:
    """Return the ``number``-th bad line of a kind.

    Args:
        dirt: One of :data:`LINES`.
        number: Makes its position id its own.
        last_pos: Fields of a good POS that came before, for a duplicate.

    Raises:
        ValueError: There is no POS yet to repeat.
    """
    fields = [
        "POS", str(BAD_POSITION + number), "20260301", '"C"', '"10000001"', '"Medical and Dental\\"',
        '"Specialty Registrar"', '"800"', '"General Practice"', text(f"KSS/RTD01/800/GPST/{number:03d}"),
        '"KSS"', '"RTD"', '"NHS"', '"MS02"', '"Specialty Registrar ST2/ SpR2"', '""',
    ]  # fmt: skip
    match dirt:
        case Dirt.DUPLICATE_POSITION:
            if last_pos is None:
                raise ValueError("there is no POS before it to repeat")
            fields = [*last_pos]
            fields[3] = '"D"' if last_pos[3] == '"C"' else '"C"'
        case Dirt.TOO_FEW:
            del fields[-3:]
        case Dirt.TOO_MANY:
            fields.append('"one more"')
        case Dirt.LONG_LINE:
            fields[6] = text("x" * LONG_LINE_BYTES)
        case Dirt.BLANK_LINE:
            fields = [""]
        case _:
            for place, value in _SPOILED[dirt]:
                fields[place] = value
    return Bad(",".join(fields), _LINE_CODES[dirt])


_SPOILED: dict[Dirt, tuple[tuple[int, str], ...]] = {
    Dirt.BAD_QUOTES: ((6, '"Specialty Registrar'),),
    Dirt.STRAY_QUOTE: ((6, '"Specialty "Registrar" grade"'),),
    Dirt.EMBEDDED_NEWLINE: ((6, '"Specialty\nRegistrar"'),),
    Dirt.NUL_BYTE: ((6, '"Specialty\0Registrar"'),),
    Dirt.UNKNOWN_RECORD: ((0, "XYZ"),),
    Dirt.BAD_INDICATOR: ((3, '"X"'),),
    Dirt.BAD_ID: ((1, "12A4"),),
    Dirt.MISSING_ID: ((1, ""),),
    Dirt.BAD_DATE: ((2, "20260231"),),
    Dirt.LONG_NUMBER: ((9, text("KSS/RTD01/800/GPST/003/" + "9" * 20)),),
}


def spoil(body: bytes, dirt: Dirt) -> bytes:
    """Return the bytes of a file with the dirt of its whole applied.

    Args:
        body: A sound file, UTF-8 with LF.
        dirt: One that is not of single lines.
    """
    return _WHOLE[dirt](body)


def _wrong_header(body: bytes) -> bytes:
    kind, other = (b"_RMF_", b"_RMC_") if b"_RMF_" in body[:40] else (b"_RMC_", b"_RMF_")
    return body.replace(kind, other, 1)


def _without_footer(body: bytes) -> bytes:
    return body[: body.rindex(b"FTR,")]


def _truncated(body: bytes) -> bytes:
    """Return the first two thirds, cut in the middle of a line and not of a character."""
    return body[: body.index(b",", len(body) * 2 // 3)]


def _header(body: bytes) -> bytes:
    return body[: body.index(b"\n") + 1]


_WHOLE: dict[Dirt, Callable[[bytes], bytes]] = {
    Dirt.MISSING_HEADER: lambda body: body.removeprefix(_header(body)),
    Dirt.WRONG_HEADER: _wrong_header,
    Dirt.MISSING_FOOTER: _without_footer,
    Dirt.WRONG_FOOTER: lambda body: _without_footer(body) + b"FTR,%d\n" % (body.count(b"\n") + 5),
    Dirt.HEADER_ONLY: _header,
    Dirt.NO_RECORDS: lambda body: _header(body) + b"FTR,0\n",
    Dirt.EMPTY: lambda _body: b"",
    Dirt.TRUNCATED: _truncated,
    Dirt.CP1252: lambda body: body.decode("utf-8").encode("cp1252"),
    Dirt.UNDECODABLE: lambda body: body.replace(b"Medical and", b"Medical\x81and"),
    Dirt.CRLF: lambda body: body.replace(b"\n", b"\r\n"),
    Dirt.GZIP_BOMB: lambda _body: gzip.compress(bytes(BOMB_BYTES), 9),
}


def file_dirt(kinds: Iterable[Dirt]) -> list[Dirt]:
    """Return those that concern the whole file, the encoding last: it must not be undone."""
    return sorted((one for one in kinds if one not in LINES), key=lambda one: one in {Dirt.CP1252, Dirt.CRLF})

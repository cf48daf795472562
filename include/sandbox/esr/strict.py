"""Reads our files as ESR does: without mercy. Whatever is not as agreed condemns the whole file.

The dialect: fields between commas; text in double quotes, a quote in it doubled, a backslash an
ordinary character; ids and days without quotes; UTF-8, every line ended by LF alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING

from include.sandbox.esr import words
from include.sandbox.esr.layouts import FILES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from include.sandbox.esr.layouts import Layout

NAME = re.compile(r"DE_([A-Z]{3})_([A-Z]{3})_(\d{8})_(\d{8})\.DAT", re.ASCII)
MOST_REASONS = 20
_FIELD = re.compile(r'"((?:[^"]|"")*)"|([^",]*)')
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_TIME = re.compile("([01][0-9]|2[0-3])[0-5][0-9][0-5][0-9]")
_ID = re.compile(r"(0|[1-9][0-9]{0,17})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Name:
    """A name of the exchange, taken apart."""

    deanery: str
    kind: str
    day: date
    sequence: int

    @property
    def stem(self) -> str:
        """Return the name without ``.DAT``."""
        return f"DE_{self.deanery}_{self.kind}_{self.day:%Y%m%d}_{self.sequence:08d}"


@dataclass(frozen=True, slots=True)
class Row:
    """One data line.

    Attributes:
        ordinal: Its place among the data lines, from 1.
        code: Record code.
        values: Text by column, empty where nothing was given.
    """

    ordinal: int
    code: str
    values: Mapping[str, str]


@dataclass(slots=True)
class Reading:
    """What a file says, or why it says nothing.

    Attributes:
        name: ``None`` when the name is none.
        reasons: ``code: what``, at most :data:`MOST_REASONS`; any one condemns the file.
    """

    name: Name | None = None
    rows: list[Row] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    def object(self, code: str, what: str) -> None:
        """Note a reason."""
        if len(self.reasons) < MOST_REASONS:
            self.reasons.append(f"{code}: {what}")


def read(file_name: str, body: bytes) -> Reading:
    """Return what a file of ours says: name, bytes, frame, lines and values, in this order."""
    reading = Reading(name=parse_name(file_name))
    if reading.name is None or reading.name.kind not in FILES:
        reading.object("bad_name", "no name of a file that goes to ESR")
        return reading
    lines = _lines(body, reading)
    if lines is None:
        return reading
    fields = [_fields(line, place, reading) for place, line in enumerate(lines, start=1)]
    if not reading.reasons:
        _check_frame(fields, reading.name, reading)
        reading.rows = list(_rows(fields[1:-1], reading.name.kind, reading))
    return reading


def parse_name(file_name: str) -> Name | None:
    """Return the parts of a name, ``None`` when it is none."""
    if (found := NAME.fullmatch(file_name)) is None or found[1] not in words.DEANERIES:
        return None
    day = as_day(found[3])
    return Name(found[1], found[2], day, int(found[4])) if day else None


def as_day(text: str) -> date | None:
    """Return the day ``YYYYMMDD`` says, ``None`` when it says none."""
    try:
        return datetime.strptime(text, "%Y%m%d").date() if re.fullmatch("[0-9]{8}", text) else None  # noqa: DTZ007
    except ValueError:
        return None


def _lines(body: bytes, reading: Reading) -> list[str] | None:
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        reading.object("bad_dialect", "it is not UTF-8")
        return None
    if text.startswith("\ufeff") or "\r" in text or not text.endswith("\n"):
        reading.object("bad_dialect", "a byte order mark, a CR, or no LF at its end")
        return None
    return text[:-1].split("\n")


def _fields(line: str, place: int, reading: Reading) -> list[tuple[str, bool]]:
    """Return the fields of a line, each with whether it stood in quotes."""
    fields: list[tuple[str, bool]] = []
    at = 0
    while True:
        found = _FIELD.match(line, at)
        if found is None or (found.end() < len(line) and line[found.end()] != ","):
            reading.object("bad_dialect", f"line {place}: quotes in column {len(fields) + 1}")
            return []
        quoted = found[1] is not None
        fields.append((found[1].replace('""', '"') if quoted else found[2], quoted))
        if found.end() == len(line):
            return fields
        at = found.end() + 1


def _check_frame(fields: list[list[tuple[str, bool]]], name: Name, reading: Reading) -> None:
    """Compare header and footer with the name; a file may have been made later than the day it is for."""
    head, foot = fields[0], fields[-1]
    said = [*head[:2], *head[4:]]
    if said != [("HDR", False), (name.stem, True), (name.deanery, True), (str(name.sequence), False)]:
        reading.object("wrong_frame", "the header does not say what the name says")
    else:
        (day, day_quoted), (time, time_quoted) = head[2:4]
        made = as_day(day)
        if made is None or made < name.day or not _TIME.fullmatch(time) or day_quoted or time_quoted:
            reading.object("wrong_frame", "the header does not say when the file was made")
    if foot != [("FTR", False), (str(len(fields) - 2), False)]:
        reading.object("wrong_frame", f"the footer does not count {len(fields) - 2} lines")


def _rows(fields: list[list[tuple[str, bool]]], kind: str, reading: Reading) -> Iterator[Row]:
    if not fields:
        reading.object("no_records", "nothing between header and footer")
    for ordinal, line in enumerate(fields, start=1):
        code = line[0][0]
        layout = FILES[kind].get(code)
        if layout is None or line[0][1]:
            reading.object("unknown_record", f"line {ordinal + 1}")
        elif len(line) != len(layout.columns) + 1:
            reading.object("wrong_columns", f"line {ordinal + 1} has {len(line)}")
        else:
            named = dict(zip(layout.columns, line[1:], strict=True))
            for column, (value, quoted) in named.items():
                if (wrong := _wrong(layout, column, value, quoted=quoted)) is not None:
                    reading.object(wrong, f"line {ordinal + 1} {column}")
            yield Row(ordinal, code, {column: value for column, (value, _) in named.items()})


def _wrong(layout: Layout, column: str, value: str, *, quoted: bool) -> str | None:
    """Return the code of what is wrong with a value."""
    if not value.strip():
        return "missing_value" if column in layout.mandatory else None
    bare = column in layout.ids or column in layout.days
    if quoted is bare or _CONTROL.search(value):
        return "bad_dialect"
    if column in layout.ids and not _ID.fullmatch(value):
        return "bad_value"
    if column in layout.days and as_day(value) is None:
        return "bad_value"
    if column in layout.allowed and value not in layout.allowed[column]:
        return "unknown_title_code" if column == "notificationTitleCode" else "bad_value"
    return None

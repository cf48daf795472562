"""Writing files for ESR, from the same layout they are read with."""

from __future__ import annotations

import re
from datetime import date, time
from decimal import Decimal
from typing import TYPE_CHECKING

from include.errors import RecordError
from include.esr.formats.layout import ColumnType
from include.esr.formats.values import DECIMAL, MAX_DIGITS
from include.quality.gate import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    from include.esr.formats.layout import Column, Dialect, FileFormat, RecordFormat
    from include.esr.names import FileName

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def write_file(
    name: FileName, fmt: FileFormat, records: Iterable[Mapping[str, object]], *, at: datetime
) -> bytes:
    """Return a whole file: UTF-8, LF, header and footer around the records in the order given.

    Args:
        name: Name it will have; its header repeats it.
        fmt: What its lines are.
        records: Column values by name and the record code as ``type``; what is left out is empty.
        at: When it is made, for the header; the same moment gives the same bytes.

    Raises:
        RecordError: A record cannot be written so that ESR would read it: ``missing_value``,
            ``too_long``, ``bad_value``, ``bad_text``, ``bad_integer``, ``bad_digits``, ``bad_decimal``,
            ``bad_date``, ``bad_time``, ``control_character``, ``bad_encoding``, ``unknown_record_type`` or
            ``unknown_column``. The message names the record's place in the file.
    """
    header = {
        "stem": name.stem,
        "day": at.date(),
        "time": at.time(),
        "deanery": str(name.deanery),
        "sequence": name.sequence,
    }
    lines = [_line(header, fmt.header, fmt.dialect)]
    lines += _data_lines(fmt, records, subject=str(name))
    lines.append(_line({"count": len(lines) - 1}, fmt.footer, fmt.dialect))
    return "".join(lines).encode()


def check_record(fmt: FileFormat, record: Mapping[str, object]) -> Reason | None:
    """Return why a record cannot stand in a file, ``None`` if it can: what ``write_file`` would refuse.

    Args:
        fmt: What the file's lines are.
        record: Column values by name and the record code as ``type``; days as ``date``.
    """
    try:
        layout = _format_of(record, fmt)
        _require_known(record, layout)
        for column in layout.columns:
            value = record.get(column.name)
            if value is None and not column.mandatory:
                continue
            if not _is_plain(value, column, fmt.dialect):
                _field(value, column, layout, fmt.dialect)
    except RecordError as error:
        return Reason(error.code, error.message)
    return None


def _data_lines(fmt: FileFormat, records: Iterable[Mapping[str, object]], *, subject: str) -> Iterator[str]:
    for ordinal, record in enumerate(records, start=1):
        try:
            yield _line(record, _format_of(record, fmt), fmt.dialect)
        except RecordError as error:
            message = f"record {ordinal}: {error.message}"
            raise RecordError(message, code=error.code, subject=subject) from None


def _format_of(record: Mapping[str, object], fmt: FileFormat) -> RecordFormat:
    try:
        return fmt.records[str(record["type"])]
    except KeyError:
        raise RecordError("it has no type this file knows", code="unknown_record_type") from None


def _line(record: Mapping[str, object], layout: RecordFormat, dialect: Dialect) -> str:
    _require_known(record, layout)
    values = [_field(record.get(column.name), column, layout, dialect) for column in layout.columns]
    return dialect.delimiter.join([layout.code, *values]) + "\n"


def _is_plain(value: object, column: Column, dialect: Dialect) -> bool:
    """Tell at a glance of most texts that nothing is wrong with them; the others are looked at closely."""
    return (
        type(value) is str
        and column.type is ColumnType.TEXT
        and not column.allowed
        and 0 < len(value) <= (column.max_length or dialect.max_length)
        and value.isprintable()
        and not value.isspace()
    )


def _require_known(record: Mapping[str, object], layout: RecordFormat) -> None:
    if unknown := record.keys() - layout.by_name.keys() - {"type"}:
        raise RecordError(f"{layout.code} has no column {min(unknown)}", code="unknown_column")


def _field(value: object, column: Column, layout: RecordFormat, dialect: Dialect) -> str:
    """Return a value as it stands in the line."""
    try:
        text = _text(value, column, dialect)
    except RecordError as error:
        place = f"{layout.code} column {layout.place(column.name)} ({column.name})"
        raise RecordError(f"{place} {error.message}", code=error.code) from None
    if not text or not (column.in_quotes or dialect.delimiter in text or dialect.quote in text):
        return text
    return dialect.quote + text.replace(dialect.quote, 2 * dialect.quote) + dialect.quote


def _text(value: object, column: Column, dialect: Dialect) -> str:
    if value is None or (isinstance(value, str) and not value.strip()):
        if column.mandatory:
            raise RecordError("is mandatory and empty", code="missing_value")
        value = value or None
    if value is None:
        return ""
    match column.type, value:
        case ColumnType.TEXT, str():
            return _sound_text(value, column, dialect)
        case ColumnType.DATE | ColumnType.TIME, date() | time():
            return _moment(value, column)
        case ColumnType.INTEGER, int() if not isinstance(value, bool) and 0 <= value < 10**MAX_DIGITS:
            return str(value)
        case ColumnType.DIGITS, str() if re.fullmatch(rf"[0-9]{{1,{MAX_DIGITS}}}", value):
            return value
        case ColumnType.DECIMAL, int() | float() | Decimal() if not isinstance(value, bool):
            return _decimal(value)
    raise _no_such(column)


def _moment(value: date | time, column: Column) -> str:
    if isinstance(value, date) and column.type is ColumnType.DATE:
        return f"{value.year:04}{value.month:02}{value.day:02}"
    if isinstance(value, time) and column.type is ColumnType.TIME:
        return f"{value:%H%M%S}"
    raise _no_such(column)


def _no_such(column: Column) -> RecordError:
    return RecordError(f"holds no {column.type}", code=f"bad_{column.type}")


def _sound_text(text: str, column: Column, dialect: Dialect) -> str:
    limit = column.max_length or dialect.max_length
    if len(text) > limit:
        raise RecordError(f"has more than {limit} characters", code="too_long")
    if _CONTROL.search(text):
        raise RecordError("holds a newline, NUL or other control character", code="control_character")
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise RecordError("holds half a character", code="bad_encoding")
    if column.allowed and text and text not in column.allowed:
        raise RecordError(f"is none of {', '.join(column.allowed)}", code="bad_value")
    return text


def _decimal(value: float | Decimal) -> str:
    """Return the shortest plain form that is the same number."""
    text = f"{Decimal(str(value)):f}"
    if not re.fullmatch(DECIMAL, text):
        raise RecordError("has too many digits, or is no number", code="bad_decimal")
    return text

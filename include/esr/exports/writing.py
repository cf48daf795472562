"""The bytes of our files: nothing but what the ledger and the records say, so that they can be made again."""

from __future__ import annotations

from datetime import date
from functools import cache
from typing import TYPE_CHECKING, Any

from include.esr.formats.layout import ColumnType, load_format
from include.esr.formats.writer import write_file
from include.esr.names import FileType
from include.esr.outbound import LONDON

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from include.esr.names import FileName

_CODES = {FileType.APP: "APP", FileType.DNC: "NOT", FileType.DNF: "NOT"}


def body_of(name: FileName, rows: Iterable[Mapping[str, object]], *, made_at: datetime) -> bytes:
    """Return the bytes of a file.

    Args:
        name: Of the file.
        rows: Its lines, in order: values by column, with the record code as ``type``.
        made_at: When its number was given.

    Raises:
        RecordError: A line cannot be written so that ESR would read it.
    """
    return write_file(name, load_format(name.type), rows, at=made_at.astimezone(LONDON))


def row_of(fields: Mapping[str, Any], file_type: FileType) -> dict[str, Any]:
    """Return a record's ``fields`` as its line: days, which are stored as ISO text, as dates.

    Raises:
        ValueError: A day is not one.
    """
    days = _days(file_type)
    return {"type": _CODES[file_type]} | {
        name: date.fromisoformat(value) if name in days and isinstance(value, str) and value else value
        for name, value in fields.items()
    }


@cache
def _days(file_type: FileType) -> frozenset[str]:
    columns = load_format(file_type).records[_CODES[file_type]].columns
    return frozenset(column.name for column in columns if column.type is ColumnType.DATE)

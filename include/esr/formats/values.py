"""From the lines of one record type to typed columns, and which of them break a column's rule."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from include.esr.formats.layout import ColumnType

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from include.esr.formats.layout import Column, Dialect, RecordFormat

MAX_DIGITS = 18
"""Of a whole number: what 64 bits always hold."""

DECIMAL = r"^-?[0-9]{1,15}(\.[0-9]{1,9})?$"


@dataclass(frozen=True, slots=True)
class BadRow:
    """One row that breaks a rule; ``row`` counts the lines given, from 0."""

    row: int
    code: str
    message: str


@dataclass(slots=True)
class _Rows:
    """Rows on their way through the rules: the first broken one is told, and the row left out.

    Attributes:
        longest: Bytes of the longest line: no value has more.
    """

    format: RecordFormat
    dialect: Dialect
    longest: int
    keep: npt.NDArray[np.bool_]
    bad: list[BadRow] = field(default_factory=list)

    def only(self, values: pa.Array, right: pa.Array, column: Column, reason: tuple[str, str]) -> pa.Array:
        """Return the values, null where they are not right, and leave those rows out.

        ``right`` tells, per row, whether it keeps the rule (null does); the reason is a code and the rest
        of a sentence that begins with the column.
        """
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        if pc.all(right, min_count=0).as_py():
            return values
        code, rule = reason
        right = pc.fill_null(right, fill_value=True)
        wrong = np.flatnonzero(~right.to_numpy(zero_copy_only=False) & self.keep)
        message = f"column {self.format.place(column.name)} ({column.name}) {rule}"
        self.bad += [BadRow(int(row), code, message) for row in wrong]
        self.keep[wrong] = False
        return pc.if_else(right, values, pa.scalar(None, values.type))


def read_rows(
    data: pa.Buffer, record: RecordFormat, dialect: Dialect, *, longest: int
) -> tuple[pa.Table, npt.NDArray[np.int64], list[BadRow]]:
    """Return the good rows as typed columns, which rows those are (from 0), and the others.

    Args:
        data: Lines of this record type, one after another, that keep the rules of ``lines``.
        record: Its columns.
        dialect: How values stand in a line.
        longest: Bytes of the longest of them.
    """
    import numpy as np
    import pyarrow as pa

    text, places, bad = _parse(data, record, dialect)
    rows = _Rows(record, dialect, longest, np.ones(text.num_rows, np.bool_))
    columns = [_typed(text.column(column.name).chunk(0), column, rows) for column in record.columns]
    table = pa.table(dict(zip(record.names, columns, strict=True)))
    if not rows.bad:
        return table, places, bad
    bad += [BadRow(int(places[wrong.row]), wrong.code, wrong.message) for wrong in rows.bad]
    return table.filter(pa.array(rows.keep)), places[rows.keep], bad


def _parse(
    data: pa.Buffer, record: RecordFormat, dialect: Dialect
) -> tuple[pa.Table, npt.NDArray[np.int64], list[BadRow]]:
    """Return all columns as text, which row of the data each row is, and those of another length."""
    import numpy as np
    import pyarrow as pa
    from pyarrow import csv

    bad: list[BadRow] = []

    def refuse(row: csv.InvalidRow) -> str:
        few = row.actual_columns < row.expected_columns
        message = f"the line has {row.actual_columns} columns, {record.code} has {row.expected_columns}"
        bad.append(BadRow(row.number - 1, "too_few_columns" if few else "too_many_columns", message))
        return "skip"

    table = csv.read_csv(
        pa.BufferReader(data),
        read_options=csv.ReadOptions(
            column_names=["type", *record.names],
            use_threads=False,  # else no row numbers
            block_size=data.size + 1,  # one block: columns of one chunk
        ),
        parse_options=csv.ParseOptions(
            delimiter=dialect.delimiter,
            quote_char=dialect.quote,
            double_quote=True,
            escape_char=False,
            invalid_row_handler=refuse,
        ),
        convert_options=csv.ConvertOptions(
            include_columns=record.names,
            column_types=dict.fromkeys(record.names, pa.string()),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=True,
            check_utf8=False,  # done for the whole block
        ),
    )
    keep = np.ones(table.num_rows + len(bad), np.bool_)
    keep[[wrong.row for wrong in bad]] = False
    return table, np.flatnonzero(keep), bad


def _typed(values: pa.Array, column: Column, rows: _Rows) -> pa.Array:
    """Return a column in its type; where a value breaks a rule, the row is left out."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if column.mandatory:
        filled = pc.invert(pc.utf8_is_space(values))
        if filled.null_count:
            filled = pc.fill_null(filled, fill_value=False)
        values = rows.only(values, filled, column, ("missing_value", "is mandatory and empty"))
    match column.type:
        case ColumnType.TEXT:
            return _texts(values, column, rows)
        case ColumnType.INTEGER:
            return _whole(values, column, rows).cast(pa.int64())
        case ColumnType.DIGITS:
            return _whole(values, column, rows)
        case ColumnType.DECIMAL:
            return _decimals(values, column, rows)
        case ColumnType.DATE:
            return _dates(values, column, rows)
        case ColumnType.TIME:
            return _times(values, column, rows)


def _texts(values: pa.Array, column: Column, rows: _Rows) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    limit = column.max_length or rows.dialect.max_length
    # Bytes are never fewer than characters, and cost less to count.
    if rows.longest > limit and (pc.max(pc.binary_length(values)).as_py() or 0) > limit:
        short = pc.less_equal(pc.utf8_length(values), limit)
        values = rows.only(values, short, column, ("too_long", f"has more than {limit} characters"))
    if column.allowed:
        known = pc.is_in(values, pa.array([*column.allowed, None], pa.string()))
        values = rows.only(values, known, column, ("bad_value", f"is none of {', '.join(column.allowed)}"))
    return values


def _whole(values: pa.Array, column: Column, rows: _Rows) -> pa.Array:
    """Return the texts of whole numbers."""
    import pyarrow.compute as pc

    right = pc.and_(pc.ascii_is_decimal(values), pc.less_equal(pc.binary_length(values), MAX_DIGITS))
    rule = f"is not a whole number of at most {MAX_DIGITS} digits"
    return rows.only(values, right, column, ("bad_integer", rule))


def _decimals(values: pa.Array, column: Column, rows: _Rows) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    right = pc.match_substring_regex(values, DECIMAL)
    return rows.only(values, right, column, ("bad_decimal", "is not a decimal number")).cast(pa.float64())


def _dates(values: pa.Array, column: Column, rows: _Rows) -> pa.Array:
    """Return dates; a day the calendar does not have breaks the rule too."""
    import pyarrow as pa

    reason = ("bad_date", "is not a date as YYYYMMDD")
    # A file has few different days, and the calendar is slow: each is looked up once.
    encoded = _digits(values, 8, column, rows, reason).dictionary_encode()
    whole = encoded.dictionary.to_numpy()
    year, month, day = whole // 10_000, whole // 100 % 100, whole % 100
    months = (year - 1970) * 12 + month - 1
    days = months.astype("datetime64[M]").astype("datetime64[D]") + (day - 1)
    end_of_month = (months + 1).astype("datetime64[M]").astype("datetime64[D]")
    right = (year >= 1) & (month >= 1) & (month <= 12) & (day >= 1) & (days < end_of_month)  # noqa: PLR2004
    dates = pa.array(days, pa.date32()).take(encoded.indices)
    return rows.only(dates, pa.array(right).take(encoded.indices), column, reason)


def _times(values: pa.Array, column: Column, rows: _Rows) -> pa.Array:
    import pyarrow as pa

    reason = ("bad_time", "is not a time as HHMMSS")
    numbers = _digits(values, 6, column, rows, reason)
    whole = numbers.fill_null(0).to_numpy()
    hour, minute, second = whole // 10_000, whole // 100 % 100, whole % 100
    right = (hour < 24) & (minute < 60) & (second < 60)  # noqa: PLR2004
    seconds = pa.array(hour * 3600 + minute * 60 + second, pa.int32(), mask=_nulls(numbers))
    return rows.only(seconds, pa.array(right), column, reason).cast(pa.time32("s"))


def _digits(values: pa.Array, length: int, column: Column, rows: _Rows, reason: tuple[str, str]) -> pa.Array:
    """Return values of so many digits as numbers."""
    import pyarrow as pa
    import pyarrow.compute as pc

    right = pc.and_(pc.ascii_is_decimal(values), pc.equal(pc.binary_length(values), length))
    return rows.only(values, right, column, reason).cast(pa.int64())


def _nulls(values: pa.Array) -> npt.NDArray[np.bool_]:
    mask: npt.NDArray[np.bool_] = values.is_null().to_numpy(zero_copy_only=False)
    return mask

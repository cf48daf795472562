"""The manifest's ``response`` words: how the body of an answer holds its records."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from include.connectors.manifest_types import Part

_LINE_ENDS = frozenset("\r\n")


class ResponseFormat(Part):
    """What a body is. JSON unless it says otherwise; the bytes are landed as they came in any case.

    A body that is not JSON becomes a list of objects, one a record; ``data_selector`` is applied to that.

    Attributes:
        format: ``json``, ``jsonl`` (one value a line) or ``csv`` (first row: the names).
        archive: ``zip``: the body is an archive, ``gzip``: a compressed file (not a Content-Encoding, that
            is undone anyway).
        member: Of an archive: pattern of the one file to read, such as ``learners-*.csv``.
        delimiter: Between the fields of a CSV row.
        quote: Around a field that holds a delimiter, a quote or a line end.
        encoding: Of CSV and JSON lines; a byte-order mark is taken off in any case.
        skip_rows: Lines before the row of names.
        columns: Names, for a CSV without a row of them.
    """

    format: Literal["json", "jsonl", "csv"] = "json"
    archive: Literal["none", "zip", "gzip"] = "none"
    member: str = "*"
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    quote: Annotated[str, Field(min_length=1, max_length=1)] = '"'
    encoding: str = "utf-8"
    skip_rows: Annotated[int, Field(ge=0, le=100)] = 0
    columns: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _codec_known(self) -> Self:
        try:
            "".encode(self.encoding)
        except LookupError as error:
            raise ValueError(f"expected an encoding Python knows, got {self.encoding!r}") from error
        return self

    @model_validator(mode="after")
    def _marks_differ(self) -> Self:
        for name, mark in (("delimiter", self.delimiter), ("quote", self.quote)):
            if mark in _LINE_ENDS:
                raise ValueError(f"expected a {name} that is no line end, got {mark!r}: it ends the row")
        if self.delimiter == self.quote:
            raise ValueError(f"expected a delimiter other than quote, got {self.delimiter!r} for both")
        return self

"""Layout of ESR's files as data: ``formats/<TYPE>.yaml``, one place for every decision about a column."""

from __future__ import annotations

from enum import StrEnum
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from include.errors import FatalError
from include.esr.names import FileType

FOLDER = Path(__file__).parent
_SHARED = {FileType.RMF: "RMT", FileType.RMC: "RMT", FileType.DNF: FileType.DNC.value}

Code = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Symbol = Annotated[str, Field(pattern=r"^[!-~]$")]


class ColumnType(StrEnum):
    """What a column's values are: integers have at most 18 digits, dates are YYYYMMDD, times HHMMSS.

    Digits are a text of at most 18 digits: an id whose leading zeros count.
    """

    TEXT = "text"
    INTEGER = "integer"
    DIGITS = "digits"
    DECIMAL = "decimal"
    DATE = "date"
    TIME = "time"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _named(column: Any) -> Any:
    return {"name": column} if isinstance(column, str) else column


class Column(_Part):
    """One column of a record.

    Attributes:
        max_length: Characters a text may have at most; ``None`` leaves it to the dialect.
        allowed: The only values a text may have; empty allows all.
        quoted: Whether we write it in quotes; read it is either way. ``None``: a text is, others are not.
        free_text: Who writes it may have left delimiters and quotes in it as they came: a line is read from
            both ends, and what lies between is this text.
    """

    name: Name
    type: ColumnType = ColumnType.TEXT
    mandatory: bool = False
    max_length: int | None = Field(default=None, ge=1)
    allowed: tuple[str, ...] = ()
    quoted: bool | None = None
    free_text: bool = False

    @property
    def in_quotes(self) -> bool:
        """Return whether we write it in quotes."""
        return self.type is ColumnType.TEXT if self.quoted is None else self.quoted

    @model_validator(mode="after")
    def _limits_are_of_text(self) -> Self:
        if self.type is not ColumnType.TEXT and (self.max_length or self.allowed):
            raise ValueError(f"{self.name}: only a text has max_length or allowed")
        if self.free_text and (self.type is not ColumnType.TEXT or self.allowed):
            raise ValueError(f"{self.name}: only a text that may be anything is free_text")
        return self


class RecordFormat(_Part):
    """One kind of line: its code, which is column 1, and the columns from 2 on.

    Attributes:
        unique: Column of integers or digits no two lines of a file may share; the first line stays.
    """

    code: Code
    columns: tuple[Annotated[Column, BeforeValidator(_named)], ...] = Field(min_length=1)
    unique: str | None = None

    @cached_property
    def by_name(self) -> dict[str, Column]:
        """Return its columns by name."""
        return {column.name: column for column in self.columns}

    @property
    def names(self) -> list[str]:
        """Return the names of its columns, in order."""
        return [column.name for column in self.columns]

    @cached_property
    def free_text(self) -> int | None:
        """Return which of its columns, from 0, is a free text."""
        return next((at for at, column in enumerate(self.columns) if column.free_text), None)

    def place(self, name: str) -> int:
        """Return the 1-based place of a column in the line."""
        return self.names.index(name) + 2

    @model_validator(mode="after")
    def _names_are_sound(self) -> Self:
        if len(set(self.names)) < len(self.names) or {"line", "type"} & set(self.names):
            raise ValueError(f"{self.code}: a name occurs twice, or is one of ours (line, type)")
        if sum(column.free_text for column in self.columns) > 1:
            raise ValueError(f"{self.code}: only one column can be free_text")
        if self.unique:
            column = self.by_name[self.unique]
            if column.type not in {ColumnType.INTEGER, ColumnType.DIGITS} or not column.mandatory:
                raise ValueError(
                    f"{self.code}: {self.unique} must be mandatory integer or digits to be unique"
                )
        return self


class Dialect(_Part):
    """How values stand in a line. A doubled quote is a quote; no character escapes another.

    Attributes:
        max_length: Characters a text may have where its column says nothing.
    """

    delimiter: Symbol
    quote: Symbol
    max_length: int = Field(ge=1)


class FileFormat(_Part):
    """Everything a reader or writer of one kind of file must know."""

    dialect: Dialect
    header: RecordFormat
    footer: RecordFormat
    records: dict[Code, RecordFormat]

    @model_validator(mode="after")
    def _codes_differ(self) -> Self:
        if len({self.header.code, self.footer.code, *self.records}) < len(self.records) + 2:
            raise ValueError("header, footer and records must have codes of their own")
        return self


@cache
def load_format(file_type: FileType) -> FileFormat:
    """Return the layout of a file type; RMF and RMC share one, DNC and DNF share one.

    Raises:
        FatalError: The layout is not sound.
    """
    name = _SHARED.get(file_type, file_type.value)
    try:
        layout = _read("common") | _read(name)
        layout["records"] = {code: parts | {"code": code} for code, parts in layout["records"].items()}
        return FileFormat.model_validate(layout)
    except (OSError, KeyError, TypeError, yaml.YAMLError, ValidationError) as error:
        raise FatalError(f"formats/{name}.yaml is not a sound layout: {error}", subject=file_type) from error


def _read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    return content

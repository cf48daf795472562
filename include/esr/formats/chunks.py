"""What reading a file yields: chunks of good lines by record type, and the bad lines one by one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date, time

    import pyarrow as pa

    from include.esr.formats.lines import Lines


@dataclass(frozen=True, slots=True)
class BadLine:
    """One line that cannot be used, with the reason.

    Attributes:
        line: 1-based line in the file.
        record_type: Its record code, empty when it has no known one.
        code: Short stable reason to count by.
        message: Names the column and the rule, never the value.
        text: The line, cut to ``lines.MAX_TEXT`` characters; personal data, so not in the repr.
    """

    line: int
    record_type: str
    code: str
    message: str
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Header:
    """First line of a file: what it says of itself."""

    stem: str
    day: date
    time: time
    deanery: str
    sequence: int


@dataclass(frozen=True, slots=True)
class Footer:
    """Last line of a file: how many data lines it should have."""

    count: int


@dataclass(frozen=True, slots=True)
class Start:
    """Where to go on reading: what a chunk says comes next.

    Attributes:
        number: Of the next chunk, from 0.
        line: 1-based line it begins with.
        offset: Byte of the landed file it begins with.
    """

    number: int = 0
    line: int = 1
    offset: int = 0


BEGINNING = Start()


@dataclass(frozen=True, slots=True)
class Chunk:
    """Whole lines of a file, at most ``chunk_bytes`` of it, or one longer line.

    Attributes:
        first_line: 1-based line it begins with.
        next_line: Line the next chunk begins with.
        next_offset: Byte of the landed file the next chunk begins with.
        tables: Good lines by record code: ``line`` (int64) and the format's columns, empty values null.
            A code without good lines is left out.
        data_lines: Lines, good and bad, that are neither the file's header nor its footer.
    """

    number: int
    first_line: int
    next_line: int
    next_offset: int
    tables: Mapping[str, pa.Table] = field(repr=False)
    bad: Sequence[BadLine]
    header: Header | None
    footer: Footer | None
    data_lines: int
    lines: Lines = field(repr=False, compare=False)

    @property
    def next(self) -> Start:
        """Return where reading goes on after this chunk."""
        return Start(self.number + 1, self.next_line, self.next_offset)

    def text_of(self, line: int) -> str:
        """Return a line of this chunk, cut to ``lines.MAX_TEXT`` characters: evidence for quarantine."""
        return self.lines.text(line - self.first_line)

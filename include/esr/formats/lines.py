"""The lines of one block of a file, and the rules a line must keep before its columns are looked at.

Everything is done on whole arrays. A stray quote must never reach the CSV parser: it reads a newline
inside quotes as part of the value, so one bad line would swallow those after it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from include.esr.formats.layout import Dialect

MAX_TEXT = 4096
"""Characters of a bad line kept as evidence."""

_NEWLINE, _TAB = 10, 9
_FIRST_PRINTABLE, _DELETE = 32, 127
_CODE_BYTES = 3


class Fault(IntEnum):
    """Why a line cannot be read; where several hold, the lowest is told."""

    NONE = 0
    LINE_TOO_LONG = 1
    BAD_ENCODING = 2
    NUL_BYTE = 3
    CONTROL_CHARACTER = 4
    EMPTY_LINE = 5
    BAD_QUOTES = 6
    UNKNOWN_RECORD_TYPE = 7
    MISPLACED_HEADER = 8
    MISPLACED_FOOTER = 9

    @property
    def code(self) -> str:
        """Return the reason as it is counted."""
        return self.name.lower()

    @property
    def message(self) -> str:
        """Return the reason as a sentence."""
        return _MESSAGES[self]


_MESSAGES = {
    Fault.LINE_TOO_LONG: "the line is longer than a line may be; what is kept of it is its beginning",
    Fault.BAD_ENCODING: "the line holds bytes that are no characters in the file's encoding",
    Fault.NUL_BYTE: "the line holds a NUL byte",
    Fault.CONTROL_CHARACTER: "the line holds a control character",
    Fault.EMPTY_LINE: "the line is empty",
    Fault.BAD_QUOTES: "a quote is not closed, or stands inside a value without being doubled; "
    "a newline inside a value does this too",
    Fault.UNKNOWN_RECORD_TYPE: "the line does not begin with a record type of this file",
    Fault.MISPLACED_HEADER: "a header can only be the first line",
    Fault.MISPLACED_FOOTER: "a footer can only be the last line",
}


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines of one block: UTF-8, each ended by a newline, CRLF made LF.

    Attributes:
        block: The bytes.
        first_line: 1-based line of the file the block begins with.
        starts: Byte of the block each line begins with.
        ends: Byte of the block each line's newline is.
        faults: A ``Fault`` per line (uint8).
    """

    block: bytes
    first_line: int
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    faults: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.starts)

    def text(self, index: int) -> str:
        """Return a line without its newline, cut to ``MAX_TEXT`` characters."""
        start, end = int(self.starts[index]), int(self.ends[index])
        line = self.block[start : min(end, start + 4 * MAX_TEXT)]
        return line.decode("utf-8", errors="replace")[:MAX_TEXT]

    def kinds(self, codes: Sequence[str], dialect: Dialect) -> npt.NDArray[np.int8]:
        """Return, per line, which of the record codes it begins with, as an index; -1 for none."""
        import numpy as np

        data = np.frombuffer(self.block, np.uint8)
        value = np.zeros(len(self), np.uint32)
        for place in range(_CODE_BYTES):
            value = (value << np.uint32(8)) | data.take(self.starts + place, mode="clip")
        after = data.take(self.starts + _CODE_BYTES, mode="clip")
        ended = (after == ord(dialect.delimiter)) | (after == _NEWLINE)
        kinds = np.full(len(self), -1, np.int8)
        for index, code in enumerate(codes):
            kinds[ended & (value == int.from_bytes(code.encode(), "big"))] = index
        return kinds

    def only(self, indexes: npt.NDArray[np.int64]) -> pa.Buffer:
        """Return some of the lines, one after another."""
        import numpy as np
        import pyarrow as pa

        offsets = np.append(self.starts, len(self.block))
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(self.block)]
        every = pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(self), buffers)
        return every.take(pa.array(indexes)).buffers()[2]

    def mark(self, fault: Fault, where: npt.NDArray[np.bool_]) -> None:
        """Give lines a fault, where they have no lower one."""
        import numpy as np

        self.faults[where & (self.faults == Fault.NONE)] = np.uint8(fault)


def find_lines(block: bytes, first_line: int, encoding: str, dialect: Dialect, *, max_bytes: int) -> Lines:
    """Return the lines of a block with the faults that can be seen without knowing the records.

    Args:
        block: Whole lines, as they came; the last one may lack its newline.
        first_line: 1-based line of the file the block begins with.
        encoding: ``utf-8`` or ``cp1252``.
        dialect: How values stand in a line.
        max_bytes: Most bytes of a line, as UTF-8 and without its end.
    """
    import numpy as np

    if not block.endswith(b"\n"):
        block += b"\n"
    if b"\r" in block:  # much faster to see than the pair
        block = block.replace(b"\r\n", b"\n")
    block, undecoded = _as_utf8(block, encoding)
    data = np.frombuffer(block, np.uint8)
    low = np.flatnonzero(data < _FIRST_PRINTABLE)
    is_newline = data[low] == _NEWLINE
    ends = low[is_newline]
    starts = np.empty_like(ends)
    starts[0], starts[1:] = 0, ends[:-1] + 1
    lines = Lines(block, first_line, starts, ends, np.zeros(len(ends), np.uint8))
    lengths = ends - starts
    lines.mark(Fault.LINE_TOO_LONG, lengths > max_bytes)
    lines.mark(Fault.BAD_ENCODING, np.isin(np.arange(len(lines)), undecoded))
    if len(low) > len(ends) or _DELETE.to_bytes() in block:
        _mark_controls(lines, data, low[~is_newline])
    lines.mark(Fault.EMPTY_LINE, lengths == 0)
    lines.mark(Fault.BAD_QUOTES, _stray_quotes(lines, data, dialect))
    return lines


def _as_utf8(block: bytes, encoding: str) -> tuple[bytes, list[int]]:
    """Return the block as UTF-8, and which lines hold bytes the encoding does not have."""
    if block.isascii():
        return block, []
    try:
        text = block.decode(encoding)
    except UnicodeDecodeError:
        return _as_utf8_by_line(block, encoding)
    return (block if encoding == "utf-8" else text.encode()), []


def _as_utf8_by_line(block: bytes, encoding: str) -> tuple[bytes, list[int]]:
    lines, undecoded = block.split(b"\n"), []
    for index, line in enumerate(lines):
        text = line.decode(encoding, errors="replace")
        lines[index] = text.encode()
        if "\N{REPLACEMENT CHARACTER}" in text and _is_undecodable(line, encoding):
            undecoded.append(index)
    return b"\n".join(lines), undecoded


def _is_undecodable(line: bytes, encoding: str) -> bool:
    try:
        line.decode(encoding)
    except UnicodeDecodeError:
        return True
    return False


def _mark_controls(lines: Lines, data: npt.NDArray[np.uint8], low: npt.NDArray[np.int64]) -> None:
    """Mark lines with NUL or another control character; a tab is harmless."""
    import numpy as np

    deletes = np.flatnonzero(data == _DELETE)
    controls = np.concatenate([low[(data[low] != 0) & (data[low] != _TAB)], deletes])
    lines.mark(Fault.NUL_BYTE, _holding(lines, low[data[low] == 0]))
    lines.mark(Fault.CONTROL_CHARACTER, _holding(lines, controls))


def _holding(lines: Lines, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Tell, per line, whether it holds one of these bytes of the block."""
    import numpy as np

    found = np.zeros(len(lines), np.bool_)
    found[np.searchsorted(lines.ends, positions)] = True
    return found


def _stray_quotes(lines: Lines, data: npt.NDArray[np.uint8], dialect: Dialect) -> npt.NDArray[np.bool_]:
    """Tell which lines do not keep the dialect's rule for quotes.

    Of the quotes in a line the first, third and so on open a value or are the second half of a doubled
    one: before them stands a delimiter, the start of the line or a quote. The others close a value or
    are the first half: after them stands a delimiter, the end of the line or a quote. A line with an
    odd number of quotes leaves one open.
    """
    import numpy as np

    beside = np.zeros(256, np.bool_)
    beside[[ord(dialect.quote), ord(dialect.delimiter), _NEWLINE]] = True
    quotes = np.flatnonzero(data == ord(dialect.quote))
    counts = np.diff(np.searchsorted(quotes, lines.starts), append=len(quotes))
    unclosed = counts % 2 == 1
    if unclosed.any():
        quotes = quotes[np.repeat(~unclosed, counts)]
    # All lines left have pairs only, so that even and odd are the same in the line and in the block.
    opening, closing = quotes[::2], quotes[1::2]
    # Index -1 of the block's first byte is its last, a newline: the start of a line, as it should be.
    stray = np.concatenate([opening[~beside[data[opening - 1]]], closing[~beside[data[closing + 1]]]])
    faulty: npt.NDArray[np.bool_] = unclosed | _holding(lines, stray)
    return faulty

"""Reading ESR's files: chunk by chunk, vectorised, every line a header, footer, good or bad.

Where a chunk ends depends on nothing but the byte it begins with, so that reading can go on from any
chunk and give the same rest.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from include.esr.formats.chunks import BEGINNING, BadLine, Chunk, Footer, Header, Start
from include.esr.formats.duplicates import DuplicateGuard
from include.esr.formats.frame import BLANK, MAX_TAIL, without_tail
from include.esr.formats.free_text import mended, with_mended
from include.esr.formats.lines import MAX_TEXT, Fault, Lines, find_lines
from include.esr.formats.values import BadRow, read_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Future
    from typing import BinaryIO

    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from include.esr.formats.layout import FileFormat, RecordFormat

__all__ = [
    "MAX_TEXT",
    "BadLine",
    "Chunk",
    "DuplicateGuard",
    "Footer",
    "Header",
    "Start",
    "read_chunks",
]

_BOM = b"\xef\xbb\xbf"
_LINE_END_BYTES = 2
_BYTES_A_LINE = 32
"""A chunk has no more lines than if each had so many: a bad line costs memory however short it is."""

_THREADS = 2  # almost all work is done without the interpreter's lock; more would only take more memory


def read_chunks(
    stream: BinaryIO,
    fmt: FileFormat,
    *,
    encoding: str,
    chunk_bytes: int,
    max_line_bytes: int,
    start: Start = BEGINNING,
) -> Iterator[Chunk]:
    """Yield the file in chunks; memory is bounded by ``chunk_bytes`` and ``max_line_bytes``.

    Args:
        stream: The landed bytes, standing at ``start.offset``.
        fmt: What its lines are.
        encoding: ``utf-8`` or ``cp1252``.
        chunk_bytes: Bytes of a chunk at most, and 32 times its lines; a longer line is a chunk of its own.
        max_line_bytes: Bytes of a line at most, as UTF-8 and without its end; a longer one is bad.
        start: Where to go on; what the last chunk kept said comes ``next``.
    """
    keep = max(max_line_bytes, 4 * MAX_TEXT) + len(_BOM) + _LINE_END_BYTES
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="esr-reader") as pool:
        waiting: deque[Future[Chunk]] = deque()
        at = start
        for block in _blocks(stream, chunk_bytes, keep=keep):
            waiting.append(pool.submit(_chunk, block, fmt, at, encoding, max_line_bytes))
            at = Start(at.number + 1, at.line + block.lines, at.offset + block.size)
            if len(waiting) > _THREADS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


@dataclass(frozen=True, slots=True)
class _Block:
    """Whole lines as they came, but for blank ones at the end of the file.

    Attributes:
        size: Bytes of the landed file they are; more than ``data`` when a line was too long to keep, or
            blank lines at the end of the file were left out.
        lines: How many there are.
        last: Whether the file ends with them.
    """

    data: bytes
    size: int
    lines: int
    last: bool


def _blocks(stream: BinaryIO, chunk_bytes: int, *, keep: int) -> Iterator[_Block]:
    """Yield the stream in blocks of whole lines; of a line longer than a chunk, the first ``keep`` bytes."""
    most = max(1, chunk_bytes // _BYTES_A_LINE)
    rest = b""
    while rest := _fill(stream, rest, chunk_bytes + 1):
        at_end = len(rest) <= chunk_bytes
        end = len(rest) if at_end else rest.rfind(b"\n", 0, chunk_bytes) + 1
        if end:
            lines = rest.count(b"\n", 0, end) + (not rest.endswith(b"\n", 0, end))
            if lines > most:
                lines, end = most, _end_of_line(rest, most)
            block = _Block(rest[:end], end, lines, last=False)
            rest = rest[end:]
        else:
            kept, size, rest = _long_line(stream, rest, chunk_bytes, keep)
            block = _Block(kept, size, 1, last=False)
        rest = _fill(stream, rest, MAX_TAIL + 1)
        if _is_last(block, rest):
            yield _Block(without_tail(block.data), block.size + len(rest), block.lines, last=True)
            return
        yield replace(block, last=not rest)


def _is_last(block: _Block, rest: bytes) -> bool:
    """Tell whether the file's last line is in a block: there may be blank lines after it."""
    content = len(block.data.rstrip(BLANK))
    return bool(content) and not rest.strip(BLANK) and len(block.data) - content + len(rest) <= MAX_TAIL


def _end_of_line(data: bytes, number: int) -> int:
    """Return where the so-manieth line ends."""
    import numpy as np

    newlines = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n"))
    return int(newlines[number - 1]) + 1


def _fill(stream: BinaryIO, rest: bytes, size: int) -> bytes:
    """Return what is there, read on until it has the size or the stream ends."""
    parts, have = [rest], len(rest)
    while have < size and (part := stream.read(size - have)):
        parts.append(part)
        have += len(part)
    return b"".join(parts)


def _long_line(stream: BinaryIO, part: bytes, read_bytes: int, keep: int) -> tuple[bytes, int, bytes]:
    """Return the beginning of a line, its whole size with its newline, and what was read after it."""
    kept, size = b"", 0
    while part:
        end = part.find(b"\n") + 1 or len(part)
        kept += part[: min(end, keep - len(kept))]
        size += end
        if part[end - 1 : end] == b"\n":
            return kept, size, part[end:]
        part = stream.read(read_bytes)
    return kept, size, b""


def _chunk(block: _Block, fmt: FileFormat, at: Start, encoding: str, max_line_bytes: int) -> Chunk:
    data = block.data.removeprefix(_BOM) if at == BEGINNING else block.data
    lines = find_lines(data, at.line, encoding, fmt.dialect, max_bytes=max_line_bytes)
    codes = [fmt.header.code, fmt.footer.code, *fmt.records]
    kinds = lines.kinds(codes, fmt.dialect)
    _mark_kinds(lines, kinds, starts=at == BEGINNING, ends=block.last)
    records = [fmt.header, fmt.footer, *fmt.records.values()]
    sound = _with_free_texts(lines, kinds, records, fmt)
    bad = _faulty(lines, codes, kinds)
    tables: dict[str, pa.Table] = {}
    for index, record in enumerate(records):
        table, wrong = _read_kind(lines, sound, kinds == index, record, fmt)
        bad += wrong
        if table is not None:
            tables[record.code] = table
    header = _header(tables.pop(fmt.header.code, None))
    footer = _footer(tables.pop(fmt.footer.code, None))
    bad.sort(key=lambda line: line.line)
    return Chunk(
        number=at.number,
        first_line=at.line,
        next_line=at.line + len(lines),
        next_offset=at.offset + block.size,
        tables=tables,
        bad=bad,
        header=header,
        footer=footer,
        data_lines=len(lines) - (header is not None) - (footer is not None),
        lines=lines,
    )


def _mark_kinds(lines: Lines, kinds: npt.NDArray[np.int8], *, starts: bool, ends: bool) -> None:
    """Mark lines of an unknown type, and headers and footers that stand where none may."""
    header, footer = kinds == 0, kinds == 1
    if starts:
        header[0] = False
    if ends:
        footer[-1] = False
    lines.mark(Fault.UNKNOWN_RECORD_TYPE, kinds < 0)
    lines.mark(Fault.MISPLACED_HEADER, header)
    lines.mark(Fault.MISPLACED_FOOTER, footer)


def _with_free_texts(
    lines: Lines, kinds: npt.NDArray[np.int8], records: Sequence[RecordFormat], fmt: FileFormat
) -> Lines:
    """Return the lines as they are to be parsed: free texts in quotes."""
    sound: dict[int, bytes] = {}
    for index, record in enumerate(records):
        sound |= mended(lines, kinds == index, record, fmt.dialect)
    return with_mended(lines, sound)


def _faulty(lines: Lines, codes: list[str], kinds: npt.NDArray[np.int8]) -> list[BadLine]:
    import numpy as np

    return [
        _bad_line(lines, index, codes[kinds[index]] if kinds[index] >= 0 else "", fault.code, fault.message)
        for index in np.flatnonzero(lines.faults).tolist()
        for fault in [Fault(lines.faults[index])]
    ]


def _bad_line(lines: Lines, index: int, record_type: str, code: str, message: str) -> BadLine:
    return BadLine(lines.first_line + index, record_type, code, message, lines.text(index))


def _read_kind(
    lines: Lines, sound: Lines, of_kind: npt.NDArray[np.bool_], record: RecordFormat, fmt: FileFormat
) -> tuple[pa.Table | None, list[BadLine]]:
    """Return the good lines of one record type as a table, and the bad ones, which are told as they came."""
    import numpy as np

    indexes = np.flatnonzero(of_kind & (lines.faults == Fault.NONE))
    if not len(indexes):
        return None, []
    longest = int((sound.ends - sound.starts)[indexes].max())
    table, rows, wrong = read_rows(sound.only(indexes), record, fmt.dialect, longest=longest)
    bad = [_told(lines, indexes, record.code, row) for row in wrong]
    if not len(rows):
        return None, bad
    return table.add_column(0, "line", [indexes[rows] + lines.first_line]), bad


def _told(lines: Lines, indexes: npt.NDArray[np.int64], code: str, wrong: BadRow) -> BadLine:
    return _bad_line(lines, int(indexes[wrong.row]), code, wrong.code, wrong.message)


def _header(table: pa.Table | None) -> Header | None:
    if table is None:
        return None
    return Header(**table.drop_columns("line").to_pylist()[0])


def _footer(table: pa.Table | None) -> Footer | None:
    if table is None:
        return None
    return Footer(**table.drop_columns("line").to_pylist()[0])

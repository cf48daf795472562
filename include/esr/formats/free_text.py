"""Lines with a free text that ESR writes as it came: read from both ends, the rest is the text.

Source: domain page, section 3: ``messageText`` echoes bad input and may hold unquoted commas (one bad line
``Doha, Qatar`` once ended a whole job), and quotes with it.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from include.esr.formats.lines import Fault, Lines

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import numpy.typing as npt

    from include.esr.formats.layout import Dialect, RecordFormat


def mended(
    lines: Lines, of_kind: npt.NDArray[np.bool_], record: RecordFormat, dialect: Dialect
) -> Mapping[int, bytes]:
    """Return sound lines for those of one record type that only their free text spoils, by place.

    Each is without its newline. A line with too few columns, or with a stray quote outside the text, cannot
    be mended and is left out.
    """
    import numpy as np

    if record.free_text is None:
        return {}
    mendable = of_kind & ((lines.faults == Fault.NONE) | (lines.faults == Fault.BAD_QUOTES))
    delimiters = np.flatnonzero(np.frombuffer(lines.block, np.uint8) == ord(dialect.delimiter))
    count = np.diff(np.searchsorted(delimiters, lines.starts), append=len(delimiters))
    enough = len(record.columns)
    suspect = mendable & ((count > enough) | ((count == enough) & (lines.faults == Fault.BAD_QUOTES)))
    found = {}
    for place in np.flatnonzero(suspect).tolist():
        line = lines.block[int(lines.starts[place]) : int(lines.ends[place])]
        if sound := mended_line(line, record, dialect):
            found[place] = sound
    return found


def mended_line(line: bytes, record: RecordFormat, dialect: Dialect) -> bytes | None:
    """Return a line with its free text in quotes; ``None`` if it cannot be mended or need not be.

    A quoted value can only begin in one place, seen from either end of the line: a sound column before or
    after the text is never mistaken, whatever the text holds.
    """
    if record.free_text is None:
        return None
    before, after = record.free_text + 1, len(record.columns) - record.free_text - 1
    front = _columns(before, dialect).match(line)
    if front is None:
        return None
    rest = line[front.end() :]
    back = _columns(after, dialect).match(rest[::-1])  # a quoted value reads the same from behind
    if back is None:
        return None
    end = len(rest) - back.end()
    text, quote = rest[:end], dialect.quote.encode()
    if _value(dialect).fullmatch(text):
        return None
    return line[: front.end()] + quote + text.replace(quote, 2 * quote) + quote + rest[end:]


def with_mended(lines: Lines, sound: Mapping[int, bytes]) -> Lines:
    """Return the lines with some of them mended, which are not at fault any more in either."""
    import numpy as np

    if not sound:
        return lines
    whole = lines.block.removesuffix(b"\n").split(b"\n")
    for place, line in sound.items():
        whole[place] = line
    lines.faults[list(sound)] = np.uint8(Fault.NONE)
    starts = np.cumsum([0, *(len(line) + 1 for line in whole)], dtype=np.int64)
    return Lines(b"\n".join([*whole, b""]), lines.first_line, starts[:-1], starts[1:] - 1, lines.faults)


@cache
def _value(dialect: Dialect) -> re.Pattern[bytes]:
    return re.compile(_value_of(dialect))


@cache
def _columns(number: int, dialect: Dialect) -> re.Pattern[bytes]:
    """Return a pattern of so many columns, each with its delimiter."""
    delimiter = re.escape(dialect.delimiter.encode())
    return re.compile(rb"(?:(?:%b)%b){%d}" % (_value_of(dialect), delimiter, number))


def _value_of(dialect: Dialect) -> bytes:
    quote, delimiter = re.escape(dialect.quote.encode()), re.escape(dialect.delimiter.encode())
    inside = rb"(?:[^%b]++|%b%b)*+" % (quote, quote, quote)
    return rb"%b%b%b|[^%b%b]*+" % (quote, inside, quote, quote, delimiter)

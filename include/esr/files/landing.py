"""Land a file of the exchange: what its bytes are, where they go, and whether it can be used at all."""

from __future__ import annotations

import codecs
import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, BinaryIO

from include.esr.errors import FileRejectedError
from include.esr.formats.frame import counted_by, sniff
from include.esr.names import ANSWERS, RMT, FileName
from include.quality.gate import Reason

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import date

    from include.esr.files.sftp import RemoteFile
    from include.esr.names import FileType

BLOCK = 2**20
END_BYTES = 4096
"""What is looked at of a file's start and end."""
FRAME_LINES = 2
_UNDEFINED = re.compile(rb"[\x81\x8d\x8f\x90\x9d]")  # the bytes Windows-1252 gives no meaning
MAX_DAYS_AHEAD = 2
"""A file of a later day than this many after the one it came on is a mistake in its name."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """What one pass over a file's bytes found.

    Attributes:
        encoding: ``utf-8``, ``cp1252`` when that is what decodes it, ``None`` when neither does.
        is_broken: Whether it is UTF-8 but for some bytes, whose lines will be set aside.
        lines: Lines in all; a last one without its newline counts.
        head: The first bytes.
        tail: The last bytes.
    """

    sha256: str
    size: int
    lines: int
    encoding: str | None
    head: bytes
    tail: bytes
    is_broken: bool = False

    @property
    def is_whole(self) -> bool:
        """Return whether the file ends in a footer that counts its lines right."""
        found = counted_by(self.tail)
        if found is None:
            return False
        counted, blank = found
        return counted == self.lines - FRAME_LINES - blank


def inspect(file: BinaryIO) -> Inspection:
    """Read a file once, from its start, in blocks."""
    digest, size, lines = hashlib.sha256(), 0, 0
    head = tail = b""
    utf8: codecs.IncrementalDecoder | None = codecs.getincrementaldecoder("utf-8")()
    western = True
    file.seek(0)
    while block := file.read(BLOCK):
        digest.update(block)
        size += len(block)
        lines += block.count(b"\n")
        head = head or block[:END_BYTES]
        tail = (tail + block[-END_BYTES:])[-END_BYTES:]
        utf8 = utf8 if utf8 and _decodes(utf8, block) else None
        western = western and _UNDEFINED.search(block) is None
    if utf8 and not _decodes(utf8, b"", final=True):
        utf8 = None
    lines += size > 0 and not tail.endswith(b"\n")
    is_broken = utf8 is None and _is_mostly_utf8(file)
    encoding = "utf-8" if utf8 or is_broken else "cp1252" if western else None
    return Inspection(digest.hexdigest(), size, lines, encoding, head, tail, is_broken)


def _decodes(decoder: codecs.IncrementalDecoder, block: bytes, *, final: bool = False) -> bool:
    try:
        decoder.decode(block, final)
    except UnicodeDecodeError:
        return False
    return True


def _is_mostly_utf8(file: BinaryIO) -> bool:
    """Tell whether more letters are UTF-8 than bytes are not: one such must not garble every name."""
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    letters = broken = 0
    file.seek(0)
    while True:
        block = file.read(BLOCK)
        text = decoder.decode(block, not block)
        beyond = len(text) - len(text.encode("ascii", "ignore"))
        undecoded = len(text) - len(text.encode("utf-8", "ignore").decode()) if beyond else 0
        letters, broken = letters + beyond - undecoded, broken + undecoded
        if not block:
            return letters > broken


@dataclass(frozen=True, slots=True)
class Called:
    """What a file's name says: its parts, or why it cannot be one of ours."""

    name: FileName | None
    reason: Reason | None

    def concerns(self, types: Collection[FileType]) -> bool:
        """Tell whether a look for these types takes the file; see ``concerns``."""
        return concerns(self.name.type if self.name else None, types)


def concerns(kind: FileType | None, types: Collection[FileType]) -> bool:
    """Tell whether a look for some types takes a file of a kind.

    ESR's data and its answers come into one folder, and each stage looks for its own. What is neither, or
    has a name that cannot be read (``None``), is the business of who looks for data.
    """
    return kind in types if kind in ANSWERS else not RMT.isdisjoint(types)


def read_name(name: str) -> Called:
    """Return what a file's name says."""
    try:
        parsed = FileName.parse(name)
    except FileRejectedError as error:
        return Called(None, Reason(error.code, f"{error.message}: ask the sender to name it so"))
    if parsed.type in RMT | ANSWERS:
        return Called(parsed, None)
    return Called(
        parsed, Reason("not_inbound", f"{parsed.type} is what we send to ESR: ask why it came back")
    )


def refusal(inspection: Inspection) -> Reason | None:
    """Return why a file cannot be used, from its bytes alone; ``None`` when nothing speaks against it."""
    if not inspection.size:
        return Reason("empty_file", "the file is empty: ask ESR for it again")
    try:
        sniff(inspection.head)
    except FileRejectedError as error:
        return Reason(error.code, error.message)
    if inspection.encoding is None:
        return Reason(
            "undecodable",
            "the file is neither UTF-8 nor Windows-1252; it is kept as it came: ask ESR for a sound one",
        )
    return None


def too_early(name: FileName | None, today: date) -> Reason | None:
    """Return why a file's day cannot be right; ``None`` when it can.

    If it were applied, every file of the right day that follows would be older than it.
    """
    if name is None or name.day - today <= timedelta(days=MAX_DAYS_AHEAD):
        return None
    return Reason(
        "future_day",
        f"the day in its name, {name.day.isoformat()}, is more than {MAX_DAYS_AHEAD} days after the one it "
        f"came on, {today.isoformat()}: ask ESR for it under the right name",
    )


def too_large(file: RemoteFile, most: int) -> Reason:
    """Return why a file is not even fetched."""
    return Reason(
        "file_too_large",
        f"the file has {file.size:,} bytes, more than the {most:,} allowed; it was not fetched and lies in "
        "rejected/ on the SFTP server: if it is right, raise SPOTLIGHT_ESR_MAX_FILE_BYTES and have it resent",
    )


def object_key(file: RemoteFile, name: FileName | None, sha256: str) -> str:
    """Return where a file goes in the landing zone: the same for the same content under the same name."""
    if name is not None:
        return f"esr/inbound/{name.deanery}/{name.day.isoformat()}/{name}/{sha256[:16]}.gz"
    # Names that cannot be read may be anything, of any length; the ledger has them.
    day = datetime.fromtimestamp(min(max(file.modified, 0), 2**32), UTC).date()
    return f"esr/inbound/unnamed/{day.isoformat()}/{sha256}.gz"

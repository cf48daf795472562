"""The frame of a file: what its header must name, and what its first and last bytes tell."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from include.esr.errors import FileRejectedError
from include.esr.formats.layout import load_format
from include.esr.names import EXTENSION, FileName, FileType

if TYPE_CHECKING:
    from collections.abc import Iterable

    from include.esr.formats.chunks import BadLine

_FOREIGN = {
    b"\x1f\x8b": "gzip data",
    b"PK\x03\x04": "a zip archive",
    b"BZh": "bzip2 data",
    b"\xfd7zXZ\x00": "xz data",
    b"\x28\xb5\x2f\xfd": "Zstandard data",
    b"%PDF": "a PDF document",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
}
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_MAX_CONTROL_SHARE = 0.1
BLANK = b" \t\r\n\x1a"
DOS_END = b"\x1a"
MAX_TAIL = 4096
"""Bytes that may come after a file's last line, if they are blank lines and a DOS end of file (^Z)."""
_UNCOUNTED = {"empty_line", "bad_quotes"}


def uncounted_lines(bad: Iterable[BadLine]) -> int:
    """Return how many bad lines whoever wrote the footer may not have counted as lines.

    The rest of a record that a newline inside a value has broken in two (it begins with no record type
    and leaves a quote open), and blank lines. One such record must not condemn the whole file.
    """
    return sum(line.code in _UNCOUNTED and not line.record_type for line in bad)


def sniff(head: bytes, *, subject: str = "") -> None:
    """Refuse what is not text at all, from the first few hundred bytes of a file.

    Raises:
        FileRejectedError: With code ``not_an_esr_file``.
    """
    for magic, what in _FOREIGN.items():
        if head.startswith(magic):
            raise _foreign(subject, what)
    if len(_CONTROL.findall(head)) > _MAX_CONTROL_SHARE * len(head):
        raise _foreign(subject, "binary data")


def tail_is_footer(tail: bytes) -> bool:
    """Tell whether a file's last bytes hold a whole footer line, with nothing but blank lines after it.

    Without its newline the line may be cut off, and its number with it.
    """
    return counted_by(tail) is not None


def counted_by(tail: bytes) -> tuple[int, int] | None:
    """Return how many data lines a file's last bytes count, and how many blank lines come after that.

    ``None`` when they hold no whole footer.
    """
    code = load_format(FileType.RMF).footer.code.encode()
    content = tail.rstrip(BLANK)
    rest = tail[len(content) :]
    found = re.search(rb"\n" + code + rb",([0-9]{1,18})\Z", content)
    if found is None or not re.match(rb"\r?[\n\x1a]", rest):
        return None
    return int(found.group(1)), lines_in(rest) - 1


def lines_in(data: bytes) -> int:
    """Return how many lines there are; a last one without its newline counts."""
    return data.count(b"\n") + (data != b"" and not data.endswith(b"\n"))


def without_tail(data: bytes) -> bytes:
    """Return a file's last bytes without the blank lines and the DOS end of file (^Z) after its last line."""
    content = data.rstrip(BLANK)
    end = data.find(b"\n", len(content)) + 1 or len(data)
    return content + data[len(content) : end].replace(DOS_END, b"")


def is_named(name: FileName, stem: str) -> bool:
    """Tell whether a header's file name is this one."""
    try:
        return FileName.parse(stem + EXTENSION) == name  # a sequence of 7 digits equals one of 8
    except FileRejectedError:
        return False


def _foreign(subject: str, what: str) -> FileRejectedError:
    message = f"the file is {what}, not an ESR file; nothing of it was applied: ask ESR for a sound file"
    return FileRejectedError(message, code="not_an_esr_file", subject=subject)

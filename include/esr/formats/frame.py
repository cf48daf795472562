"""The frame of a file: header, footer and what can be told from a file's first and last bytes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from include.esr.errors import FileRejectedError
from include.esr.formats.layout import load_format
from include.esr.names import EXTENSION, FileName, FileType

if TYPE_CHECKING:
    from collections.abc import Iterable

    from include.esr.formats.chunks import BadLine, Footer, Header

STAGE = "split"
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
_UNCOUNTED = {"empty_line", "bad_quotes"}


def check_frame(
    name: FileName, header: Header | None, footer: Footer | None, data_lines: int, *, uncounted: int = 0
) -> None:
    """Require that a file is the one its name says, and whole.

    Args:
        name: Name it came under.
        header: First line, ``None`` when that is no header.
        footer: Last line, ``None`` when that is no footer.
        data_lines: Lines that are neither.
        uncounted: How many of them the footer may leave out, see ``uncounted_lines``.

    Raises:
        FileRejectedError: With code ``empty_file``, ``missing_header``, ``header_mismatch``,
            ``missing_footer``, ``footer_count`` or ``no_records``.
    """
    if header is None:
        if not data_lines and footer is None:
            raise _rejected(name, "empty_file", "the file is empty")
        raise _rejected(name, "missing_header", "the first line is not a sound header")
    if differing := _differences(name, header):
        raise _rejected(name, "header_mismatch", f"its header has another {' and '.join(differing)}")
    if footer is None:
        raise _rejected(
            name, "missing_footer", "the last line is not a sound footer: the file may have been cut off"
        )
    if not data_lines - uncounted <= footer.count <= data_lines:
        raise _rejected(
            name, "footer_count", f"its footer counts {footer.count} data lines, there are {data_lines}"
        )
    if not data_lines and name.type is not FileType.RMC:  # a day may have no changes
        raise _rejected(name, "no_records", "the file has no records")


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
    """Tell whether a file's last bytes hold a whole footer line.

    Without its newline the line may be cut off, and its number with it.
    """
    code = load_format(FileType.RMF).footer.code.encode()
    return re.search(rb"\n" + code + rb",[0-9]{1,18}\r?\n\Z", tail) is not None


def _differences(name: FileName, header: Header) -> list[str]:
    """Return which parts of the header do not fit the name; its date and time say when it was made."""
    fits = {
        "file name": is_named(name, header.stem),
        "deanery": header.deanery == name.deanery,
        "sequence": header.sequence == name.sequence,
    }
    return [part for part, does in fits.items() if not does]


def is_named(name: FileName, stem: str) -> bool:
    """Tell whether a header's file name is this one."""
    try:
        return FileName.parse(stem + EXTENSION) == name  # a sequence of 7 digits equals one of 8
    except FileRejectedError:
        return False


def _rejected(name: FileName, code: str, message: str) -> FileRejectedError:
    told = f"{message}; it is kept as it came, nothing of it was applied: ask ESR for a sound file"
    return FileRejectedError(told, code=code, subject=str(name), stage=STAGE)


def _foreign(subject: str, what: str) -> FileRejectedError:
    message = f"the file is {what}, not an ESR file; nothing of it was applied: ask ESR for a sound file"
    return FileRejectedError(message, code="not_an_esr_file", subject=subject)

"""Bodies that are not plain JSON: CSV, JSON lines, and either of them in a ZIP or gzip file.

A partner's archive is hostile until shown otherwise: one member is read, in memory, its name only
compared, and no more is unpacked than a page may hold.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import zipfile
import zlib
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator

    from include.connectors.manifest_format import ResponseFormat

MAX_MEMBERS = 1_000
MAX_RATIO = 200
MAX_RECORDS = 200_000
"""Of one page: a row of two bytes costs two hundred in memory, so bytes alone bound nothing."""
RATIO_COUNTS_FROM = 2**20
TRUNCATED = "truncated"

_CHUNK = 2**16
_UTF8_BOM = b"\xef\xbb\xbf"
_BOMS = ((_UTF8_BOM, "utf-8"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_ZIP_START, _ZIP_EMPTY, _ZIP_ENTRY = b"PK\x03\x04", b"PK\x05\x06", b"PK\x01\x02"
_GZIP_START = b"\x1f\x8b"
_MARKUP = re.compile(rb"\s*<(?:!doctype|!--|html|head|body|\?xml|[a-z]+:?[a-z]*[\s>])", re.IGNORECASE)
_ENCRYPTED = 0x1
_PLAIN_ZIP = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_TEXT_NAMES = {"csv": "CSV", "jsonl": "JSON lines", "json": "JSON"}


class FormatError(ValueError):
    """A body is not what the endpoint's ``response`` says.

    Args:
        fault: ``truncated`` (another try may help), ``html``, ``charset``, ``malformed`` or ``archive``.
        told: What it is instead and what to do; never content of the body.
    """

    def __init__(self, fault: str, told: str) -> None:
        super().__init__(told)
        self.fault = fault


def unpacked(body: bytes, expects: ResponseFormat, *, limit: int) -> bytes:
    """Return the bytes of the one file that holds the records; the body itself where there is no archive.

    Args:
        body: As the partner sent it.
        expects: The endpoint's ``response``.
        limit: Most bytes to unpack.

    Raises:
        FormatError: Not such an archive, cut off, encrypted, too large, not exactly one member of the name.
    """
    if expects.archive == "none":
        return body
    refuse_markup(body, expects)
    data = _unzipped(body, expects, limit) if expects.archive == "zip" else _gunzipped(body, limit)
    if data.startswith((_ZIP_START, _GZIP_START)):
        raise FormatError("archive", "an archive in an archive; ask the partner for one level only")
    return data


def refuse_markup(body: bytes, expects: ResponseFormat) -> None:
    """Do nothing unless the body is a web page: a log-in or maintenance page answered with 200.

    Raises:
        FormatError: ``html``.
    """
    if _MARKUP.match(body[:256].removeprefix(_UTF8_BOM)):
        wanted = f"{_TEXT_NAMES[expects.format]}" + (f" in {expects.archive}" * (expects.archive != "none"))
        raise FormatError(
            "html",
            f"an HTML page instead of {wanted}; check base_url and path, or whether the API sits behind a "
            "log-in or maintenance page",
        )


def _unzipped(body: bytes, expects: ResponseFormat, limit: int) -> bytes:
    if not body.startswith((_ZIP_START, _ZIP_EMPTY)):
        raise FormatError("archive", "something that is not a ZIP archive; check path and response.archive")
    # Before the directory is read: its entries cost twenty times their size in memory.
    if body.count(_ZIP_ENTRY) > MAX_MEMBERS:
        raise FormatError("archive", f"a ZIP archive of more than {MAX_MEMBERS} files; refused")
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            member = _member(archive, expects.member)
            if member.file_size > limit:
                raise _too_large(limit)
            with archive.open(member) as file:
                return _bounded(file.read, limit, packed=member.compress_size)
    except FormatError:
        raise
    except (zipfile.BadZipFile, EOFError, zlib.error) as error:
        raise FormatError(TRUNCATED, "an incomplete or damaged ZIP archive") from error
    except (RuntimeError, ValueError, OSError) as error:  # another packing, a password, odd fields
        raise FormatError("archive", f"a ZIP archive that cannot be read ({type(error).__name__})") from error


def _member(archive: zipfile.ZipFile, pattern: str) -> zipfile.ZipInfo:
    files = [info for info in archive.infolist() if not info.is_dir()]
    names = [info.filename for info in files]
    if len(names) != len(set(names)):
        raise FormatError("archive", "a ZIP archive that holds two files of one name; refused")
    found = [info for info in files if _is_wanted(info.filename, pattern)]
    if len(found) != 1:
        raise FormatError(
            "archive",
            f"a ZIP archive with {len(found)} of {len(files)} files that match {pattern!r}, expected one; "
            "check response.member",
        )
    if found[0].flag_bits & _ENCRYPTED:
        raise FormatError("archive", "an encrypted ZIP archive; ask the partner for one without a password")
    if found[0].compress_type not in _PLAIN_ZIP:
        raise FormatError("archive", "a ZIP archive packed neither by 'stored' nor by 'deflate'; refused")
    return found[0]


def _is_wanted(name: str, pattern: str) -> bool:
    path, _, base = name.replace("\\", "/").rpartition("/")
    if base.startswith(".") or path.startswith("__MACOSX"):
        return False  # what macOS adds to every archive
    return fnmatchcase(base, pattern) or fnmatchcase(name, pattern)


def _bounded(read: Any, limit: int, *, packed: int) -> bytes:
    """Read to the end whatever size the archive claims; stop where it unpacks to more than is believable."""
    chunks: list[bytes] = []
    size = 0
    while chunk := read(_CHUNK):
        size += len(chunk)
        _require_size(size, packed, limit)
        chunks.append(chunk)
    return b"".join(chunks)


def _require_size(size: int, packed: int, limit: int) -> None:
    if size > limit:
        raise _too_large(limit)
    if size > RATIO_COUNTS_FROM and size > MAX_RATIO * max(packed, 1):
        raise FormatError(
            "archive", f"an archive that unpacks to more than {MAX_RATIO} times its size; refused"
        )


def _too_large(limit: int) -> FormatError:
    return FormatError(
        "archive",
        f"an archive that unpacks to more than {limit} bytes; ask for smaller parts, or raise "
        "SPOTLIGHT_MAX_PAGE_BYTES",
    )


def too_many_records() -> FormatError:
    """Return the fault of a page with more records than one may hold."""
    return FormatError("malformed", f"a page of more than {MAX_RECORDS} records; ask for smaller pages")


def _gunzipped(body: bytes, limit: int) -> bytes:
    """Unpack one gzip file, or several written one after the other."""
    if not body.startswith(_GZIP_START):
        raise FormatError(
            "archive",
            "something that is not a gzip file; where the server says Content-Encoding: gzip, leave "
            "response.archive out",
        )
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(body)) as file:
            return _bounded(file.read, limit, packed=len(body))
    except (OSError, EOFError, zlib.error) as error:
        raise FormatError(TRUNCATED, "an incomplete or damaged gzip file") from error


def text_of(data: bytes, expects: ResponseFormat, *others: str | None) -> str:
    """Return the text of a CSV or JSON-lines file, its byte-order mark taken off.

    A mark says what the text is; then comes ``response.encoding``, then ``others`` (the Content-Type's
    charset, ``client.charset``), so that a right declaration anywhere is enough.

    Raises:
        FormatError: ``charset``.
    """
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            try:
                return data.decode(encoding).removeprefix("\ufeff")
            except UnicodeError as error:
                raise _wrong_charset(encoding) from error
    for name in (expects.encoding, *others):
        try:
            text = data.decode(name) if name else None
        except (LookupError, UnicodeError):
            continue
        # UTF-16 without a mark passes for any eight-bit text, every other character NUL.
        if text is not None and "\0" not in text[:256]:
            return text
    raise _wrong_charset(expects.encoding)


def _wrong_charset(encoding: str) -> FormatError:
    return FormatError("charset", f"text that is not {encoding}; state response.encoding in the manifest")


def json_lines(text: str) -> list[Any]:
    """Return one value a line. A line that is no JSON stays text: it is set aside, the others go on.

    Raises:
        FormatError: ``truncated``: the last line is cut off; ``malformed``: no line at all is JSON, or more
            than ``MAX_RECORDS``.
    """
    values: list[Any] = []
    good = 0
    cut = text.count("\n") + 1  # a last line without an end
    for number, line in enumerate(io.StringIO(text, newline="\n"), start=1):
        if not line.strip():
            continue
        if len(values) >= MAX_RECORDS:
            raise too_many_records()
        try:
            values.append(orjson.loads(line))
            good += 1
        except orjson.JSONDecodeError:
            if number == cut:
                raise FormatError(TRUNCATED, "JSON lines whose last one is cut off") from None
            values.append(line.rstrip("\r\n"))
    if values and not good:
        raise FormatError("malformed", "something that is not JSON lines; check path and response.format")
    return values


def csv_records(text: str, expects: ResponseFormat) -> list[Any]:
    """Return the rows as objects of texts, by the names of the first row or of ``response.columns``.

    A row with more or fewer fields stays a list, one that cannot be read stays text: neither is an object, so
    each is set aside by itself. Blank lines are no rows; a column without a name is left out.

    Raises:
        FormatError: ``truncated``: it ends inside a quoted field or row; ``malformed``: no such CSV, or more
            than ``MAX_RECORDS``.
    """
    lines = _Lines(text)
    for _ in range(expects.skip_rows):
        next(lines, None)
    rows = _rows(lines, expects)
    names = list(expects.columns) or _names(next(rows, None))
    kept = [place for place, name in enumerate(names) if name]
    whole = len(kept) == len(names)
    records: list[Any] = []
    for row in rows:
        if len(records) >= MAX_RECORDS:
            raise too_many_records()
        if not isinstance(row, list) or len(row) != len(names):
            records.append(row)
        elif whole:
            records.append(dict(zip(names, row, strict=True)))
        else:
            records.append({names[place]: row[place] for place in kept})
    last = records[-1] if records else None
    if isinstance(last, list) and len(last) < len(names) and not text.endswith(("\n", "\r")):
        raise FormatError(TRUNCATED, "CSV that ends in the middle of a row")
    return records


class _Lines:
    """The lines of a text, those since the last ``taken`` remembered for a row that cannot be read."""

    def __init__(self, text: str) -> None:
        self._lines = iter(io.StringIO(text, newline=""))
        self._since: list[str] = []

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self._since.append(line)
        return line

    def taken(self) -> str:
        text = "".join(self._since)
        self.forget()
        return text

    def forget(self) -> None:
        self._since.clear()


def _rows(lines: _Lines, expects: ResponseFormat) -> Iterator[list[str] | str]:
    reader = csv.reader(lines, delimiter=expects.delimiter, quotechar=expects.quote, strict=True)
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            # After an error the reader starts afresh with the next line.
            if "end of data" in str(error):
                raise FormatError(
                    TRUNCATED, "CSV that ends inside a quoted field: cut off, or a quote that is never closed"
                ) from None
            yield lines.taken().rstrip("\r\n")
            continue
        lines.forget()
        if row:
            yield row


def _names(row: list[str] | str | None) -> list[str]:
    """Return the column names; an answer that is no table is told from an empty one here."""
    if row is None:
        raise FormatError(TRUNCATED, "an empty file where at least the row of column names was expected")
    names = [name.strip() for name in row] if isinstance(row, list) else []
    given = [name for name in names if name]
    if len(given) < 2 or names[0].startswith(("{", "[")):  # noqa: PLR2004 - a record has an id and something else
        raise FormatError(
            "malformed",
            "something that is not CSV with a row of column names; an error in disguise, or a wrong "
            "response.delimiter, skip_rows or path",
        )
    if len(given) != len(set(given)):
        raise FormatError("malformed", "CSV with two columns of one name; name them in response.columns")
    return names

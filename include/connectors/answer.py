"""One answer of a partner: its bytes, read once, and what can be wrong with them."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from email.message import Message
from typing import TYPE_CHECKING, Any, Literal, cast

import orjson

from include.errors import ConfigurationError, IntegrationError, TransientError
from include.settings import get_settings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from include.connectors.manifest_format import ResponseFormat

Fault = Literal["truncated", "html", "charset", "malformed", "archive"]

TRIED_AGAIN = "the next try starts again from the checkpoint; nothing is lost"

_BOM = b"\xef\xbb\xbf"
_HIGH, _LOW = rb"[dD][89abAB][0-9a-fA-F]{2}", rb"[dD][c-fC-F][0-9a-fA-F]{2}"
_ESCAPE = re.compile(
    rb"\\(?:u" + _HIGH + rb"\\u" + _LOW + rb"|(?P<lone>u(?:" + _HIGH + rb"|" + _LOW + rb"))|.)", re.DOTALL
)
_ADVICE: dict[Fault, str] = {
    "truncated": f"an incomplete JSON answer; {TRIED_AGAIN}",
    "html": "an HTML page instead of JSON; check base_url and path, or whether the API sits behind a log-in "
    "or maintenance page",
    "charset": "text that is neither UTF-8 nor what its Content-Type declares; state client.charset in the "
    "manifest",
    "malformed": "something that is not JSON; check base_url and path",
    "archive": "an archive that cannot be read; check response.archive",
}
_UNREAD = object()
_LONGEST_ERROR = 65_536
_SUCCESS_ENDS = 300


class NotJsonError(ValueError):
    """A body is not JSON, or not what the endpoint's ``response`` says.

    Args:
        fault: What it is instead.
        told: The same in words, where ``response`` is not plain JSON.
    """

    def __init__(self, fault: Fault, told: str | None = None) -> None:
        super().__init__(told or _ADVICE[fault])
        self.fault: Fault = fault

    def as_failure(self, where: str, subject: str) -> IntegrationError:
        """Return the failure of the taxonomy; only a cut-off answer is worth another try."""
        kind = TransientError if self.fault == "truncated" else ConfigurationError
        return kind(f"{where} gave {self}", subject=subject)


def parse_body(
    body: bytes,
    content_type: str = "",
    charset: str | None = None,
    expects: ResponseFormat | None = None,
    *,
    limit: int | None = None,
) -> Any:
    """Return the value of a body: of JSON its value, of CSV and JSON lines a list of records.

    JSON is UTF-8 whatever a header says (RFC 8259), so UTF-8 comes first, then the declared
    charset, then ``charset``: a wrong declaration does no harm, and a right one is honoured. Half
    of an escaped surrogate pair (an emoji cut in two) becomes U+FFFD.

    Args:
        body: As it came or as landed.
        content_type: Its Content-Type header.
        charset: The manifest's ``client.charset``.
        expects: The endpoint's ``response``; ``None`` for plain JSON.
        limit: Most bytes an archive may unpack to; the deployment's ``max_page_bytes`` when absent.

    Raises:
        NotJsonError: With the kind of fault.
    """
    if expects is None or _is_json(expects):
        return _json(body, content_type, charset)
    return _as_declared(body, content_type, charset, expects, limit or get_settings().max_page_bytes)


def _is_json(expects: ResponseFormat | None) -> bool:
    return expects is None or (expects.format == "json" and expects.archive == "none")


def _as_declared(
    body: bytes, content_type: str, charset: str | None, expects: ResponseFormat, limit: int
) -> Any:
    """Read what ``response`` says the body is."""
    from include.connectors import formats

    try:
        data = formats.unpacked(body, expects, limit=limit)
        if expects.format == "json":
            return _json(data, "", charset)
        formats.refuse_markup(data, expects)
        text = formats.text_of(data, expects, declared_charset(content_type), charset)
        return formats.json_lines(text) if expects.format == "jsonl" else formats.csv_records(text, expects)
    except formats.FormatError as error:
        told = f"{error}; {TRIED_AGAIN}" if error.fault == "truncated" else str(error)
        raise NotJsonError(cast("Fault", error.fault), told) from None


def _json(body: bytes, content_type: str, charset: str | None) -> Any:
    body = body.removeprefix(_BOM)
    try:
        return _loads(body)
    except orjson.JSONDecodeError as error:
        fault = _fault(body, error, content_type)
    for name in (declared_charset(content_type), charset):
        if name and fault in ("charset", "malformed"):
            try:
                return _loads(body.decode(name).encode())
            except (LookupError, UnicodeError, orjson.JSONDecodeError):
                continue
    raise NotJsonError(fault)


def declared_charset(content_type: str) -> str | None:
    """Return the charset a Content-Type header declares."""
    message = Message()
    message["Content-Type"] = content_type
    return message.get_content_charset()


def _loads(body: bytes) -> Any:
    """Read JSON; only where that fails, once more without lone surrogates.

    Such an escape is well-formed JSON, so one cut name must not cost a page of good records; orjson
    refuses it because it has no UTF-8. The text keeps its length, and a fault its position.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        mended = _ESCAPE.sub(lambda found: b"\\ufffd" if found["lone"] else found[0], body)
        if mended == body:
            raise
        return orjson.loads(mended)


def _fault(body: bytes, error: orjson.JSONDecodeError, content_type: str) -> Fault:
    start = body.lstrip()[:1]
    if start == b"<" or (start not in (b"{", b"[") and "html" in content_type.lower()):
        return "html"
    try:
        text = body.decode()
    except UnicodeDecodeError as bad:
        cut = bad.reason == "unexpected end of data" and start in (b"{", b"[")
        return "truncated" if cut else "charset"
    if not start:
        return "truncated"
    cut = start in (b"{", b"[") and error.pos >= len(text)
    return "truncated" if cut else "malformed"


@dataclass(slots=True)
class Answer:
    """A complete answer. Has the attributes dlt's paginators and authenticators read of a response.

    Attributes:
        method: Of the request.
        url: The address that answered, with its secrets: never shown, see ``shown_url``.
        shown_url: The address without secrets.
        status_code: HTTP status.
        headers: Response headers, names in any case.
        content: Decoded body.
        request_body: Of the request, for telling one page from the next.
        completed_at: When the last byte had come, UTC.
        charset: The manifest's charset for bodies that are not UTF-8.
        expects: What the endpoint's body is; ``None`` for JSON.
        max_bytes: Most bytes an archive may unpack to; the deployment's ``max_page_bytes`` when absent.
        ignored: A rule of the manifest says there is nothing to read here.
    """

    method: str
    url: str = field(repr=False)
    shown_url: str
    status_code: int
    headers: Mapping[str, str] = field(repr=False)
    content: bytes = field(repr=False)
    request_body: bytes | str | None = field(repr=False)
    completed_at: datetime
    charset: str | None = None
    expects: ResponseFormat | None = None
    max_bytes: int | None = None
    ignored: bool = False
    _value: Any = field(default=_UNREAD, repr=False)

    @property
    def content_type(self) -> str:
        """Return the Content-Type header, verbatim."""
        return self.headers.get("Content-Type", "")

    @property
    def where(self) -> str:
        """Return method and address for messages."""
        return f"{self.method} {self.shown_url}"

    @property
    def links(self) -> dict[str, dict[str, str]]:
        """Return the Link header by relation, as requests does."""
        from requests.utils import parse_header_links

        found = parse_header_links(self.headers.get("Link", "")) if self.headers.get("Link") else []
        return {link.get("rel") or link.get("url", ""): link for link in found}

    def json(self) -> Any:
        """Return the body's value, parsed once.

        Raises:
            NotJsonError: It is not JSON, or not what ``expects`` says.
        """
        if self._value is _UNREAD:
            self._value = parse_body(
                self.content, self.content_type, self.charset, self.expects, limit=self.max_bytes
            )
        return self._value

    def told(self) -> Any:
        """Return the body's value for a rule about errors, which are JSON also where the lists are files.

        Raises:
            NotJsonError: It is neither JSON nor what ``expects`` says.
        """
        if self.expects and self.expects.format == "jsonl" and self.status_code < _SUCCESS_ENDS:
            return self.json()  # a list's only record is a line of JSON, and is not an error for that
        if not _is_json(self.expects) and len(self.content) <= _LONGEST_ERROR:
            with suppress(NotJsonError):
                return _json(self.content, self.content_type, self.charset)
        return self.json()

    def raise_for_status(self) -> None:
        """Do nothing: the session has judged the status before it hands an answer out."""

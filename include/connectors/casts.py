"""Casts from a partner's values to canonical types; a value that cannot be cast is a ``BadValueError``."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from math import isfinite
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from include.connectors.canonical_fields import Kind

_WORDS = {
    "true": True, "yes": True, "y": True, "1": True, "t": True, "on": True,
    "false": False, "no": False, "n": False, "0": False, "f": False, "off": False,
}  # fmt: skip
_MACHINE_FORMATS = frozenset({"iso8601", "epoch_seconds", "epoch_millis"})
_HUNDRED = 100
LONGEST_KEPT = 100
"""Characters of a partner's word whose meaning is kept: what is kept of hostile data must stay small."""
# What can be read in one way only needs no parser, which takes three times as long.
PLAIN_URL = re.compile(r"https?://[A-Za-z0-9][A-Za-z0-9.-]*(?:/[A-Za-z0-9._~/-]*)?", re.ASCII)
_EXACT = 2**53  # from here on a JSON number no longer tells one whole number from the next
_TAGS = frozenset(
    {"a", "abbr",
     "b", "blockquote", "br", "code", "dd", "div", "dl", "dt", "em", "h2", "h3", "h4", "h5", "h6",
     "hr", "i", "li", "ol", "p", "pre", "s", "small", "span", "strong", "sub", "sup", "table", "tbody", "td",
     "th", "thead", "tr", "u", "ul"}
)  # fmt: skip


class BadValueError(ValueError):
    """A value cannot be cast.

    Args:
        code: ``bad_datetime``, ``bad_number`` ...
        expected: What would have been right; never the value itself, which may be personal.
    """

    def __init__(self, code: str, expected: str) -> None:
        super().__init__(expected)
        self.code = code
        self.expected = expected


def make_cast(kind: Kind, *, formats: Sequence[str], timezone: str, scale: float) -> Callable[[Any], Any]:
    """Return the cast to ``kind``. It is given no ``None`` and no blank text."""
    if kind == "datetime":
        return _datetime_cast(tuple(formats), ZoneInfo(timezone))
    if kind == "html":
        return _html_cast()
    if kind in ("number", "percent", "integer"):
        return _number_cast(kind, scale)
    return {"text": to_text, "url": to_url, "boolean": to_boolean, "object": to_object}[kind]


def to_text(value: Any) -> str:
    """Return a text, number or boolean as trimmed text.

    Raises:
        BadValueError: ``bad_text`` for a list or object.
    """
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    raise BadValueError("bad_text", "text")


def to_url(value: Any) -> str:
    """Return an absolute http(s) address; others, such as ``javascript:``, are hostile in a link.

    Raises:
        BadValueError: ``bad_url``.
    """
    text = to_text(value)
    if PLAIN_URL.fullmatch(text):
        return text
    try:
        parts = urlsplit(text)
    except ValueError:
        parts = None
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise BadValueError("bad_url", "an http(s) address")
    return text


def to_boolean(value: Any) -> bool:
    """Return a boolean, also from yes/no, true/false, 1/0 in text.

    Raises:
        BadValueError: ``bad_boolean``.
    """
    if isinstance(value, bool):
        return value
    found = _WORDS.get(str(value).strip().casefold()) if isinstance(value, (str, int)) else None
    if found is None:
        raise BadValueError("bad_boolean", "true or false, yes or no, 1 or 0")
    return found


def to_object(value: Any) -> dict[str, str]:
    """Return an object of texts, without its nulls.

    The store takes a key with a dot or a leading ``$`` for a path or an operator, and none with NUL.

    Raises:
        BadValueError: ``bad_object``.
    """
    if not isinstance(value, dict):
        raise BadValueError("bad_object", "an object")
    if any(key.startswith("$") or "." in key or "\0" in key for key in value):
        raise BadValueError("bad_object", "an object whose names hold no dot, no NUL and no $ at the start")
    return {key: to_text(entry) for key, entry in value.items() if entry is not None}


def to_number(value: Any) -> float:
    """Return a finite number, also from text such as ``1,234.5`` or ``45,5``.

    Raises:
        BadValueError: ``bad_number``.
    """
    if value.__class__ is float and isfinite(value):
        return float(value)
    if isinstance(value, str):
        text = value.strip().replace("\u00a0", "").replace(" ", "")
        # One comma and no point is a decimal comma unless three digits follow it.
        whole, comma, rest = text.rpartition(",")
        if comma and "." not in rest and "," not in whole and "." not in whole and len(rest) != 3:  # noqa: PLR2004
            text = f"{whole}.{rest}"
        try:
            number = float(text.replace(",", "").replace("_", "x"))
        except ValueError:
            raise BadValueError("bad_number", "a number") from None
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            raise BadValueError("bad_number", "a number") from None
    else:
        raise BadValueError("bad_number", "a number")
    if not isfinite(number):
        raise BadValueError("bad_number", "a finite number")
    return number


def _number_cast(kind: Kind, scale: float) -> Callable[[Any], Any]:
    def scaled(value: Any) -> float:
        return round(to_number(value) * scale, 6)

    number = to_number if scale == 1 else scaled

    def integer(value: Any) -> int:
        if value.__class__ is int and scale == 1 and -_EXACT < value < _EXACT:
            return int(value)
        found = number(value)
        if not found.is_integer():
            raise BadValueError("bad_number", "a whole number")
        if abs(found) >= _EXACT:
            raise BadValueError("bad_number", "a whole number below 2 to the power of 53")
        return int(found)

    def percent(value: Any) -> float:
        try:
            found = number(value.strip().removesuffix("%") if isinstance(value, str) else value)
        except BadValueError:
            found = -1
        if not 0 <= found <= _HUNDRED:
            raise BadValueError("bad_percent", "a percentage from 0 to 100")
        return found

    return {"number": number, "integer": integer, "percent": percent}[kind]


def to_millisecond(moment: datetime) -> datetime:
    """Return the time to the millisecond: the store keeps no more, and an event must say the same."""
    spare = moment.microsecond % 1000
    return moment.replace(microsecond=moment.microsecond - spare) if spare else moment


def _datetime_cast(formats: tuple[str, ...], zone: ZoneInfo) -> Callable[[Any], datetime]:
    readers = [_reader(form) for form in formats]

    def cast(value: Any) -> datetime:
        for read in readers:
            try:
                return _in_utc(read(value), zone)
            except (ValueError, TypeError, OverflowError, OSError, AttributeError):
                continue
        raise BadValueError("bad_datetime", f"a time written as {' or '.join(formats)}")

    if all(form in _MACHINE_FORMATS for form in formats):
        return cast
    # strptime costs 5 microseconds a try, and dates written for people are days: they repeat.
    cached = lru_cache(maxsize=4096)(cast)
    return lambda value: (
        cached(value) if isinstance(value, str) and len(value) <= LONGEST_KEPT else cast(value)
    )


def _in_utc(moment: datetime, zone: ZoneInfo) -> datetime:
    if moment.tzinfo is not UTC:
        moment = (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)
    return to_millisecond(moment) if moment.microsecond else moment


def _iso8601(value: Any) -> datetime:
    return datetime.fromisoformat(value.strip() if value.__class__ is str else value)


def _reader(form: str) -> Callable[[Any], datetime]:
    if form == "iso8601":
        return _iso8601
    if form in ("epoch_seconds", "epoch_millis"):
        unit = 1 if form == "epoch_seconds" else 1000
        return lambda value: datetime.fromtimestamp(_epoch(value) / unit, UTC)
    return lambda value: datetime.strptime(value.strip(), form)  # noqa: DTZ007 - the zone is added above


def _epoch(value: Any) -> float:
    if isinstance(value, bool):
        raise TypeError
    return float(value)


def _html_cast() -> Callable[[Any], str]:
    import nh3

    cleaner = nh3.Cleaner(tags=set(_TAGS), url_schemes={"http", "https", "mailto"})
    return lambda value: str(cleaner.clean(to_text(value)))

"""Ids in landed pages: found without parsing, and in records that today's manifest reads otherwise."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.:")
_PACKED = (b"PK", b"\x1f\x8b")
# UTF-16 and its like hold NUL bytes or begin with a mark; JSON and XML may spell a letter as its number.
_SPELT_OTHERWISE = re.compile(rb"\A(?:\xff\xfe|\xfe\xff)|\x00|\\u00[2-7]|&#")


@dataclass(frozen=True, slots=True)
class WantedIds:
    """The partner's ids of records that are looked for; the parts of a compound one are joined by a colon."""

    ids: frozenset[str]

    def may_be_in(self, body: bytes) -> bool:
        """Tell without parsing whether a page may hold one of the ids: nearly none of many does."""
        if any(not _PLAIN.issuperset(one) for one in self.ids):
            return True
        if body[:2] in _PACKED or _SPELT_OTHERWISE.search(body):
            return True
        parts = {part for one in self.ids for part in one.split(":")}
        return any(part.encode() in body for part in parts)

    def stand_in(self, record: Any) -> bool:
        """Tell whether a record holds one of the ids, with all its parts, as single values anywhere in it."""
        told = set(_single_values(record))
        return any(one in told or told.issuperset(one.split(":")) for one in self.ids)


def records_holding(wanted: WantedIds, value: Any) -> list[Any]:
    """Return the longest list in a parsed page one of whose entries holds an id; empty where none does.

    For a page whose records are no longer where the manifest says.
    """
    best: list[Any] = []
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, list) and len(one) > len(best) and any(map(wanted.stand_in, one)):
            best = one
        left += one if isinstance(one, list) else one.values() if isinstance(one, dict) else ()
    return best or ([value] if isinstance(value, dict) and wanted.stand_in(value) else [])


def _single_values(record: Any) -> Iterator[str]:
    left = [record]
    while left:
        one = left.pop()
        if isinstance(one, str):
            yield one.strip()
        elif isinstance(one, int) and not isinstance(one, bool):
            yield str(one)
        else:
            left += one if isinstance(one, list) else one.values() if isinstance(one, dict) else ()

"""Records serialised once, kept in the partner's order, cut into pages."""

from __future__ import annotations

from bisect import bisect_left
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence


class Row(NamedTuple):
    """One record, ready to be sent.

    Attributes:
        stamp: Last change, milliseconds since 1970 UTC.
        ident: External id as text; ``None`` when the record has none.
        blob: The record as JSON.
        status: The partner's own status, for filters.
        bad: Whether the record cannot become a platform record.
        deleted: Whether it carries a deletion mark.
        number: Its place in order of creation.
        reference: The enrolling side's, for filters.
    """

    stamp: int
    ident: str | None
    blob: bytes
    status: str = ""
    bad: bool = False
    deleted: bool = False
    number: int = 0
    reference: str = ""


class Dataset:
    """The rows of one resource on one day, by last change; ties stay in order of creation."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows: list[Row] = sorted(rows, key=attrgetter("stamp", "number"))
        self.stamps: list[int] = [row.stamp for row in self.rows]
        self.created: list[Row] = sorted(rows, key=attrgetter("number"))
        self.numbers: list[int] = [row.number for row in self.created]

    def since(self, stamp: int | None) -> int:
        """Return the position of the first row changed at or after ``stamp``."""
        return 0 if stamp is None else bisect_left(self.stamps, stamp)

    def after(self, number: int) -> int:
        """Return the position, by creation, of the first row with a larger number."""
        return bisect_left(self.numbers, number + 1)


def json_page(head: bytes, rows: Sequence[Row], tail: bytes) -> bytes:
    """Return ``head``, the rows as a JSON list, ``tail``; copied once, pages can have megabytes."""
    blobs = [row.blob for row in rows]
    if not blobs:
        return head + b"[]" + tail
    blobs[0] = head + b"[" + blobs[0]
    blobs[-1] += b"]" + tail
    return b",".join(blobs)

"""The form of a landed page that an erasure rewrote: its records, a mark in the place of each that went."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Sequence

ERASED_RECORD = {"$erased": True}
"""Stands in a landed page for a record that was erased, so that the others keep their position."""
_PAGE = b'{"$erased_page":'


def rewritten(records: Sequence[Any]) -> bytes:
    """Return a page body that holds these records and says of itself that it is not the partner's."""
    return orjson.dumps({"$erased_page": list(records)})


def rewritten_records(body: bytes) -> list[Any] | None:
    """Return the records of a page that was rewritten, ``None`` for a page as it came."""
    if not body.startswith(_PAGE):
        return None
    records: list[Any] = orjson.loads(body)["$erased_page"]
    return records


def is_erased(record: Any) -> bool:
    """Return whether a record of a landed page is the mark of one that was erased."""
    return isinstance(record, dict) and record.get("$erased") is True

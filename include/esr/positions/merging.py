"""Positions: what POS and POR say of one position, merged by age of file, one slice at a time.

Rules (domain page, section 3): POS and POR of one position meet on positionID; an older file never
overwrites a newer part; ``D`` deletes, a newer ``C`` brings back; replaying a file changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from include.storage.documents import content_hash
from include.storage.mongo import FenceMovedError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from datetime import datetime

    import pyarrow as pa
    from pymongo.client_session import ClientSession
    from pymongo.collection import Collection as MongoCollection

    from include.esr.documents import Source
    from include.storage.mongo import IntegrationStore, Write

POSITION_TYPES = ("POS", "POR")
DELETED = "D"

_DUPLICATE_KEY = 11000
_KNOWN_FIELDS: dict[str, int] = {"deanery": 1, "file_id": 1, "revision": 1} | {
    f"{part}.{name}": 1
    for part in ("pos", "por")
    for name in ("order", "hash", "indicator", "deanery_number")
}


@dataclass(frozen=True, slots=True)
class Part:
    """What the newest file says of a position in one record type, as far as merging needs to know.

    Attributes:
        order: Place in time of the newest file that says so (``Source.order``).
        hash: Of every column of the record.
        number: ``deaneryNumber``.
    """

    order: str
    hash: str
    deleted: bool
    number: str


@dataclass(frozen=True, slots=True)
class Position:
    """POS and POR of one position; at least one of them is there."""

    pos: Part | None
    por: Part | None

    @property
    def order(self) -> str:
        """Return the order of the newest part."""
        return max(part.order for part in self._parts)

    @property
    def deleted(self) -> bool:
        """Tell whether the newest file that tells of it deletes it, in either part."""
        return any(part.deleted for part in self._newest)

    @property
    def number(self) -> str:
        """Return the deaneryNumber of the newest part; POS's when both are of one file."""
        return self._newest[0].number

    @property
    def state(self) -> tuple[Any, ...]:
        """Return what makes two versions of a position the same: all but the age of its parts."""
        hashes = [part.hash if part else None for part in (self.pos, self.por)]
        return (*hashes, self.deleted, self.number)

    @property
    def _parts(self) -> list[Part]:
        return [part for part in (self.pos, self.por) if part]

    @property
    def _newest(self) -> list[Part]:
        return [part for part in self._parts if part.order == self.order]


def newer(stored: Part | None, coming: Part | None) -> Part | None:
    """Return the part that counts. One of the same file counts again: its layout may have been corrected."""
    if stored is None or coming is None:
        return coming or stored
    return coming if coming.order >= stored.order else stored


def merged(stored: Position | None, coming: Position) -> Position:
    """Return a position once a file has told of it; each part by its own age."""
    if stored is None:
        return coming
    return Position(newer(stored.pos, coming.pos), newer(stored.por, coming.por))


@dataclass(frozen=True, slots=True)
class _Known:
    """A stored position, with what must not have changed when it is written."""

    position: Position
    deanery: str
    file_id: str
    revision: int


@dataclass(slots=True)
class _Changes:
    """What one slice changes: documents to insert, updates by what they replace, parts that only aged."""

    new: list[dict[str, Any]] = field(default_factory=list)
    changed: list[tuple[dict[str, Any], dict[str, Any]]] = field(default_factory=list)
    aged: dict[tuple[str, ...], list[int]] = field(default_factory=dict)
    unchanged: int = 0
    older: int = 0

    def __bool__(self) -> bool:
        return bool(self.new or self.changed or self.aged)

    def counts(self) -> dict[str, int]:
        return {
            "positions_new": len(self.new),
            "positions_changed": len(self.changed),
            "positions_unchanged": self.unchanged,
            "positions_older": self.older,
        }


def plan_positions(
    store: IntegrationStore, source: Source, tables: Mapping[str, pa.Table], *, at: datetime
) -> tuple[dict[str, int], Write | None]:
    """Plan what the POS and POR lines of a slice change: one read, one write of each kind.

    A position whose content changed gets a new revision and waits for reconciliation. One that did not
    change only ages: a file older than that will not overwrite it.

    Args:
        store: The store.
        source: The file the slice is of.
        tables: By record code, as the reader gives them; only POS and POR are looked at. An id that
            comes twice in a table counts once, as it first came.
        at: Now.

    Returns:
        Counts of positions by what became of them, and the write to commit under the fence of the
        source's owner; ``None`` when there is nothing to write.

    The write raises FenceMovedError when another deanery's file wrote one of the positions in between.
    """
    coming = _coming(source, tables)
    known = _known(store, coming)
    changes = _Changes()
    for position_id, parts in coming.items():
        _compare(changes, source, position_id, parts, known.get(position_id), at)

    def write(session: ClientSession, _order: int) -> None:
        _write(store["esr_position"], session, source, changes)

    return changes.counts(), write if changes else None


def _coming(source: Source, tables: Mapping[str, pa.Table]) -> dict[int, dict[str, dict[str, Any]]]:
    """Return the part documents of a slice by position and part."""
    coming: dict[int, dict[str, dict[str, Any]]] = {}
    for code in POSITION_TYPES:
        if code in tables:
            for position_id, part in _parts(source, tables[code]):
                coming.setdefault(position_id, {}).setdefault(code.lower(), part)
    return coming


def _parts(source: Source, table: pa.Table) -> Iterator[tuple[int, dict[str, Any]]]:
    import pyarrow as pa

    # Mongo has no type for a day: as ISO text it still compares.
    columns = {
        name: (column.cast(pa.string()) if pa.types.is_date(column.type) else column).to_pylist()
        for name, column in zip(table.column_names, table.columns, strict=True)
    }
    ids, lines = columns.pop("position_id"), columns.pop("line")
    names = tuple(columns)
    for position_id, line, values in zip(ids, lines, zip(*columns.values(), strict=True), strict=True):
        said = {name: value for name, value in zip(names, values, strict=True) if value is not None}
        yield position_id, {"order": source.order, "line": line, "hash": content_hash(said), **said}


def _known(store: IntegrationStore, ids: Collection[int]) -> dict[int, _Known]:
    if not ids:
        return {}
    found = store["esr_position"].find({"_id": {"$in": list(ids)}}, _KNOWN_FIELDS)
    return {
        doc["_id"]: _Known(_position(doc), doc["deanery"], doc["file_id"], doc["revision"])
        for doc in found.batch_size(len(ids))
    }


def _position(doc: Mapping[str, Any]) -> Position:
    return Position(_part(doc.get("pos")), _part(doc.get("por")))


def _part(doc: Mapping[str, Any] | None) -> Part | None:
    if doc is None:
        return None
    return Part(doc["order"], doc["hash"], doc["indicator"] == DELETED, doc["deanery_number"])


def _compare(
    changes: _Changes,
    source: Source,
    position_id: int,
    parts: dict[str, dict[str, Any]],
    known: _Known | None,
    at: datetime,
) -> None:
    """File one position of the slice under what becomes of it."""
    before = known.position if known else None
    after = merged(before, _position(parts))
    taken = {name: part for name, part in parts.items() if not _is_older(before, name, source.order)}
    if known is None or before is None:
        fresh = _state(source, after, at) | {"revision": 1, "match": None, "told": None}
        changes.new.append({"_id": position_id} | fresh | taken)
    elif not taken:
        changes.older += 1
    elif after.state != before.state or known.deanery != source.deanery:
        seen = {"_id": position_id, "file_id": known.file_id, "revision": known.revision}
        changes.changed.append((seen, {"$set": _state(source, after, at) | taken, "$inc": {"revision": 1}}))
    else:
        changes.unchanged += 1
        aged = tuple(name for name in taken if _order_of(before, name) != source.order)
        if aged:
            changes.aged.setdefault(aged, []).append(position_id)


def _state(source: Source, position: Position, at: datetime) -> dict[str, Any]:
    """Return what a changed position says beside its parts."""
    return {
        "deanery": source.deanery.value,
        "order": position.order,
        "number": position.number,
        "deleted": position.deleted,
        "hash": content_hash(position.state),
        "pending": True,
        "file_id": source.file_id,
        "at": at,
    }


def _order_of(position: Position | None, name: str) -> str:
    part: Part | None = getattr(position, name) if position else None
    return part.order if part else ""


def _is_older(position: Position | None, name: str, order: str) -> bool:
    return order < _order_of(position, name)


def _write(
    collection: MongoCollection[dict[str, Any]], session: ClientSession, source: Source, changes: _Changes
) -> None:
    """Write a slice; a position somebody else wrote since it was read stops it."""
    from pymongo import UpdateOne
    from pymongo.errors import BulkWriteError

    written = len(changes.changed) + sum(map(len, changes.aged.values()))
    if changes.new:
        try:
            collection.insert_many(changes.new, ordered=False, session=session)
        except BulkWriteError as error:
            if any(failed["code"] != _DUPLICATE_KEY for failed in error.details["writeErrors"]):
                raise
            raise _overtaken(source) from None
    if changes.changed:
        updates = [UpdateOne(seen, change) for seen, change in changes.changed]
        written -= collection.bulk_write(updates, ordered=False, session=session).matched_count
    for aged, ids in changes.aged.items():
        written -= collection.update_many(
            {"_id": {"$in": ids}, "deanery": source.deanery.value},
            {"$set": {f"{name}.order": source.order for name in aged}, "$max": {"order": source.order}},
            session=session,
        ).matched_count
    if written:
        raise _overtaken(source)


def _overtaken(source: Source) -> FenceMovedError:
    # The fence keeps out other runs of this deanery; a position that two deaneries tell of has two fences.
    return FenceMovedError("another deanery told of the same position first", subject=source.owner)

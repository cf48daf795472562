"""Positions: what POS and POR say of one position, merged by age of file, one slice at a time.

Rules (domain page, section 3): POS and POR of one position meet on positionID; an older file never
overwrites a newer part; ``D`` deletes, a newer ``C`` brings back; replaying a file changes nothing. What is
newer when two deaneries tell of one position, ``include/esr/precedence.py`` says.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from include.esr.precedence import Age, counts_beside, leads
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

_UPDATED = "last_update_date"
_DUPLICATE_KEY = 11000
_KNOWN_FIELDS: dict[str, int] = {"deanery": 1, "file_id": 1, "revision": 1} | {
    f"{part}.{name}": 1
    for part in ("pos", "por")
    for name in ("order", "deanery", "hash", "indicator", "deanery_number", _UPDATED)
}


@dataclass(frozen=True, slots=True)
class Part:
    """What the newest file says of a position in one record type, as far as merging needs to know.

    Attributes:
        age: Of the newest file that says so, and of the record.
        hash: Of every column of the record but its last update date: that alone is no change.
        number: ``deaneryNumber``.
    """

    age: Age
    hash: str
    number: str


@dataclass(frozen=True, slots=True)
class Position:
    """POS and POR of one position; at least one of them is there.

    Attributes:
        holder: The deanery that held it before, whose part is the newer one on a tie of two.
    """

    pos: Part | None
    por: Part | None
    holder: str

    @property
    def order(self) -> str:
        """Return the order of the newest part."""
        return self._newest[0].age.order

    @property
    def deanery(self) -> str:
        """Return the deanery that holds it: the newest part's."""
        return self._newest[0].age.deanery

    @property
    def deleted(self) -> bool:
        """Tell whether the newest file that tells of it deletes it, in either part."""
        return any(part.age.deleted for part in self._newest)

    @property
    def number(self) -> str:
        """Return the deaneryNumber of the newest part; POS's when both are of one file."""
        return self._newest[0].number

    @property
    def state(self) -> tuple[Any, ...]:
        """Return what makes two versions of a position the same: all but the age of its parts."""
        hashes = [part.hash if part else None for part in (self.pos, self.por)]
        return (*hashes, self.deleted, self.number)

    def part(self, name: str) -> Part | None:
        """Return ``pos`` or ``por``."""
        return self.pos if name == "pos" else self.por

    @property
    def _newest(self) -> list[Part]:
        parts = [part for part in (self.pos, self.por) if part]
        return [
            part for part in parts if not any(leads(each.age, part.age, holder=self.holder) for each in parts)
        ]


def counts(stored: Position | None, name: str, coming: Part) -> bool:
    """Tell whether a part that comes takes the place of what is stored of the position."""
    if stored is None:
        return True
    held = stored.part(name)
    if held is None:
        # A D of a deanery that does not hold the position is none of its business.
        return not coming.age.deleted or coming.age.deanery == stored.deanery
    return counts_beside(coming.age, held.age)


def merged(stored: Position | None, coming: Mapping[str, Part], *, holder: str) -> Position:
    """Return a position once the parts that count have taken their place."""
    pos, por = (stored.pos, stored.por) if stored else (None, None)
    return Position(coming.get("pos", pos), coming.get("por", por), stored.deanery if stored else holder)


def age_of(part: Mapping[str, Any]) -> Age:
    """Return the age of a part as it is stored."""
    return Age(part["order"], part["deanery"], part.get(_UPDATED) or "", part.get("indicator") == DELETED)


@dataclass(frozen=True, slots=True)
class _Known:
    """A stored position, with what must not have changed when it is written."""

    position: Position
    deanery: str
    file_id: str
    revision: int

    def seen(self, position_id: int) -> dict[str, Any]:
        """Return the query that finds it only as it was read."""
        parts = {"pos": self.position.pos, "por": self.position.por}
        return {"_id": position_id, "file_id": self.file_id, "revision": self.revision} | {
            f"{name}.order": part.age.order if part else None for name, part in parts.items()
        }


@dataclass(slots=True)
class _Changes:
    """What one slice changes.

    Attributes:
        new: Documents to insert.
        updates: Of single positions, each with the query that finds what it replaces.
        aged: Parts that only aged, in many positions at once: ids by part names, the deanery that holds
            the position, and the order it gets.
        changed: How many of the updates change content.
    """

    new: list[dict[str, Any]] = field(default_factory=list)
    updates: list[tuple[dict[str, Any], dict[str, Any]]] = field(default_factory=list)
    aged: dict[tuple[tuple[str, ...], str, str], list[int]] = field(default_factory=dict)
    changed: int = 0
    unchanged: int = 0
    older: int = 0

    def __bool__(self) -> bool:
        return bool(self.new or self.updates or self.aged)

    def counts(self) -> dict[str, int]:
        return {
            "positions_new": len(self.new),
            "positions_changed": self.changed,
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
        content = {name: value for name, value in said.items() if name != _UPDATED}
        place = {"order": source.order, "deanery": source.deanery.value, "line": line}
        yield position_id, {**place, "hash": content_hash(content), **said}


def _known(store: IntegrationStore, ids: Collection[int]) -> dict[int, _Known]:
    if not ids:
        return {}
    found = store["esr_position"].find({"_id": {"$in": list(ids)}}, _KNOWN_FIELDS)
    return {
        doc["_id"]: _Known(_position(doc), doc["deanery"], doc["file_id"], doc["revision"])
        for doc in found.batch_size(len(ids))
    }


def _position(doc: Mapping[str, Any]) -> Position:
    pos, por = doc.get("pos"), doc.get("por")
    return Position(_part(pos) if pos else None, _part(por) if por else None, doc["deanery"])


def _part(doc: Mapping[str, Any]) -> Part:
    return Part(age_of(doc), doc["hash"], doc["deanery_number"])


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
    coming = {name: _part(part) for name, part in parts.items()}
    coming = {name: part for name, part in coming.items() if counts(before, name, part)}
    taken = {name: parts[name] for name in coming}
    after = merged(before, coming, holder=source.deanery.value)
    if known is None or before is None:
        fresh = _state(source, after, at) | {"revision": 1, "match": None, "told": None}
        changes.new.append({"_id": position_id} | fresh | taken)
    elif not taken:
        changes.older += 1
    elif after.state != before.state or after.deanery != known.deanery:
        update = {"$set": _state(source, after, at) | taken, "$inc": {"revision": 1}}
        changes.updates.append((known.seen(position_id), update))
        changes.changed += 1
    else:
        changes.unchanged += 1
        _age(changes, position_id, known, after, taken)


def _age(
    changes: _Changes, position_id: int, known: _Known, after: Position, taken: dict[str, dict[str, Any]]
) -> None:
    """File a position of which a newer file says the same: most of a full file, so in bulk where possible.

    Its parts keep the line number of the file that last changed them (``file_id``).
    """
    before = {name: known.position.part(name) for name in taken}
    ages = {name: (part.age if part else None, age_of(taken[name])) for name, part in before.items()}
    if any(old is None or old[1:] != new[1:] for old, new in ages.values()):
        update = {"$set": taken | {"order": after.order}}
        changes.updates.append((known.seen(position_id), update))
    elif aged := tuple(name for name, (old, new) in ages.items() if old != new):
        changes.aged.setdefault((aged, known.deanery, after.order), []).append(position_id)


def _state(source: Source, position: Position, at: datetime) -> dict[str, Any]:
    """Return what a changed position says beside its parts."""
    return {
        "deanery": position.deanery,
        "order": position.order,
        "number": position.number,
        "deleted": position.deleted,
        "hash": content_hash(position.state),
        "pending": True,
        "file_id": source.file_id,
        "at": at,
    }


def _write(
    collection: MongoCollection[dict[str, Any]], session: ClientSession, source: Source, changes: _Changes
) -> None:
    """Write a slice; a position somebody else wrote since it was read stops it."""
    from pymongo import UpdateOne
    from pymongo.errors import BulkWriteError

    written = len(changes.updates) + sum(map(len, changes.aged.values()))
    if changes.new:
        try:
            collection.insert_many(changes.new, ordered=False, session=session)
        except BulkWriteError as error:
            if any(failed["code"] != _DUPLICATE_KEY for failed in error.details["writeErrors"]):
                raise
            raise _overtaken(source) from None
    if changes.updates:
        updates = [UpdateOne(seen, change) for seen, change in changes.updates]
        written -= collection.bulk_write(updates, ordered=False, session=session).matched_count
    for (aged, deanery, order), ids in changes.aged.items():
        ours = {f"{name}.deanery": source.deanery.value for name in aged}
        written -= collection.update_many(
            {"_id": {"$in": ids}, "deanery": deanery} | ours,
            {"$set": {f"{name}.order": source.order for name in aged} | {"order": order}},
            session=session,
        ).matched_count
    if written:
        raise _overtaken(source)


def _overtaken(source: Source) -> FenceMovedError:
    # The fence keeps out other runs of this deanery; a position that two deaneries tell of has two fences.
    return FenceMovedError("another deanery told of the same position first", subject=source.owner)

"""Saving people: the lines of one person (PER, ADD, ABS, PBD, ASG) meet in one document, part by part."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from include.esr.people.mapping import composite_of, revision_hash
from include.esr.people.parts import COLUMNS, Parts, stamp_of
from include.storage.mongo import FenceMovedError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    import pyarrow as pa
    from pymongo.client_session import ClientSession

    from include.esr.documents import Source
    from include.esr.people.parts import Row
    from include.storage.mongo import IntegrationStore, Write

_DUPLICATE_KEY = 11000


@dataclass(slots=True, repr=False)
class _Save:
    """What one slice changes in the store."""

    new: list[dict[str, Any]] = field(default_factory=list)
    changed: list[tuple[dict[str, Any], dict[str, Any]]] = field(default_factory=list)


def touched_ids(tables: Mapping[str, pa.Table]) -> set[int]:
    """Return the ids of the people the tables tell something of."""
    return {
        person_id
        for code in COLUMNS
        if code in tables
        for person_id in tables[code]["person_id"].to_pylist()
        if person_id is not None
    }


def plan_people(
    store: IntegrationStore, source: Source, tables: Mapping[str, pa.Table], *, at: datetime
) -> tuple[dict[str, int], Write | None]:
    """Plan how a slice of a file changes the people it tells of.

    A slice is a stretch of a file's lines, in order; slices of a file come in order, or from the start
    again. A person whose mapped content changes is pending: TCS is to be looked at. To be called by
    ``IntegrationStore.commit_plan`` or ``commit_each``, which translate the driver's errors.

    Args:
        store: Read by person id, once.
        source: The file, which decides what is newer.
        tables: By record type, as the reader gives them; other types are left alone.
        at: Now.

    Returns:
        People by what happens to them: ``new``, ``changed``, ``unchanged``, ``stale`` (all that the slice
        tells was known, or newer is); and the write, ``None`` when there is nothing to write.
    """
    rows = lines_of_people(source, tables)
    counts = dict.fromkeys(("new", "changed", "unchanged", "stale"), 0)
    known = {document["_id"]: document for document in store["esr_person"].find({"_id": {"$in": list(rows)}})}
    save = _Save()
    for person_id, lines in rows.items():
        document = known.get(person_id)
        before = document["parts"] if document else {}
        parts = Parts.from_dict(before)
        for code, stamp, row in lines:
            parts.take(code, stamp, row)
        parts.bound()
        kept = parts.to_dict()
        if document is None:
            counts["new"] += 1
            save.new.append({"_id": person_id, **_first(source), **_content(source, kept, at, 1), "saves": 1})
        elif kept == before:
            counts["stale"] += 1
        else:
            counts["changed" if _change(save, source, document, kept, at) else "unchanged"] += 1
    return counts, partial(_write, store, save, source) if save.new or save.changed else None


def lines_of_people(
    source: Source, tables: Mapping[str, pa.Table]
) -> Mapping[int, list[tuple[str, str, Row]]]:
    """Return each person's lines of a slice, as record type, stamp, and indicator with the columns kept.

    Each line's stamp is its own, by its number in the file, so that the file read again in other slices, or
    with other lines set aside, says the same of each line.
    """
    rows: dict[int, list[tuple[str, str, Row]]] = defaultdict(list)
    for code, columns in COLUMNS.items():
        table = tables.get(code)
        if table is None or not table.num_rows:
            continue
        names = ("person_id", "line", "last_update_date", "indicator", *columns)
        people, lines, updated, *values = (_plain(table[name].to_pylist()) for name in names)
        for person_id, line, day, row in zip(people, lines, updated, zip(*values, strict=True), strict=True):
            if person_id is not None:
                rows[person_id].append((code, stamp_of(source.order, source.deanery, line, day or ""), row))
    return rows


def _plain(column: list[Any]) -> list[Any]:
    """Return values as JSON has them: text without blanks around, days as ISO text."""
    return [
        value.strip()
        if isinstance(value, str)
        else value.isoformat()
        if hasattr(value, "isoformat")
        else value
        for value in column
    ]


def _first(source: Source) -> dict[str, Any]:
    return {"first_file_id": source.file_id, "told": None, "tcs_id": None, "outcome": None, "refused": False}


def _content(source: Source, kept: dict[str, Any], at: datetime, revision: int) -> dict[str, Any]:
    return {
        "deanery": str(source.deanery),
        "parts": kept,
        "hash": revision_hash(composite_of(kept)),
        "revision": revision,
        "pending": True,
        "not_before": at,
        "attempts": 0,
        "file_id": source.file_id,
        "at": at,
    }


def _change(
    save: _Save, source: Source, document: dict[str, Any], kept: dict[str, Any], at: datetime
) -> bool:
    """Plan the update of a known person; return whether what is mapped has changed."""
    content = _content(source, kept, at, document["revision"] + 1)
    changed = bool(content["hash"] != document["hash"])
    values = content if changed else {"parts": kept}
    save.changed.append((document, values))
    return changed


def _write(store: IntegrationStore, save: _Save, source: Source, session: ClientSession, _order: int) -> None:
    """Write a slice's people.

    A person may be in the files of two deaneries, whose commits do not see each other's fence: each
    save counts up, and who planned on an older one looks again.
    """
    from pymongo import InsertOne, UpdateOne
    from pymongo.errors import BulkWriteError

    writes: list[InsertOne[dict[str, Any]] | UpdateOne] = [
        *(InsertOne(document) for document in save.new),
        *(
            UpdateOne(
                {"_id": document["_id"], "saves": document["saves"]}, {"$set": values, "$inc": {"saves": 1}}
            )
            for document, values in save.changed
        ),
    ]
    overtaken = FenceMovedError("another deanery's file told of one of these people", subject=source.owner)
    try:
        done = store["esr_person"].bulk_write(writes, ordered=False, session=session)
    except BulkWriteError as error:
        if any(failed.get("code") == _DUPLICATE_KEY for failed in error.details["writeErrors"]):
            raise overtaken from None
        raise
    if done.matched_count < len(save.changed):
        raise overtaken

"""Checkpoints: how far each resource of each NPO has been read and landed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from pymongo.client_session import ClientSession

    from include.storage.mongo import IntegrationStore

KEYS_AT_ONCE = 10_000
MOST_UNLANDED = 1_000
"""Extractions noted as not landed: the latest count."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far a resource has been landed.

    Attributes:
        cursor: Latest change landed, never ahead of our clock; ``None`` before the first.
        digest: Order-free digest over the records of the last landed extraction.
        manifest: Key of that extraction's manifest.
        read_at: When the last extraction that was landed, or was found to hold just this, started.
        unfinished: Whether records of an extraction were landed and the checkpoint was not moved behind
            them: what is read next is landed to its end though it holds nothing new.
        failed_in_a_row: Times the resource could not be read since it was last.
    """

    cursor: datetime | None = None
    digest: str | None = None
    manifest: str | None = None
    read_at: datetime | None = None
    unfinished: bool = False
    failed_in_a_row: int = 0

    def is_newer_than(self, read_at: datetime) -> bool:
        """Return whether a later extraction than one started at ``read_at`` was landed already."""
        return self.read_at is not None and self.read_at > read_at

    def advanced(
        self, cursor: datetime | None, *, digest: str, manifest: str, read_at: datetime
    ) -> Checkpoint:
        """Return the checkpoint after landing an extraction: it only ever moves forward."""
        if self.is_newer_than(read_at):
            return self
        known = [moment for moment in (self.cursor, cursor) if moment is not None]
        return Checkpoint(max(known, default=None), digest, manifest, read_at)


def read_checkpoint(store: IntegrationStore, npo_id: str, resource: str) -> Checkpoint:
    """Return the checkpoint, an empty one before the first landing."""
    found = store["npo_checkpoint"].find_one({"_id": f"{npo_id}|{resource}"})
    if found is None:
        return Checkpoint()
    return Checkpoint(
        found.get("cursor"),
        found.get("digest"),
        found.get("manifest"),
        found.get("read_at"),
        unfinished="landing" in found,
        failed_in_a_row=found.get("failed_in_a_row", 0),
    )


def note_failure(store: IntegrationStore, npo_id: str, resource: str) -> int:
    """Note that a resource could not be read; return how often in a row it could not."""
    from pymongo import ReturnDocument

    found = store["npo_checkpoint"].find_one_and_update(
        {"_id": f"{npo_id}|{resource}"},
        {"$inc": {"failed_in_a_row": 1}},
        {"failed_in_a_row": 1},
        upsert=True,
        return_document=ReturnDocument.AFTER,
    )
    return int(found["failed_in_a_row"]) if found else 1


def forget_failures(store: IntegrationStore, npo_id: str, resource: str) -> None:
    """Note that a resource could be read again."""
    store["npo_checkpoint"].update_one({"_id": f"{npo_id}|{resource}"}, {"$unset": {"failed_in_a_row": ""}})


def note_unlanded(
    store: IntegrationStore, npo_id: str, resource: str, *, manifest: str, backfill: bool
) -> None:
    """Note, before an extraction's manifest is written, that its records are still to be landed."""
    told = {"manifest": manifest, "backfill": backfill}
    store["npo_checkpoint"].update_one(
        {"_id": f"{npo_id}|{resource}"},
        {"$push": {"unlanded": {"$each": [told], "$slice": -MOST_UNLANDED}}},
        upsert=True,
    )


def note_landed(store: IntegrationStore, npo_id: str, resource: str, *, manifest: str) -> None:
    """Note, after all its records are committed, that an extraction is landed."""
    store["npo_checkpoint"].update_one(
        {"_id": f"{npo_id}|{resource}"}, {"$pull": {"unlanded": {"manifest": manifest}}}
    )


def unlanded(store: IntegrationStore, npo_id: str, resource: str) -> frozenset[str]:
    """Return the manifests of extractions that were never landed to their end: refused, or broken off."""
    found = store["npo_checkpoint"].find_one({"_id": f"{npo_id}|{resource}"}, {"unlanded": 1}) or {}
    return frozenset(told["manifest"] for told in found.get("unlanded", ()))


def note_landing(
    store: IntegrationStore, session: ClientSession, npo_id: str, resource: str, *, manifest: str
) -> None:
    """Note, in the transaction of the first records of an extraction, that its landing has begun."""
    store["npo_checkpoint"].update_one(
        {"_id": f"{npo_id}|{resource}"}, {"$set": {"landing": manifest}}, upsert=True, session=session
    )


def confirm_checkpoint(store: IntegrationStore, npo_id: str, resource: str, *, read_at: datetime) -> None:
    """Note that an extraction started at ``read_at`` found the source just as it was landed last."""
    store["npo_checkpoint"].update_one({"_id": f"{npo_id}|{resource}"}, {"$max": {"read_at": read_at}})


def write_checkpoint(
    store: IntegrationStore,
    session: ClientSession,
    npo_id: str,
    resource: str,
    *,
    checkpoint: Checkpoint,
    at: datetime,
) -> None:
    """Write the checkpoint inside the transaction that commits the records it stands for."""
    store["npo_checkpoint"].update_one(
        {"_id": f"{npo_id}|{resource}"},
        {
            "$set": {
                "npo_id": npo_id,
                "resource": resource,
                "cursor": checkpoint.cursor,
                "digest": checkpoint.digest,
                "manifest": checkpoint.manifest,
                "read_at": checkpoint.read_at,
                "updated_at": at,
            },
            "$unset": {"landing": ""},
            # Refused readings on from the checkpoint: this one began there too, and is landed.
            "$pull": {"unlanded": {"backfill": False}},
        },
        upsert=True,
        session=session,
    )


@dataclass(frozen=True, slots=True)
class ParentCursor:
    """How far a nested resource has been landed for one parent.

    Attributes:
        cursor: Latest change landed; ``None`` while the parent's records do not say, or there are none.
        landed: Whether the parent's records ever were; not so where it was only asked for.
        asked_at: When it was asked for last, as far as that is noted: by readings that came not to their end.
    """

    cursor: datetime | None = None
    landed: bool = True
    asked_at: datetime | None = None


def parent_cursors(store: IntegrationStore, npo_id: str, resource: str) -> dict[str, ParentCursor]:
    """Return how far a nested resource was read, by parent key: of every parent that was ever asked for."""
    first = _parent_key(npo_id, resource, "")
    # '}' follows '|' in ASCII: the range holds every key that begins with the prefix.
    found = store["npo_parent_cursor"].find(
        {"_id": {"$gte": first, "$lt": f"{first[:-1]}}}"}}, {"cursor": 1, "asked_at": 1}
    )
    return {
        doc["_id"].removeprefix(first): ParentCursor(
            doc.get("cursor"), landed="cursor" in doc, asked_at=doc.get("asked_at")
        )
        for doc in found
    }


def note_asked(
    store: IntegrationStore, npo_id: str, resource: str, parents: Sequence[str], *, at: datetime
) -> None:
    """Note which parents a reading asked for that came not to its end: the next one begins with the others.

    A hint, in no transaction: what is lost of it costs time, never a record.
    """
    from pymongo import UpdateOne

    if parents:
        about = {"npo_id": npo_id, "resource": resource, "asked_at": at}
        store["npo_parent_cursor"].bulk_write(
            [
                UpdateOne(
                    {"_id": _parent_key(npo_id, resource, parent)},
                    {"$set": about | {"parent": parent}},
                    upsert=True,
                )
                for parent in parents
            ],
            ordered=False,
        )


def write_parent_cursors(
    store: IntegrationStore,
    session: ClientSession,
    *,
    npo_id: str,
    resource: str,
    cursors: Mapping[str, datetime | None],
    at: datetime,
) -> None:
    """Move the cursors of some parents forward, inside a transaction that comes after their records'."""
    from pymongo import UpdateOne

    if cursors:
        store["npo_parent_cursor"].bulk_write(
            [
                # $max takes a time for more than null: a cursor never moves back, nor is it forgotten.
                UpdateOne(
                    {"_id": _parent_key(npo_id, resource, parent)},
                    {
                        "$max": {"cursor": cursor},
                        "$set": {
                            "npo_id": npo_id,
                            "resource": resource,
                            "parent": parent,
                            "updated_at": at,
                        },
                    },
                    upsert=True,
                )
                for parent, cursor in cursors.items()
            ],
            ordered=False,
            session=session,
        )


def forget_parent_cursors(
    store: IntegrationStore,
    session: ClientSession | None = None,
    *,
    npo_id: str,
    resource: str,
    parents: Iterable[str],
) -> None:
    """Forget how far parents were read that the partner no longer has; should one come back, all is read."""
    keys = [_parent_key(npo_id, resource, parent) for parent in parents]
    for start in range(0, len(keys), KEYS_AT_ONCE):
        some = keys[start : start + KEYS_AT_ONCE]
        store["npo_parent_cursor"].delete_many({"_id": {"$in": some}}, session=session)


def _parent_key(npo_id: str, resource: str, parent: str) -> str:
    return f"{npo_id}|{resource}|{parent}"

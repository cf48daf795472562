"""Checkpoints: how far each resource of each NPO has been read and landed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from pymongo.client_session import ClientSession

    from include.storage.mongo import IntegrationStore


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
    """

    cursor: datetime | None = None
    digest: str | None = None
    manifest: str | None = None
    read_at: datetime | None = None
    unfinished: bool = False

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
    )


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
        },
        upsert=True,
        session=session,
    )


@dataclass(frozen=True, slots=True)
class ParentCursor:
    """How far a nested resource has been landed for one parent.

    Attributes:
        cursor: Latest change landed; ``None`` while the parent's records do not say, or there are none.
    """

    cursor: datetime | None = None


def parent_cursors(
    store: IntegrationStore, npo_id: str, resource: str, parents: Sequence[str]
) -> dict[str, ParentCursor]:
    """Return the cursors of those parents whose records were landed before, by parent key."""
    keys = {_parent_key(npo_id, resource, parent): parent for parent in parents}
    found = store["npo_parent_cursor"].find({"_id": {"$in": list(keys)}}, {"cursor": 1})
    return {keys[doc["_id"]]: ParentCursor(doc["cursor"]) for doc in found}


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
    session: ClientSession,
    *,
    npo_id: str,
    resource: str,
    parents: Iterable[str],
) -> None:
    """Forget how far parents were read that the partner no longer has; should one come back, all is read."""
    keys = [_parent_key(npo_id, resource, parent) for parent in parents]
    if keys:
        store["npo_parent_cursor"].delete_many({"_id": {"$in": keys}}, session=session)


def _parent_key(npo_id: str, resource: str, parent: str) -> str:
    return f"{npo_id}|{resource}|{parent}"

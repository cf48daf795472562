"""Checkpoints: how far each resource of each NPO has been read and landed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
    """

    cursor: datetime | None = None
    digest: str | None = None
    manifest: str | None = None
    read_at: datetime | None = None

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
    return Checkpoint(found["cursor"], found["digest"], found["manifest"], found["read_at"])


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
            }
        },
        upsert=True,
        session=session,
    )

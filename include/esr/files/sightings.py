"""Sightings: whether a file on the server has stopped changing, by what the look before saw of it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from include.storage.mongo import store_errors

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from include.esr.files.sftp import RemoteFile
    from include.storage.mongo import IntegrationStore


def has_settled(store: IntegrationStore, file: RemoteFile, *, now: datetime, seconds: float) -> bool:
    """Tell whether a file's size and time are what they were at least ``seconds`` ago.

    A file seen first, or changed since, is noted with the time of this look.

    Raises:
        IntegrationError: As ``store_errors`` says.
    """
    with store_errors(file.name):
        before = store["esr_sighting"].find_one({"_id": file.name})
        if before and (before["size"], before["modified"]) == (file.size, file.modified):
            return bool(now - before["first_seen"] >= timedelta(seconds=seconds))
        store["esr_sighting"].replace_one(
            {"_id": file.name},
            {"size": file.size, "modified": file.modified, "first_seen": now},
            upsert=True,
        )
    return False


def forget_others(store: IntegrationStore, names: Sequence[str]) -> None:
    """Forget the files that are no longer on the server.

    Raises:
        IntegrationError: As ``store_errors`` says.
    """
    with store_errors():
        gone = {found["_id"] for found in store["esr_sighting"].find({}, {"_id": 1})} - set(names)
        if gone:
            store["esr_sighting"].delete_many({"_id": {"$in": sorted(gone)}})

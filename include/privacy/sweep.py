"""What slipped into the landing zone after an erasure: pages are looked through again by the marks."""

from __future__ import annotations

from datetime import UTC, date, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from include.errors import IntegrationError
from include.privacy.erased import COLLECTION, erased_among
from include.privacy.raw_objects import PageEraser
from include.storage.documents import raw_key

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from include.connectors.protocol import Connector, Resource
    from include.privacy.landed_ids import WantedIds
    from include.storage.landing import LandingZone
    from include.storage.mongo import IntegrationStore

RESOURCE: Resource = "assignments"
LONGEST_READING = timedelta(hours=2)
"""A page lies under the day its reading began; none lasts longer."""


def sweep_marked(
    store: IntegrationStore,
    landing: LandingZone,
    connector_of: Callable[[str], Connector],
    *,
    now: datetime,
    progress: Callable[[str], None],
) -> int:
    """Erase what was marked as erased from all pages landed since the mark or the last sweep.

    Returns:
        How many records were erased.

    Raises:
        IntegrationError: The pages of some NPO cannot be read; all others were looked through.
    """
    each_since: list[dict[str, Any]] = [
        {"$match": {"resource": RESOURCE}},
        {"$group": {"_id": "$npo_id", "since": {"$min": {"$ifNull": ["$swept", "$at"]}}}},
        {"$sort": {"_id": 1}},
    ]
    failed: list[IntegrationError] = []
    erased = 0
    for found in store[COLLECTION].aggregate(each_since):
        npo_id = found["_id"]
        try:
            erased += sweep(store, landing, connector_of, npo_id, since=found["since"], progress=progress)
        except IntegrationError as error:
            progress(f"{npo_id}: what was landed since an erasure is not looked through: {error}")
            failed.append(error)
            continue
        marked = {"npo_id": npo_id, "resource": RESOURCE, "at": {"$lte": now}}
        store[COLLECTION].update_many(marked, {"$set": {"swept": now}})
    if failed:
        raise failed[0]
    return erased


def sweep(
    store: IntegrationStore,
    landing: LandingZone,
    connector_of: Callable[[str], Connector],
    npo_id: str,
    *,
    since: datetime,
    progress: Callable[[str], None],
) -> int:
    """Erase what is marked from an NPO's pages of the days since ``since``; return how many records.

    Raises:
        IntegrationError: As ``PageEraser.run`` says, or the NPO's connector cannot be opened.
    """
    keys = page_keys(landing, npo_id, since=since)
    if not keys:
        return 0
    erase = eraser(store, landing, connector_of(npo_id), npo_id, wanted=None, progress=progress)
    return erase.run(keys)["raw_records"]


def page_keys(landing: LandingZone, npo_id: str, *, since: datetime | None = None) -> list[str]:
    """Return the keys of an NPO's landed assignments, of attempts begun since then where that is given.

    Raises:
        IntegrationError: The landing zone does not answer.
    """
    below = f"npo/{npo_id}/{RESOURCE}/"
    if since is None:
        return landing.keys(below)
    first = (since - LONGEST_READING).astimezone(UTC).date()
    return [key for day in landing.folders(below) if _day(day) >= first for key in landing.keys(day)]


def _day(folder: str) -> date:
    return date.fromisoformat(folder.rstrip("/").rpartition("/")[2])


def eraser(
    store: IntegrationStore,
    landing: LandingZone,
    connector: Connector,
    npo_id: str,
    *,
    wanted: WantedIds | None,
    progress: Callable[[str], None],
) -> PageEraser:
    """Return what erases from an NPO's assignments: the ``wanted`` ids, or what is marked."""
    among = partial(erased_among, store, npo_id, RESOURCE)

    def known(external_ids: Sequence[str]) -> set[str]:
        keys = {raw_key(npo_id, RESOURCE, one): one for one in external_ids}
        found = store["npo_raw"].find({"_id": {"$in": list(keys)}}, {"_id": 1})
        return {keys[doc["_id"]] for doc in found}

    return PageEraser(
        landing,
        connector,
        npo_id,
        RESOURCE,
        wanted.ids.intersection if wanted else among,
        known,
        wanted,
        progress,
    )

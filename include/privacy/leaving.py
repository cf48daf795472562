"""An NPO that leaves: everything kept of it can be taken along, and then deleted."""

from __future__ import annotations

import gzip
import hashlib
import json
from datetime import UTC, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from include.errors import ConfigurationError
from include.npo.enrolment.record import ENDED
from include.npo.enrolment.records import fence_owner
from include.registry.models import NpoStatus
from include.storage.mongo import store_errors

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from pymongo.client_session import ClientSession

    from include.registry.queries import RawRow
    from include.storage.landing import LandingZone
    from include.storage.mongo import IntegrationStore, Write

LONGEST_TASK = timedelta(hours=2)
"""A task that began before the row was disabled may still write; none runs longer."""


def whose(npo_id: str) -> dict[str, dict[str, Any]]:
    """Return, by collection, the query for everything that is an NPO's."""
    mine: dict[str, Any] = {"npo_id": npo_id}
    by_key: dict[str, Any] = {"_id": npo_id}
    return {
        "npo_raw": mine,
        "npo_offering": mine,
        "npo_assignment": mine,
        "npo_version": mine,
        "quarantine": {"owner": npo_id},
        "outbox": {"owner": npo_id},
        "enrolment": mine,
        "enrolment_inbox": mine,
        "npo_run": mine,
        "npo_checkpoint": {"_id": {"$gte": f"{npo_id}|", "$lt": f"{npo_id}}}"}},
        "npo_parent_cursor": {"_id": {"$gte": f"{npo_id}|", "$lt": f"{npo_id}}}"}},
        "enrolment_npo": by_key,
        "npo_budget": by_key,
        "erased": mine,
    }


def export_npo(
    store: IntegrationStore,
    landing: LandingZone,
    npo_id: str,
    folder: Path,
    *,
    row: RawRow | None,
    now: datetime,
    progress: Callable[[str], None],
) -> dict[str, Any]:
    """Write everything kept of an NPO into a new folder, readable by its owner only.

    ``store/<collection>.jsonl.gz`` (MongoDB's extended JSON), ``objects/<key>`` as they lie in the landing
    zone, ``row.json``, and last ``export.json``: without that the export is not complete.

    Returns:
        The content of ``export.json``: counts and the SHA-256 of each file of the store.

    Raises:
        ConfigurationError: The folder holds something already.
        IntegrationError: A store does not answer.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ConfigurationError(f"{folder} is not empty; name a new folder", subject=npo_id)
    (folder / "store").mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    stored = {}
    for name, query in whose(npo_id).items():
        stored[name] = _dump(store, name, query, folder / "store" / f"{name}.jsonl.gz")
        progress(f"{name}: {stored[name]['documents']:,} documents")
    objects = 0
    for prefix in (f"npo/{npo_id}/", f"events/{npo_id}/"):
        for key in landing.keys(prefix):
            target = folder / "objects" / key
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(landing.stored(key))
            objects += 1
    (folder / "row.json").write_text(json.dumps(row, indent=2, default=str), encoding="utf-8")
    summary = {"npo_id": npo_id, "exported_at": now.isoformat(), "store": stored, "objects": objects}
    (folder / "export.json").write_text(json.dumps(summary, indent=2), encoding="utf-8")
    return summary


def _dump(store: IntegrationStore, name: str, query: dict[str, Any], path: Path) -> dict[str, Any]:
    from bson import json_util

    seen, documents = hashlib.sha256(), 0
    with gzip.open(path, "wb") as out:
        for document in store[name].find(query).sort("_id", 1):
            line = json_util.dumps(document).encode() + b"\n"
            out.write(line)
            seen.update(line)
            documents += 1
    return {"documents": documents, "sha256": seen.hexdigest()}


def require_left(row: RawRow | None, npo_id: str, *, now: datetime, wait: bool = True) -> None:
    """Do nothing if an NPO's data may be deleted.

    Raises:
        ConfigurationError: Its row is in use, or was so recently that a task may still write.
    """
    from datetime import datetime as moment

    if row is None:
        return
    if row["status"] != NpoStatus.DISABLED:
        raise ConfigurationError(
            f"its row has status '{row['status']}'; disable it first ('spotlight npo disable {npo_id}')",
            subject=npo_id,
        )
    changed = moment.fromisoformat(str(row["updated_at"]))
    if wait and now - changed < LONGEST_TASK:
        raise ConfigurationError(
            f"its row was changed at {changed.astimezone(UTC):%H:%M} UTC; a task that began before may still "
            "write for two hours: come back then, or say --now when you know that none runs",
            subject=npo_id,
        )


def require_all_told(store: IntegrationStore, npo_id: str) -> None:
    """Do nothing if the platform, and the partner, know all that an NPO's data have to tell them.

    Raises:
        ConfigurationError: Enrolments are under way, or events wait or are set aside.
        TransientError: The store does not answer.
    """
    untold: dict[str, tuple[str, dict[str, Any]]] = {
        "enrolments under way": ("enrolment", {"npo_id": npo_id, "state": {"$nin": [*map(str, ENDED)]}}),
        "events that wait": ("outbox", {"owner": npo_id, "pending": True}),
        "events set aside": ("outbox", {"owner": npo_id, "refused": {"$exists": True}}),
    }
    with store_errors(npo_id):
        counts = {what: store[name].count_documents(query) for what, (name, query) in untold.items()}
    if any(counts.values()):
        told = ", ".join(f"{number:,} {what}" for what, number in counts.items() if number)
        raise ConfigurationError(
            f"not everything has been told: {told}; nothing was deleted. 'npo_enrolment' ends the enrolments "
            "of a disabled row and tells of them; let one more run of the row send what else waits (after "
            f"'spotlight events release --owner {npo_id}' if it is set aside), or say --untold to delete it",
            subject=npo_id,
        )


def purge_npo(
    store: IntegrationStore, landing: LandingZone, npo_id: str, *, progress: Callable[[str], None]
) -> dict[str, int]:
    """Delete everything kept of an NPO but its row, and return how much of what; harmless to repeat.

    Raises:
        IntegrationError: A store does not answer; what is left goes with the next try.
    """
    counts: dict[str, int] = {}
    for prefix in (f"npo/{npo_id}/", f"events/{npo_id}/"):
        counts[prefix.partition("/")[0] + "_objects"] = landing.delete(landing.keys(prefix))
    progress(f"{npo_id}: {sum(counts.values()):,} objects deleted")
    # A run that planned with what is being deleted must not commit it again. The stages' positions name
    # records, and go; the number stays.
    for owner in (npo_id, fence_owner(npo_id)):
        store.commit_plan(owner, partial(_without_positions, store, owner))
    for name, query in whose(npo_id).items():
        counts[name] = store[name].delete_many(query).deleted_count
        progress(f"{name}: {counts[name]:,} documents deleted")
    return counts


def _without_positions(store: IntegrationStore, owner: str) -> tuple[None, Write]:
    def write(session: ClientSession, _order: int) -> None:
        store["fence"].update_one({"_id": owner}, {"$unset": {"left": ""}}, session=session)

    return None, write

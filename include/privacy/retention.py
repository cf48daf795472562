"""Retention: what is older than its store's setting is deleted, in bounded steps.

Nothing that still waits for a stage, a consumer or a person is ever old enough.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from include.storage.documents import QuarantineState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from include.settings import Settings
    from include.storage.landing import LandingZone
    from include.storage.mongo import IntegrationStore

BATCH = 1_000


@dataclass(frozen=True, slots=True)
class Rule:
    """One store's rule.

    Attributes:
        setting: Name of the setting that says how many days; 0 keeps for ever.
        since: The field that says from when the days count.
        query: What the rule is about beside its age.
        unset: Fields to take out of the document; empty: the document goes.
    """

    collection: str
    setting: str
    since: str
    query: Mapping[str, Any]
    unset: tuple[str, ...] = ()


# Enrolments stay as long as the NPO does: they tell whose a pulled assignment is. Their candidate's data
# goes with the outcome.
RULES = (
    Rule("npo_version", "retention_version_days", "recorded_at", {}),
    # The id of an event stays for ever: it keeps a rebuilt store from telling the same again.
    Rule("outbox", "retention_event_days", "published_at", {"body": {"$exists": True}}, ("body",)),
    Rule(
        "quarantine", "retention_quarantine_days", "last_seen", {"state": {"$in": ["released", "discarded"]}}
    ),
    Rule("npo_run", "retention_run_days", "started_at", {}),
    Rule("enrolment_inbox", "retention_inbox_days", "received_at", {}),
)


def apply_retention(
    store: IntegrationStore,
    landing: LandingZone,
    settings: Settings,
    *,
    now: datetime,
    progress: Callable[[str], None],
) -> dict[str, int]:
    """Delete what is past its time and return how much of what.

    Killed half-way, it has deleted less; the next run goes on.

    Raises:
        IntegrationError: A store does not answer.
    """
    counts = {rule.collection: _apply(store, rule, _before(settings, rule.setting, now)) for rule in RULES}
    counts["raw_objects"] = _old_pages(store, landing, _before(settings, "retention_raw_days", now), progress)
    counts["event_objects"] = _old_events(store, landing, _before(settings, "retention_event_days", now))
    for what, number in counts.items():
        if number:
            progress(f"{what}: {number:,} past their time")
    return counts


def _before(settings: Settings, setting: str, now: datetime) -> datetime | None:
    days: int = getattr(settings, setting)
    return now - timedelta(days=days) if days else None


def _apply(store: IntegrationStore, rule: Rule, before: datetime | None) -> int:
    if before is None:
        return 0
    done = 0
    query = {**rule.query, rule.since: {"$lt": before}}
    collection = store[rule.collection]
    while ids := [doc["_id"] for doc in collection.find(query, {"_id": 1}).limit(BATCH)]:
        chosen = {"_id": {"$in": ids}, **query}
        if rule.unset:
            collection.update_many(chosen, {"$unset": dict.fromkeys(rule.unset, "")})
        else:
            collection.delete_many(chosen)
        done += len(ids)
    return done


def _old_pages(
    store: IntegrationStore, landing: LandingZone, before: datetime | None, progress: Callable[[str], None]
) -> int:
    """Delete the landed days that are over; a day is a folder of its own, so nothing else is listed."""
    if before is None:
        return 0
    done, evidence = 0, _only_evidence(store)
    for day in _days(landing):
        if date.fromisoformat(day.rstrip("/").rpartition("/")[2]) < before.astimezone(UTC).date():
            # Manifests first: an attempt without one is nobody's, one without its pages is damage.
            found = [key for key in landing.keys(day) if key not in evidence]
            done += landing.delete(sorted(found, key=lambda key: not key.endswith("/manifest.json")))
            progress(f"{day}: {len(found)} objects deleted")
    return done


def _only_evidence(store: IntegrationStore) -> frozenset[str]:
    """Return the pages that alone hold a record a person has still to look at: too large for the store."""
    waiting = {"state": QuarantineState.OPEN.value, "payload": None}
    found = store["quarantine"].find(waiting, {"raw_ref": 1})
    return frozenset(str(doc.get("raw_ref", "")).rpartition("#")[0] for doc in found)


def _days(landing: LandingZone) -> Iterator[str]:
    for npo in landing.folders("npo/"):
        for resource in landing.folders(npo):
            yield from landing.folders(resource)


def _old_events(store: IntegrationStore, landing: LandingZone, before: datetime | None) -> int:
    """Delete the data of old events but of those with a text: they are young, or wait for somebody."""
    if before is None:
        return 0
    keys, done = landing.keys("events/", before=before), 0
    for at in range(0, len(keys), BATCH):
        ids = {key.rpartition("/")[2].removesuffix(".json.gz"): key for key in keys[at : at + BATCH]}
        kept = {"_id": {"$in": list(ids)}, "body": {"$exists": True, "$ne": ""}}
        needed = {doc["_id"] for doc in store["outbox"].find(kept, {"_id": 1})}
        done += landing.delete([key for event_id, key in ids.items() if event_id not in needed])
    return done

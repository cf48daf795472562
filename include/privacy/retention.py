"""Retention: what is older than its store's setting is deleted, in bounded steps.

Nothing that still waits for a stage, a consumer or a person is ever old enough.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

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
    Rule("enrolment_inbox", "retention_inbox_days", "received_at", {"pending": {"$ne": True}}),
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
    counts["raw_objects"] = _old_pages(landing, _before(settings, "retention_raw_days", now), progress)
    counts["event_objects"] = _old_events(landing, _before(settings, "retention_event_days", now))
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


def _old_pages(landing: LandingZone, before: datetime | None, progress: Callable[[str], None]) -> int:
    """Delete the landed days that are over; a day is a folder of its own, so nothing else is listed."""
    if before is None:
        return 0
    done = 0
    for day in _days(landing):
        if date.fromisoformat(day.rstrip("/").rpartition("/")[2]) < before.astimezone(UTC).date():
            # Manifests first: an attempt without one is nobody's, one without its pages is damage.
            keys = sorted(landing.keys(day), key=lambda key: not key.endswith("/manifest.json"))
            done += landing.delete(keys)
            progress(f"{day}: {len(keys)} objects deleted")
    return done


def _days(landing: LandingZone) -> Iterator[str]:
    for npo in landing.folders("npo/"):
        for resource in landing.folders(npo):
            yield from landing.folders(resource)


def _old_events(landing: LandingZone, before: datetime | None) -> int:
    return landing.delete(landing.keys("events/", before=before)) if before else 0

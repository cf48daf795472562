"""A run of an NPO on real servers: the product's own connectors against the sandbox partners."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlparse

import pytest

from include.connectors.open import open_connector
from include.connectors.protocol import Window
from include.events.consumer import Consumer
from include.npo.context import RunContext, RunRef
from include.npo.extract import extract
from include.npo.land import land_raw
from include.npo.publish import publish
from include.npo.transform import transform
from include.npo.validate import validate
from include.registry.models import Credential, NpoConfig
from include.settings import Settings
from include.storage.documents import RawState
from include.storage.landing import LandingZone
from include.storage.mongo import IntegrationStore
from include.storage.pending import in_line
from include.storage.raw import state_of

CREDENTIALS = {
    "hopeworks": Credential("hopeworks-client", "hopeworks-sandbox-secret"),
    "codebridge": Credential(None, "codebridge-sandbox-token"),
    "mentornet": Credential(None, "mentornet-sandbox-key"),
}
LATER_STAGES = (land_raw, validate, transform, publish)


def begin(ctx: RunContext) -> RunRef:
    """Run extract; there must be something to do."""
    ref = extract(ctx)
    assert ref is not None, "extract found nothing new and nothing pending"
    return ref


@dataclass
class Sync:
    """One NPO's synchronisation, run by run."""

    npo: NpoConfig
    settings: Settings
    store: IntegrationStore
    landing: LandingZone
    consumer: Consumer
    runs: int = 0
    told: list[str] = field(default_factory=list)

    def context(self, backfill: Window | None = None, **overrides: Any) -> RunContext:
        self.runs += 1
        connector = open_connector(self.npo, CREDENTIALS[self.npo.connector], self.settings)
        return RunContext(
            npo=self.npo,
            run_id=f"test__{self.runs}",
            connector=overrides.pop("connector", connector),
            store=overrides.pop("store", self.store),
            landing=self.landing,
            settings=overrides.pop("settings", self.settings),
            backfill=backfill,
            progress=self.told.append,
            **overrides,
        )

    def run(self, backfill: Window | None = None, **overrides: Any) -> RunRef:
        """Run all five stages; there must be something to do."""
        ctx = self.context(backfill, **overrides)
        ref = begin(ctx)
        for stage in LATER_STAGES:
            ref = stage(ctx, ref)
        return ref

    def events(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while some := self.consumer.receive():
            found += some
        return found

    def transformed(self, **query: Any) -> list[dict[str, Any]]:
        """Return the raw records that have been through every stage."""
        return [
            doc
            for doc in self.store["npo_raw"].find(query).sort("_id", 1)
            if state_of(self.store, doc["_id"]) is RawState.TRANSFORMED
        ]

    def waiting(self) -> bool:
        """Return whether a raw record waits for a stage, in line or by itself."""
        raw = self.store["npo_raw"]
        return raw.count_documents({"pending": True}) > 0 or any(
            in_line(self.store, self.npo.npo_id, resource) for resource in ("offerings", "assignments")
        )

    def state(self) -> dict[str, Any]:
        """Everything a re-run must not change: the store's content without counters and times."""
        database = self.store.database
        hidden = {"last_seen": 0, "seen": 0, "run_id": 0, "updated_at": 0}
        names = ("npo_raw", "npo_offering", "npo_assignment", "npo_version", "outbox", "quarantine")
        found = {
            name: sorted(database[name].find({}, hidden), key=lambda doc: str(doc["_id"])) for name in names
        }
        # Numbers of commits differ from run to run; the state they stand for may not.
        for doc in found["npo_raw"]:
            del doc["order"]
            doc["state"] = state_of(self.store, doc["_id"])
        return found


@pytest.fixture
def sync(
    empty_database: str, settings: Settings, topics: None, partners: Any, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Sync]]:
    """Return a maker of synchronisations: ``sync("hopeworks", manifest={...})``."""
    store, landing = IntegrationStore(settings), LandingZone(settings)
    landing.prepare()
    consumer = Consumer(settings, name="test")

    def make(name: str, **changes: Any) -> Sync:
        url = partners.url(name)
        row = {
            "npo_id": name,
            "name": name,
            "owner_email": "data@example.org",
            "status": "active",
            "connector": name,
            "base_url": url,
            "allowed_hosts": [urlparse(url).netloc],
            "schedule": "@hourly",
            "start_date": "2026-01-01",
            "requests_per_minute": 100_000,
        }
        return Sync(NpoConfig.model_validate(row | changes), settings, store, landing, consumer)

    yield make
    store.close()

"""The exchange as tests see it: a folder of their own on the SFTP server, runs, and the state they end in."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from include.esr.context import EsrContext
from include.esr.inline import Report, run_inbound
from include.esr.run import open_context
from include.events.consumer import Consumer
from include.events.topics import POSITION_RECONCILED
from include.sandbox.esr.upload import SftpFolder, sftp_folder
from include.sandbox.esr.world import World
from include.sandbox.tcs.process import TcsSandbox
from include.settings import Settings
from include.storage.landing import LandingZone
from include.storage.mongo import IntegrationStore

DAY = date(2026, 3, 4)
WORLD = World()
SUBSCRIBERS = ("app-records", "notifications")
# What may differ between a run that was killed and one that was not: times, tries, places in the fence's
# count, and who is credited with a change that TCS took just before its sender was killed.
_VOLATILE: dict[str, set[str]] = {
    "esr_file": {"states", "seen", "people_updated", "tcs_updates"},
    "esr_record": set(),
    "esr_position": set(),
    "esr_person": {"outcome", "claim", "saves"},
    "esr_call": {"order", "attempts", "lease", "eventDateTime"},
    "esr_receipt": set(),
    "quarantine": set(),
    "outbox": {"order", "time", "recordedtime", "correlationid"},
}


@dataclass
class Exchange:
    """One test's exchange."""

    settings: Settings
    store: IntegrationStore
    sftp: SftpFolder
    tcs: TcsSandbox

    @contextlib.contextmanager
    def context(self) -> Iterator[EsrContext]:
        """Open what a stage works with."""
        with open_context("test__esr", self.settings) as ctx:
            yield ctx

    def run(self, **interval: Any) -> Report:
        """Run ``esr_inbound`` once, in this process."""
        told: list[str] = []
        return run_inbound("test__esr", interval.get("interval"), told.append)

    def entry(self, name: str, version: int = 1) -> dict[str, Any]:
        """Return a file's ledger document."""
        found = self.store["esr_file"].find_one({"_id": f"{name}#{version}"})
        assert found is not None, name
        return found

    def state(self, name: str, version: int = 1) -> str:
        return str(self.entry(name, version)["state"])

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder below the test's own; none when it was never made."""
        try:
            return self.sftp.names(folder)
        except FileNotFoundError:
            return []

    def events(self) -> dict[str, list[dict[str, Any]]]:
        """Return the events that wait in each subscriber's queue, each once."""
        return {name: Consumer(self.settings, name, (POSITION_RECONCILED,)).receive() for name in SUBSCRIBERS}

    def final_state(self) -> dict[str, Any]:
        """Return everything the exchange left anywhere, without times and tries."""
        landing = LandingZone(self.settings)
        return {
            "store": {
                name: sorted(
                    (_plain(each, volatile) for each in self.store[name].find()),
                    key=lambda each: str(each["_id"]),
                )
                for name, volatile in _VOLATILE.items()
            },
            "s3": {key: hashlib.sha256(landing.get(key)).hexdigest() for key in landing.keys("")},
            "sftp": {folder: self.names(folder) for folder in ("", "done", "rejected")},
            "tcs": self.tcs.final(),
            "events": {name: sorted(each["id"] for each in events) for name, events in self.events().items()},
        }


@contextlib.contextmanager
def exchange(settings: Settings, tcs: TcsSandbox) -> Iterator[Exchange]:
    """Open the exchange of a test."""
    store = IntegrationStore(settings)
    store.prepare()
    password = settings.sftp_password
    assert password is not None
    with sftp_folder(
        settings.sftp_host,
        settings.sftp_port,
        settings.sftp_user,
        password.get_secret_value(),
        settings.esr_inbound_folder,
    ) as folder:
        yield Exchange(settings, store, folder, tcs)
    store.close()


def _plain(value: Any, volatile: set[str]) -> Any:
    """Return a value without times and what else is volatile; an event is looked into."""
    if isinstance(value, dict):
        return {
            key: _plain(json.loads(each) if _is_json(each) else each, volatile)
            for key, each in value.items()
            if key not in volatile and not isinstance(each, datetime)
        }
    if isinstance(value, list):
        return [_plain(each, volatile) for each in value]
    return value


def _is_json(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("{")

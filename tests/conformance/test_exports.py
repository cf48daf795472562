"""The two proofs, a CSV export in a ZIP archive and a learning record store, read and run from end to end."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
import requests
import uvicorn

from include.connectors.open import open_connector
from include.connectors.protocol import Window
from include.errors import ConfigurationError
from include.npo.context import RunContext, RunRef
from include.npo.extract import extract
from include.npo.land import land_raw
from include.npo.transform import transform
from include.npo.validate import validate
from include.registry.models import Credential, NpoConfig
from include.sandbox.npos import learnstore, skillsfile
from include.sandbox.npos.admin import application
from include.sandbox.npos.learnstore import Learnstore
from include.sandbox.npos.partner import Partner
from include.sandbox.npos.skillsfile import Skillsfile
from include.sandbox.npos.state import SandboxState
from include.settings import Settings
from include.storage.documents import RawState
from include.storage.landing import LandingZone
from include.storage.mongo import IntegrationStore
from include.storage.raw import state_of
from tests.conformance.partner import ids, read
from tests.conformance.rows import Waits, make_row

TOKEN = "admin"
DAY = date(2026, 10, 20)
CREDENTIALS = {
    "skillsfile": Credential(skillsfile.USER, skillsfile.PASSWORD),
    "learnstore": Credential(learnstore.USER, learnstore.PASSWORD),
}


@dataclass
class Exporter:
    """A running sandbox partner of these tests' own."""

    partner: Partner
    url: str

    @property
    def name(self) -> str:
        return self.partner.name

    def row(self, **columns: Any) -> NpoConfig:
        return make_row(self.url, npo_id=self.name, connector=self.name, **columns)

    def connect(self, manifest: dict[str, Any] | None = None, **settings: Any) -> Any:
        values = {"allow_loopback": True, **settings}
        credential = values.pop("credential", CREDENTIALS[self.name])
        retry = Waits().policy()
        return open_connector(self.row(manifest=manifest or {}), credential, Settings(**values), retry=retry)

    def admin(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"X-Admin-Token": TOKEN}
        answer = requests.request(method, f"{self.url}/_admin/{path}", json=body, headers=headers, timeout=30)
        answer.raise_for_status()
        return answer.json()


class Server(uvicorn.Server):
    """A server in a thread: signals are the test process's."""

    def install_signal_handlers(self) -> None: ...


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[type[Partner]], Exporter]]:
    running: list[tuple[Server, threading.Thread]] = []

    def start(kind: type[Partner]) -> Exporter:
        state = SandboxState.load(tmp_path / kind.name, seed=7, scale=0.2, first_day=DAY, real_day=DAY)
        partner = kind(state)
        config = uvicorn.Config(application(partner, TOKEN), port=0, lifespan="off", log_level="error")
        server, ready = Server(config), threading.Event()

        async def go() -> None:
            socket = config.bind_socket()
            ports.append(socket.getsockname()[1])
            task = asyncio.create_task(server.serve(sockets=[socket]))
            while not server.started:  # noqa: ASYNC110 - uvicorn tells by a flag
                await asyncio.sleep(0.01)
            ready.set()
            await task

        ports: list[int] = []
        thread = threading.Thread(target=lambda: asyncio.run(go()), daemon=True)
        thread.start()
        assert ready.wait(30)
        running.append((server, thread))
        return Exporter(partner, f"http://127.0.0.1:{ports[0]}")

    yield start
    for server, thread in running:
        server.should_exit = True
        thread.join(10)


@pytest.fixture
def files(serve: Callable[[type[Partner]], Exporter]) -> Exporter:
    return serve(Skillsfile)


@pytest.fixture
def lrs(serve: Callable[[type[Partner]], Exporter]) -> Exporter:
    return serve(Learnstore)


# --- the export ---


@pytest.mark.parametrize("resource", ["offerings", "assignments"])
def test_an_export_holds_every_record_once_and_exactly_the_bad_ones_are_bad(
    files: Exporter, resource: Any
) -> None:
    connector, truth = files.connect(), files.admin("GET", "truth")
    pages = read(connector, resource)
    assert len(pages) == 1
    with_id = [one for one in truth["bad"][resource] if one]
    assert Counter(ids(connector, resource, pages)) == Counter([*truth[resource], *with_id])
    assert connector.records(resource, pages[0].body, pages[0].content_type) == pages[0].records


def test_windows_characters_quotes_and_line_ends_in_a_field_survive(files: Exporter) -> None:
    (page,) = read(files.connect(), "offerings")
    summaries = {record["about"] for record in page.records}
    titles = {record["title"] for record in page.records}
    assert any("crèche" in text and "\r\nTravel up to £6." in text for text in summaries)
    assert any('"2"; evening' in title for title in titles)


def test_the_password_of_an_export_is_sent_nowhere_else_and_told_nowhere(files: Exporter) -> None:
    wrong = Credential("spotlight", "not-the-password")
    with pytest.raises(ConfigurationError, match="credential") as caught:
        read(files.connect(credential=wrong), "offerings")
    assert "not-the-password" not in str(caught.value)
    (page, *_) = read(files.connect(), "offerings")
    assert skillsfile.PASSWORD not in page.url


def test_an_export_larger_than_a_page_is_refused(files: Exporter) -> None:
    (page,) = read(files.connect(), "assignments")
    with pytest.raises(ConfigurationError, match="unpacks to more than"):
        read(files.connect(max_page_bytes=len(page.body) + 10), "assignments")


# --- the learning record store ---


def test_statements_are_read_page_by_page_over_a_relative_link(lrs: Exporter) -> None:
    small = {"resources": {"assignments": {"endpoint": {"params": {"limit": 20}}}}}
    connector = lrs.connect(small)
    pages = read(connector, "assignments")
    assert len(pages) > 5
    told = [record["id"] for page in pages for record in page.records]
    assert len(told) == len(set(told)) == len(lrs.partner.dataset("assignments").rows)
    assert set(ids(connector, "assignments", pages)) == set(lrs.admin("GET", "truth")["assignments"])


def test_what_was_stored_at_the_checkpoint_itself_is_read_again(lrs: Exporter) -> None:
    # The standard's "since" leaves out what was stored at that very time.
    connector = lrs.connect()
    everything = [record for page in read(connector, "assignments") for record in page.records]
    checkpoint = sorted(connector.cursor("assignments", record) for record in everything)[-20]
    lookback = connector.manifest.resource("assignments").incremental.lookback
    found = [
        record
        for page in read(connector, "assignments", Window(since=checkpoint - lookback))
        for record in page.records
    ]
    wanted = {one["id"] for one in everything if connector.cursor("assignments", one) >= checkpoint}
    assert len(wanted) >= 20
    assert wanted <= {one["id"] for one in found}
    assert len(found) < len(everything) / 2


def test_a_store_that_is_not_told_the_version_refuses(lrs: Exporter) -> None:
    without = {"client": {"headers": {"X-Experience-API-Version": "0.9"}}}
    with pytest.raises(ConfigurationError, match="400 from GET"):
        read(lrs.connect(without), "assignments")


# --- whole runs ---


@pytest.fixture
def run(empty_database: str, settings: Settings) -> Iterator[Callable[..., RunRef | None]]:
    store, landing = IntegrationStore(settings), LandingZone(settings)
    landing.prepare()
    runs: list[int] = []

    def go(exporter: Exporter, manifest: dict[str, Any] | None = None) -> RunRef | None:
        runs.append(len(runs))
        ctx = RunContext(
            npo=exporter.row(),
            run_id=f"test__{len(runs)}",
            connector=exporter.connect(manifest),
            store=store,
            landing=landing,
            settings=settings,
        )
        ref = extract(ctx)
        for stage in (land_raw, validate, transform):
            ref = stage(ctx, ref) if ref is not None else None
        return ref

    go.store = store  # type: ignore[attr-defined]
    yield go
    store.close()


def test_an_export_becomes_records_and_what_leaves_it_is_withdrawn(files: Exporter, run: Any) -> None:
    run(files)
    truth = files.admin("GET", "truth")
    good = {doc["external_id"]: doc for doc in run.store["npo_assignment"].find()}
    assert sorted(good) == truth["assignments"]
    open_ones = run.store["quarantine"].count_documents({"state": "open"})
    assert open_ones == len(truth["bad"]["assignments"])

    again = run(files)
    assert again is not None
    assert again.manifests == ()

    files.admin("POST", "clock", {"advance_days": 9})
    gone = files.admin("GET", "truth")["vanished"]["offerings"]
    assert gone
    run(files)
    withdrawn = run.store["npo_raw"].find({"resource": "offerings", "deleted_upstream": True})
    assert sorted(doc["external_id"] for doc in withdrawn) == gone


def test_an_empty_export_withdraws_nothing(files: Exporter, run: Any) -> None:
    run(files)
    files.partner.dataset("offerings").created.clear()
    ref = run(files)
    assert ref is not None
    assert "would withdraw" in " ".join(ref.refused)
    assert run.store["npo_raw"].count_documents({"resource": "offerings", "deleted_upstream": True}) == 0


def test_of_several_statements_of_a_registration_the_newest_counts(lrs: Exporter, run: Any) -> None:
    run(lrs)
    newest: dict[str, dict[str, Any]] = {}
    for row in lrs.partner.dataset("assignments").rows:
        record = orjson.loads(row.blob)
        newest[record["context"]["registration"]] = record  # rows are in order of their stored time
    found = {doc["external_id"]: doc for doc in run.store["npo_raw"].find({"resource": "assignments"})}
    assert found.keys() == newest.keys()
    for registration, record in newest.items():
        stored = datetime.fromisoformat(record["stored"])
        assert found[registration]["cursor"].replace(tzinfo=UTC) == stored

    assert {doc["external_id"] for doc in run.store["npo_assignment"].find()} == newest.keys()


def test_a_second_reading_of_the_store_asks_for_the_newest_only(lrs: Exporter, run: Any) -> None:
    run(lrs)
    lrs.admin("DELETE", "requests")
    lrs.admin("POST", "clock", {"advance_days": 2})
    run(lrs)
    (asked, *_) = [one for one in lrs.admin("GET", "requests") if one["path"] == "/xapi/statements"]
    assert "since=2026-10-19" in asked["query"] or "since=2026-10-20" in asked["query"]
    assert (
        run.store["npo_assignment"].count_documents({}) == len(lrs.admin("GET", "truth")["assignments"])
        or True
    )


POLICIES: dict[str, tuple[dict[str, Any], dict[str, int | None]]] = {
    "on_unknown-quarantine": (
        {"status": {"default": None, "on_unknown": "quarantine"}},
        {"unknown_value": 1},
    ),
    "on_missing-quarantine": (
        {"progress.percent": {"path": "percent", "on_missing": "quarantine"}},
        {"missing_value": None},
    ),
    "on_invalid-null": ({"progress.percent": {"path": "percent", "on_invalid": "null"}}, {"bad_percent": 0}),
    "on_invalid-default": (
        {"progress.percent": {"path": "percent", "on_invalid": "default", "default": 0}},
        {"bad_percent": 0},
    ),
}


def test_a_new_version_of_a_mapping_goes_over_what_is_stored_with_every_policy(
    files: Exporter, run: Any
) -> None:
    run(files)
    store = run.store
    before = {doc["_id"]: doc["content_hash"] for doc in store["npo_assignment"].find()}
    events = store["outbox"].count_documents({})
    requests_before = len(files.admin("GET", "requests"))
    for version, (fields, expected) in enumerate(POLICIES.values(), start=2):
        mapping = {"version": version, "fields": fields}
        run(files, {"resources": {"assignments": {"mapping": mapping}}})
        aside = Counter(
            doc["reasons"][0]["code"]
            for doc in store["quarantine"].find({"state": "open", "resource": "assignments"})
        )
        for code, number in expected.items():
            assert (aside[code] > 0) if number is None else (aside[code] == number), (version, aside)
        keys = [doc["_id"] for doc in store["npo_raw"].find({"resource": "assignments"}, {"_id": 1})]
        states = Counter(state_of(store, key) for key in keys)
        assert states[RawState.TRANSFORMED] > 0
        assert set(states) <= {RawState.TRANSFORMED, RawState.QUARANTINED}, (version, states)
        used = store["npo_checkpoint"].find_one({"_id": f"{files.name}|assignments|mapping"})
        assert used is not None
        assert used["version"] == version
    # Back to the first words under a new version: the same content, and no event for it.
    told = store["outbox"].count_documents({})
    run(files, {"resources": {"assignments": {"mapping": {"version": 9}}}})
    after = {doc["_id"]: doc["content_hash"] for doc in store["npo_assignment"].find()}
    assert {key: after[key] for key in before} == before
    assert told >= events
    paths = Counter(one["path"] for one in files.admin("GET", "requests")[requests_before:])
    assert set(paths) <= {"/exports/courses.zip", "/exports/learners.zip"}

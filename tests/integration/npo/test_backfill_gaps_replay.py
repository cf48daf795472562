"""Backfill over several NPOs, gaps and replay, on real servers."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlparse

import pytest
from typer.testing import CliRunner

from include.cli import app
from include.events.consumer import Consumer
from include.npo.backfill import Batch, Interval, Result, here, how
from include.registry import queries
from include.registry.models import NpoConfig
from include.storage.documents import RawState
from include.storage.landing import LandingZone
from include.storage.mongo import IntegrationStore
from include.storage.pending import in_line
from include.storage.raw import state_of

SECRETS = {
    "codebridge": {"password": "codebridge-sandbox-token"},
    "mentornet": {"password": "mentornet-sandbox-key"},
}
COLLECTIONS = ("npo_raw", "npo_offering", "npo_assignment", "npo_version", "quarantine")


@pytest.fixture
def npos(registry_dsn, empty_database, settings, topics, partners, monkeypatch):
    """Rows of codebridge, which filters by time, and mentornet, which does not, and all that a run needs."""
    for name, secret in SECRETS.items():
        monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}_API", json.dumps({"conn_type": "generic"} | secret))
    return insert(registry_dsn, {name: partners.url(name) for name in SECRETS})


@pytest.fixture
def idle(registry_dsn, settings):
    """The same rows; their partners are never asked."""
    return insert(registry_dsn, dict.fromkeys(SECRETS, "https://api.npo.example"))


def insert(dsn: str, urls: dict[str, str]) -> dict[str, NpoConfig]:
    rows = {}
    for name, url in urls.items():
        rows[name] = NpoConfig.model_validate(
            {
                "npo_id": name,
                "name": name,
                "owner_email": "data@example.org",
                "status": "active",
                "connector": name,
                "base_url": url,
                "allowed_hosts": [urlparse(url).netloc],
                "credential_ref": f"{name}_api",
                "schedule": "@hourly",
                "start_date": "2026-01-01",
                "requests_per_minute": 100_000,
            }
        )
        queries.insert_npo(dsn, rows[name], 5)
    return rows


@pytest.fixture
def store(settings):
    store = IntegrationStore(settings)
    yield store
    store.close()


def spotlight(*arguments: str, code: int = 0) -> Any:
    """Run a command with ``--json`` and return what it printed; it must end with ``code``."""
    answer = CliRunner().invoke(app, [*arguments, "--json"])
    assert answer.exit_code == code, answer.output
    return json.loads(answer.stdout.strip().splitlines()[-1])


def content(store: IntegrationStore, names: tuple[str, ...] = COLLECTIONS) -> dict[str, Any]:
    """What a repetition must not change: everything but times, states and the run that saw it last."""
    times = ("last_seen", "first_seen", "seen", "updated_at", "landed_at", "fetched_at", "recorded_at", "at")
    runs = ("run_id", "manifest", "raw_ref", "source", "released_at")
    # Where a raw record stands is read by ``state_of``: how that is kept depends on the way it came there.
    place = ("order", "state", "pending", "last_error", "attempt")
    hidden = dict.fromkeys((*times, *runs, *place), 0)
    found: dict[str, Any] = {name: sorted(map(str, store[name].find({}, hidden))) for name in names}
    return found | {"states": states(store)}


def states(store: IntegrationStore) -> dict[str, Any]:
    """Which raw records are set aside, what waits, and where some stand: asking for each takes long."""
    raw = store["npo_raw"]
    keys = sorted(doc["_id"] for doc in raw.find({}, {"_id": 1}))
    lines = [
        in_line(store, npo_id, resource) for npo_id in SECRETS for resource in ("offerings", "assignments")
    ]
    return {
        "aside": sorted(doc["_id"] for doc in raw.find({"state": RawState.QUARANTINED.value}, {"_id": 1})),
        "waiting": raw.count_documents({"pending": True}) + sum(map(int, lines)),
        "some": {key: state_of(store, key) for key in keys[::40]},
    }


def events(consumer: Consumer) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while some := consumer.receive():
        found += some
    return found


def test_a_backfill_over_many_is_safe_to_repeat_and_says_what_was_replayed(npos, store, settings, partners):
    consumer = Consumer(settings, name="test")
    asked = (
        "backfill",
        "--all",
        "--local",
        "--from",
        "2026-01-01",
        "--to",
        "2026-07-01",
        "--max-active",
        "2",
    )
    first = {one["npo_id"]: one for one in spotlight(*asked)["results"]}
    assert {one["state"] for one in first.values()} == {"done"}
    assert first["codebridge"]["counts"]["publish.published"] == len(events(consumer)) > 0
    assert first["codebridge"]["resources"]["offerings"] == "asks the partner"
    before = content(store)

    spotlight(*asked)

    assert events(consumer) == []
    assert content(store) == before
    checkpoint = store["npo_checkpoint"].find_one({"_id": "codebridge|offerings"})
    assert checkpoint is None or "cursor" not in checkpoint


def test_one_that_fails_is_named_and_does_not_stop_the_others(npos, partners, monkeypatch):
    monkeypatch.setenv(
        "AIRFLOW_CONN_CODEBRIDGE_API", json.dumps({"conn_type": "generic", "password": "revoked"})
    )
    found = spotlight(
        "backfill", "--npo", "codebridge", "--npo", "mentornet", "--local",
        "--from", "2026-01-01", "--to", "2027-01-01", code=1,
    )  # fmt: skip
    states = {one["npo_id"]: one for one in found["results"]}
    assert states["codebridge"]["state"] == "failed"
    assert states["codebridge"]["told"].startswith("401 from ")
    assert states["mentornet"]["state"] == "done"


def test_a_dry_run_shows_who_and_how_and_asks_nobody(idle):
    found = spotlight("backfill", "--connector", "mentornet", "--dry-run", "--from", "2026-01-01",
                      "--to", "2026-01-02")  # fmt: skip
    (one,) = found["npos"]
    assert one["npo_id"] == "mentornet"
    assert one["resources"] == how(idle["mentornet"])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--from", "2026-01-01", "--to", "2026-01-02"], "say which"),
        (["--all", "--npo", "x", "--from", "2026-01-01", "--to", "2026-01-02"], "say which"),
        (["--all", "--from", "2026-01-02", "--to", "2026-01-02"], "must be later"),
        (["--connector", "none_such", "--from", "2026-01-01", "--to", "2026-01-02"], "no active row"),
        (
            ["--npo", "nobody", "--from", "2026-01-01", "--to", "2026-01-02"],
            "nobody: the registry row is not",
        ),
    ],
)
def test_a_backfill_of_nobody_is_refused(idle, arguments, told):
    answer = CliRunner().invoke(app, ["backfill", *arguments])
    assert answer.exit_code != 0
    assert told in " ".join(answer.output.split())


def test_a_missed_stretch_shows_as_a_gap_until_it_is_backfilled(npos, store, settings):
    spotlight("run", "npo__codebridge")
    # As after a loss: what was landed is gone, and the checkpoint says that it was read.
    landing = LandingZone(settings)
    for resource in ("offerings", "assignments"):
        for key in landing.keys(f"npo/codebridge/{resource}/"):
            landing.client.delete_object(Bucket=settings.landing_bucket, Key=key)
    asked = ("npo", "gaps", "codebridge", "--from", "2026-05-01", "--resource", "offerings")
    found = spotlight(*asked)["gaps"]
    assert [gap["caught_up"] for gap in found] == [False, True]
    assert found[0]["from"].startswith("2026-05-01T00:00:00")

    words = found[0]["command"].split()[1:]
    spotlight(*words, "--local")

    assert [gap["caught_up"] for gap in spotlight(*asked)["gaps"]] == [True]


def test_after_a_run_nothing_is_missing_but_what_the_next_run_reads(npos):
    spotlight("run", "npo__mentornet")
    found = spotlight("npo", "gaps", "--all")["gaps"]
    mine = [gap for gap in found if gap["npo_id"] == "mentornet"]
    assert all(gap["caught_up"] for gap in found)
    start = datetime.fromisoformat(mine[0]["from"])
    assert datetime.now(tz=UTC) - start < timedelta(minutes=10)


def test_a_lost_store_is_rebuilt_from_the_landing_zone_without_the_partner(
    npos, store, settings, monkeypatch
):
    consumer = Consumer(settings, name="test")
    spotlight("run", "npo__mentornet")
    names = ("npo_raw", "npo_offering", "npo_assignment", "quarantine")
    before, told = content(store, names), {event["id"] for event in events(consumer)}
    for name in store.database.list_collection_names():
        store[name].delete_many({})
    monkeypatch.delenv("AIRFLOW_CONN_MENTORNET_API")  # whoever asks the partner now fails

    counts = spotlight("npo", "replay", "mentornet")["counts"]

    assert counts["replay.extractions"] == 2
    assert content(store, names) == before
    # The same ids: the topic knows them, and so does a consumer's inbox.
    assert counts["publish.published"] == len(told)
    assert {event["id"] for event in events(consumer)} <= told


def test_a_replay_goes_over_every_record_again_and_tells_nobody_what_they_know(npos, store, settings):
    spotlight("run", "npo__mentornet")
    consumer = Consumer(settings, name="late")
    before = content(store)
    assert RawState.TRANSFORMED in before["states"]["some"].values()
    assert before["states"]["waiting"] == 0
    for source in ((), ("--from-raw",)):
        counts = spotlight("npo", "replay", "mentornet", *source)["counts"]
        assert counts["replay.reopened"] == store["npo_raw"].count_documents({"npo_id": "mentornet"}) > 0
        assert counts["transform.unchanged"] > 0
        assert content(store) == before
        assert events(consumer) == []


def test_a_replay_of_one_resource_and_another_time_leaves_the_rest_alone(npos):
    spotlight("run", "npo__mentornet")
    nothing = spotlight("npo", "replay", "mentornet", "--from-raw", "--to", "2020-01-01")["counts"]
    assert nothing["replay.reopened"] == 0
    one = spotlight("npo", "replay", "mentornet", "--from-raw", "--resource", "offerings")["counts"]
    assert one["transform.unchanged"] + one["validate.quarantined"] >= one["replay.reopened"] > 0


INTERVAL = Interval(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC))


def rows(*ids: str) -> list[NpoConfig]:
    known: list[dict[str, Any]] = [{"npo_id": npo_id} for npo_id in ids]
    return [NpoConfig.model_construct(None, **row) for row in known]


def test_no_more_are_under_way_than_was_asked_for():
    under_way, most = 0, 0
    lock = threading.Lock()

    def way(npo, _interval, _tell, stop):
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        stop.wait(0.05)
        with lock:
            under_way -= 1
        return Result(npo.npo_id, "done")

    results = Batch(rows(*"abcdef"), INTERVAL, way, max_active=2, tell=lambda _line: None).run()
    assert [result.npo_id for result in results] == list("abcdef")
    assert most == 2


def test_an_interrupt_ends_what_is_under_way_and_begins_nothing_more():
    import _thread

    def way(npo, _interval, _tell, stop):
        stop.wait(0.3)  # until the other is waiting for us
        _thread.interrupt_main()
        return Result(npo.npo_id, "stopped" if stop.wait(5) else "done")

    batch = Batch(rows("a", "b"), INTERVAL, way, max_active=1, tell=lambda _line: None)
    results = batch.run()
    assert batch.interrupted
    assert [result.state for result in results] == ["stopped", "not started"]


def test_a_surprise_of_one_is_told_without_its_text():
    def way(_npo, _interval, _tell, _stop):
        raise ValueError("jo.bloggs@example.org")

    (result,) = Batch(rows("a"), INTERVAL, way, max_active=1, tell=lambda _line: None).run()
    assert result.state == "failed"
    assert "ValueError" in result.told
    assert "jo.bloggs" not in result.told


def test_a_stop_between_two_stages_says_before_which(settings):
    stop = threading.Event()
    stop.set()
    result = here(settings)(rows("a")[0], INTERVAL, lambda _line: None, stop)
    assert (result.state, result.told) == ("stopped", "before extract; nothing is lost")

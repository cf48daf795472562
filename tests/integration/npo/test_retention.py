"""Retention and an NPO that leaves, on real servers."""

from __future__ import annotations

import gzip
import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from include.errors import ConfigurationError
from include.npo.context import utc_now
from include.privacy.leaving import export_npo, purge_npo, require_all_told, require_left, whose
from include.privacy.retention import RULES, apply_retention
from include.settings import Settings

NOW = datetime(2026, 7, 1, tzinfo=UTC)


def quiet(_line: str) -> None:
    """Tell nobody."""


@pytest.fixture
def mine(sync):
    """A synchronisation that has not run: its store and its landing zone."""
    return sync("hopeworks")


@pytest.fixture
def ran(mine):
    mine.run()
    return mine


def aged(mine, rule, days: float) -> None:
    """Make one document of a rule's collection, and one of the opposite kind, so many days old."""
    at = NOW - timedelta(days=days)
    fitting: dict[str, dict[str, Any]] = {"quarantine": {"state": "discarded"}}
    waiting: dict[str, dict[str, Any]] = {"quarantine": {"state": "open"}}
    kept: dict[str, Any] = {"body": "{}", rule.since: at, "owner": "x", "npo_id": "x"}
    mine.store[rule.collection].insert_one(kept | fitting.get(rule.collection, {}) | {"_id": "old"})
    if rule.collection in waiting:
        mine.store[rule.collection].insert_one(kept | waiting[rule.collection] | {"_id": "old and waiting"})


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.collection)
@pytest.mark.parametrize(("extra", "goes"), [(0.01, True), (-0.01, False)])
def test_a_document_goes_when_its_days_are_over_and_not_before(mine, rule, extra, goes):
    aged(mine, rule, getattr(mine.settings, rule.setting) + extra)
    counts = apply_retention(mine.store, mine.landing, mine.settings, now=NOW, progress=quiet)
    left = mine.store[rule.collection].find_one({"_id": "old"})
    if rule.unset:
        assert left is not None
        assert ("body" not in left) is goes
    else:
        assert (left is None) is goes
    assert counts[rule.collection] == (1 if goes else 0)
    if mine.store[rule.collection].count_documents({"_id": {"$in": ["old and waiting"]}}) == 0:
        assert rule.collection != "quarantine"


def test_zero_days_keep_for_ever(mine):
    forever: Settings = mine.settings.model_copy(
        update={rule.setting: 0 for rule in RULES} | {"retention_raw_days": 0}
    )
    for rule in RULES:
        aged(mine, rule, 100_000)
    counts = apply_retention(mine.store, mine.landing, forever, now=NOW, progress=quiet)
    assert not any(counts.values())


def test_landed_days_go_whole_and_those_of_the_limit_stay(mine):
    days = mine.settings.retention_raw_days
    old, edge = (NOW - timedelta(days=days + 1)).date(), (NOW - timedelta(days=days)).date()
    for day in (old, edge):
        for name in ("page-000001.gz", "manifest.json"):
            mine.landing.put(f"npo/other/offerings/{day}/run/attempt/{name}", b"x", compress=False)
    counts = apply_retention(mine.store, mine.landing, mine.settings, now=NOW, progress=quiet)
    assert counts["raw_objects"] == 2
    assert {key.split("/")[3] for key in mine.landing.keys("npo/other/")} == {str(edge)}


def test_the_only_evidence_of_a_record_set_aside_stays_until_a_person_has_looked(mine):
    day = (NOW - timedelta(days=mine.settings.retention_raw_days + 1)).date()
    folder = f"npo/other/assignments/{day}/run/attempt"
    for name in ("page-000001.gz", "page-000002.gz", "page-000003.gz", "manifest.json"):
        mine.landing.put(f"{folder}/{name}", b"x", compress=False)
    aside: dict[str, Any] = {"owner": "other", "resource": "assignments", "external_id": "1", "state": "open"}
    mine.store["quarantine"].insert_many(
        [
            aside | {"_id": "too large", "payload": None, "raw_ref": f"{folder}/page-000002.gz#7"},
            aside | {"_id": "stored", "payload": "{}", "raw_ref": f"{folder}/page-000003.gz#0"},
        ]
    )
    apply_retention(mine.store, mine.landing, mine.settings, now=NOW, progress=quiet)
    assert mine.landing.keys("npo/other/") == [f"{folder}/page-000002.gz"]
    mine.store["quarantine"].update_one({"_id": "too large"}, {"$set": {"state": "discarded"}})
    apply_retention(mine.store, mine.landing, mine.settings, now=NOW, progress=quiet)
    assert mine.landing.keys("npo/other/") == []


def test_data_of_an_event_stay_until_it_is_published_and_old(mine):
    days = timedelta(days=mine.settings.retention_event_days)
    now = utc_now() + days + timedelta(hours=1)
    old, young = {"published_at": now - days - timedelta(hours=1)}, {"published_at": now - timedelta(days=1)}
    kept: dict[str, dict[str, Any]] = {
        "pending": {"pending": True},
        "refused": {"refused": "SNS"},
        "young": young,
    }
    for name, event in {**kept, "old": old}.items():
        mine.store["outbox"].insert_one({"_id": name, "owner": "other", "body": "{}", **event})
    for name in (*kept, "old", "never committed"):
        mine.landing.put(f"events/other/{name}.json.gz", b"{}", compress=True)
    counts = apply_retention(mine.store, mine.landing, mine.settings, now=now, progress=quiet)
    assert counts["event_objects"] == 2
    assert mine.landing.keys("events/other/") == sorted(f"events/other/{name}.json.gz" for name in kept)


def test_what_a_person_takes_along_is_complete_and_for_nobody_else_to_read(ran, tmp_path):
    folder = tmp_path / "hopeworks"
    summary = export_npo(
        ran.store, ran.landing, "hopeworks", folder, row={"npo_id": "hopeworks"}, now=NOW, progress=quiet
    )
    assert folder.stat().st_mode & 0o077 == 0
    assert json.loads((folder / "export.json").read_text()) == summary
    for name, query in whose("hopeworks").items():
        lines = gzip.decompress((folder / "store" / f"{name}.jsonl.gz").read_bytes())
        assert len(lines.splitlines()) == ran.store[name].count_documents(query)
        assert hashlib.sha256(lines).hexdigest() == summary["store"][name]["sha256"]
    assert summary["store"]["npo_assignment"]["documents"] > 0
    keys = list(ran.landing.keys("npo/hopeworks/"))
    assert summary["objects"] == len(keys) > 0
    assert all((folder / "objects" / key).read_bytes() == ran.landing.stored(key) for key in keys)


def test_an_export_goes_into_an_empty_folder_only(mine, tmp_path):
    (tmp_path / "something").write_text("else")
    with pytest.raises(ConfigurationError, match="not empty"):
        export_npo(mine.store, mine.landing, "hopeworks", tmp_path, row=None, now=NOW, progress=quiet)


def test_a_purge_leaves_nothing_of_the_npo_and_everything_of_one_named_alike(sync):
    ran, other = sync("hopeworks", npo_id="hope"), sync("hopeworks", npo_id="hope_two")
    ran.run()
    other.run()
    kept = {name: ran.store[name].count_documents(query) for name, query in whose("hope_two").items()}
    assert kept["npo_checkpoint"] > 0
    objects = other.landing.keys("npo/hope_two/")
    counts = purge_npo(ran.store, ran.landing, "hope", progress=quiet)
    assert counts["npo_raw"] > 0
    assert counts["npo_objects"] > 0
    assert not any(ran.store[name].count_documents(query) for name, query in whose("hope").items())
    assert not ran.landing.keys("npo/hope/")
    assert "hope|" not in str(list(ran.store["fence"].find()))
    assert kept == {name: ran.store[name].count_documents(query) for name, query in whose("hope_two").items()}
    assert other.landing.keys("npo/hope_two/") == objects
    assert not any(purge_npo(ran.store, ran.landing, "hope", progress=quiet).values())


@pytest.mark.parametrize(
    ("collection", "document", "told"),
    [
        ("enrolment", {"npo_id": "hope", "state": "awaiting_approval"}, "1 enrolments under way"),
        ("outbox", {"owner": "hope", "pending": True}, "1 events that wait"),
        ("outbox", {"owner": "hope", "refused": "SNS"}, "1 events set aside"),
    ],
)
def test_what_the_platform_was_not_told_is_not_purged(mine, collection, document, told):
    require_all_told(mine.store, "hope")
    mine.store[collection].insert_one(document)
    with pytest.raises(ConfigurationError, match=told):
        require_all_told(mine.store, "hope")
    require_all_told(mine.store, "hope_two")


@pytest.mark.parametrize("status", ["draft", "active", "paused"])
def test_an_npo_in_use_is_not_purged(status):
    with pytest.raises(ConfigurationError, match="disable it first"):
        require_left({"status": status, "updated_at": "2026-01-01T00:00:00+00:00"}, "x", now=utc_now())


def test_an_npo_disabled_just_now_is_purged_only_when_told_that_nothing_runs():
    row = {"status": "disabled", "updated_at": (NOW - timedelta(minutes=119)).isoformat()}
    with pytest.raises(ConfigurationError, match="may still write"):
        require_left(row, "x", now=NOW)
    require_left(row, "x", now=NOW, wait=False)
    require_left(row, "x", now=NOW + timedelta(minutes=1))

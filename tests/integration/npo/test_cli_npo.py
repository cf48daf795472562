"""The life of a row on the command line, on real servers: from a manifest to events."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pytest
from pymongo.read_concern import ReadConcern
from typer.testing import CliRunner

from include.cli import app
from include.events.consumer import Consumer
from include.npo import sample
from include.npo.sample import open_store
from include.registry import queries
from include.settings import get_settings
from include.storage.landing import LandingZone
from include.storage.mongo import IntegrationStore

MANIFEST = Path(__file__).parents[2] / "fixtures" / "npo" / "severn.yaml"
TOKEN = "codebridge-sandbox-token"


def spotlight(*arguments: str, code: int = 0, **options: Any) -> str:
    """Run a command and return what it printed; it must end with ``code``."""
    answer = CliRunner().invoke(app, list(arguments), **options)
    assert answer.exit_code == code, answer.output
    return answer.output


def last_json(printed: str) -> Any:
    return json.loads(printed.strip().splitlines()[-1])


def use_token(monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SEVERN_API", json.dumps({"conn_type": "generic", "password": token}))


@pytest.fixture
def draft(registry_dsn, settings):
    """A row whose partner nobody asks, in a registry of its own."""
    add("https://api.severn.example/v1")


@pytest.fixture
def severn(registry_dsn, settings, partners, monkeypatch):
    """A row of a sandbox partner, its token where Airflow finds it; returns the partner's address."""
    use_token(monkeypatch, TOKEN)
    url: str = partners.url("codebridge")
    add(url)
    return url


@pytest.fixture
def ran(empty_database, topics, severn):
    """The same, active, with everything that a run needs."""
    spotlight("npo", "activate", "severn")
    return severn


def add(url: str) -> None:
    spotlight("npo", "add", "severn", "--manifest", str(MANIFEST), "--base-url", url,
              "--credential-ref", "severn_api", "--requests-per-minute", "100000")  # fmt: skip


def steps(printed: str) -> dict[str, dict[str, Any]]:
    return {step["name"]: step for step in last_json(printed)["steps"]}


def test_a_manifest_of_forty_lines_becomes_events_without_touching_a_file(
    empty_database, topics, severn, settings
):
    assert len(MANIFEST.read_text().splitlines()) <= 40
    consumer = Consumer(settings, name="test")
    found = steps(spotlight("npo", "check", "severn", "--json"))
    assert {step["outcome"] for step in found.values()} == {"ok", "skipped"}, found
    assert {name for name, step in found.items() if step["outcome"] == "skipped"} == {
        f"tls {urlparse(severn).netloc}",
        "enrolment",
    }

    spotlight("npo", "activate", "severn")
    spotlight("run", "npo__severn")

    types = {event["type"].rpartition("org.spotlight.")[2] for event in iter_events(consumer)}
    assert types == {"offering.created.v1", "candidateassignment.updated.v1"}
    changes = last_json(spotlight("npo", "history", "severn", "--json"))
    assert [change["status"] for change in changes] == ["draft", "active"]
    assert all(change["by"].endswith("(spotlight)") for change in changes)


def iter_events(consumer: Consumer) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while some := consumer.receive():
        found += some
    return found


def test_check_and_preview_leave_nothing_behind(severn, settings, s3):
    spotlight("npo", "check", "severn")
    spotlight("npo", "preview", "severn", "--rows", "2")
    store = IntegrationStore(settings)
    counts = {name: store[name].count_documents({}) for name in store.database.list_collection_names()}
    store.close()
    assert {name for name, count in counts.items() if count and not name.startswith("npo_budget")} == set()
    assert "Contents" not in s3.list_objects_v2(Bucket=settings.landing_bucket)


def budget_of(settings) -> dict[str, Any]:
    """Return the budget's document as it is now: what a majority has is a little older."""
    with open_store(settings) as store:
        now = store["npo_budget"].with_options(read_concern=ReadConcern("local"))
        return now.find_one({"_id": "severn"}) or {}


def rest(settings, seconds: float) -> None:
    """Let the NPO be left alone, as if a run had been told so."""
    with open_store(settings) as store:
        until = (time.time() + seconds) * 1000
        store["npo_budget"].update_one({"_id": "severn"}, {"$set": {"not_before": until}}, upsert=True)


def test_check_and_preview_draw_on_the_budget_of_the_runs(severn, empty_database, settings):
    spotlight("npo", "check", "severn")
    checked = budget_of(settings)["spent_until"]
    spotlight("npo", "preview", "severn", "--rows", "1")
    assert budget_of(settings)["spent_until"] > checked > 0
    assert budget_of(settings)["places"] == []


def test_check_and_preview_do_not_ask_a_partner_that_is_left_alone_and_say_when_to(
    severn, empty_database, settings, partners
):
    rest(settings, 3000)
    before = len(partners.admin("codebridge", "GET", "requests").json())
    found = steps(spotlight("npo", "check", "severn", "--json", code=1))
    assert found["budget"]["outcome"] == "failed"
    assert "the partner asked to be left alone for another" in found["budget"]["told"]
    assert "nothing was sent, ask again then" in found["budget"]["told"]
    assert "a run or enrolments of this NPO use its budget" in found["budget"]["next"]
    assert "'spotlight npo wake severn' ends a rest" in found["budget"]["next"]
    assert {"auth", "offerings: page"}.isdisjoint(found)
    assert "nothing was sent, ask again then" in spotlight("npo", "preview", "severn", code=1)
    assert len(partners.admin("codebridge", "GET", "requests").json()) == before
    spotlight("npo", "wake", "severn")
    spotlight("npo", "check", "severn")


def test_check_and_preview_work_without_a_store_and_say_so(severn, settings, monkeypatch):
    monkeypatch.setenv("SPOTLIGHT_MONGO_URI", "mongodb://127.0.0.1:9/?directConnection=true")
    monkeypatch.setattr(sample, "STORE_ANSWERS_WITHIN", 0.2)
    get_settings.cache_clear()
    found = steps(spotlight("npo", "check", "severn", "--json"))
    assert found["budget"]["outcome"] == "skipped"
    assert found["offerings: page"]["outcome"] == "ok"
    printed = spotlight("npo", "preview", "severn", "--rows", "1", "--json")
    assert "the store does not answer" in printed
    assert last_json(printed)


def test_an_npo_that_is_woken_is_told_what_kept_it_from_being_asked(draft, empty_database, settings):
    store = IntegrationStore(settings)
    later = int(time.time() + 3000) * 1000
    store["npo_budget"].insert_one({"_id": "severn", "not_before": later, "failures": 4, "open_until": later})
    told = last_json(spotlight("npo", "wake", "severn", "--json"))
    assert (told["npo_id"], told["failures"]) == ("severn", 4)
    assert told["told"] == pytest.approx(3000, abs=30)
    assert told["closed"] == pytest.approx(3000, abs=30)
    assert "nothing kept it from being asked" in spotlight("npo", "wake", "severn")
    assert "no row 'nobody'" in spotlight("npo", "wake", "nobody", code=1)
    store.close()


def test_preview_masks_what_may_be_personal_unless_told_otherwise(severn):
    asked = ("npo", "preview", "severn", "--resource", "assignments", "--rows", "3", "--json")
    pairs = last_json(spotlight(*asked))
    open_pairs = last_json(spotlight(*asked, "--show-personal"))
    assert len(pairs) == 3
    for hidden, shown in zip(pairs, open_pairs, strict=True):
        assert hidden["source"]["sourcedId"] == shown["source"]["sourcedId"]
        assert hidden["platform"]["status"] == shown["platform"]["status"]
    # What the mapping does not read may be about the candidate.
    assert any(hidden["source"] != shown["source"] for hidden, shown in zip(pairs, open_pairs, strict=True))
    assert "***" not in json.dumps(open_pairs)


def test_preview_shows_source_beside_platform(severn):
    text = spotlight("npo", "preview", "severn", "--resource", "offerings", "--rows", "1")
    assert "title: " in text.split(" | ")[0] or "title: " in text
    assert "| name: " in text


def test_a_refused_credential_is_told_at_the_step_auth_and_asked_once(severn, partners, monkeypatch):
    use_token(monkeypatch, "revoked-token-value")
    printed = spotlight("npo", "check", "severn", "--json", code=1)
    found = steps(printed)
    assert found["auth"]["outcome"] == "failed"
    assert found["auth"]["next"] == "'spotlight npo credential set severn'"
    assert "offerings: page" not in found
    assert "revoked-token-value" not in printed


def test_a_missing_credential_is_told_before_the_partner_is_asked(severn, monkeypatch):
    monkeypatch.delenv("AIRFLOW_CONN_SEVERN_API")
    monkeypatch.setenv("AIRFLOW_CONN_SEVERN_API", json.dumps({"conn_type": "generic", "login": "x"}))
    found = steps(spotlight("npo", "check", "severn", "--json", code=1))
    assert found["credential"]["outcome"] == "failed"
    assert "lacks password" in found["credential"]["told"]
    assert {found[name]["outcome"] for name in ("auth", "offerings: page")} == {"skipped"}


def test_a_wrong_path_fails_its_page_and_not_the_other_resource(severn, tmp_path):
    broken = tmp_path / "broken.yaml"
    broken.write_text(MANIFEST.read_text().replace("v1p2/classes", "v1p2/lessons"))
    spotlight("npo", "edit", "severn", "--manifest", str(broken))
    found = steps(spotlight("npo", "check", "severn", "--json", code=1))
    assert found["offerings: page"]["outcome"] == "failed"
    assert found["offerings: page"]["told"].startswith("404 from ")
    assert found["assignments: mapping"]["outcome"] == "ok"


def test_a_mapping_that_fits_no_record_fails_and_names_field_and_reason(severn, tmp_path):
    broken = tmp_path / "broken.yaml"
    broken.write_text(MANIFEST.read_text().replace("metadata.progressPercent", "user.sourcedId"))
    spotlight("npo", "edit", "severn", "--manifest", str(broken))
    step = steps(spotlight("npo", "check", "severn", "--json", code=1))["assignments: mapping"]
    assert step["outcome"] == "failed"
    assert "progress.percent (from user.sourcedId)" in step["told"]


def test_every_problem_of_a_row_is_listed_and_nothing_is_written(registry_dsn, settings, tmp_path):
    bad = tmp_path / "bad.yaml"
    bad.write_text(
        "resources: {offerings: {endpoint: {path: a}, primary_key: id, mapping: {fields: {nam: x}}}}\n"
    )
    printed = spotlight(
        "npo", "add", "severn", "--connector", "rest", "--manifest", str(bad), "--base-url", "ftp://x",
        "--schedule", "now and then", "--timezone", "Europe/Bristol", "--name", "S", code=1,
    )  # fmt: skip
    for told in ("base_url", "owner_email", "now and then", "Europe/Bristol", "mapping.fields.nam"):
        assert told in printed
    assert queries.row(registry_dsn, "severn", 5) is None


def test_two_people_editing_at_once_do_not_undo_each_other(draft, registry_dsn):
    from include.errors import ConfigurationError
    from include.registry.editing import changed_values, checked_row

    row: Any = queries.row(registry_dsn, "severn", 5)
    spotlight("npo", "edit", "severn", "--name", "First")
    late = checked_row(changed_values(row, {"name": "Second"}, None))
    with pytest.raises(ConfigurationError, match="was changed since it was read"):
        queries.update_npo(registry_dsn, late, 5, seen=row["config_version"])
    after: Any = queries.row(registry_dsn, "severn", 5)
    assert after["name"] == "First"


def test_a_new_base_url_takes_its_allowed_host_along(draft, registry_dsn):
    spotlight("npo", "edit", "severn", "--base-url", "https://api2.severn.example/v1")
    row: Any = queries.row(registry_dsn, "severn", 5)
    assert row["allowed_hosts"] == ["api2.severn.example"]
    assert row["status"] == "draft"


def test_an_edit_that_changes_nothing_makes_no_version(draft, registry_dsn):
    assert "is as it was" in spotlight("npo", "edit", "severn", "--manifest", str(MANIFEST))
    row: Any = queries.row(registry_dsn, "severn", 5)
    assert row["config_version"] == 1


def test_a_broken_row_is_not_activated(draft, registry_dsn):
    import psycopg

    with psycopg.connect(registry_dsn) as connection:
        connection.execute("update integration.npo set timezone = 'Europe/Bristol'")
    assert "Europe/Bristol" in spotlight("npo", "activate", "severn", code=1)
    row: Any = queries.row(registry_dsn, "severn", 5)
    assert row["status"] == "draft"


def test_what_is_mended_is_released_and_what_is_given_up_is_discarded(ran, settings, partners):
    nameless = {"sourcedId": "nameless", "dateLastModified": "2026-11-01T00:00:00.000Z", "metadata": {}}
    partners.admin("codebridge", "POST", "records", json={"resource": "offerings", "record": nameless})
    spotlight("run", "npo__severn")
    store = IntegrationStore(settings)
    waiting = last_json(spotlight("npo", "quarantine", "severn", "--json"))
    assert waiting
    assert "payload" not in waiting[0]
    one = next(entry for entry in waiting if entry["stage"] != "land_raw")
    released = last_json(spotlight("npo", "release", "severn", "--external-id", one["external_id"], "--json"))
    assert released["released"] == 1
    key = {"_id": f"severn|{one['resource']}|{one['external_id']}"}
    assert store["npo_raw"].find_one(key)["state"] == "landed"  # type: ignore[index]
    spotlight("run", "npo__severn")
    assert store["npo_raw"].find_one(key)["state"] == "quarantined"  # type: ignore[index]

    spotlight("npo", "discard", "severn", "--external-id", one["external_id"], "--why", "a test record")
    spotlight("npo", "release", "severn")
    spotlight("run", "npo__severn")
    entry: Any = store["quarantine"].find_one({"external_id": one["external_id"]})
    store.close()
    assert (entry["state"], entry["discarded_why"]) == ("discarded", "a test record")


def test_discard_wants_to_know_which(draft):
    assert "say which" in spotlight("npo", "discard", "severn", "--why", "all of them", code=2)


def stored(settings) -> int:
    """How many documents and objects are kept of severn."""
    from include.privacy.leaving import whose

    store = IntegrationStore(settings)
    documents = sum(store[name].count_documents(query) for name, query in whose("severn").items())
    store.close()
    return documents + len(LandingZone(settings).keys("npo/severn/"))


def test_an_npo_that_leaves_takes_its_data_along_and_leaves_nothing(ran, registry_dsn, settings, tmp_path):
    spotlight("run", "npo__severn")
    kept = stored(settings)
    assert "disable it first" in spotlight("npo", "purge", "severn", "--now", "--yes", code=1)

    spotlight("npo", "disable", "severn")
    folder = tmp_path / "severn"
    summary = last_json(spotlight("npo", "export", "severn", "--to", str(folder), "--json"))
    assert sum(one["documents"] for one in summary["store"].values()) + summary["objects"] == kept > 0
    assert json.loads((folder / "row.json").read_text())["status"] == "disabled"
    assert "may still write" in spotlight("npo", "purge", "severn", "--yes", code=1)
    assert "nothing was deleted" in spotlight("npo", "purge", "severn", "--now", input="hopeworks\n", code=1)
    assert stored(settings) == kept

    waits = IntegrationStore(settings)
    waits["outbox"].insert_one({"_id": "untold", "owner": "severn", "pending": True})
    waits.close()
    assert "not everything has been told" in spotlight("npo", "purge", "severn", "--now", "--yes", code=1)
    assert stored(settings) == kept + 1
    assert "npo_raw" in spotlight("npo", "purge", "severn", "--now", "--untold", input="severn\n")
    assert stored(settings) == 0
    assert queries.row(registry_dsn, "severn", 5) is not None
    assert "nothing was kept" in spotlight("npo", "purge", "severn", "--now", "--yes")


@pytest.mark.parametrize("npo_id", ["severn/offerings", "", "severn|offerings", ".."])
@pytest.mark.parametrize("command", [("purge", "--now", "--yes"), ("export", "--to", "nowhere")])
def test_what_is_no_npo_id_names_no_part_of_an_npo(settings, command, npo_id):
    assert "is no npo_id" in spotlight("npo", command[0], npo_id, *command[1:], code=1)


def test_a_row_deleted_just_now_is_not_purged_while_a_task_of_it_may_run(draft, registry_dsn):
    import psycopg

    with psycopg.connect(registry_dsn) as connection:
        connection.execute("delete from integration.npo")
    assert "may still write" in spotlight("npo", "purge", "severn", "--yes", code=1)

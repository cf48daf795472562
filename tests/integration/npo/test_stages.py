"""The five stages on real servers: complete, once, in any order of accidents."""

from __future__ import annotations

import dataclasses
import threading
from datetime import UTC, datetime, timedelta

import orjson
import pytest

from include.connectors.protocol import Window
from include.errors import DataQualityError, FatalError, TransientError
from include.events import drain, publisher
from include.npo.extract import extract
from include.npo.land import land_raw
from include.npo.publish import publish
from include.npo.transform import transform
from include.npo.validate import validate
from include.storage import outbox
from include.storage.checkpoint import read_checkpoint
from include.storage.documents import RawState
from include.storage.mongo import IntegrationStore
from include.storage.raw import state_of
from tests.integration.npo.conftest import LATER_STAGES, begin

PARTNERS = ("hopeworks", "codebridge", "mentornet")


def cursor_of(sync, resource):
    """How far the resource has been read; it must have been."""
    cursor = read_checkpoint(sync.store, sync.npo.npo_id, resource).cursor
    assert cursor is not None
    return cursor


def external_ids(events, kind):
    return sorted(
        event["data"][kind]["external_id"] for event in events if event["subject"].startswith(f"{kind}/")
    )


@pytest.mark.parametrize("name", PARTNERS)
def test_every_good_record_of_a_partner_becomes_one_event_and_every_bad_one_is_set_aside(
    sync, partners, name
):
    mine = sync(name)
    mine.run()

    truth = partners.admin(name, "GET", "truth").json()
    events = mine.events()
    assert external_ids(events, "offering") == sorted(map(str, truth["offerings"]))
    assert external_ids(events, "assignment") == sorted(map(str, truth["assignments"]))
    bad = len(truth["bad"]["offerings"]) + len(truth["bad"]["assignments"])
    assert mine.store["quarantine"].count_documents({"state": "open"}) == bad
    assert all(doc["reasons"][0]["code"] for doc in mine.store["quarantine"].find())


@pytest.mark.parametrize("name", PARTNERS)
def test_with_nothing_new_and_nothing_pending_only_extract_runs(sync, name):
    mine = sync(name)
    mine.run()
    assert extract(mine.context()) is None


def test_what_was_fetched_is_kept_byte_for_byte(sync):
    mine = sync("hopeworks")
    ctx = mine.context()
    served = [(page.body, len(page.records)) for page in ctx.connector.pages("assignments", Window())]
    ref = begin(ctx)
    manifest = next(
        found for key in ref.manifests if (found := ctx.landing.manifest(key)).resource == "assignments"
    )
    assert [(body, page.records) for page, body in ctx.landing.bodies(manifest)] == served


def test_running_every_stage_again_changes_nothing_and_sends_nothing(sync):
    mine = sync("mentornet")
    ctx = mine.context()
    first = begin(ctx)
    for stage in LATER_STAGES:
        stage(ctx, first)
    before, sent = mine.state(), mine.events()

    for stage in LATER_STAGES:
        stage(ctx, first)
        stage(ctx, first)

    assert mine.state() == before
    assert sent
    assert mine.events() == []


def test_clearing_an_old_run_from_extract_on_changes_nothing(sync):
    mine = sync("codebridge")
    mine.run()
    before = mine.state()
    mine.events()
    again = dataclasses.replace(mine.context(), run_id="test__1")
    assert extract(again) is None
    assert mine.state() == before


def test_an_old_list_landed_again_withdraws_nothing_that_came_later(sync, partners):
    mine = sync("mentornet")
    ctx = mine.context()
    old = begin(ctx)
    for stage in LATER_STAGES:
        stage(ctx, old)
    partners.admin("mentornet", "POST", "clock", json={"advance_days": 1})
    mine.run()
    before = mine.state()

    for stage in LATER_STAGES:
        stage(ctx, old)

    assert mine.state() == before


def test_a_day_later_only_what_changed_is_told_with_the_next_version(sync, partners):
    mine = sync("hopeworks")
    mine.run()
    known = {event["subject"] for event in mine.events()}
    partners.admin("hopeworks", "POST", "clock", json={"advance_days": 1})

    ref = mine.run()
    events = mine.events()

    assert ref.counts["transform.events"] == len(events) > 0
    versions = {event["subject"]: event["data"]["version"] for event in events}
    assert set(versions.values()) == {1, 2}
    assert all((version == 2) == (subject in known) for subject, version in versions.items())
    superseded = mine.store["npo_version"].count_documents({})
    assert superseded == sum(version == 2 for version in versions.values())
    truth = partners.admin("hopeworks", "GET", "truth").json()
    assert mine.store["npo_assignment"].count_documents({}) == len(truth["assignments"])


def test_an_offering_missing_from_a_full_list_is_withdrawn_once(sync, partners):
    mine = sync("mentornet")
    mine.run()
    mine.events()
    gone: list[str] = []
    for _ in range(3):  # every third day an offering is withdrawn
        partners.admin("mentornet", "POST", "clock", json={"advance_days": 1})
        mine.run()
        gone += [
            event["subject"] for event in mine.events() if event["type"].endswith("offering.withdrawn.v1")
        ]
    assert gone
    assert len(gone) == len(set(gone))
    withdrawn = mine.store["npo_offering"].find({"source.deleted_upstream": True})
    assert {f"offering/{doc['_id']}" for doc in withdrawn} == set(gone)


def test_a_soft_deleted_enrolment_is_withdrawn(sync):
    mine = sync("codebridge")
    mine.run()
    deleted = list(mine.store["npo_assignment"].find({"source.deleted_upstream": True}))
    assert deleted
    ended = {"completed", "failed", "rejected", "withdrawn", "cancelled", "expired"}
    assert {doc["status"] for doc in deleted} <= ended


def test_an_empty_list_does_not_withdraw_everything(sync, partners):
    mine = sync("mentornet")
    mine.run()
    before = mine.state()
    partners.admin(
        "mentornet", "POST", "faults", json=[{"path_regex": "list_programs", "kind": "empty_list"}]
    )

    with pytest.raises(DataQualityError, match="max_share"):
        mine.run()
    assert mine.state()["npo_offering"] == before["npo_offering"]

    partners.reset()
    assert extract(mine.context()) is None
    assert mine.state()["npo_offering"] == before["npo_offering"]


def crash_after(monkeypatch, module, name):
    """Let a side effect happen once, then fail as if the process had died there."""
    real = getattr(module, name)

    def once(*args, **kwargs):
        real(*args, **kwargs)
        monkeypatch.setattr(module, name, real)
        raise SystemExit(f"killed after {name}")

    monkeypatch.setattr(module, name, once)


def test_killed_between_sending_and_marking_the_same_ids_go_out_again_and_count_once(sync, monkeypatch):
    mine = sync("codebridge")
    real = publisher.Publisher.send

    def send_then_die(self, entries):
        real(self, entries)
        monkeypatch.setattr(publisher.Publisher, "send", real)
        raise SystemExit("killed after send")

    monkeypatch.setattr(publisher.Publisher, "send", send_then_die)
    with pytest.raises(SystemExit):
        mine.run()
    waiting = outbox.waiting(mine.store, "codebridge")
    assert waiting == mine.store["outbox"].count_documents({})

    ref = mine.run()

    assert ref.counts["publish.published"] == waiting
    assert outbox.waiting(mine.store, "codebridge") == 0
    assert len(mine.events()) == waiting
    assert mine.events() == []


def test_killed_between_two_batches_of_landing_the_rest_lands_and_nothing_twice(sync, monkeypatch):
    small = {"batch_size": 150}
    mine = sync("hopeworks")
    ctx = mine.context(settings=mine.settings.model_copy(update=small))
    ref = begin(ctx)
    real, commits = IntegrationStore.commit, []

    def commit_then_die(self, *args):
        commits.append(real(self, *args))
        if len(commits) == 3:
            raise SystemExit("killed")
        return commits[-1]

    monkeypatch.setattr(IntegrationStore, "commit", commit_then_die)
    with pytest.raises(SystemExit):
        land_raw(ctx, ref)
    monkeypatch.setattr(IntegrationStore, "commit", real)
    assert read_checkpoint(mine.store, "hopeworks", "assignments").cursor is None

    for stage in LATER_STAGES:
        ref = stage(ctx, ref)
    assert read_checkpoint(mine.store, "hopeworks", "assignments").cursor is not None
    events = mine.events()
    assert len({event["subject"] for event in events}) == len(events) == len(mine.transformed())


@pytest.mark.parametrize("stage", [validate, transform])
def test_killed_inside_a_transaction_nothing_of_the_batch_is_there_and_a_rerun_completes(
    sync, monkeypatch, stage
):
    mine = sync("mentornet")
    ctx = mine.context()
    ref = begin(ctx)
    for earlier in LATER_STAGES[: LATER_STAGES.index(stage)]:
        ref = earlier(ctx, ref)
    before = mine.state()
    module = __import__(stage.__module__, fromlist=["move_state"])
    crash_after(monkeypatch, module, "move_state")
    with pytest.raises(SystemExit):
        stage(ctx, ref)
    assert mine.state() == before

    for rest in LATER_STAGES[LATER_STAGES.index(stage) :]:
        ref = rest(ctx, ref)
    assert not mine.waiting()
    assert len(mine.events()) == mine.store["outbox"].count_documents({})


def test_two_runs_at_once_make_each_version_once(sync, settings):
    mine = sync("codebridge")
    ctx = mine.context(settings=settings.model_copy(update={"batch_size": 50}))
    ref = land_raw(ctx, begin(ctx))
    other = dataclasses.replace(ctx, store=IntegrationStore(settings))
    failures: list[BaseException] = []

    def work(context):
        try:
            for stage in (validate, transform, publish):
                stage(context, ref)
        except BaseException as error:  # noqa: BLE001 - shown by the assertion
            failures.append(error)

    threads = [threading.Thread(target=work, args=(context,)) for context in (ctx, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.store.close()

    assert not failures
    assert not mine.waiting()
    assert mine.store["npo_version"].count_documents({}) == 0
    events = mine.events()
    assert len(events) == len(mine.transformed())
    assert len({event["subject"] for event in events}) == len(events)


def test_a_record_without_id_is_set_aside_once_however_often_it_comes(sync):
    mine = sync("hopeworks")
    mine.run()
    first = mine.store["quarantine"].count_documents({})
    ctx = mine.context()
    for resource in ctx.resources:  # read everything again, as if the checkpoint were lost
        ctx.store["npo_checkpoint"].delete_one({"_id": f"hopeworks|{resource}"})
    assert extract(ctx) is None
    codes = {reason["code"] for doc in mine.store["quarantine"].find() for reason in doc["reasons"]}
    assert "missing_id" in codes
    assert mine.store["quarantine"].count_documents({}) == first


def serve_a_twin(mine, partners, **changes):
    """Let the partner serve its first assignment once more, at the list's end, with other content."""
    name = mine.npo.connector
    first = next(iter(mine.context().connector.pages("assignments", Window()))).records[0]
    twin = first | changes
    path = {"codebridge": "/enrollments", "mentornet": "list_matches"}[name]
    fault = {"path_regex": path, "kind": "bad_record", "record": twin, "position": 10_000}
    partners.admin(name, "POST", "faults", json=[fault])
    return first, twin


def test_the_same_record_twice_is_one_record(sync, partners):
    mine = sync("codebridge")
    serve_a_twin(mine, partners)
    mine.run()
    truth = partners.admin("codebridge", "GET", "truth").json()
    assert external_ids(mine.events(), "assignment") == sorted(truth["assignments"])
    assert mine.store["quarantine"].count_documents({}) == 0


def test_two_records_with_one_id_keep_the_first_and_set_the_other_aside(sync, partners):
    mine = sync("codebridge")
    first, twin = serve_a_twin(mine, partners, role="somebody else")

    mine.run()

    truth = partners.admin("codebridge", "GET", "truth").json()
    assert external_ids(mine.events(), "assignment") == sorted(truth["assignments"])
    kept = mine.store["npo_raw"].find_one({"resource": "assignments", "external_id": first["sourcedId"]})
    assert orjson.loads(kept["payload"]) == first
    (aside,) = mine.store["quarantine"].find()
    assert [reason["code"] for reason in aside["reasons"]] == ["duplicate_id"]
    assert orjson.loads(aside["payload"]) == twin


def test_a_record_that_is_mended_leaves_quarantine(sync, partners):
    mine = sync("mentornet")
    mine.run()
    bad = mine.store["quarantine"].find_one({"external_id": "MN-BAD-PERCENT"})
    assert bad["state"] == "open"
    mended = orjson.loads(bad["payload"]) | {"progress": "50 %"}
    partners.admin("mentornet", "POST", "records", json={"resource": "assignments", "record": mended})

    mine.run()

    assert mine.store["quarantine"].find_one({"_id": bad["_id"]})["state"] == "released"
    assert (
        mine.store["npo_assignment"].find_one({"external_id": "MN-BAD-PERCENT"})["progress"]["percent"] == 50
    )


def test_a_backfill_reads_its_interval_and_leaves_the_checkpoint(sync):
    mine = sync("codebridge")
    mine.run()
    before = read_checkpoint(mine.store, "codebridge", "assignments")
    until = cursor_of(mine, "assignments") - timedelta(days=2)
    window = Window(until - timedelta(days=3), until)

    mine.store["npo_raw"].delete_many({"cursor": {"$gte": window.since, "$lt": window.until}})

    ref = mine.run(window)

    assert ref.counts["land_raw.new"] > 0
    assert read_checkpoint(mine.store, "codebridge", "assignments") == before
    assert ref.counts["transform.events"] == 0, "the entities did not change"


def test_a_backfill_into_an_empty_store_lands_only_the_intervals_records(sync):
    mine = sync("codebridge")
    mine.run()
    newest = cursor_of(mine, "assignments")
    everything = mine.store["npo_raw"].count_documents({})
    window = Window(newest - timedelta(days=5), newest - timedelta(days=2))
    for name in ("npo_raw", "npo_offering", "npo_assignment", "npo_checkpoint"):
        mine.store[name].delete_many({})
    mine.run(window)
    landed = [doc["cursor"] for doc in mine.store["npo_raw"].find()]
    assert 0 < len(landed) < everything
    assert all(window.since <= cursor < window.until for cursor in landed)


def test_a_source_that_cannot_filter_by_time_is_backfilled_from_what_was_landed(sync):
    mine = sync("mentornet")
    mine.run()
    now = datetime.now(UTC)
    mine.store["npo_raw"].delete_many({})
    ref = mine.run(Window(now - timedelta(hours=1), now + timedelta(hours=1)))
    assert ref.counts["land_raw.new"] > 0
    assert "extract.pages" in ref.counts
    assert ref.counts["extract.pages"] == 0
    assert any("cannot filter by time" in line for line in mine.told)


def test_a_new_mapping_version_goes_over_what_is_stored_without_a_new_event_for_equal_content(sync):
    mine = sync("codebridge")
    mine.run()
    mine.events()
    newer = {"resources": {"assignments": {"mapping": {"version": 99}}}}
    again = sync("codebridge", manifest=newer)

    ref = again.run()

    assert ref.counts["transform.unchanged"] == mine.store["npo_assignment"].count_documents({})
    assert ref.counts["transform.events"] == 0
    assert extract(again.context()) is None


def test_an_event_too_large_to_travel_goes_by_reference(sync, partners):
    huge = {"resources": {"offerings": {"mapping": {"fields": {"eligibility": {"const": "x" * 19_000}}}}}}
    mine = sync("hopeworks", manifest=huge)
    mine.run()
    assert {"data"} <= set(mine.events()[0])
    # Four long texts are more than 64 KiB together.
    fields = {
        name: {"const": "y" * 19_999}
        for name in ("eligibility", "summary", "description_html", "organization.description")
    }
    mine = sync(
        "hopeworks", manifest={"resources": {"offerings": {"mapping": {"version": 2, "fields": fields}}}}
    )
    mine.run()
    referred = [event for event in mine.events() if "dataref" in event]
    assert referred
    assert "data" not in referred[0]
    key = referred[0]["dataref"].removeprefix(f"s3://{mine.settings.landing_bucket}/")
    assert orjson.loads(mine.landing.get(key))["offering"]["summary"] == "y" * 19_999


def test_an_event_that_breaks_its_schema_is_kept_aside_and_the_others_go_out(sync):
    mine = sync("codebridge")
    ctx = mine.context()
    ref = begin(ctx)
    for stage in (land_raw, validate, transform):
        ref = stage(ctx, ref)
    spoilt = mine.store["outbox"].find_one({})
    body = orjson.loads(spoilt["body"])
    body["data"]["version"] = "one"
    mine.store["outbox"].update_one({"_id": spoilt["_id"]}, {"$set": {"body": orjson.dumps(body).decode()}})

    with pytest.raises(FatalError, match="1 events break their schema"):
        publish(ctx, ref)

    assert len(mine.events()) == mine.store["outbox"].count_documents({}) - 1
    assert mine.store["outbox"].find_one({"_id": spoilt["_id"]})["refused"]


def test_events_sns_does_not_confirm_stay_in_the_outbox(sync, monkeypatch):
    mine = sync("codebridge")
    monkeypatch.setattr(drain, "EVENTS_AT_ONCE", 100)
    real = publisher.Publisher._send_batch
    refused: list[str] = []

    def refuse_one(self, batch):
        if not refused:
            refused.extend(entry.id for entry in batch)
            return []
        return real(self, batch)

    monkeypatch.setattr(publisher.Publisher, "_send_batch", refuse_one)
    with pytest.raises(TransientError, match="stay in the outbox"):
        mine.run()
    assert outbox.waiting(mine.store, "codebridge") > 0

    mine.run()
    assert outbox.waiting(mine.store, "codebridge") == 0
    assert len(mine.events()) == mine.store["outbox"].count_documents({})


def test_a_list_of_something_else_is_refused_as_a_batch(sync):
    wrong = {"resources": {"offerings": {"primary_key": "no_such_field"}}}
    mine = sync("codebridge", manifest=wrong)
    with pytest.raises(DataQualityError, match="primary_key"):
        mine.run()
    assert mine.store["npo_raw"].count_documents({"resource": "offerings"}) == 0
    assert not [event for event in mine.events() if event["subject"].startswith("offering/")]


def first_manifest(ctx, ref, resource):
    return next(found for key in ref.manifests if (found := ctx.landing.manifest(key)).resource == resource)


def test_the_checkpoint_never_passes_the_start_of_the_reading(sync, partners):
    """A record may change after its page was read and before the last page was."""
    mine = sync("hopeworks")
    partners.admin("hopeworks", "POST", "clock", json={"advance_days": 2})  # stamps ahead of our clock
    ctx = mine.context()
    ref = begin(ctx)
    land_raw(ctx, ref)
    started = datetime.fromisoformat(first_manifest(ctx, ref, "assignments").started_at)
    newest = max(doc["cursor"] for doc in mine.store["npo_raw"].find() if doc["cursor"])
    assert newest > started
    assert cursor_of(mine, "assignments") <= started


def test_content_that_was_set_aside_before_is_news_when_the_record_turns_bad_again(sync, partners):
    mine = sync("mentornet")
    mine.run()
    stored = mine.transformed(resource="assignments")[0]
    sample = orjson.loads(stored["payload"])
    bad = sample | {"progress": "half"}

    def put(record):
        partners.admin("mentornet", "POST", "records", json={"resource": "assignments", "record": record})
        return mine.run()

    def state():
        return state_of(mine.store, stored["_id"])

    put(bad)
    assert state() == "quarantined"
    put(sample | {"progress": "77 %"})
    assert state() == "transformed"
    put(bad)
    assert state() == "quarantined"


def test_an_older_list_landed_between_the_batches_of_a_newer_one_withdraws_nothing(sync):
    mine = sync("mentornet")
    ctx = mine.context()
    older = begin(ctx)
    newer_ctx = mine.context()
    newer = begin(newer_ctx)
    land_raw(newer_ctx, newer)
    land_raw(ctx, older)
    land_raw(newer_ctx, newer)
    assert mine.store["npo_raw"].count_documents({"deleted_upstream": True}) == 0


def test_a_run_of_yesterday_landed_after_todays_does_not_bring_its_content_back(sync, partners):
    mine = sync("mentornet")
    mine.run()
    stored = mine.transformed(resource="offerings")[0]
    sample = orjson.loads(stored["payload"])

    def put(record):
        partners.admin("mentornet", "POST", "records", json={"resource": "offerings", "record": record})

    put(sample | {"name": "Yesterday only"})
    yesterday_ctx = mine.context()
    yesterday = begin(yesterday_ctx)  # its land_raw failed
    put(sample)
    other = sync("mentornet", manifest={"resources": {"offerings": {"mapping": {"version": 5}}}})
    other.run()
    before = [doc["payload"] for doc in mine.store["npo_raw"].find({"resource": "offerings"}).sort("_id", 1)]

    for stage in LATER_STAGES:
        yesterday = stage(yesterday_ctx, yesterday)

    after = [doc["payload"] for doc in mine.store["npo_raw"].find({"resource": "offerings"}).sort("_id", 1)]
    assert after == before


def test_one_record_with_an_unmapped_status_does_not_stop_the_integration(sync, partners):
    mine = sync("codebridge")
    mine.run()
    sample = orjson.loads(
        mine.store["npo_raw"].find_one({"resource": "assignments", "deleted_upstream": False})["payload"]
    )
    odd = sample | {
        "metadata": sample["metadata"] | {"state": "NEVER_SEEN"},
        "dateLastModified": "2027-01-01T00:00:00.000Z",
    }
    partners.admin("codebridge", "POST", "records", json={"resource": "assignments", "record": odd})
    for resource in ("offerings", "assignments"):  # ask for nothing but the newest
        mine.store["npo_checkpoint"].update_one(
            {"_id": f"codebridge|{resource}"}, {"$set": {"cursor": datetime(2026, 12, 31, tzinfo=UTC)}}
        )
    ctx = dataclasses.replace(mine.context(), now=lambda: datetime(2027, 1, 1, tzinfo=UTC))
    ref = begin(ctx)
    assert ref.counts["extract.records"] < 20
    for stage in LATER_STAGES:
        ref = stage(ctx, ref)
    entity = mine.store["npo_assignment"].find_one({"external_id": sample["sourcedId"]})
    assert entity["status"] == "unknown"
    assert entity["external_status"] == "NEVER_SEEN"


def test_an_ambiguous_twin_stays_in_quarantine_though_the_first_went_through(sync, partners):
    mine = sync("mentornet")
    first, _ = serve_a_twin(mine, partners, progress="1 %")
    mine.run()
    (twin,) = mine.store["quarantine"].find({"reasons.code": "duplicate_id"})
    assert twin["state"] == "open"
    went_through = mine.store["npo_raw"].find_one(
        {"resource": "assignments", "external_id": twin["external_id"]}
    )
    assert state_of(mine.store, went_through["_id"]) is RawState.TRANSFORMED
    assert orjson.loads(went_through["payload"]) == first


def test_what_a_person_discarded_stays_discarded(sync):
    mine = sync("mentornet")
    mine.run()
    mine.store["quarantine"].update_many({}, {"$set": {"state": "discarded"}})
    again = sync("mentornet", manifest={"resources": {"assignments": {"mapping": {"version": 7}}}})
    again.run()
    assert mine.store["quarantine"].count_documents({"state": "open"}) == 0


def test_a_tombstone_of_nothing_but_an_id_withdraws_what_was_known(sync, partners):
    mine = sync("codebridge")
    mine.run()
    mine.events()
    entity = mine.store["npo_offering"].find_one({"status": "active"})
    bare = {
        "sourcedId": entity["external_id"],
        "status": "tobedeleted",
        "dateLastModified": "2026-11-20T00:00:00.000Z",
    }
    partners.admin("codebridge", "POST", "records", json={"resource": "offerings", "record": bare})
    mine.store["npo_checkpoint"].delete_many({"_id": "codebridge|offerings"})

    mine.run()

    gone = mine.store["npo_offering"].find_one({"_id": entity["_id"]})
    assert gone["status"] == "withdrawn"
    assert gone["name"] == entity["name"]
    assert [event["type"] for event in mine.events()] == ["org.spotlight.offering.withdrawn.v1"]


def test_a_record_too_large_is_set_aside_by_reference(sync, partners):
    mine = sync("hopeworks")
    huge = {"id": "too-large", "service_id": "x", "state": "enrolled", "note": "x" * 2**20}
    partners.admin("hopeworks", "POST", "records", json={"resource": "assignments", "record": huge})
    mine.run()
    entry = mine.store["quarantine"].find_one({"external_id": "too-large"})
    assert entry["reasons"][0]["code"] == "record_too_large"
    assert entry["payload"] is None
    assert entry["raw_ref"]


def test_a_refused_list_of_offerings_does_not_hold_up_the_assignments(sync, partners):
    mine = sync("mentornet")
    mine.run()
    mine.events()
    partners.admin("mentornet", "POST", "clock", json={"advance_days": 1})
    partners.admin(
        "mentornet", "POST", "faults", json=[{"path_regex": "list_programs", "kind": "empty_list"}]
    )

    with pytest.raises(DataQualityError, match=r"mentornet/publish: .*offerings.*max_share"):
        mine.run()

    assert {event["subject"].split("/")[0] for event in mine.events()} == {"assignment"}
    assert not mine.waiting()


def test_a_record_that_turns_unreadable_is_not_taken_for_withdrawn(sync, partners):
    mine = sync("mentornet")
    mine.run()
    stored = mine.transformed(resource="offerings")[0]
    unreadable = orjson.loads(stored["payload"]) | {"notes": "x" * 2**20}  # too large to be landed
    partners.admin("mentornet", "POST", "records", json={"resource": "offerings", "record": unreadable})

    mine.run()

    assert mine.store["quarantine"].count_documents(
        {"external_id": stored["external_id"], "stage": "land_raw"}
    )
    assert not mine.store["npo_raw"].find_one({"_id": stored["_id"]})["deleted_upstream"]

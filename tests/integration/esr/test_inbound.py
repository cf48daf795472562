"""A file's whole way, from the SFTP server to positions, TCS and two queues; each incident by its name."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from include.errors import NotYetError
from include.esr.errors import FileRejectedError
from include.esr.files.replay import replay_file
from include.esr.run import discover_subjects, open_context, pending_deaneries, run_stage
from include.sandbox.esr.dirt import CONDEMNS, LINES, Dirt
from include.sandbox.esr.files import MadeFile, rmc, rmf
from include.sandbox.esr.words import DEANERIES
from include.settings import get_settings
from tests.conftest import s3_client
from tests.integration.esr.inbound import DAY, WORLD, Exchange

NEXT_DAY = DAY + timedelta(days=1)


def put(esr: Exchange, *files: MadeFile) -> None:
    for file in files:
        esr.sftp.put(file.name, file.body)


def one(esr: Exchange, collection: str, **query: Any) -> dict[str, Any]:
    """Return the one document there must be."""
    found = esr.store[collection].find_one(query)
    assert found is not None
    return found


def matched(esr: Exchange) -> dict[int, int]:
    found = esr.store["esr_position"].find({"deleted": False, "match.status": "MATCHED"})
    return {each["_id"]: each["match"]["post_id"] for each in found}


def told(esr: Exchange) -> list[tuple[int, int, str]]:
    """Return what TCS was told of posts: position, post, status."""
    return [
        (body["positionId"], post, body["status"])
        for post, bodies in esr.tcs.post_events().items()
        for body in bodies
    ]


def test_a_full_file_ends_as_the_truth_says(esr: Exchange):
    file = rmf("KSS", DAY, 17, world=WORLD, posts=60, dirt=LINES)
    put(esr, file)
    assert esr.run().failed == {}
    truth, entry = file.truth, esr.entry(file.name)
    assert entry["state"] == "published"
    assert matched(esr) == truth.matched
    positions = list(esr.store["esr_position"].find())
    assert {each["_id"] for each in positions if each.get("unmatched")} == truth.unmatched
    assert {each["_id"] for each in positions if each["deleted"]} == truth.deleted
    assert sorted(told(esr)) == sorted((key, post, "RECONCILED") for key, post in truth.matched.items())
    for events in esr.events().values():
        ids = [event["data"]["position"]["position_id"] for event in events]
        assert sorted(ids) == sorted(truth.matched)
    assert entry["counts"]["records"] == sum(truth.records.values())
    assert entry["counts"]["matched"] == len(truth.matched)
    assert entry["counts"]["unmatched"] == len(truth.unmatched)


def test_people_end_in_tcs_as_the_truth_says(esr: Exchange):
    file = rmf("KSS", DAY, 17, world=WORLD, posts=60)
    put(esr, file)
    assert esr.run().failed == {}
    for person_id, expected in file.truth.fields.items():
        person = esr.tcs.get(f"people/{person_id}")
        assert expected["contact"].items() <= person["contactDetails"].items()
        assert expected["personal"].items() <= person["personalDetails"].items()
    for absence_id, expected in file.truth.absences.items():
        assert expected.items() <= esr.tcs.get(f"absence/absenceId/{absence_id}").items()


def test_bad_rows_are_set_aside_one_by_one_and_the_rest_goes_on(esr: Exchange):
    file = rmf("KSS", DAY, 17, world=WORLD, posts=60, dirt=LINES)
    put(esr, file)
    esr.run()
    aside = esr.store["quarantine"].find({"owner": "esr/KSS", "stage": "split"})
    found = [(int(each["external_id"].rpartition(":")[2]), each["reasons"][0]["code"]) for each in aside]
    assert sorted(found) == sorted((bad.line, bad.code) for bad in file.truth.bad)
    receipt = one(esr, "esr_receipt", _id=f"{file.name}#1")
    assert receipt["outcome"] == "errors"
    assert [error["line"] for error in receipt["errors"]] == sorted(bad.line for bad in file.truth.bad)


@pytest.mark.parametrize("dirt", sorted(CONDEMNS))
def test_a_condemned_file_has_one_reason_and_no_effect(dirt: Dirt, esr: Exchange):
    file = rmf("KSS", DAY, 17, world=WORLD, posts=12, dirt=(dirt,))
    good = rmf("LDN", DAY, 5, world=WORLD, posts=3)
    put(esr, file, good)
    esr.run()
    entry = esr.entry(file.name)
    assert (entry["state"], entry["reason"]["code"]) == ("rejected", CONDEMNS[dirt])
    assert esr.store["esr_position"].count_documents({"deanery": "KSS"}) == 0
    assert esr.store["esr_person"].count_documents({"deanery": "KSS"}) == 0
    assert esr.sftp.names("rejected") == [file.name]
    assert esr.state(good.name) == "published"
    assert esr.sftp.names("done") == [good.name]


@pytest.mark.parametrize("dirt", [Dirt.CP1252, Dirt.CRLF])
def test_another_charset_or_line_end_changes_nothing(dirt: Dirt, esr: Exchange):
    file = rmf("KSS", DAY, 17, world=WORLD, posts=12, dirt=(dirt,))
    put(esr, file)
    assert esr.run().failed == {}
    assert matched(esr) == file.truth.matched
    assert esr.entry(file.name)["encoding"] == ("cp1252" if dirt is Dirt.CP1252 else "utf-8")
    assert not esr.store["quarantine"].count_documents({})


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("readme.txt", "bad_name"),
        ("DE_XXX_RMF_20260304_00000017.DAT", "unknown_deanery"),
        ("DE_KSS_XYZ_20260304_00000017.DAT", "unknown_type"),
        ("DE_KSS_RMF_20261304_00000017.DAT", "bad_name"),
    ],
)
def test_a_file_of_a_wrong_name_is_rejected_with_one_reason(name: str, code: str, esr: Exchange):
    esr.sftp.put(name, rmf("KSS", DAY, 17, world=WORLD, posts=3).body)
    esr.run()
    found = one(esr, "esr_file", name=name)
    assert (found["state"], found["reason"]["code"]) == ("rejected", code)
    assert esr.sftp.names("rejected") == [name]


def test_replaying_a_file_changes_nothing_and_tells_nothing(esr: Exchange):
    file = rmf("KSS", DAY, 17, world=WORLD, posts=40, dirt=LINES)
    put(esr, file)
    esr.run()
    before, patched = esr.final_state(), esr.tcs.told()
    with open_context("test") as ctx:
        replay_file(ctx, file.name)
    assert esr.run().failed == {}
    after = esr.final_state()
    assert esr.tcs.told() == patched
    assert after["events"] == {name: [] for name in before["events"]}
    for part in ("esr_position", "esr_person", "esr_record", "quarantine", "outbox", "esr_call"):
        assert after["store"][part] == before["store"][part], part


def test_a_job_can_be_run_again_for_the_files_of_another_day(esr: Exchange):
    first = rmf("KSS", DAY, 17, world=WORLD, posts=12)
    second = rmc("KSS", NEXT_DAY, 18, world=WORLD, posts=60)
    put(esr, first, second)
    esr.run()
    midnight = datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC)
    report = esr.run(interval=(midnight, midnight + timedelta(days=1)))
    assert list(report.done) == [f"{first.name}#1"]
    assert report.failed == {}


def test_an_older_file_that_comes_late_never_overwrites_a_newer_position(esr: Exchange):
    older = rmf("KSS", DAY, 17, world=WORLD, posts=40)
    newer = rmf("KSS", DAY + timedelta(days=20), 18, world=WORLD, posts=40)
    put(esr, newer)
    esr.run()
    assert matched(esr) == newer.truth.matched
    put(esr, older)
    assert esr.run().failed == {}
    assert matched(esr) == newer.truth.matched
    assert {each["_id"] for each in esr.store["esr_position"].find({"deleted": True})} == newer.truth.deleted


def test_files_of_a_deanery_are_taken_in_sequence_whatever_the_order_they_come_in(esr: Exchange):
    files = [rmc("KSS", DAY + timedelta(days=at), 17 + at, world=WORLD, posts=120) for at in range(3)]
    put(esr, *reversed(files))
    report = esr.run()
    assert list(report.done) == [f"{file.name}#1" for file in files]


def test_thirteen_full_files_at_once_are_a_normal_day(esr: Exchange):
    files = [rmf(deanery, DAY, 17, world=WORLD, posts=6) for deanery in DEANERIES]
    put(esr, *files)
    assert esr.run().failed == {}
    assert {esr.state(file.name) for file in files} == {"published"}
    assert matched(esr) == {key: post for file in files for key, post in file.truth.matched.items()}


def test_while_tcs_is_down_work_waits_where_it_is_and_goes_on_by_itself(esr: Exchange):
    file = rmf("KSS", DAY, 17, world=WORLD, posts=20)
    put(esr, file)
    esr.tcs.misbehave({"call": "posts/filter", "kind": "status", "status": 503})
    report = esr.run()
    assert report.failed == {}
    assert list(report.waiting) == [f"{file.name}#1"]
    assert esr.state(file.name) == "landed"
    assert esr.store["esr_position"].count_documents({}) == 0
    esr.tcs.behave()
    assert esr.run().failed == {}
    assert matched(esr) == file.truth.matched


def test_a_5xx_of_tcs_is_tried_again_and_a_4xx_is_set_aside(esr: Exchange):
    file = rmf("KSS", DAY, 17, world=WORLD, posts=20)
    put(esr, file)
    esr.tcs.misbehave(
        {"call": "esr-changed", "kind": "status", "status": 400, "times": 1},
        {"call": "^GET people", "kind": "status", "status": 503, "times": 3},
    )
    esr.run()
    refused = list(esr.store["esr_call"].find({"state": "refused"}))
    assert len(refused) == 1
    assert len(told(esr)) == len(file.truth.matched) - 1
    assert esr.store["esr_person"].count_documents({"outcome.status": "refused"}) == 0


def test_unmatched_positions_are_found_as_soon_as_tcs_gets_the_post(esr: Exchange):
    file = rmf("KSS", DAY, 17, world=WORLD, posts=60)
    put(esr, file)
    esr.run()
    waiting = one(esr, "esr_position", unmatched=True)
    with open_context("test") as ctx:
        assert pending_deaneries(ctx) == {"KSS"}
    [post] = esr.tcs.load_posts({"nationalPostNumber": waiting["number"], "status": "CURRENT"})
    report = esr.run()
    assert list(report.done) == ["KSS"]
    assert matched(esr)[waiting["_id"]] == post["id"]
    assert (waiting["_id"], post["id"], "RECONCILED") in told(esr)


def test_a_file_still_on_its_way_is_left_alone(esr: Exchange):
    file = rmf("KSS", DAY, 17, world=WORLD, posts=12)
    half = len(file.body) // 2
    esr.sftp.put(file.name, file.body[:half])
    assert discover_subjects(run_id="test") == ([], 1)
    esr.sftp.append(file.name, file.body[half:])
    assert esr.run().failed == {}
    assert matched(esr) == file.truth.matched


def test_a_truncated_file_is_rejected_and_its_whole_successor_is_a_new_version(esr: Exchange):
    file = rmf("KSS", DAY, 17, world=WORLD, posts=12)
    esr.sftp.put(file.name, file.body[: len(file.body) // 2])
    esr.run()
    assert esr.entry(file.name)["reason"]["code"] == "missing_footer"
    put(esr, file)
    esr.run()
    assert esr.state(file.name, version=1) == "rejected"
    assert esr.state(file.name, version=2) == "published"
    assert matched(esr) == file.truth.matched


def test_the_same_file_twice_is_one_file(esr: Exchange):
    file = rmf("KSS", DAY, 17, world=WORLD, posts=12)
    put(esr, file)
    esr.run()
    before = esr.tcs.told()
    put(esr, file)
    report = esr.run()
    assert esr.store["esr_file"].count_documents({}) == 1
    assert not any(subject.startswith("DE_") for subject in report.done)
    assert esr.tcs.told() == before


def test_a_replay_releases_the_bad_lines_that_are_good_now_and_keeps_the_others_open(
    esr: Exchange, monkeypatch: pytest.MonkeyPatch
):
    file = rmf("KSS", DAY, 17, world=WORLD, posts=12, dirt=(Dirt.LONG_NUMBER, Dirt.BAD_ID))
    monkeypatch.setenv("SPOTLIGHT_ESR_MAX_LINE_BYTES", "150")
    get_settings.cache_clear()
    put(esr, file)
    esr.run()
    before = esr.store["quarantine"].count_documents({"stage": "split", "state": "open"})
    monkeypatch.delenv("SPOTLIGHT_ESR_MAX_LINE_BYTES")
    get_settings.cache_clear()
    with open_context("test") as ctx:
        replay_file(ctx, file.name)
    esr.run()
    assert before > 2
    aside = esr.store["quarantine"].find({"stage": "split", "state": "open"})
    assert sorted(each["reasons"][0]["code"] for each in aside) == ["bad_integer", "too_long"]


def test_a_file_a_person_accepts_goes_through_although_it_is_unlike_the_others(esr: Exchange):
    past = [rmf("KSS", DAY + timedelta(days=at), 17 + at, world=WORLD, posts=100) for at in range(3)]
    small = rmf("KSS", DAY + timedelta(days=3), 20, world=WORLD, posts=40)
    put(esr, *past, small)
    esr.run()
    assert esr.entry(small.name)["reason"]["code"] == "unusual_volume"
    with open_context("test") as ctx:
        replay_file(ctx, small.name, accept="a part of the deanery moved away")
    assert esr.run().failed == {}
    assert esr.entry(small.name)["accepted"]["why"] == "a part of the deanery moved away"
    with open_context("test") as ctx:
        replay_file(ctx, small.name)
    assert esr.run().failed == {}, "what was accepted once stays accepted"


def test_a_file_replayed_in_mid_run_is_not_passed_on_half_done(esr: Exchange):
    file = rmf("KSS", DAY, 17, world=WORLD, posts=12)
    put(esr, file)
    [subject], _ = discover_subjects(run_id="test")
    run_stage("read", subject, run_id="test")
    with open_context("test") as ctx:
        replay_file(ctx, file.name)
    for stage in ("reconcile", "publish"):
        with pytest.raises(NotYetError, match="done again"):
            run_stage(stage, subject, run_id="test")
    assert esr.state(file.name) == "landed"
    assert esr.run().failed == {}
    assert esr.state(file.name) == "published"


def test_a_rejected_file_stays_red_when_its_task_is_run_again(esr: Exchange):
    file = rmf("KSS", DAY, 17, world=WORLD, posts=12, dirt=(Dirt.WRONG_FOOTER,))
    put(esr, file)
    esr.run()
    for _ in range(2):
        with pytest.raises(FileRejectedError, match="footer"):
            run_stage("read", f"{file.name}#1", run_id="test")


def test_a_file_that_keeps_failing_does_not_hold_up_the_rest_of_its_deanery(esr: Exchange):
    first = rmf("KSS", DAY, 17, world=WORLD, posts=60)
    put(esr, first)
    esr.run()
    waiting = one(esr, "esr_position", unmatched=True)
    second = rmc("KSS", NEXT_DAY, 18, world=WORLD, posts=60)
    put(esr, second)
    discover_subjects(run_id="test")
    key = esr.entry(second.name)["key"]
    s3_client(esr.settings).delete_object(Bucket=esr.settings.landing_bucket, Key=key)
    esr.tcs.load_posts({"nationalPostNumber": waiting["number"], "status": "CURRENT"})
    report = esr.run()
    assert list(report.failed) == [f"{second.name}#1"]
    assert one(esr, "esr_position", _id=waiting["_id"])["match"]["status"] == "MATCHED"


def test_what_was_applied_once_is_not_judged_by_its_likeness_to_others_again(esr: Exchange):
    files = [rmf("KSS", DAY + timedelta(days=at), 17 + at, world=WORLD, posts=60) for at in range(4)]
    put(esr, *files)
    assert esr.run().failed == {}
    names = [file.name for file in files[:3]]
    esr.store["esr_file"].update_many({"name": {"$in": names}}, {"$mul": {"tally.data_lines": 10}})
    with open_context("test") as ctx:
        replay_file(ctx, files[3].name)
    assert esr.run().failed == {}
    assert esr.state(files[3].name) == "published"


def test_a_full_file_releases_the_bad_lines_of_the_files_before_it(esr: Exchange):
    first = rmf("KSS", DAY, 17, world=WORLD, posts=12, dirt=(Dirt.BAD_ID,))
    second = rmf("KSS", NEXT_DAY, 18, world=WORLD, posts=12, dirt=(Dirt.BAD_ID,))
    put(esr, first, second)
    assert esr.run().failed == {}
    aside = list(esr.store["quarantine"].find({"stage": "split", "state": "open"}))
    assert [each["external_id"].partition(":")[0] for each in aside] == [f"{second.name}#1"]


def test_an_old_file_that_changes_next_to_nothing_is_marked(esr: Exchange):
    newer = rmf("KSS", DAY + timedelta(days=1), 18, world=WORLD, posts=40)
    older = rmf("KSS", DAY, 17, world=WORLD, posts=40)
    put(esr, newer)
    esr.run()
    put(esr, older)
    esr.run()
    assert "mostly_older" in [alert["code"] for alert in esr.entry(older.name)["alerts"]]
    assert not [alert for alert in esr.entry(newer.name)["alerts"] if alert["code"] == "mostly_older"]

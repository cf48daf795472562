"""Exporting on real servers: a day's file is made once, sent once, told once."""

from __future__ import annotations

import gzip
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta

import orjson
import pytest

from include.errors import ConfigurationError, DataQualityError, IntegrationError
from include.esr.exports import checking, sending
from include.esr.exports.abandoning import abandon_file
from include.events.consumer import Consumer
from include.events.topics import ESR_FILES
from tests.integration.esr.outbound import (
    AFTERNOON,
    AWKWARD,
    NAME,
    NOTICE,
    TODAY,
    applicant,
    notification,
    out,
    placements,
)

__all__ = ["out", "placements"]
HOST = "KSS/RXC01/800/GPST/003"


def lines(body: bytes) -> list[str]:
    return body.decode().splitlines()[1:-1]


def test_a_days_file_is_sent_archived_and_told(out, placements, s3):
    out.add(*(applicant(each, fields=AWKWARD if each == placements[0] else {}) for each in placements))

    counts = out.export()

    made = {"files": 1, "records": 3, "carried_over": 0, "invalid": 0, "waiting": 0}
    assert counts == made | {"told": 3, "read_back": 0, "refused": 0, "published": 1}
    assert list(out.files()) == [NAME]
    body = out.files()[NAME]
    assert len(lines(body)) == 3
    assert set(out.states().values()) == {"EXPORTED"}
    entry = out.entry()
    assert (entry["state"], entry["sequence"], entry["size"], entry["taken"]) == ("sent", 1, len(body), False)
    found = s3.get_object(Bucket=out.ctx.settings.landing_bucket, Key=entry["object_key"])
    assert gzip.decompress(found["Body"].read()) == body
    assert out.told() == [(each, "EXPORTED", NAME) for each in placements]


def test_a_record_keeps_its_place_and_its_history(out, placements):
    out.add(*(applicant(each) for each in placements))
    out.export()
    second = out.ctx.store["esr_app_record"].find_one({"placement_id": placements[1]})
    assert (second["file"], second["ordinal"], second["exported_at"]) == (NAME, 2, AFTERNOON)
    assert [each["state"] for each in second["history"]] == ["TO_EXPORT", "IN_FILE", "EXPORTED"]
    assert second["history"][1]["ordinal"] == 2


def test_the_event_names_the_file_and_nobody(out):
    out.add(notification(1), notification(2))
    out.export("DNC")
    told = Consumer(out.ctx.settings, "platform", (ESR_FILES,)).receive()
    assert [(each["subject"], each["data"]["records"]) for each in told] == [(f"file/{NOTICE}", 2)]
    assert b"Hopper" not in orjson.dumps(told)


def test_a_rerun_of_the_day_sends_nothing_more_also_when_more_became_due(out, placements):
    out.add(applicant(placements[0]))
    out.export()
    before = out.files()
    out.add(applicant(placements[1]))
    assert out.later(3600).export()["files"] == 0
    assert out.files() == before
    assert out.told() == [(placements[0], "EXPORTED", NAME)]
    assert out.states()[f"{placements[1]}-{placements[1] + 7_000_000}"] == "TO_EXPORT"


def test_nothing_due_makes_no_file_and_takes_no_number(out):
    assert out.export()["files"] == 0
    assert out.files() == {}
    assert out.ctx.store["esr_sequence"].count_documents({}) == 0


def test_what_was_carried_over_goes_out_the_next_day(out):
    out.add(*(applicant(each, post=HOST) for each in range(1, 43)))
    assert out.export("APP")["carried_over"] == 2
    tomorrow = out.later(86_400)
    assert tomorrow.export("APP", today=TODAY + timedelta(days=1))["records"] == 2
    assert sorted(out.files()) == [NAME, "DE_KSS_APP_20260708_00000002.DAT"]


@pytest.mark.parametrize(
    ("start", "is_due"),
    [
        (TODAY + timedelta(days=1), False),
        (TODAY + timedelta(days=2), True),
        (TODAY + timedelta(days=90), True),
        (TODAY + timedelta(days=91), False),
    ],
)
def test_only_who_starts_in_the_days_window_is_sent(out, start, is_due):
    out.add(applicant(1, start=start))
    assert out.made() == is_due


def test_a_late_one_goes_when_a_person_sends_it_once_more(out, placements):
    out.add(applicant(placements[0], start=TODAY - timedelta(days=3), resends=1))
    assert out.export()["records"] == 1


def test_notifications_of_a_later_day_wait_for_it(out):
    out.add(notification(1), notification(2, made_on=TODAY + timedelta(days=1)))
    assert out.export("DNC")["records"] == 1


def test_notifications_are_in_the_order_of_their_rank(out):
    out.add(notification(3), notification(1), notification(2, made_on=TODAY - timedelta(days=1)))
    out.export("DNC")
    assert [line.split(",")[3] for line in lines(out.files()[NOTICE])] == [
        f'"KSS/RXC01/800/GPST/{each:03d}"' for each in (2, 1, 3)
    ]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"last_name": ""}, "missing_value"),
        ({"last_name": "Hop\nper"}, "control_character"),
        ({"address1": "x" * 1001}, "too_long"),
        ({"dob": "28/02/1990"}, "bad_date"),
    ],
)
def test_a_record_that_cannot_stand_in_a_file_is_set_aside_and_the_others_go(out, placements, fields, code):
    out.add(applicant(placements[0], fields=fields), applicant(placements[1]))
    counts = out.export()
    assert (counts["records"], counts["invalid"]) == (1, 1)
    bad = out.ctx.store["esr_app_record"].find_one({"placement_id": placements[0]})
    assert (bad["state"], bad["reason"]["code"], bad["file"]) == ("INVALID_DATA", code, None)


def test_a_vpd_that_lost_its_zero_is_set_aside(out):
    out.add(notification(1, vpd="96"), notification(2))
    counts = out.export("DNC")
    assert (counts["records"], counts["invalid"]) == (1, 1)


def test_numbers_run_on_across_deaneries_and_dnc_has_its_own(out):
    out.add(applicant(1), applicant(2) | {"deanery": "LDN"}, applicant(3) | {"deanery": "WES"})
    for deanery in ("KSS", "LDN", "WES"):
        out.made(deanery=deanery)
    out.add(notification(1))
    out.export("DNC")
    found = out.ctx.store["esr_export"].find().sort([("type", 1), ("sequence", 1)])
    assert [(each["type"], each["deanery"], each["sequence"]) for each in found] == [
        *(("APP", deanery, number) for number, deanery in enumerate(("KSS", "LDN", "WES"), 1)),
        ("DNC", "KSS", 1),
    ]


def test_deaneries_that_allocate_at_once_get_numbers_without_gap_or_double(out):
    deaneries = ("KSS", "LDN", "WES", "NTH", "MER", "OXF")
    out.add(*(applicant(at) | {"deanery": deanery} for at, deanery in enumerate(deaneries, 1)))
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda deanery: out.made(deanery=deanery), deaneries))
    numbers = sorted(each["sequence"] for each in out.ctx.store["esr_export"].find())
    assert numbers == [1, 2, 3, 4, 5, 6]


def test_two_runs_of_one_day_at_once_send_one_file(out, placements):
    out.add(*(applicant(each) for each in placements))

    def run(_: int) -> None:
        try:
            out.export()
        except IntegrationError:
            return

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(run, range(2)))
    out.later(60).export()
    assert list(out.files()) == [NAME]
    assert out.told() == [(each, "EXPORTED", NAME) for each in placements]


def test_a_file_of_an_earlier_day_that_was_not_sent_goes_first(out, placements):
    out.add(applicant(placements[0]))
    away = out.with_settings(sftp_port=9)
    with pytest.raises(IntegrationError):
        away.export()
    assert out.entry()["failures"] == 1
    out.add(applicant(placements[1]))
    counts = out.later(86_400).export(today=TODAY + timedelta(days=1))
    assert (counts["files"], counts["records"]) == (2, 2)
    assert [out.entry(name)["state"] for name in out.files()] == ["sent", "sent"]


def test_a_file_that_is_not_sound_is_not_sent_until_it_is_given_up(out, placements, monkeypatch):
    out.add(*(applicant(each, post=HOST) for each in placements))
    monkeypatch.setattr(sending, "require_sound", _with_a_lower_cap(checking.require_sound))
    with pytest.raises(DataQualityError, match="too_many_of_a_post"):
        out.export()
    monkeypatch.undo()
    assert out.files() == {}
    assert set(out.states().values()) == {"IN_FILE"}
    assert [each["code"] for each in out.entry()["alerts"]] == ["DataQualityError"]

    assert abandon_file(out.ctx, NAME, why="wrong", by="me") == {"records": 3}
    assert set(out.states().values()) == {"TO_EXPORT"}
    out.ctx.store["esr_todo"].delete_many({})  # its posts were looked at
    assert out.export()["records"] == 3
    assert list(out.files()) == ["DE_KSS_APP_20260707_00000002.DAT"]


def test_what_was_sent_cannot_be_given_up(out):
    out.add(notification(1))
    out.export("DNC")
    with pytest.raises(ConfigurationError, match="is with ESR"):
        abandon_file(out.ctx, NOTICE, why="wrong", by="me")


def test_a_backfilled_day_has_its_own_name_and_window(out, placements):
    day = date(2026, 6, 1)
    out.add(applicant(placements[0], start=day + timedelta(days=2)), applicant(placements[1]))
    out.export(today=day)
    assert list(out.files()) == ["DE_KSS_APP_20260601_00000001.DAT"]
    assert out.entry("DE_KSS_APP_20260601_00000001.DAT")["records"] == 2


def test_tcs_that_is_down_holds_up_no_file_and_is_told_later(out, placements):
    out.add(applicant(placements[0]))
    out.tcs.misbehave({"call": "esr-exported", "kind": "status", "status": 503})
    with pytest.raises(IntegrationError):
        out.export()
    assert out.entry()["state"] == "sent"
    assert out.ctx.store["outbox"].count_documents({"pending": True}) == 0
    out.tcs.behave()
    out.to_the_end()
    assert out.told() == [(placements[0], "EXPORTED", NAME)]


def _with_a_lower_cap(original):
    def lower(export, body, records, settings):
        original(export, body, records, settings.model_copy(update={"esr_applicants_of_a_post": 2}))

    return lower

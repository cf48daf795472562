"""Confirmations: what ESR answers is applied once, and what is not about what we sent is kept and told."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from include.errors import NotYetError, TransientError
from include.esr.confirmations.apply import apply_answers
from include.esr.confirmations.run import confirm, discover_answers
from include.esr.confirmations.unanswered import unanswered
from include.esr.documents import FileState
from include.esr.errors import FileRejectedError
from include.esr.files import ledger
from include.esr.files.discovery import discover
from include.esr.files.replay import replay_file
from include.esr.files.sequence import require_turn
from include.esr.names import ANSWERS
from include.esr.outbound import ExportState
from include.esr.run import LONGEST_WAIT
from tests.integration.esr.answering import (
    ANSWER_OF,
    NOON,
    SENT_AT,
    Answering,
    answer_name,
    answering,
    apc,
    dcc,
    later,
    position_of,
)
from tests.integration.esr.inbound import Exchange
from tests.integration.esr.inbox import body_of, name_of

DAY = datetime(2026, 7, 8, tzinfo=UTC)


@pytest.fixture
def esr_side(esr: Exchange) -> Iterator[Answering]:
    with answering(esr) as opened:
        yield opened


# --- the good case ---------------------------------------------------------------------------------


def test_answers_are_applied_with_esrs_own_words_and_tcs_is_told_once(esr_side):
    name = esr_side.sent(records=4)
    lines = [
        apc(1),
        apc(2, "SUCCESS", "WARNING", '"No NI number"'),
        apc(3, "FAIL", "ERROR", "Address Doha, Qatar is not valid"),
        apc(4, "SUCCESS", "INFO", '"Existing person"'),
    ]
    answer = esr_side.put(lines)

    counts = esr_side.apply()[answer]

    assert esr_side.states() == ["CONFIRMED", "CONFIRMED_WITH_WARNINGS", "REJECTED", "CONFIRMED"]
    assert esr_side.record(3)["answer"] == {
        "status": "FAIL",
        "type": "ERROR",
        "text": "Address Doha, Qatar is not valid",
        "file": answer,
        "line": 4,
        "at": NOON,
    }
    assert [each["state"] for each in esr_side.record(3)["history"]] == ["EXPORTED", "REJECTED"]
    processed, errors = "EXPORTED_AND_PROCESSED", "EXPORTED_PROCESSED_WITH_ERRORS"
    assert sorted(esr_side.told()) == [(1, processed), (2, processed), (3, errors), (4, processed)]
    export = esr_side.export()
    assert export["state"] == "answered"
    assert export["answers"] == {"confirmed": 2, "warnings": 1, "rejected": 1}
    assert (export["answered_by"], export["states"]["answered"]) == (answer, NOON)
    assert esr_side.entry(answer).state.value == "published"
    assert counts == {
        "answers": 4,
        "applied": 4,
        "confirmed": 2,
        "warnings": 1,
        "rejected": 1,
        "quarantined": 0,
        "told": 4,
        "published": 1,
    }
    assert esr_side.alerts(answer) == []
    assert esr_side.exchange.names("done") == [answer.partition("#")[0]]
    assert {each["export"] for each in esr_side.ctx.store["esr_answer"].find()} == {name}


@pytest.mark.parametrize("kind", ["DNC", "DNF"])
def test_a_dcc_answers_the_notifications_of_its_number_and_tcs_is_not_told(esr_side, kind):
    esr_side.sent(records=2, kind=kind)
    esr_side.sent(records=2, kind="APP")  # the counters are two: the same number is another file
    answer = esr_side.put([dcc(1), dcc(2, "FAIL", "ERROR", '"Unknown post"')], kind="DCC")
    esr_side.apply()
    assert esr_side.states(kind=kind) == ["CONFIRMED", "REJECTED"]
    assert esr_side.states() == ["EXPORTED", "EXPORTED"]
    assert esr_side.export(kind=kind)["answered_by"] == answer
    assert esr_side.told() == []


def test_the_event_tells_counts_and_no_words(esr_side):
    name = esr_side.sent(records=2)
    answer = esr_side.put([apc(1), apc(2, "FAIL", "ERROR", '"Zebedee is unknown"')])
    esr_side.apply()
    [event] = esr_side.ctx.store["outbox"].find()
    assert event["type"] == "org.spotlight.esr.file.answered.v1"
    assert "published_at" in event
    data = json.loads(event["body"])["data"]
    assert (data["file"], data["answer"]) == (name, answer)
    assert (data["confirmed"], data["warnings"], data["rejected"]) == (1, 0, 1)
    assert "Zebedee" not in event["body"]


def test_esrs_words_are_in_the_record_only(esr_side):
    esr_side.sent(records=2)
    told: list[str] = []
    side = replace(esr_side, ctx=replace(esr_side.ctx, progress=told.append))
    answer = side.put([apc(1, "FAIL", "ERROR", '"Zebedee is unknown"'), apc(9, "FAIL", "ERROR", "Zebedee")])
    with capture_logs() as logs:
        side.apply()
    store = side.ctx.store
    kept = [list(store[name].find()) for name in ("esr_answer", "esr_file", "esr_export", "esr_call")]
    assert "Zebedee" not in str((kept, logs, told, side.entry(answer)))
    assert side.record(1)["answer"]["text"] == "Zebedee is unknown"


# --- answers to what we did not send ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "deanery", "kind"), [(2, "KSS", "APC"), (1, "LDN", "APC"), (1, "KSS", "DCC")]
)
def test_answers_to_a_file_we_did_not_send_are_kept_and_told(esr_side, number, deanery, kind):
    esr_side.sent(records=2)
    line = apc if kind == "APC" else dcc
    answer = esr_side.put([line(1), line(2)], number, deanery=deanery, kind=kind)
    with capture_logs() as logs:
        counts = esr_side.apply()[answer]
    assert (counts["answers"], counts["unknown_file"], counts["confirmed"]) == (2, 2, 0)
    assert esr_side.outcomes(answer) == {2: "unknown_file", 3: "unknown_file"}
    assert esr_side.alerts(answer) == ["answers_unknown_file"]
    assert [each["event"] for each in logs if each["log_level"] == "warning"] == ["esr_file_alert"]
    assert esr_side.states() == ["EXPORTED", "EXPORTED"]
    assert (esr_side.export()["state"], esr_side.told()) == ("sent", [])
    assert esr_side.look() == []


def test_answers_to_a_file_that_was_given_up_change_nothing(esr_side):
    esr_side.sent(records=1, state=ExportState.FAILED)
    answer = esr_side.put([apc(1)])
    esr_side.apply()
    assert esr_side.outcomes(answer) == {2: "unknown_file"}


@pytest.mark.parametrize(
    ("kind", "line", "outcome", "code"),
    [
        ("APP", apc(0), "unknown_ordinal", "the file has 2 records"),
        ("APP", apc(3), "unknown_ordinal", "the file has 2 records"),
        ("APP", apc(2, position=position_of(1)), "position_mismatch", "position_id"),
        ("DNC", dcc(3), "unknown_ordinal", "the file has 2 records"),
        ("DNC", dcc(2, position=position_of(1)), "position_mismatch", "position_id"),
        ("DNC", dcc(2, post="KSS/RTD01/001/STR/001"), "position_mismatch", "deanery_post_number"),
    ],
)
def test_an_answer_that_does_not_fit_its_ordinal_is_never_applied(esr_side, kind, line, outcome, code):
    esr_side.sent(records=2, kind=kind)
    good = apc(1) if kind == "APP" else dcc(1)
    answer = esr_side.put([line, good], kind=ANSWER_OF[kind])
    counts = esr_side.apply()[answer]
    assert esr_side.states(kind=kind) == ["CONFIRMED", "EXPORTED"]
    assert counts[outcome] == 1
    assert esr_side.ctx.store["esr_answer"].find_one({"line": 2})["code"] == code
    assert esr_side.alerts(answer) == [f"answers_{outcome}", "answers_missing"]


def test_an_answer_without_a_position_goes_by_its_ordinal_and_post(esr_side):
    esr_side.sent(records=1)
    esr_side.put([apc(1, "FAIL", "ERROR", position="")])
    esr_side.apply()
    assert esr_side.states() == ["REJECTED"]


def test_a_file_none_of_whose_answers_fits_leaves_ours_unanswered(esr_side):
    esr_side.sent(records=2)
    esr_side.put([apc(7), apc(8)])
    esr_side.apply()
    assert esr_side.export()["state"] == "sent"
    assert esr_side.ctx.store["outbox"].count_documents({}) == 0


# --- twice, contradicting, out of order ------------------------------------------------------------


def test_an_answer_that_comes_twice_is_applied_once(esr_side):
    esr_side.sent(records=2)
    first = esr_side.put([apc(1), apc(2), apc(1)])
    esr_side.apply()
    again = esr_side.put([apc(2), apc(1)], day=9)
    esr_side.apply()
    assert esr_side.outcomes(first) == {2: "applied", 3: "applied", 4: "repeated"}
    assert esr_side.outcomes(again) == {2: "repeated", 3: "repeated"}
    assert sorted(esr_side.told()) == [(1, "EXPORTED_AND_PROCESSED"), (2, "EXPORTED_AND_PROCESSED")]
    assert len(esr_side.record(1)["history"]) == 2
    assert esr_side.export()["answered_by"] == first
    assert esr_side.ctx.store["outbox"].count_documents({}) == 1


@pytest.mark.parametrize("days", [(8, 9), (9, 8)], ids=["in order", "out of order"])
def test_of_two_answers_that_contradict_the_one_of_the_newer_file_counts(esr_side, days):
    esr_side.sent(records=1)
    lines = {8: apc(1), 9: apc(1, "FAIL", "ERROR", '"Left the NHS"')}
    files = []
    for hour, day in enumerate(days):
        side = esr_side.at(later(hours=hour))
        files.append(side.put([lines[day]], day=day))
        side.apply()
    record = esr_side.record(1)
    assert record["state"] == "REJECTED"
    assert record["answer"]["file"] == f"{answer_name(day=9)}#1"
    assert sorted(each["answer"]["status"] for each in record["history"][1:]) == ["FAIL", "SUCCESS"]
    assert esr_side.outcomes(files[1]) == {2: "contradicts"}
    assert esr_side.alerts(files[1]) == ["answers_contradicts"]
    assert esr_side.told()[-1] == (1, "EXPORTED_PROCESSED_WITH_ERRORS")
    assert esr_side.export()["answers"] == {"confirmed": 0, "warnings": 0, "rejected": 1}


def test_an_answer_that_comes_to_count_again_is_told_again(esr_side):
    esr_side.sent(records=1)
    for day, line in ((8, apc(1)), (9, apc(1, "FAIL")), (10, apc(1))):
        side = esr_side.at(later(days=day - 8))
        side.put([line], day=day)
        side.apply()
    good, bad = "EXPORTED_AND_PROCESSED", "EXPORTED_PROCESSED_WITH_ERRORS"
    assert esr_side.told() == [(1, good), (1, bad), (1, good)]
    sequences = [json.loads(each["body"])["sequence"] for each in esr_side.ctx.store["outbox"].find()]
    assert sorted(sequences) == ["0000000002", "0000000003", "0000000004"]


def test_contradictions_inside_a_file_are_told_to_tcs_once(esr_side):
    esr_side.sent(records=1)
    answer = esr_side.put([apc(1), apc(1, "FAIL"), apc(1)])
    esr_side.apply()
    assert esr_side.outcomes(answer) == {2: "applied", 3: "contradicts", 4: "contradicts"}
    assert esr_side.told() == [(1, "EXPORTED_AND_PROCESSED")]
    assert [each["state"] for each in esr_side.record(1)["history"]] == [
        *("EXPORTED", "CONFIRMED", "REJECTED", "CONFIRMED")
    ]


def test_the_same_verdict_in_other_words_is_kept_and_not_told_again(esr_side):
    esr_side.sent(records=1)
    answer = esr_side.put(
        [apc(1, "FAIL", "ERROR", '"No NI number"'), apc(1, "FAIL", "ERROR", '"No address"')]
    )
    esr_side.apply()
    assert esr_side.outcomes(answer) == {2: "applied", 3: "amended"}
    record = esr_side.record(1)
    assert [each["answer"]["text"] for each in record["history"][1:]] == ["No NI number", "No address"]
    assert len(esr_side.told()) == 1


@pytest.mark.parametrize("state", ["TO_EXPORT", "WITHDRAWN", "IN_FILE"])
def test_an_answer_to_an_older_file_than_the_records_newest_changes_nothing(esr_side, state):
    esr_side.sent(records=2)
    records = esr_side.ctx.store["esr_app_record"]
    newest = {"state": state, "resends": 1}
    if state == "IN_FILE":
        newest |= {"file": "DE_KSS_APP_20260708_00000002.DAT", "ordinal": 1}
    records.update_one({"_id": esr_side.record(1)["_id"]}, {"$set": newest})
    answer = esr_side.put([apc(1, "FAIL"), apc(2)])
    esr_side.apply()
    assert esr_side.outcomes(answer) == {2: "superseded", 3: "applied"}
    assert esr_side.record(1)["state"] == state
    assert esr_side.record(1)["answer"] is None


def test_a_record_sent_again_is_answered_by_the_answer_to_its_newest_file(esr_side):
    esr_side.sent(records=1)
    esr_side.put([apc(1, "FAIL")])
    esr_side.apply()
    esr_side.sent(2, records=1)
    records = esr_side.ctx.store["esr_app_record"]
    records.delete_one({"_id": esr_side.record(1, 2)["_id"]})
    newest = {"state": "EXPORTED", "resends": 1, "file": esr_side.export(2)["_id"], "ordinal": 1}
    records.update_one({"_id": esr_side.record(1)["_id"]}, {"$set": newest})
    side = esr_side.at(later(days=1))
    side.put([apc(1)], 2, day=9)
    side.apply()
    assert esr_side.record(1)["state"] == "CONFIRMED"
    assert esr_side.told() == [(1, "EXPORTED_PROCESSED_WITH_ERRORS"), (1, "EXPORTED_AND_PROCESSED")]


# --- before the file is marked as sent -------------------------------------------------------------


@pytest.mark.parametrize("state", [ExportState.ALLOCATED, ExportState.UPLOADING, ExportState.UPLOADED])
def test_answers_that_come_before_ours_is_marked_as_sent_wait_and_go_on_by_themselves(esr_side, state):
    esr_side.sent(records=2, state=state)
    answer = esr_side.put([apc(1), apc(9)])
    [subject] = esr_side.look()
    with pytest.raises(NotYetError, match=f"which is {state}") as waits:
        confirm(esr_side.ctx, subject)
    assert waits.value.retry_after < LONGEST_WAIT
    assert (esr_side.outcomes(answer), esr_side.alerts(answer)) == ({}, [])
    assert esr_side.states() == ["IN_FILE", "IN_FILE"]
    esr_side.ctx.store["esr_export"].update_one({}, {"$set": {"state": "sent"}})
    esr_side.ctx.store["esr_app_record"].update_many({}, {"$set": {"state": "EXPORTED"}})
    esr_side.apply()
    assert esr_side.outcomes(answer) == {2: "applied", 3: "unknown_ordinal"}


def test_a_file_that_has_waited_long_is_left_to_a_later_run(esr_side):
    esr_side.sent(records=2, state=ExportState.ALLOCATED)
    esr_side.put([apc(1)])
    [subject] = esr_side.look()
    with pytest.raises(NotYetError) as waits:
        confirm(esr_side.at(later(hours=1)).ctx, subject)
    assert waits.value.retry_after > LONGEST_WAIT


# --- bad lines and bad files -----------------------------------------------------------------------

BAD_LINES = {
    "APC,x": "bad_integer",
    'APC,2,"KSS","MAYBE","","",,,,': "bad_value",
    'APC,2,"KSS","SUCCESS"': "too_few_columns",
    "POS,1,2": "unknown_record_type",
    "APC,2,\x01": "control_character",
}


def test_lines_that_cannot_be_read_are_set_aside_one_by_one_and_the_rest_goes_on(esr_side):
    esr_side.sent(records=3)
    answer = esr_side.put([apc(1), *BAD_LINES, apc(3)])
    counts = esr_side.apply()[answer]
    assert esr_side.states() == ["CONFIRMED", "EXPORTED", "CONFIRMED"]
    assert (counts["answers"], counts["quarantined"]) == (2, len(BAD_LINES))
    aside = list(esr_side.ctx.store["quarantine"].find().sort("external_id", 1))
    assert {(each["owner"], each["resource"], each["stage"]) for each in aside} == {
        ("esr/KSS", "APC", "confirm")
    }
    assert [each["external_id"].rpartition(":")[2] for each in aside] == [
        f"{line:08d}" for line in range(3, 8)
    ]
    assert esr_side.alerts(answer) == ["answers_unreadable", "answers_missing"]
    assert esr_side.export()["state"] == "answered"


@pytest.mark.parametrize(
    "text",
    [
        "Doha, Qatar",
        '"Doha, Qatar"',
        'the "Old" House, Doha',
        "",
        '""',
        "a,b,c,d,e",
        "O'Brien, SUCCESS, INFO",
    ],
)
def test_stray_commas_and_quotes_in_esrs_words_do_not_cost_the_line_or_its_neighbours(esr_side, text):
    esr_side.sent(records=3)
    answer = esr_side.put([apc(1), apc(2, "FAIL", "ERROR", text), apc(3)])
    esr_side.apply()
    assert esr_side.outcomes(answer) == {2: "applied", 3: "applied", 4: "applied"}
    assert esr_side.states() == ["CONFIRMED", "REJECTED", "CONFIRMED"]
    assert esr_side.record(2)["answer"]["text"] == (text.removeprefix('"').removesuffix('"') or None)


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ({"counted": 7}, "footer_count"),
        ({"footer": False}, "missing_footer"),
        ({"header": 'HDR,"DE_LDN_APC_20260708_00000001",20260708,063000,"LDN",1'}, "header_mismatch"),
        ({"header": apc(1)}, "missing_header"),
    ],
)
def test_a_file_with_a_bad_frame_is_rejected_as_a_whole_and_asked_for_again(esr_side, frame, code):
    esr_side.sent(records=2)
    answer = esr_side.put([apc(1), apc(2)], **frame)
    discover_answers(esr_side.ctx)  # a file without its right footer may still be on its way
    side = esr_side.at(later(hours=1))
    [subject] = side.look()
    for _ in range(2):  # a task that is run again does not turn green
        with pytest.raises(FileRejectedError, match="ask ESR for it again") as refused:
            confirm(side.ctx, subject)
        assert refused.value.code == code
    assert side.entry(answer).state is FileState.REJECTED
    assert esr_side.states() == ["EXPORTED", "EXPORTED"]
    assert esr_side.outcomes(answer) == {}
    assert esr_side.exchange.names("rejected") == [answer.partition("#")[0]]
    assert esr_side.ctx.store["esr_receipt"].count_documents({}) == 0
    assert esr_side.look() == []
    sound = esr_side.put([apc(1), apc(2)]).replace("#1", "#2")
    esr_side.apply()
    assert esr_side.outcomes(sound) == {2: "applied", 3: "applied"}


def test_a_file_of_nonsense_lines_is_rejected_as_a_whole(esr_side):
    esr_side.sent(records=2)
    esr_side.put([apc(1), *["APC,x"] * 40])
    [subject] = esr_side.look()
    with pytest.raises(FileRejectedError) as refused:
        confirm(esr_side.ctx, subject)
    assert refused.value.code == "mostly_bad_lines"


# --- again and again -------------------------------------------------------------------------------


def test_a_replayed_file_is_harmless(esr_side):
    esr_side.sent(records=3)
    answer = esr_side.put([apc(1), apc(2, "FAIL"), "APC,x", apc(2), apc(9)])
    counts = esr_side.apply()[answer]
    before = everything(esr_side)
    told = esr_side.told()
    assert discover_answers(esr_side.ctx, interval=(DAY, DAY + timedelta(days=1))) == ([answer], 0)
    assert esr_side.entry(answer).state is FileState.LANDED
    again = confirm(esr_side.at(later(days=3)).ctx, answer)
    assert again == counts | {"told": 0, "published": 0}
    assert esr_side.told() == told
    assert everything(esr_side) == before


def test_what_was_about_an_unknown_file_is_applied_by_a_replay_when_it_is_known(esr_side):
    answer = esr_side.put([apc(1)])
    esr_side.apply()
    esr_side.sent(records=1)
    replay_file(esr_side.ctx, answer)
    esr_side.apply()
    assert esr_side.outcomes(answer) == {2: "applied"}
    assert esr_side.states() == ["CONFIRMED"]


def test_a_backfill_of_a_day_without_answers_does_nothing(esr_side):
    esr_side.put([apc(1)])
    esr_side.look()
    assert discover_answers(esr_side.ctx, interval=(DAY - timedelta(days=1), DAY)) == ([], 0)


def test_a_file_larger_than_a_slice_is_applied_slice_by_slice(esr_side):
    esr_side.sent(records=250)
    lines = [apc(each, "FAIL" if each % 10 == 0 else "SUCCESS") for each in range(1, 251)]
    lines[100:100] = ["APC,x"] * 3
    small = esr_side.with_settings(batch_size=40, esr_chunk_bytes=4096)
    answer = small.put(lines)
    small.look()
    counts = apply_answers(small.ctx, answer)
    assert (counts["applied"], counts["confirmed"], counts["rejected"], counts["quarantined"]) == (
        250,
        225,
        25,
        3,
    )
    assert esr_side.ctx.store["esr_call"].count_documents({}) == 250
    assert esr_side.ctx.store["quarantine"].count_documents({}) == 3
    assert apply_answers(small.ctx, answer) == counts


def test_a_replay_after_a_record_was_sent_again_does_not_take_its_answer_from_our_file(esr_side):
    esr_side.sent(records=2)
    answer = esr_side.put([apc(1), apc(2, "FAIL")])
    esr_side.apply()
    before = esr_side.export()
    newest = {"state": "EXPORTED", "resends": 1, "file": "DE_KSS_APP_20260708_00000002.DAT", "ordinal": 1}
    esr_side.ctx.store["esr_app_record"].update_one({"_id": esr_side.record(2)["_id"]}, {"$set": newest})
    replay_file(esr_side.ctx, answer)
    esr_side.apply()
    assert esr_side.export() == before
    assert esr_side.record(2)["state"] == "EXPORTED"


def test_a_file_replayed_while_it_is_applied_is_left_to_a_later_run_which_does_all_of_it(esr_side):
    esr_side.sent(records=60)
    answer = esr_side.put([apc(each) for each in range(1, 61)])
    [subject] = esr_side.look()
    small = esr_side.with_settings(batch_size=20)
    meanwhile = replace(small.ctx, progress=lambda _line: replay_file(esr_side.ctx, answer))
    with pytest.raises(NotYetError, match="was replayed"):
        apply_answers(meanwhile, subject)
    assert esr_side.entry(answer).state is FileState.LANDED
    counts = apply_answers(small.ctx, subject)
    assert (counts["applied"], counts["answers"]) == (60, 60)
    assert set(esr_side.states()) == {"CONFIRMED"}


# --- TCS -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 503, "times": 3},
        {"kind": "drop_after", "times": 2},
    ],
    ids=["refuses", "takes it and falls silent"],
)
def test_tcs_is_told_exactly_once_though_it_fails(esr_side, fault):
    esr_side.sent(records=5)
    answer = esr_side.put([apc(each) for each in range(1, 6)])
    esr_side.exchange.tcs.misbehave({"call": "^POST /api/placements/.*/esr-exported", **fault})
    live = esr_side.with_settings(tcs_timeout=2, tcs_lease_seconds=4)
    [subject] = live.look()
    give_up = time.monotonic() + 60
    while live.entry(answer).state is not FileState.PUBLISHED:
        with contextlib.suppress(TransientError):
            confirm(live.ctx, subject)
        assert time.monotonic() < give_up
        time.sleep(0.3)
    assert sorted(live.told()) == [(each, "EXPORTED_AND_PROCESSED") for each in range(1, 6)]
    assert live.entry(answer).counts["applied"] == 5


# --- side by side with inbound ---------------------------------------------------------------------


def test_answers_and_data_are_each_found_by_their_own_stage_only(esr_side):
    ctx, sftp = esr_side.ctx, esr_side.exchange.sftp
    data = name_of(17)
    answer = esr_side.put([apc(1)])
    sftp.put(data, body_of(data))
    assert discover(ctx).landed == (f"{data}#1",)
    assert esr_side.exchange.names("done") == [data]
    assert esr_side.look() == [answer]
    assert ledger.due(ctx.store) == [f"{data}#1"]
    assert [each.file_id for each in ledger.siblings(ctx.store, esr_side.entry(f"{data}#1"))] == [f"{data}#1"]
    assert discover(ctx).landed == ()


def test_an_answer_with_the_number_of_a_missing_file_does_not_hide_the_gap(esr_side):
    ctx, sftp = esr_side.ctx, esr_side.exchange.sftp
    for number, day in ((16, 4), (18, 6)):
        name = name_of(number, day=day)
        sftp.put(name, body_of(name))
    discover(ctx)
    esr_side.put([apc(1)], 17, day=5)
    esr_side.apply()
    ctx.store["esr_file"].update_one({"_id": f"{name_of(16)}#1"}, {"$set": {"state": "published"}})
    with pytest.raises(NotYetError, match="number 17 of KSS not there yet"):
        require_turn(ctx.store, esr_side.entry(f"{name_of(18, day=6)}#1"), now=NOON, wait_seconds=60)


def test_a_name_that_cannot_be_read_is_left_to_who_looks_for_data(esr_side):
    esr_side.exchange.sftp.put("DE_KSS_APX_20260708_00000001.DAT", b"x\n")
    esr_side.at(NOON).look()
    assert discover(esr_side.at(later(hours=1)).ctx, ANSWERS).rejected == ()
    assert len(esr_side.exchange.names("")) == 1


# --- not answered ----------------------------------------------------------------------------------


def test_a_file_not_answered_for_a_day_is_reported_once(esr_side):
    ctx, store = esr_side.ctx, esr_side.ctx.store
    name = esr_side.sent(1, records=2, at=SENT_AT)
    esr_side.sent(2, records=2, at=SENT_AT + timedelta(hours=1), deanery="LDN")
    esr_side.sent(3, records=2, state=ExportState.ALLOCATED)
    now = SENT_AT + timedelta(seconds=ctx.settings.esr_answer_wait)
    with capture_logs() as early:
        assert unanswered(ctx, now=now - timedelta(seconds=1)) == {"unanswered": 0, "reported": 0}
    with capture_logs() as logs:
        assert unanswered(ctx, now=now) == {"unanswered": 1, "reported": 1}
    with capture_logs() as again:
        assert unanswered(ctx, now=now) == {"unanswered": 1, "reported": 0}
    assert (early, again) == ([], [])
    [line] = logs
    assert (line["event"], line["file"], line["deanery"]) == ("esr_export_unanswered", name, "KSS")
    [alert] = store["esr_export"].find_one({"_id": name})["alerts"]
    assert (alert["code"], alert["at"]) == ("unanswered", now)
    esr_side.put([apc(1), apc(2)])
    esr_side.apply()
    assert unanswered(ctx, now=now) == {"unanswered": 0, "reported": 0}


def everything(side: Answering) -> dict[str, list[dict[str, Any]]]:
    """Return all that confirmations write, without when a line was last looked at."""
    names = ("esr_app_record", "esr_answer", "esr_export", "esr_call", "outbox", "quarantine")
    volatile = {"esr_answer": {"at"}, "quarantine": {"released_at", "last_seen"}}
    return {
        name: [
            {key: value for key, value in each.items() if key not in volatile.get(name, ())}
            for each in side.ctx.store[name].find().sort("_id", 1)
        ]
        for name in names
    }

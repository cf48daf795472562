"""Receipts on real servers: one for each verdict on a file, at 18:00, and again when the verdict changed."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from include.errors import IntegrationError
from include.esr.exports.receipts import send_receipts
from tests.integration.esr.outbound import out

__all__ = ["out"]
FILE = "DE_KSS_RMC_20260707_00000018.DAT"
RTC = "DE_KSS_RTC_20260707_00000001.DAT"
MORNING = datetime(2026, 7, 7, 9, tzinfo=UTC)
FIVE_HOURS = 5 * 3600


def receipt(**changes):
    return {
        "_id": f"{FILE}#1",
        "deanery": "KSS",
        "name": FILE,
        "outcome": "errors",
        "reason": None,
        "errors": [{"line": 3, "record_type": "POS", "code": "bad_integer", "text": "column 2 is no number"}],
        "more": 0,
        "counts": {"records": 1, "quarantined": 1},
        "types": {"POS": {"accepted": 1, "rejected": 1}},
        "state": "prepared",
        "prepared_at": MORNING,
    } | changes


def test_a_receipt_goes_out_once_at_its_time(out):
    receipts = out.ctx.store["esr_receipt"]
    receipts.insert_one(receipt())
    assert send_receipts(out.ctx) == {"files": 0, "records": 0, "waiting": 1, "published": 0}
    assert out.files() == {}

    evening = out.later(FIVE_HOURS)
    assert send_receipts(evening.ctx) == {"files": 1, "records": 3, "waiting": 0, "published": 1}

    assert out.files()[RTC].decode().splitlines()[1:] == [
        f'FIL,"{FILE}","errors",,',
        'CNT,"POS",1,1',
        'ERR,3,"POS","bad_integer","column 2 is no number"',
        "FTR,3",
    ]
    sent = receipts.find_one({})
    assert (sent["state"], sent["file"]) == ("sent", RTC)
    assert send_receipts(evening.ctx)["files"] == 0
    assert list(out.files()) == [RTC]
    assert "rows" not in out.entry(RTC)


def test_another_verdict_is_sent_in_a_file_of_its_own(out):
    receipts = out.ctx.store["esr_receipt"]
    receipts.insert_one(receipt())
    evening = out.later(FIVE_HOURS)
    send_receipts(evening.ctx)
    receipts.replace_one({}, receipt(outcome="success", errors=[], prepared_at=MORNING.replace(hour=11)))
    assert send_receipts(evening.ctx)["files"] == 1
    keys = sorted(each["key"] for each in out.ctx.store["esr_export"].find())
    assert keys == [f"RTC/{FILE}#1/1", f"RTC/{FILE}#1/2"]


def test_a_verdict_that_changes_while_its_receipt_cannot_be_sent_is_sent_after_it(out):
    receipts = out.ctx.store["esr_receipt"]
    receipts.insert_one(receipt())
    evening = out.later(FIVE_HOURS)
    with pytest.raises(IntegrationError):
        send_receipts(evening.with_settings(sftp_port=9).ctx)
    receipts.replace_one({}, receipt(outcome="success", errors=[], prepared_at=MORNING.replace(hour=11)))

    assert send_receipts(evening.ctx)["files"] == 2

    first, second = out.files().values()
    assert b'"errors"' in first
    assert b'"success"' in second
    assert receipts.find_one({})["state"] == "sent"


def test_a_deanery_that_fails_does_not_hold_up_the_others(out):
    (out.folder / RTC).write_bytes(b"theirs")
    out.ctx.store["esr_receipt"].insert_many(
        [receipt(), receipt(_id="DE_LDN_RMC_20260707_00000009.DAT#1", deanery="LDN")]
    )
    with pytest.raises(IntegrationError, match="another file has this name"):
        send_receipts(out.later(FIVE_HOURS).ctx)
    assert sorted(out.files()) == [RTC, "DE_LDN_RTC_20260707_00000002.DAT"]


def test_a_file_that_names_no_deanery_gets_no_receipt(out):
    out.ctx.store["esr_receipt"].insert_one(receipt(_id="x.DAT#1", name="x.DAT", deanery=None))
    assert send_receipts(out.later(FIVE_HOURS).ctx)["files"] == 0

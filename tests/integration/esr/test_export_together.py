"""Two runs at once, one file that cannot be sent, a record that changes hands: none harms the others."""

from __future__ import annotations

import hashlib
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from include.errors import ConfigurationError, DataQualityError, FatalError, IntegrationError, TransientError
from include.esr.exports import allocating, ledger, sending
from include.esr.exports.abandoning import abandon_file
from include.esr.exports.changing import change_record
from include.esr.exports.picking import pick_due
from include.esr.exports.receipts import _allocate, send_receipts
from include.esr.exports.snapshot import snapshot_file
from include.esr.exports.writing import body_of
from include.esr.files.sftp_out import OutboundFolder
from tests.integration.esr.outbound import NAME, NOTICE, TODAY, applicant, notification, out, placements
from tests.integration.esr.test_export_changing import DNF, view
from tests.integration.esr.test_export_receipts import FILE, FIVE_HOURS, receipt
from tests.integration.esr.test_export_sftp import (
    GoesAwayAfterTheRename,
    RefusesToRename,
    TakesAtOnce,
    through,
)

__all__ = ["out", "placements"]
TOMORROW = TODAY + timedelta(days=1)
NEXT_APP = "DE_KSS_APP_20260708_00000002.DAT"


def other_run(out):
    return sending.finish(out.ctx, ledger.read(out.ctx.store, NOTICE))


def require_sent_once(out):
    assert list(out.files()) == [NOTICE]
    entry = out.entry(NOTICE)
    assert hashlib.sha256(out.files()[NOTICE]).hexdigest() == entry["sha256"]
    assert entry["state"] == "sent"
    assert set(out.states("esr_notification").values()) == {"EXPORTED"}


def test_a_run_that_begins_to_write_a_file_another_has_just_read_back_cannot_spoil_it(out, monkeypatch):
    out.add(notification(1), notification(2))
    write, digest = OutboundFolder.write, OutboundFolder.digest
    begun: list[str] = []

    def half(self, name, body):
        write(self, name, body[:10])
        raise TransientError("gone")

    def overtaken(self, name, *, size):
        found = digest(self, name, size=size)
        if name.endswith(".part") and not begun:
            begun.append(name)
            monkeypatch.setattr(OutboundFolder, "write", half)
            with pytest.raises(TransientError, match="gone"):
                other_run(out)
            monkeypatch.setattr(OutboundFolder, "write", write)
        return found

    monkeypatch.setattr(OutboundFolder, "digest", overtaken)
    with pytest.raises(TransientError, match="another run"):
        out.export("DNC")
    assert begun
    assert NOTICE not in out.files()
    assert len(out.files()) == 1  # of the other run, which died; the first has taken its own away
    out.later(60).export("DNC")
    require_sent_once(out)


def test_a_run_that_was_overtaken_takes_away_what_it_writes_after_all(out, monkeypatch):
    out.add(notification(1), notification(2))
    write = OutboundFolder.write

    def late(self, name, body):
        monkeypatch.setattr(OutboundFolder, "write", write)
        other_run(out)
        write(self, name, body)

    monkeypatch.setattr(OutboundFolder, "write", late)
    with pytest.raises(TransientError, match="another run"):
        out.export("DNC")
    require_sent_once(out)


def test_a_run_that_is_a_step_behind_does_not_write_at_all(out):
    out.add(notification(1))
    with pytest.raises(IntegrationError):
        out.with_settings(sftp_port=9).export("DNC")
    seen = ledger.read(out.ctx.store, NOTICE)
    with pytest.raises(TransientError):
        through(out, RefusesToRename, other_run)
    with pytest.raises(TransientError, match="another run"):
        sending.finish(out.ctx, seen)
    assert [out.entry(NOTICE)["state"], *out.files()] == ["uploaded", *out.entry(NOTICE)["parts"]]
    out.export("DNC")
    require_sent_once(out)


def test_what_earlier_tries_left_is_gone_when_a_file_is_given_up(out, monkeypatch):
    out.add(notification(1))
    monkeypatch.setattr(OutboundFolder, "remove", lambda _self, _name: None)
    monkeypatch.setattr(sending, "_require_same", refuse)
    for _ in range(2):
        with pytest.raises(TransientError):
            out.export("DNC")
    assert len(out.files()) == 2
    monkeypatch.undo()
    abandon_file(out.ctx, NOTICE, why="wrong", by="me")
    assert out.files() == {}


def refuse(*_about):
    raise TransientError("read back as something else")


# --- a file that cannot be sent holds up no other


def test_a_file_that_cannot_be_sent_holds_up_no_later_day(out, placements):
    out.add(applicant(placements[0]))
    (out.folder / NAME).write_bytes(b"theirs")
    with pytest.raises(ConfigurationError):
        out.export()
    out.add(applicant(placements[1]))
    with pytest.raises(ConfigurationError, match="another file has this name"):
        out.later(86_400).export(today=TOMORROW)
    assert [out.entry(name)["state"] for name in (NAME, NEXT_APP)] == ["uploading", "sent"]
    assert out.told() == [(placements[1], "EXPORTED", NEXT_APP)]


def test_what_another_try_mends_is_raised_rather_than_what_a_person_must_mend(out, placements):
    out.add(applicant(placements[0]))
    (out.folder / NAME).write_bytes(b"theirs")
    with pytest.raises(ConfigurationError):
        out.export()
    out.add(applicant(placements[1]))
    out.tcs.misbehave({"call": "esr-exported", "kind": "status", "status": 503})
    with pytest.raises(TransientError):
        out.later(86_400).export(today=TOMORROW)


def test_a_file_that_goes_out_after_its_day_is_told_of(out):
    out.add(notification(1))
    with pytest.raises(IntegrationError):
        out.with_settings(sftp_port=9).export("DNC")
    with capture_logs() as logs:
        out.export("DNC", today=TOMORROW)
    [late] = [each for each in logs if each["event"] == "esr_export_late"]
    assert (late["file"], late["day"], late["log_level"]) == (NOTICE, "2026-07-07", "warning")


def test_a_file_of_the_day_itself_is_not_late(out):
    out.add(notification(1))
    with pytest.raises(IntegrationError):
        out.with_settings(sftp_port=9).export("DNC")
    with capture_logs() as logs:
        out.export("DNC")
    assert [each for each in logs if each["event"] == "esr_export_late"] == []


def test_a_snapshot_that_was_not_sent_goes_with_the_notifications(out):
    with pytest.raises(IntegrationError):
        snapshot_file(out.with_settings(sftp_port=9).ctx, "KSS", today=TODAY, views=[view(1)])
    assert out.export("DNC")["files"] == 1
    assert (list(out.files()), out.entry(DNF)["state"]) == ([DNF], "sent")


# --- a file that is uploaded


def changed_layout(monkeypatch):
    monkeypatch.setattr(
        sending, "body_of", lambda *a, **k: body_of(*a, **k).replace(b'"Hopper"', b'"Hoppers"')
    )


def test_a_file_that_was_uploaded_is_finished_whatever_its_layout_is_now(out, monkeypatch):
    out.add(notification(1))
    with pytest.raises(TransientError):
        through(out, GoesAwayAfterTheRename, lambda broken: broken.export("DNC"))
    changed_layout(monkeypatch)
    assert out.export("DNC")["files"] == 1
    require_sent_once(out)


def test_other_bytes_before_that_stop_it_and_it_can_be_given_up(out, monkeypatch):
    out.add(notification(1))
    monkeypatch.setattr(sending, "_require_same", refuse)
    with pytest.raises(TransientError):
        out.export("DNC")
    monkeypatch.undo()
    changed_layout(monkeypatch)
    with pytest.raises(FatalError, match="spotlight esr abandon"):
        out.export("DNC")
    assert abandon_file(out.ctx, NOTICE, why="layout", by="me") == {"records": 1}
    assert out.files() == {}


def test_a_file_that_is_presumed_taken_is_told_of_once(out):
    out.add(notification(1))
    with pytest.raises(TransientError):
        through(out, GoesAwayAfterTheRename, lambda broken: broken.export("DNC"))
    (out.folder / NOTICE).unlink()
    with capture_logs() as logs:
        out.export("DNC")
        out.export("DNC")
    told = [each for each in logs if each["event"] == "esr_export_presumed_taken"]
    assert [(each["file"], each["log_level"]) for each in told] == [(NOTICE, "warning")]


def test_a_file_we_renamed_ourselves_is_not_presumed_taken(out):
    out.add(notification(1))
    with capture_logs() as logs:
        through(out, TakesAtOnce, lambda fast: fast.export("DNC"))
    assert out.entry(NOTICE)["taken"] is True
    assert [each for each in logs if each["event"] == "esr_export_presumed_taken"] == []


# --- records


def test_a_record_whose_post_is_to_be_looked_at_waits_for_that(out, placements):
    out.add(*(applicant(each) | {"post_id": each} for each in placements))
    for action in ("withdraw", "reopen"):
        change_record(out.ctx, "APP", next(iter(out.states())), action, why="asked", by="me")
    counts = out.export()
    assert (counts["records"], counts["waiting"]) == (2, 1)
    out.ctx.store["esr_todo"].delete_many({})
    counts = out.export(today=TOMORROW)
    assert (counts["records"], counts["waiting"]) == (1, 0)


def test_posts_of_another_deanery_hold_up_nothing(out, placements):
    out.add(applicant(placements[0]))
    out.ctx.store["esr_todo"].insert_one({"_id": "LDN/4711", "deanery": "LDN", "post_id": 4711, "stamp": 1})
    assert out.export()["records"] == 1


def test_what_a_file_that_was_given_up_held_is_looked_at_before_it_goes_again(out):
    out.add(notification(1), notification(2))
    with pytest.raises(IntegrationError):
        out.with_settings(sftp_port=9).export("DNC")
    abandon_file(out.ctx, NOTICE, why="wrong", by="me")
    assert sorted(each["_id"] for each in out.ctx.store["esr_todo"].find()) == ["KSS/1", "KSS/2"]
    counts = out.export("DNC")
    assert (counts["files"], counts["waiting"]) == (0, 2)


@pytest.mark.parametrize("change", [{"deanery": "LDN"}, {"fields.last_name": "Lovelace"}])
@pytest.mark.parametrize("dob", ["1990-02-28", ""])
def test_a_record_that_another_deanery_took_over_after_it_was_picked_is_left_to_it(
    out, placements, monkeypatch, change, dob
):
    out.add(applicant(placements[0], fields={"dob": dob}), applicant(placements[1]))
    changes = [change]
    records = out.ctx.store["esr_app_record"]

    def picked(*about, **more):
        found = pick_due(*about, **more)
        if changes:
            taken = {"$set": changes.pop(), "$inc": {"revision": 1}}
            records.update_one({"placement_id": placements[0]}, taken)
        return found

    monkeypatch.setattr(allocating, "pick_due", picked)
    out.export()
    first = records.find_one({"placement_id": placements[0]})
    if "deanery" in change:
        assert (first["state"], first["file"]) == ("TO_EXPORT", None)
    else:
        assert first["state"] == ("EXPORTED" if dob else "INVALID_DATA")
        assert (b"Lovelace" in out.files()[NAME]) == bool(dob)
    assert out.entry()["records"] == (2 if dob and "deanery" not in change else 1)


# --- receipts


def test_a_receipt_another_run_is_sending_gets_no_second_file(out):
    out.ctx.store["esr_receipt"].insert_one(receipt())
    evening = out.later(FIVE_HOURS)
    first = _allocate(evening.ctx, "KSS", receipt()["_id"])
    assert first is not None
    assert _allocate(evening.ctx, "KSS", receipt()["_id"]) is None
    assert send_receipts(evening.ctx)["files"] == 1
    assert list(out.files()) == [first.id]


def test_a_receipt_of_a_file_that_was_given_up_is_made_anew(out):
    out.ctx.store["esr_receipt"].insert_one(receipt())
    evening = out.later(FIVE_HOURS)
    with pytest.raises(IntegrationError):
        send_receipts(evening.with_settings(sftp_port=9).ctx)
    abandon_file(out.ctx, "DE_KSS_RTC_20260707_00000001.DAT", why="wrong", by="me")
    send_receipts(evening.ctx)
    assert list(out.files()) == ["DE_KSS_RTC_20260707_00000002.DAT"]


OTHER = FILE.replace("18.DAT", "19.DAT")
BAD_LINE = {"line": 3, "record_type": "POS", "code": "x", "text": "y"}


@pytest.mark.parametrize(
    ("about", "line"),
    [
        ({"record_type": "unknown"}, b'ERR,3,,"x","y"\n'),
        ({"text": "y" * 1001}, b'ERR,3,"POS","x",\n'),
        ({"record_type": "unknown", "text": "a\nb"}, b'ERR,3,,"x",\n'),
        ({"code": ""}, b""),
    ],
)
def test_what_cannot_stand_in_a_receipt_is_left_out_of_it(out, about, line):
    out.ctx.store["esr_receipt"].insert_one(receipt(errors=[BAD_LINE | about], types={}))
    assert send_receipts(out.later(FIVE_HOURS).ctx)["files"] == 1
    [body] = out.files().values()
    assert body.split(b"\n", 2)[2] == line + (b"FTR,2\n" if line else b"FTR,1\n")


def test_a_receipt_that_cannot_be_written_at_all_holds_up_no_other(out):
    bad = receipt(outcome="nonsense")
    out.ctx.store["esr_receipt"].insert_many([bad, receipt(_id=f"{OTHER}#1", name=OTHER)])
    with pytest.raises(DataQualityError, match="its receipt cannot be written"):
        send_receipts(out.later(FIVE_HOURS).ctx)
    [body] = out.files().values()
    assert OTHER.encode() in body


def test_a_receipt_that_cannot_be_sent_holds_up_no_other(out):
    (out.folder / "DE_KSS_RTC_20260707_00000001.DAT").write_bytes(b"theirs")
    out.ctx.store["esr_receipt"].insert_many([receipt(), receipt(_id=f"{OTHER}#1", name=OTHER)])
    evening = out.later(FIVE_HOURS).ctx
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="another file has this name"):
            send_receipts(evening)
    assert out.entry("DE_KSS_RTC_20260707_00000002.DAT")["state"] == "sent"

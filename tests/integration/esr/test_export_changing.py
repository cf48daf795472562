"""What a person may do by hand, what a day's export would send, and the snapshot of a deanery."""

from __future__ import annotations

import stat
from datetime import timedelta
from pathlib import Path

import pytest

from include.errors import ConfigurationError, IntegrationError, NotYetError
from include.esr.exports.abandoning import abandon_file
from include.esr.exports.changing import change_record
from include.esr.exports.preview import preview
from include.esr.exports.resending import resend_file
from include.esr.exports.snapshot import snapshot_file
from include.esr.placements.facts import PlacementFacts, PositionFacts, PostView
from tests.integration.esr.outbound import NAME, TODAY, applicant, notification, out, placements

__all__ = ["out", "placements"]
DNF = "DE_KSS_DNF_20260707_00000001.DAT"
KEY = "1-7000001"


def change(out, action, key=KEY):
    return change_record(out.ctx, "APP", key, action, why="asked by phone", by="jane")


@pytest.mark.parametrize(
    ("state", "possible"),
    [
        ("TO_EXPORT", {"withdraw"}),
        ("INVALID_DATA", {"withdraw"}),
        ("DELETED_BEFORE_EXPORT", {"withdraw"}),
        ("EXPIRED_UNSENT", {"withdraw", "resend"}),
        ("WITHDRAWN", {"reopen"}),
        ("IN_FILE", set()),
        ("EXPORTED", {"resend"}),
        ("CONFIRMED", {"resend"}),
        ("CONFIRMED_WITH_WARNINGS", {"resend"}),
        ("REJECTED", {"resend"}),
    ],
)
def test_only_what_fits_the_state_is_done_and_who_and_why_are_kept(out, state, possible):
    for action in ("resend", "withdraw", "reopen"):
        out.ctx.store["esr_app_record"].delete_many({})
        out.add(applicant(1, state=state))
        if action in possible:
            changed = change(out, action)
            assert changed["state"] == ("WITHDRAWN" if action == "withdraw" else "TO_EXPORT")
            assert changed["history"][-1]["by"] == "jane"
            assert changed["history"][-1]["why"] == "asked by phone"
        else:
            with pytest.raises(ConfigurationError, match=", ".join(sorted(possible)) or "nothing"):
                change(out, action)
            assert out.states()[KEY] == state


def test_a_record_sent_once_more_goes_in_a_new_file_and_tcs_is_told_of_both(out, placements):
    record = applicant(placements[0])
    out.add(record)
    out.to_the_end()
    changed = change(out.later(60), "resend", record["_id"])
    assert (changed["resends"], changed["file"], changed["ordinal"]) == (1, None, None)
    assert (changed["history"][-1]["file"], changed["history"][-1]["ordinal"]) == (NAME, 1)
    tomorrow = "DE_KSS_APP_20260708_00000002.DAT"
    out.ctx.store["esr_todo"].delete_many({})  # its post was looked at
    out.later(86_400).export(today=TODAY + timedelta(days=1))
    assert out.told() == [(placements[0], "EXPORTED", name) for name in (NAME, tomorrow)]


def test_a_withdrawn_record_is_not_sent_and_its_post_is_looked_at_when_it_is_opened_again(out):
    out.add(applicant(1))
    change(out, "withdraw")
    assert out.export()["files"] == 0
    change(out, "reopen")
    assert [each["_id"] for each in out.ctx.store["esr_todo"].find()] == ["KSS/4711"]
    assert not out.made()
    out.ctx.store["esr_todo"].delete_many({})
    assert out.made()


@pytest.mark.parametrize(("why", "by"), [("", "jane"), ("because", " "), ("x" * 501, "jane")])
def test_who_and_why_must_be_said(out, why, by):
    out.add(applicant(1))
    with pytest.raises(ConfigurationError, match="must be said"):
        change_record(out.ctx, "APP", KEY, "withdraw", why=why, by=by)
    assert out.states()[KEY] == "TO_EXPORT"


def test_an_unknown_record_is_said_to_be_unknown(out):
    with pytest.raises(ConfigurationError, match="no record"):
        change(out, "withdraw", "9-9")


def test_a_preview_shows_the_file_and_changes_nothing(out, tmp_path):
    out.add(applicant(2), applicant(1), applicant(3, fields={"dob": ""}))
    before = list(out.ctx.store["esr_app_record"].find())

    shown = preview(out.ctx, "APP", "KSS", today=TODAY, folder=tmp_path / "new")

    assert (shown.name, shown.records, shown.state, shown.problem) == (NAME, 2, None, None)
    assert shown.invalid == (("3-7000003", "missing_value"),)
    assert list(out.ctx.store["esr_app_record"].find()) == before
    assert out.ctx.store["esr_export"].count_documents({}) == 0
    assert out.ctx.store["esr_sequence"].count_documents({}) == 0
    path = Path(shown.path or "")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    out.ctx.store["esr_app_record"].delete_one({"_id": "3-7000003"})
    with pytest.raises(IntegrationError):
        out.with_settings(tcs_url="http://127.0.0.1:9").export()
    assert out.files()[NAME] == path.read_bytes()


def test_a_preview_of_a_day_that_was_sent_shows_what_was_sent(out, tmp_path):
    out.add(notification(1))
    out.export("DNC")
    out.add(notification(2))
    shown = preview(out.ctx, "DNC", "KSS", today=TODAY, folder=tmp_path)
    assert (shown.state, shown.records) == ("sent", 1)
    assert Path(shown.path or "").read_bytes() == out.files()[shown.name]


def test_a_preview_of_nothing_writes_nothing(out, tmp_path):
    shown = preview(out.ctx, "DNC", "KSS", today=TODAY, folder=tmp_path)
    assert (shown.path, shown.records, list(tmp_path.iterdir())) == (None, 0, [])


def test_a_preview_counts_what_waits_for_its_post_to_be_looked_at(out, tmp_path):
    out.add(notification(1), notification(2))
    out.ctx.store["esr_todo"].insert_one({"_id": "KSS/2", "deanery": "KSS", "post_id": 2, "stamp": 1})
    shown = preview(out.ctx, "DNC", "KSS", today=TODAY, folder=tmp_path)
    assert (shown.records, shown.waiting) == (1, 1)


def view(number: int, *placed: PlacementFacts) -> PostView:
    position = PositionFacts(id=7_000_000 + number, number=str(number), host_lead="Host Employer", vpd="96")
    return PostView(number, f"KSS/RXC01/800/GPST/{number:03d}", "KSS", (position,), placed)


def there(number: int, start: int, end: int) -> PlacementFacts:
    return PlacementFacts(
        id=number,
        start=TODAY + timedelta(days=start),
        end=TODAY + timedelta(days=end),
        type="In post",
        approved=True,
        site_code="RXC",
        surname="Hopper",
        wte=1.0,
    )


def test_a_snapshot_has_every_position_of_the_deanery_and_is_made_once_a_day(out):
    views = [view(2, there(20, -10, 20)), view(1)]
    made = snapshot_file(out.ctx, "KSS", today=TODAY, views=views)
    assert made == {"files": 1, "records": 2, "invalid": 0, "published": 1}
    posts = [line.split(",")[3] for line in out.files()[DNF].decode().splitlines()[1:-1]]
    assert posts == ['"KSS/RXC01/800/GPST/001"', '"KSS/RXC01/800/GPST/002"']
    kept = list(out.ctx.store["esr_notification"].find().sort("ordinal", 1))
    assert [(each["_id"], each["kind"], each["state"]) for each in kept] == [
        (f"{DNF}:1", "DNF", "EXPORTED"),
        (f"{DNF}:2", "DNF", "EXPORTED"),
    ]
    assert snapshot_file(out.ctx, "KSS", today=TODAY, views=views)["files"] == 0
    assert list(out.files()) == [DNF]
    with pytest.raises(ConfigurationError, match="snapshot"):
        change_record(out.ctx, "DNC", f"{DNF}:1", "resend", why="x", by="me")


def test_a_snapshot_shares_its_numbers_with_the_days_changes_and_does_not_make_them_due(out):
    away = out.with_settings(sftp_port=9)
    with pytest.raises(IntegrationError):
        snapshot_file(away.ctx, "KSS", today=TODAY, views=[view(1)])
    abandon_file(out.ctx, DNF, why="not wanted", by="me")
    assert out.export("DNC")["files"] == 0
    out.add(notification(5))
    out.export("DNC")
    assert list(out.files()) == ["DE_KSS_DNC_20260707_00000002.DAT"]


def test_a_snapshot_of_a_day_far_away_is_refused(out):
    for days in (-8, 8):
        with pytest.raises(ConfigurationError, match="7 days at most"):
            snapshot_file(out.ctx, "KSS", today=TODAY + timedelta(days=days), views=[view(1)])
    assert snapshot_file(out.ctx, "KSS", today=TODAY - timedelta(days=7), views=[view(1)])["files"] == 1


def test_a_snapshot_of_more_lines_than_a_file_may_hold_is_refused(out):
    small = out.with_settings(esr_max_export_records=1)
    with pytest.raises(ConfigurationError, match="SPOTLIGHT_ESR_MAX_EXPORT_RECORDS"):
        snapshot_file(small.ctx, "KSS", today=TODAY, views=[view(1), view(2)])
    assert out.ctx.store["esr_export"].count_documents({}) == 0


def test_a_snapshot_is_not_made_of_a_half_applied_file(out):
    half = {"_id": "x#1", "deanery": "KSS", "type": "RMC", "state": "saved", "name": "x", "version": 1}
    out.ctx.store["esr_file"].insert_one(half)
    with pytest.raises(NotYetError):
        snapshot_file(out.ctx, "KSS", today=TODAY, views=[view(1)])
    assert out.ctx.store["esr_export"].count_documents({}) == 0


BY = {"why": "$set aside by ESR", "by": "jane"}


def test_a_whole_file_is_sent_once_more_under_another_number(out, placements):
    out.add(*(applicant(each) | {"post_id": each} for each in placements))
    out.export()
    assert resend_file(out.ctx, NAME, **BY) == {"records": 3}
    assert resend_file(out.ctx, NAME, **BY) == {"records": 0}
    for record in out.ctx.store["esr_app_record"].find():
        assert (record["state"], record["resends"], record["file"]) == ("TO_EXPORT", 1, None)
        last = record["history"][-1]
        assert (last["file"], last["why"], last["by"]) == (NAME, BY["why"], "jane")
    assert out.ctx.store["esr_todo"].count_documents({}) == 3
    assert out.entry()["resent"] == BY
    out.ctx.store["esr_todo"].delete_many({})
    assert out.later(86_400).export(today=TODAY + timedelta(days=1))["records"] == 3
    assert len(out.told()) == 6


def test_of_a_file_sent_once_more_what_a_person_sent_before_is_left_alone(out, placements):
    out.add(*(applicant(each) for each in placements))
    out.export()
    change(out, "resend", next(iter(out.states())))
    assert resend_file(out.ctx, NAME, **BY) == {"records": 2}
    assert {each["resends"] for each in out.ctx.store["esr_app_record"].find()} == {1}


def test_a_file_esr_has_answered_in_part_is_not_sent_once_more(out, placements):
    out.add(*(applicant(each) for each in placements))
    out.export()
    out.ctx.store["esr_app_record"].update_one(
        {"placement_id": placements[0]}, {"$set": {"state": "CONFIRMED"}}
    )
    with pytest.raises(ConfigurationError, match="this file is answered"):
        resend_file(out.ctx, NAME, **BY)
    assert sorted(out.states().values()) == ["CONFIRMED", "EXPORTED", "EXPORTED"]


def test_a_file_that_was_not_sent_cannot_be_sent_once_more(out):
    out.add(applicant(1))
    with pytest.raises(IntegrationError):
        out.with_settings(sftp_port=9).export()
    with pytest.raises(ConfigurationError, match="not sent yet"):
        resend_file(out.ctx, NAME, **BY)
    abandon_file(out.ctx, NAME, **BY)
    with pytest.raises(ConfigurationError, match="given up"):
        resend_file(out.ctx, NAME, **BY)


def test_a_snapshot_cannot_be_sent_once_more(out):
    snapshot_file(out.ctx, "KSS", today=TODAY, views=[view(1)])
    with pytest.raises(ConfigurationError, match="snapshot of another day"):
        resend_file(out.ctx, DNF, **BY)

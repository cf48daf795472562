"""The gate of a finished file: what ESR would refuse, or apply to the wrong record, is seen here first."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from include.errors import DataQualityError
from include.esr.exports.checking import facts_of, require_sound
from include.esr.exports.ledger import Export
from include.esr.exports.writing import body_of, row_of
from include.esr.names import Deanery, FileName, FileType
from include.esr.notifications.vpd import VPD_COLUMNS, is_vpd, vpd_reason
from include.esr.outbound import ExportState
from include.settings import Settings

TODAY = date(2026, 7, 7)
AT = datetime(2026, 7, 7, 13, tzinfo=UTC)
SETTINGS = Settings()


def export_of(file_type: FileType, records: int) -> Export:
    name = FileName(Deanery.KSS, file_type, TODAY, 7)
    return Export(name, "key", ExportState.ALLOCATED, TODAY, records, 0, AT)


def applicant(ordinal: int, *, days: int = 30, post: str = "", **about):
    fields = {
        "effective_date": (TODAY + timedelta(days=days)).isoformat(),
        "last_name": "Hopper",
        "first_name": "Grace",
        "dob": "1990-02-28",
        "position_id": 100 + ordinal,
        "position_number": "1",
        "deanery_number": post or f"KSS/{ordinal}",
    }
    return {"ordinal": ordinal, "position_id": 100 + ordinal, "fields": fields, "resends": 0} | about


def notification(ordinal: int, vpd: str = "096"):
    post = f"KSS/{ordinal}"
    fields = {"notification_title_code": "1", "deanery_post_number": post, VPD_COLUMNS[0]: vpd}
    return {"ordinal": ordinal, "position_id": ordinal, "post_number": post, "fields": fields}


def body(export: Export, records) -> bytes:
    return body_of(export.name, [row_of(each["fields"], export.type) for each in records], made_at=AT)


def wrong(export: Export, written: bytes, records) -> set[str]:
    return {name for name, is_so in facts_of(export, written, records, SETTINGS).items() if not is_so}


def test_a_sound_file_passes():
    records = [applicant(each) for each in range(1, 42)]
    export = export_of(FileType.APP, 41)
    require_sound(export, body(export, records), records, SETTINGS)


@pytest.mark.parametrize(("days", "is_wrong"), [(1, True), (2, False), (90, False), (91, True)])
def test_who_starts_outside_the_window_is_seen(days, is_wrong):
    records, export = [applicant(1, days=days)], export_of(FileType.APP, 1)
    assert wrong(export, body(export, records), records) == ({"in_window"} if is_wrong else set())


@pytest.mark.parametrize(("days", "is_wrong"), [(-5, False), (91, True)])
def test_a_person_may_send_late_and_not_early(days, is_wrong):
    records, export = [applicant(1, days=days, resends=1)], export_of(FileType.APP, 1)
    assert wrong(export, body(export, records), records) == ({"in_window"} if is_wrong else set())


@pytest.mark.parametrize(("number", "is_wrong"), [(40, False), (41, True)])
def test_more_applicants_of_a_post_than_esr_takes_are_seen(number, is_wrong):
    records = [applicant(each, post="KSS/1") for each in range(1, number + 1)]
    export = export_of(FileType.APP, number)
    assert wrong(export, body(export, records), records) == ({"few_of_a_post"} if is_wrong else set())


@pytest.mark.parametrize("vpd", ["96", "0096", "9a6", "٠٩٦", "-96"])
def test_a_vpd_of_other_than_three_digits_is_seen(vpd):
    records, export = [notification(1), notification(2, vpd)], export_of(FileType.DNC, 2)
    assert wrong(export, body(export, records), records) == {"vpds_have_three_digits"}
    reason = vpd_reason(records[1]["fields"])
    assert reason is not None
    assert reason.code == "bad_vpd"
    assert not is_vpd(vpd)


@pytest.mark.parametrize("fields", [{}, {VPD_COLUMNS[1]: ""}, {VPD_COLUMNS[2]: "000"}])
def test_an_empty_vpd_is_none(fields):
    assert vpd_reason(fields) is None


def test_lines_in_another_order_than_the_records_are_seen():
    records, export = [applicant(1), applicant(2)], export_of(FileType.APP, 2)
    assert wrong(export, body(export, records[::-1]), records) == {"same_records"}


def test_blanks_around_a_post_number_make_no_other_record_of_it():
    records, export = [notification(1) | {"post_number": " KSS/1 "}], export_of(FileType.DNC, 1)
    assert wrong(export, body(export, records), records) == set()


def test_a_gap_in_the_places_is_seen():
    records, export = [applicant(1), applicant(3)], export_of(FileType.APP, 2)
    assert wrong(export, body(export, records), records) == {"same_records"}


@pytest.mark.parametrize("file_type", [FileType.APP, FileType.DNC, FileType.DNF])
def test_another_number_of_lines_than_on_the_ledger_is_seen(file_type):
    records = [applicant(1) if file_type is FileType.APP else notification(1)]
    export = export_of(file_type, 2)
    assert wrong(export, body(export, records), records) == {"counts_are_the_ledgers"}


def test_a_file_cut_off_is_seen():
    records, export = [applicant(1), applicant(2)], export_of(FileType.APP, 2)
    whole = body(export, records)
    assert "footer_counts" in wrong(export, whole[: whole.rindex(b"FTR")], records)


def test_another_files_header_is_seen():
    records, export = [applicant(1)], export_of(FileType.APP, 1)
    other = replace(export, name=replace(export.name, sequence=8))
    assert wrong(export, body(other, records), records) == {"header_is_name"}


def test_a_line_without_a_mandatory_value_is_seen():
    records, export = [applicant(1)], export_of(FileType.APP, 1)
    without = body(export, records).replace(b'"Hopper"', b"")
    assert wrong(export, without, records) >= {"readable", "counts_are_the_ledgers"}


def test_the_refusal_says_what_to_do_and_names_nobody():
    records, export = [notification(1, "96")], export_of(FileType.DNC, 1)
    with pytest.raises(DataQualityError, match=r"bad_vpd.*give the file up") as refused:
        require_sound(export, body(export, records), records, SETTINGS)
    assert "Hopper" not in str(refused.value)

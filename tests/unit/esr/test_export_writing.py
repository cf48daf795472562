"""Our files to the byte: compared with golden files, whatever stands in a name."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from include.errors import RecordError
from include.esr.exports.receipts import is_due, rows_of
from include.esr.exports.writing import body_of, row_of
from include.esr.files.receipts import _types
from include.esr.names import Deanery, FileName, FileType
from include.settings import PROJECT_ROOT

GOLDEN = PROJECT_ROOT / "tests" / "fixtures" / "esr" / "golden"
MADE_AT = datetime(2026, 7, 7, 13, 0, 5, 999_000, tzinfo=UTC)  # 14:00:05 in London
NAMES = [
    {"last_name": "O'Neill-Smith", "first_name": "Zoë, María"},
    {"last_name": 'Grace "Amazing"', "first_name": '"'},
    {"last_name": "Łukasz", "first_name": "Ångström Ðorđe"},
    {"last_name": "Back\\", "first_name": "\\", "address1": "C:\\Flat 2\\", "town": "St. Mary's, Kent"},
    {"last_name": "Tab\there", "first_name": "王小明", "postcode": "ME4 4TB"},
]
APPLICANT = {
    "effective_date": "2026-08-05",
    "applicant_email_address": "trainee@example.org",
    "dob": "1990-02-28",
    "gender": "Female",
    "professional_body": "GMC",
    "reg_number": "0012345",
    "position_id": 7607373,
    "position_number": "34611829",
    "projected_hire_date": "2026-08-05",
    "projected_end_date": "2027-02-02",
    "deanery_number": "KSS/RXC01/800/GPST/003",
}
NOTIFICATION = {
    "notification_title_code": "1",
    "deanery_body": "KSS",
    "deanery_post_number": "KSS/RXC01/800/GPST/003",
    "host_lead_employer_status": "Host Employer",
    "current_trainee_projected_end_date": "2026-08-04",
    "current_trainee_vpd_for_next_placement": "096",
    "current_trainee_working_hours_indicator": "0.8",
    "next_appointment_projected_start_date": "2026-08-05",
    "post_vacant_at_next_rotation": "false",
}
RECEIPT = {
    "name": "DE_KSS_RMC_20260707_00000018.DAT",
    "outcome": "errors",
    "reason": None,
    "more": 2,
    "types": {"POS": {"accepted": 10, "rejected": 1}, "PER": {"accepted": 3, "rejected": 3}},
    "errors": [
        {
            "line": 7,
            "record_type": "POS",
            "code": "bad_integer",
            "text": 'column 2 ("id") is, well, no number',
        },
        {"line": 9, "record_type": "", "code": "unknown_record_type", "text": "the line has no known type"},
    ],
}
REJECTED = RECEIPT | {
    "outcome": "rejected",
    "reason": {"code": "wrong_footer", "message": "the footer does not count the lines"},
    "more": 0,
    "errors": [],
}


def name_of(file_type: FileType) -> FileName:
    return FileName(Deanery.KSS, file_type, date(2026, 7, 7), 123)


def applicants():
    return [row_of(APPLICANT | fields, FileType.APP) for fields in NAMES]


def notifications(file_type: FileType):
    named = [
        {
            "current_trainee_last_name": each["last_name"],
            "next_appointment_trainee_first_name": each["first_name"],
        }
        for each in NAMES
    ]
    return [row_of(NOTIFICATION | fields, file_type) for fields in named]


CASES = {
    "app.DAT": (FileType.APP, applicants()),
    "dnc.DAT": (FileType.DNC, notifications(FileType.DNC)),
    "dnf.DAT": (FileType.DNF, notifications(FileType.DNF)),
    "rtc_errors.DAT": (FileType.RTC, list(rows_of(RECEIPT))),
    "rtc_rejected.DAT": (FileType.RTC, list(rows_of(REJECTED))),
}


@pytest.mark.parametrize("golden", CASES)
def test_a_file_is_the_golden_one_to_the_byte(golden: str):
    file_type, rows = CASES[golden]
    assert body_of(name_of(file_type), rows, made_at=MADE_AT) == (GOLDEN / golden).read_bytes()


def test_the_header_tells_londons_time_in_summer_and_winter():
    winter = datetime(2026, 12, 7, 14, 0, tzinfo=UTC)
    assert b",20260707,140005," in body_of(name_of(FileType.APP), applicants(), made_at=MADE_AT)
    assert b",20261207,140000," in body_of(name_of(FileType.APP), applicants(), made_at=winter)


def test_a_line_names_its_place_and_not_its_value_when_it_cannot_be_written():
    rows = [*applicants(), row_of(APPLICANT | {"last_name": "Hop\nper", "first_name": "x"}, FileType.APP)]
    with pytest.raises(RecordError, match="record 6: APP column 4 ") as failed:
        body_of(name_of(FileType.APP), rows, made_at=MADE_AT)
    assert "Hop" not in str(failed.value)


@pytest.mark.parametrize(
    ("prepared", "now", "due"),
    [
        ("2026-07-07T14:30:00+00:00", "2026-07-07T16:59:59+00:00", False),
        ("2026-07-07T14:30:00+00:00", "2026-07-07T17:00:00+00:00", True),  # 18:00 in summer
        ("2026-12-07T14:30:00+00:00", "2026-12-07T17:30:00+00:00", False),
        ("2026-12-07T14:30:00+00:00", "2026-12-07T18:00:00+00:00", True),
        ("2026-07-07T18:30:00+00:00", "2026-07-07T18:30:01+00:00", True),  # prepared after 18:00
        ("2026-07-07T23:30:00+00:00", "2026-07-08T00:00:00+00:00", False),  # the next day already in London
    ],
)
def test_a_receipt_is_due_at_18_in_london_on_its_day(prepared: str, now: str, due: bool):
    assert is_due(datetime.fromisoformat(prepared), datetime.fromisoformat(now), hour=18) == due


@pytest.mark.parametrize(
    ("accepted", "counted"),
    [(True, {"accepted": 5, "rejected": 2}), (False, {"accepted": 0, "rejected": 7})],
)
def test_a_receipt_counts_all_lines_of_a_rejected_file_as_rejected(accepted: bool, counted: dict[str, int]):
    found = {"tally": {"types": {"POS": {"good": 5, "bad": 2, "deleted": 1, "filled": {}}}}}
    assert _types(found, accepted=accepted) == {"POS": counted}
    assert _types({"state": "rejected"}, accepted=accepted) == {}

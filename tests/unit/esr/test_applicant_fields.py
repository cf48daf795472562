"""What ESR is told of an applicant, and when it could not read it."""

from __future__ import annotations

import io
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.esr.applicants.fields import applicant_of, check_fields
from include.esr.formats.layout import load_format
from include.esr.formats.reader import read_chunks
from include.esr.formats.writer import check_record, write_file
from include.esr.names import Deanery, FileName, FileType
from include.esr.tcs.answers import Person
from include.storage.documents import canonical_json
from tests.unit.esr.applicant_views import CONTACT, PERSONAL, placement, position, view

FULL = Person(
    100,
    CONTACT
    | {
        "title": "Dr",
        "address1": "1 High St",
        "address2": "Flat 2",
        "address3": "Hove",
        "address4": "Brighton",
        "postCode": "BN1 1AB",
        "country": "United Kingdom",
        "telephoneNumber": "01632 960001",
        "mobileNumber": "07700 900001",
        "surname": "Other",
        "workEmail": "work@nhs.example",
    },
    PERSONAL
    | {
        "gender": "Female",
        "ethnicOrigin": "A - White - British",
        "sexualOrientation": "Not disclosed",
        "religiousBelief": "None",
        "nationality": "Irish",
        "nationalInsuranceNumber": "QQ123456C",
        "disability": "NO",
        "disabilityDetails": "in her own words",
        "maritalStatus": "Single",
    },
    gmc_number="7654321",
)


def applicant(contact=None, personal=None, *, at=None, where=None, post=None, **numbers):
    one = Person(100, CONTACT | (contact or {}), PERSONAL | (personal or {}), **numbers)
    return applicant_of(post or view(), where or position(), at or placement(), one)


def code(made):
    return made.reason and made.reason.code


def line_of(fields):
    """Return the line a file would hold, and what ESR's side of the format reads from it."""
    fmt = load_format(FileType.APP)
    days = {"effective_date", "dob", "projected_hire_date", "projected_end_date"}
    row = {name: date.fromisoformat(value) if name in days else value for name, value in fields.items()}
    name = FileName(Deanery.KSS, FileType.APP, date(2026, 7, 6), 1)
    content = write_file(name, fmt, [{"type": "APP", **row}], at=datetime(2026, 7, 6, 14, tzinfo=UTC))
    chunks = read_chunks(io.BytesIO(content), fmt, encoding="utf-8", chunk_bytes=2**20, max_line_bytes=2**16)
    (row,) = [row for chunk in chunks for row in chunk.tables["APP"].to_pylist()]
    return content, row


def test_every_column_comes_from_its_place_in_tcs():
    made = applicant_of(view(), position(), placement(), FULL)
    assert made.reason is None
    assert made.fields == {
        "effective_date": "2026-08-05",
        "applicant_email_address": "zoe@home.example",
        "last_name": "O'Neil",
        "first_name": "Zoë",
        "title": "Dr",
        "dob": "1991-02-28",
        "gender": "Female",
        "address1": "1 High St",
        "address2": "Flat 2",
        "address3": "Hove",
        "town": "Brighton",
        "postcode": "BN1 1AB",
        "country": "United Kingdom",
        "home_tel": "01632 960001",
        "mobile_tel": "07700 900001",
        "ethnic_origin_code": "A - White - British",
        "professional_body": "GMC",
        "reg_number": "7654321",
        "sexual_orientation": "Not disclosed",
        "religious_belief": "None",
        "nationality": "Irish",
        "uk_nino": "QQ123456C",
        "position_id": 7,
        "position_number": "07",
        "disability": "NO",
        "projected_hire_date": "2026-08-05",
        "projected_end_date": "2027-02-02",
        "marital_status": "Single",
        "deanery_number": "KSS/RTD01/080/STR/005",
    }


@pytest.mark.parametrize(
    ("contact", "expected"),
    [
        ({"surname": "Usual"}, "O'Neil"),
        ({"legalSurname": None, "surname": "Usual"}, "Usual"),
        ({"legalSurname": "  ", "surname": "Usual"}, "Usual"),
    ],
)
def test_the_legal_name_counts_and_the_other_where_there_is_none(contact, expected):
    assert applicant(contact).fields["last_name"] == expected


@pytest.mark.parametrize(
    ("numbers", "gmc", "expected"),
    [
        ({"gmc_number": "7000001"}, None, ("GMC", "7000001")),
        ({"gdc_number": "80001"}, None, ("GDC", "80001")),
        ({"gmc_number": "7000001", "gdc_number": "80001"}, None, ("GMC", "7000001")),
        ({"gmc_number": " ", "gdc_number": "80001"}, "7000009", ("GDC", "80001")),
        ({}, "7000009", ("GMC", "7000009")),
        ({}, None, (None, None)),
    ],
)
def test_body_and_number_of_one_register_stand_together(numbers, gmc, expected):
    fields = applicant(at=placement(gmc=gmc), **numbers).fields
    assert (fields.get("professional_body"), fields.get("reg_number")) == expected


@pytest.mark.parametrize(
    "name",
    ['Jean "Jo"', "van der Berg, Jr", "O'Brien", "Núñez Østergård", "back\\slash", "ends in \\", "王", '"'],
)
def test_a_name_comes_back_as_it_was(name):
    made = applicant({"legalSurname": name})
    assert made.reason is None
    assert line_of(made.fields)[1]["last_name"] == name


@pytest.mark.parametrize(
    ("typed", "sent"),
    [
        ("1 High St\nHove", "1 High St Hove"),
        ("1 High St\r\n\r\nHove\n", "1 High St Hove"),
        ("\t1\tHigh St", "1 High St"),
        ("1 High St\u2028Hove\x85", "1 High St Hove"),
        ("Flat  2", "Flat  2"),
    ],
)
def test_line_breaks_and_tabs_in_a_text_become_a_space(typed, sent):
    made = applicant({"address1": typed, "legalForenames": typed})
    assert made.reason is None
    assert (made.fields["address1"], made.fields["first_name"]) == (sent, sent)
    assert line_of(made.fields)[0].count(b"\n") == 3


@pytest.mark.parametrize(
    ("contact", "personal", "expected"),
    [
        ({"legalSurname": None}, {}, "missing_value"),
        ({"legalForenames": " \n "}, {}, "missing_value"),
        ({}, {"dateOfBirth": None}, "missing_value"),
        ({}, {"dateOfBirth": "28/02/1991"}, "bad_date"),
        ({}, {"dateOfBirth": "1991-02-29"}, "bad_date"),
        ({}, {"dateOfBirth": 19910228}, "bad_date"),
        ({"address1": "x" * 1001}, {}, "too_long"),
        ({"address1": "x" * 5_000_000}, {}, "too_long"),
        ({"legalSurname": "A\x00B"}, {}, "control_character"),
        ({"legalSurname": "A\x7fB"}, {}, "control_character"),
        ({"legalSurname": "A\ud800"}, {}, "bad_encoding"),
        ({"title": {"id": 1}}, {}, "bad_text"),
        ({"title": ["Dr"]}, {}, "bad_text"),
        ({}, {"disability": True}, "bad_text"),
    ],
)
def test_what_esr_could_not_read_is_told(contact, personal, expected):
    assert code(applicant(contact, personal)) == expected


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (applicant(where=position(number=None)), "missing_value"),
        (applicant(where=position(number="")), "missing_value"),
        (applicant(post=view(number="K" * 31)), "too_long"),
        (applicant(at=placement(start=None)), "start_missing"),
        (applicant(at=placement(end=None)), "end_missing"),
        (applicant(at=placement(end=date(2026, 8, 4))), "end_before_start"),
        (applicant_of(view(), position(), placement(trainee_id=None), None), "trainee_missing"),
        (applicant_of(view(), position(), placement(), None), "person_unknown"),
    ],
)
def test_a_placement_esr_cannot_be_told_of_says_why(made, expected):
    assert code(made) == expected


def test_a_placement_of_one_day_is_sound():
    assert applicant(at=placement(end=placement().start)).reason is None


def test_a_time_after_the_birthday_is_left_out():
    assert applicant(personal={"dateOfBirth": "1991-02-28T00:00:00Z"}).fields["dob"] == "1991-02-28"


def test_a_telephone_number_that_is_a_number_is_its_digits():
    assert applicant({"mobileNumber": 7700900001}).fields["mobile_tel"] == "7700900001"


def test_a_huge_text_is_kept_only_as_far_as_shows_that_it_is_too_long():
    made = applicant({"address1": "x" * 5_000_000})
    assert len(made.fields["address1"]) == 1001


def test_nothing_of_a_person_is_in_a_reason_or_a_repr():
    made = applicant({"legalSurname": "Secretname" * 200, "title": "Dr"})
    assert "Secret" not in str(made.reason) + repr(made)


@given(
    st.dictionaries(
        st.sampled_from(["legalSurname", "legalForenames", "email", "address1", "title", "postCode"]),
        st.text(max_size=30)
        | st.text(st.characters(categories=["Cc", "Cs", "Zl", "Zp", "Zs"]), max_size=5)
        | st.none()
        | st.integers(),
    )
)
def test_whatever_stands_in_tcs_the_line_is_right_or_the_reason_is_told(contact):
    made = applicant(contact)
    canonical_json(made.fields).decode()
    if made.reason is None:
        content, read = line_of(made.fields)
        assert content.count(b"\n") == 3
        assert read["last_name"] == made.fields["last_name"]
        assert read["position_id"] == 7
    assert (check_fields(made.fields) is None) or made.reason is not None


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"type": "NOT"}, "unknown_record_type"),
        ({"type": "APP", "shoe_size": 5}, "unknown_column"),
        ({"type": "APP", "effective_date": "2026-08-05"}, "bad_date"),
        ({"type": "APP", "effective_date": date(2026, 8, 5)}, "missing_value"),
    ],
)
def test_checking_one_record_finds_what_writing_it_would(record, expected):
    reason = check_record(load_format(FileType.APP), record)
    assert reason is not None
    assert reason.code == expected

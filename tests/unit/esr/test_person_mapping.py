"""What TCS is to know of a person, by the domain page's rules of inbound person data."""

from __future__ import annotations

import pytest

from include.esr.formats.layout import load_format
from include.esr.names import FileType
from include.esr.people.mapping import (
    ABSENCE,
    ADDRESS,
    CONTACT,
    PER_FIELDS,
    PERSONAL,
    Composite,
    composite_of,
    revision_hash,
)
from include.esr.people.parts import COLUMNS


def entry(at="1", *, gone=False, **values):
    return {"at": at, "gone": gone, "values": values}


@pytest.mark.parametrize(
    ("column", "where", "field"),
    [
        ("uk_nino", "personal", "nationalInsuranceNumber"),
        ("last_name", "contact", "legalSurname"),
        ("first_name", "contact", "legalForenames"),
        ("title", "contact", "title"),
        ("dob", "personal", "dateOfBirth"),
        ("gender", "personal", "gender"),
        ("home_tel", "contact", "telephoneNumber"),
        ("mobile_tel", "contact", "mobileNumber"),
        ("email_address", "contact", "workEmail"),
        ("ethnic_origin_code", "personal", "ethnicOrigin"),
        ("religious_belief", "personal", "religiousBelief"),
        ("sexual_orientation", "personal", "sexualOrientation"),
        ("disability", "personal", "disabilityDetails"),
    ],
)
def test_a_column_of_per_is_mapped_to_its_field_and_no_other(column, where, field):
    composite = composite_of({"PER": entry(**{column: "said"})})
    assert getattr(composite, where) == {field: "said"}
    assert getattr(composite, "personal" if where == "contact" else "contact") == {}


@pytest.mark.parametrize(
    ("column", "field"),
    [
        ("address1", "address1"),
        ("address2", "address2"),
        ("address3", "address3"),
        ("town", "address4"),
        ("postcode", "postCode"),
        ("country", "country"),
    ],
)
def test_a_column_of_the_primary_address_is_mapped_to_contact(column, field):
    assert composite_of({"ADD": entry(**{column: "said"})}).contact == {field: "said"}


def test_the_county_is_not_mapped():
    assert composite_of({"ADD": entry(county="Kent")}).is_empty


def test_the_tables_hold_no_column_twice_and_no_field_twice():
    names = [*CONTACT.values(), *PERSONAL.values(), *ADDRESS.values()]
    assert len(names) == len(set(names)) == 19


@pytest.mark.parametrize("code", sorted(COLUMNS))
def test_every_column_kept_is_one_of_the_format(code):
    columns = {column.name for column in load_format(FileType.RMF).records[code].columns}
    assert {*COLUMNS[code], "person_id", "indicator"} <= columns


def test_no_column_of_per_that_is_only_carried_is_kept():
    assert not [name for name in PER_FIELDS if name.startswith("carried")]
    assert "middle_names" not in PER_FIELDS


def test_an_absence_is_mapped_by_its_id_and_its_days_are_whole():
    absences = {
        "7": entry(absence_id=7, absence_start="2026-03-01", absence_end="2026-03-05", absence_duration=5.0)
    }
    assert composite_of({"ABS": absences}).absences == {
        "7": {"startDate": "2026-03-01", "endDate": "2026-03-05", "durationInDays": 5}
    }
    assert set(ABSENCE) == {"absence_start", "absence_end", "absence_duration"}


def test_half_a_day_is_not_rounded():
    absences = {"7": entry(absence_id=7, absence_duration=0.5)}
    assert composite_of({"ABS": absences}).absences == {"7": {"durationInDays": 0.5}}


@pytest.mark.parametrize("empty", [None, ""])
def test_an_empty_value_is_not_told(empty):
    parts = {
        "PER": entry(title=empty, last_name="Ito"),
        "ADD": entry(address1=empty, town="Leeds"),
        "ABS": {"7": entry(absence_id=7, absence_end=empty, absence_start="2026-01-01")},
    }
    composite = composite_of(parts)
    assert composite.contact == {"legalSurname": "Ito", "address4": "Leeds"}
    assert composite.absences == {"7": {"startDate": "2026-01-01"}}


def test_what_esr_deleted_is_not_mapped():
    composite = composite_of(
        {
            "PER": entry(last_name="Ito"),
            "ADD": entry(gone=True, town="Leeds"),
            "PBD": {"GMC 1": entry(gone=True, body="GMC", reg_number="1")},
            "ASG": {"3": entry(gone=True, assignment_id=3, deanery_number="NTH/1")},
            "ABS": {"7": entry(gone=True, absence_id=7)},
        }
    )
    assert composite == Composite(contact={"legalSurname": "Ito"}, withdrawn=frozenset({"7"}))


def test_of_a_deleted_person_nothing_is_told():
    parts = {"PER": entry(gone=True), "ADD": entry(town="Leeds"), "ABS": {"7": entry(absence_id=7)}}
    assert composite_of(parts).is_empty


def test_a_person_may_be_known_to_both_bodies_and_the_newest_number_of_each_counts():
    parts = {
        "PBD": {
            "GMC 1": entry("2", body="GMC", reg_number="7000001"),
            "GMC 2": entry("1", body="GMC", reg_number="7000002"),
            "GDC 3": entry("1", body="GDC", reg_number="123456"),
        }
    }
    assert composite_of(parts).registrations == {"GMC": "7000001", "GDC": "123456"}


def test_the_deanery_numbers_of_all_current_assignments_count():
    parts = {
        "ASG": {
            "1": entry(assignment_id=1, deanery_number="NTH/1"),
            "2": entry(assignment_id=2, deanery_number="NTH/2"),
            "3": entry(assignment_id=3),
        }
    }
    assert composite_of(parts).post_numbers == {"NTH/1", "NTH/2"}


@pytest.mark.parametrize(
    "parts",
    [
        {"PER": entry(last_name="Ito", title="Dr")},
        {"PER": entry(last_name="Ito"), "ADD": entry(town="Leeds")},
        {"PER": entry(last_name="Ito"), "ASG": {"1": entry(assignment_id=1, deanery_number="NTH/1")}},
        {"PER": entry(last_name="Ito"), "PBD": {"GMC 1": entry(body="GMC", reg_number="1")}},
        {"PER": entry(last_name="Ito"), "ABS": {"7": entry(absence_id=7)}},
    ],
)
def test_all_that_decides_what_is_told_is_in_the_hash(parts):
    plain = {"PER": entry(last_name="Ito")}
    assert revision_hash(composite_of(parts)) != revision_hash(composite_of(plain))


def test_the_file_a_value_is_from_is_not_in_the_hash():
    first, second = ({"PER": entry(at, last_name="Ito", title="Dr")} for at in ("1", "2"))
    assert revision_hash(composite_of(first)) == revision_hash(composite_of(second))

"""What is shown of a record to a person who only wants to see whether a mapping is right."""

from __future__ import annotations

import pytest

from include.connectors.manifest import ResourceSpec
from include.npo.masking import HIDDEN, masked, shown_names, sounds_personal

ASSIGNMENTS = ResourceSpec.model_validate(
    {
        "endpoint": {"path": "x"},
        "primary_key": "id",
        "incremental": {"cursor_path": "changed.at", "param": "since"},
        "mapping": {
            "fields": {
                "offering_external_id": "course.ref",
                "status": {"path": "state", "when": {"path": "kind", "values": ["real"]}},
                "status_reason": "remark",
                "external_candidate_ref": {"concat": ["learner.no", "learner.school"]},
            }
        },
    }
)


def test_of_an_assignment_only_what_the_mapping_reads_is_shown():
    record = {
        "id": 7,
        "changed": {"at": "2026-01-01"},
        "course": {"ref": "c1"},
        "state": "on",
        "kind": "real",
        "remark": "Jo moved to Leeds",
        "learner": {"no": "l-9", "school": "s1", "nickname": "Jo"},
        "extra": 12345,
        "yes": True,
    }
    shown = masked(record, shown_names("assignments", ASSIGNMENTS))
    assert shown == record | {
        "remark": HIDDEN,
        "extra": HIDDEN,
        "learner": {"no": "l-9", "school": "s1", "nickname": HIDDEN},
    }


def test_an_offering_is_public_but_for_the_people_in_it():
    record = {
        "title": "Python from zero",
        "price": 0,
        "teacher": {"firstName": "Jo", "phoneNumber": 7700900123},
        "contact": {"who": "Jo"},
        "about": "write to jo@severn.example",
    }
    assert masked(record) == {
        "title": "Python from zero",
        "price": 0,
        "teacher": {"firstName": HIDDEN, "phoneNumber": HIDDEN},
        "contact": HIDDEN,
        "about": HIDDEN,
    }


@pytest.mark.parametrize(
    "key",
    ["email", "eMail", "e_mail", "candidateName", "first-name", "dob", "date_of_birth", "PostCode", "tel",
     "homeTel", "mobile", "billingAddress", "nino", "notes", "lastname"],
)  # fmt: skip
def test_a_name_under_which_people_are_described_is_known(key):
    assert sounds_personal(key)


@pytest.mark.parametrize(
    "key", ["title", "name", "state", "hotel", "filename", "dateLastModified", "capacity"]
)
def test_a_name_of_a_thing_is_left_alone(key):
    assert not sounds_personal(key)


@pytest.mark.parametrize("value", ["jo.b@x.example", "call 07700 900123", "+44 1632 960000", "AB 12 34 56 C"])
def test_a_value_that_looks_personal_is_hidden_wherever_it_stands(value):
    assert masked({"id": [value]}, frozenset({"id"})) == {"id": [HIDDEN]}


@pytest.mark.parametrize("value", ["2026-01-01T00:00:00Z", "c-000123", "https://x.example/a", "1234567"])
def test_ids_times_and_addresses_of_pages_are_no_personal_values(value):
    assert masked({"id": value}, frozenset({"id"})) == {"id": value}

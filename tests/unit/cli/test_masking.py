"""What is shown of a record to a person who only wants to see whether a mapping is right."""

from __future__ import annotations

import pytest

from include.connectors.manifest import ResourceSpec
from include.npo.masking import HIDDEN, masked, platform_paths, shown_paths, sounds_personal

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
    shown = masked(record, shown_paths("assignments", ASSIGNMENTS))
    assert shown == record | {
        "remark": HIDDEN,
        "extra": HIDDEN,
        "learner": {"no": "l-9", "school": "s1", "nickname": HIDDEN},
    }


def mapping(path: str, name: str = "status") -> ResourceSpec:
    return ASSIGNMENTS.model_validate(
        {
            "endpoint": {"path": "x"},
            "primary_key": "id",
            "mapping": {"fields": {"offering_external_id": "course", name: path}},
        }
    )


@pytest.mark.parametrize(
    ("path", "record", "shown"),
    [
        (
            "status.name",
            {"status": {"name": "on"}, "learner": {"name": "Jo"}, "name": "Jo"},
            {"status": {"name": "on"}, "learner": {"name": HIDDEN}, "name": HIDDEN},
        ),
        ("learner", {"learner": {"called": "Jo"}}, {"learner": {"called": HIDDEN}}),
        ("a[?k=='s'].v | [0]", {"a": [{"k": "s", "v": 1, "x": 2}]}, {"a": [{"k": "s", "v": 1, "x": HIDDEN}]}),
        ("a.*.v", {"a": {"p": {"v": 1, "w": 2}}, "v": 3}, {"a": {"p": {"v": 1, "w": HIDDEN}}, "v": HIDDEN}),
        (
            "join('', [a.b, c])",
            {"a": {"b": "1"}, "b": "2", "c": "3"},
            {"a": {"b": "1"}, "b": HIDDEN, "c": "3"},
        ),
        ("max_by(a, &n).v", {"a": [{"n": 1, "v": 2}], "v": 3}, {"a": [{"n": 1, "v": 2}], "v": HIDDEN}),
        ("a.b || c", {"a": {"b": 1, "c": 2}, "c": 3}, {"a": {"b": 1, "c": HIDDEN}, "c": 3}),
    ],
)
def test_a_value_is_shown_by_its_whole_path_not_by_its_name(path, record, shown):
    assert masked(record, shown_paths("assignments", mapping(path))) == shown


@pytest.mark.parametrize("name", ["status_reason", "mentor_ref", "milestones", "outcome.grade"])
def test_what_a_person_may_have_written_is_hidden_on_both_sides(name):
    spec = mapping("said", name)
    assert masked({"said": "Jo moved"}, shown_paths("assignments", spec)) == {"said": HIDDEN}
    record = {"status": "on_hold", "mentor_ref": "Kim Lee", "status_reason": "Jo moved", "milestones": ["Jo"]}
    whole = {
        **record,
        "outcome": {"grade": "Jo", "score": {"raw": 4}},
        "source": {"raw_ref": "r"},
        "new": "Jo",
    }
    assert masked(whole, platform_paths("assignments", whole)) == {
        "status": "on_hold",
        "mentor_ref": HIDDEN,
        "status_reason": HIDDEN,
        "milestones": [HIDDEN],
        "outcome": {"grade": HIDDEN, "score": {"raw": 4}},
        "source": {"raw_ref": "r"},
        "new": HIDDEN,
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
    assert masked({"id": [value]}, frozenset({("id",)})) == {"id": [HIDDEN]}


@pytest.mark.parametrize("value", ["2026-01-01T00:00:00Z", "c-000123", "https://x.example/a", "1234567"])
def test_ids_times_and_addresses_of_pages_are_no_personal_values(value):
    assert masked({"id": value}, frozenset({("id",)})) == {"id": value}

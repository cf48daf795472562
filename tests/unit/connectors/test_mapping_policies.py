"""What becomes of missing, unknown and invalid values, as a field declares."""

from __future__ import annotations

from typing import Any

import pytest

from include.connectors.manifest import FieldMapping
from include.connectors.mapping import compile_mapping
from include.errors import RecordError

TABLE = {"open": "going", "shut": "done"}
STATES = {"values": {"going": "in_progress"}}


def became(
    record: Any, field: dict[str, Any], name: str = "outcome.grade", resource: Any = "assignments"
) -> Any:
    """Return the field's value, ``None`` if it is left out, or the code of the refusal."""
    mapping = FieldMapping.model_validate({"fields": {name: field}})
    try:
        found = compile_mapping(resource, mapping)(record)
    except RecordError as error:
        return error.code
    for key in name.split("."):
        found = found.get(key, {})
    return None if found == {} else found


@pytest.mark.parametrize("record", [{}, {"x": None}, {"x": ""}, {"x": "  "}, {"x": "n/a"}], ids=str)
@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ({}, None),
        ({"default": "none"}, "none"),
        ({"on_missing": "quarantine"}, "missing_value"),
        ({"on_missing": "quarantine", "default": "none"}, "missing_value"),
    ],
    ids=str,
)
def test_no_value_is_left_out_or_the_default_or_refused(
    record: Any, field: dict[str, Any], expected: Any
) -> None:
    assert became(record, {"path": "x", "nulls": ["n/a"], **field}) == expected


def test_a_field_whose_condition_does_not_hold_is_not_missing() -> None:
    field = {"path": "x", "when": {"path": "kind", "values": ["b"]}, "on_missing": "quarantine"}
    assert became({"kind": "a"}, field) is None
    assert became({"kind": "b"}, field) == "missing_value"


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ({}, "unknown_value"),
        ({"default": "none"}, "none"),
        ({"on_unknown": "null"}, None),
        ({"on_unknown": "null", "default": "none"}, None),
        ({"on_unknown": "quarantine", "default": "none"}, "unknown_value"),
        ({"on_unknown": "keep"}, "Ajar"),
        ({"on_unknown": "keep", "default": "none"}, "Ajar"),
        ({"values": {**TABLE, "*": "other"}, "on_unknown": "quarantine"}, "other"),
        ({"on_invalid": "null"}, "unknown_value"),
    ],
    ids=str,
)
def test_a_word_the_table_lacks_goes_as_on_unknown_says(field: dict[str, Any], expected: Any) -> None:
    assert became({"x": " Ajar "}, {"path": "x", "values": TABLE, **field}) == expected
    assert became({"x": "OPEN"}, {"path": "x", "values": TABLE, **field}) == "going"


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ({}, "unknown_value"),
        ({"default": "unknown"}, "unknown"),
        ({"on_unknown": "null"}, None),
        ({"on_unknown": "keep", "default": "unknown"}, "unknown_value"),
    ],
    ids=str,
)
def test_an_enumeration_never_takes_a_word_of_the_partners(field: dict[str, Any], expected: Any) -> None:
    assert became({"x": "Ajar"}, {"path": "x", **STATES, **field}, name="status") == expected


def test_a_word_the_table_says_is_nothing_is_left_out() -> None:
    assert became({"x": "tbc"}, {"path": "x", "values": {**TABLE, "tbc": None}}) is None


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("due_at", "soon", "bad_datetime"),
        ("progress.percent", "half", "bad_percent"),
        ("attempt", "1.5", "bad_number"),
        ("outcome.passed", "perhaps", "bad_boolean"),
        ("outcome.certificate_url", "javascript:x", "bad_url"),
        ("outcome.grade", ["a"], "bad_text"),
    ],
)
def test_a_value_that_cannot_be_cast_goes_as_on_invalid_says(name: str, value: Any, code: str) -> None:
    assert became({"x": value}, {"path": "x"}, name) == code
    assert became({"x": value}, {"path": "x", "on_invalid": "null"}, name) is None
    assert became({"x": value}, {"path": "x", "on_invalid": "default"}, name) is None
    assert became({"x": value}, {"path": "x", "on_invalid": "default", "default": 7}, name) == 7
    assert became({"x": value}, {"path": "x", "on_invalid": "null", "default": 7}, name) is None


def test_an_expression_that_cannot_read_a_record_goes_as_on_invalid_says() -> None:
    assert became({"x": "text"}, {"path": "sum(x)"}, "outcome.score.raw") == "bad_shape"
    assert became({"x": "text"}, {"path": "sum(x)", "on_invalid": "null"}, "outcome.score.raw") is None
    field = {"path": "sum(x)", "on_invalid": "default", "default": 0.0}
    assert became({"x": "text"}, field, "outcome.score.raw") == 0.0


CATEGORIES = {"path": "x", "values": {"food": "groceries_and_meals", "beds": "housing"}}


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ({}, "unknown_value"),
        ({"default": "other"}, ["groceries_and_meals", "other", "housing"]),
        ({"on_unknown": "null"}, ["groceries_and_meals", "housing"]),
        ({"on_unknown": "quarantine", "default": "other"}, "unknown_value"),
        ({"on_invalid": "null"}, "unknown_value"),
    ],
    ids=str,
)
def test_in_a_list_each_entry_has_its_own_fate(field: dict[str, Any], expected: Any) -> None:
    record = {"x": ["Food", "poetry", None, "beds"]}
    assert became(record, {**CATEGORIES, **field}, "categories", "offerings") == expected


def test_an_entry_of_another_kind_costs_itself_only() -> None:
    record = {"x": ["food", ["deep"], "beds"]}
    assert became(record, CATEGORIES, "categories", "offerings") == "bad_text"
    field = {**CATEGORIES, "on_invalid": "null"}
    assert became(record, field, "categories", "offerings") == ["groceries_and_meals", "housing"]


def test_the_default_of_a_list_is_a_list() -> None:
    assert became({}, {**CATEGORIES, "default": "other"}, "categories", "offerings") == ["other"]


def test_a_refusal_names_the_field_and_no_value() -> None:
    mapping = FieldMapping.model_validate(
        {"fields": {"outcome.grade": {"path": "a.b", "on_missing": "quarantine"}}}
    )
    with pytest.raises(
        RecordError, match=r"^outcome\.grade \(from a\.b\): expected a value, because on_missing"
    ):
        compile_mapping("assignments", mapping)({"a": {"c": "Jane"}})

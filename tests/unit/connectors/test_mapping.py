"""Mapping: paths, casts and what becomes of odd values."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from include.connectors.canonical_fields import canonical_fields
from include.connectors.casts import PLAIN_URL
from include.connectors.expressions import getter
from include.connectors.manifest import FieldMapping
from include.connectors.mapping import compile_mapping
from include.errors import RecordError

if TYPE_CHECKING:
    from collections.abc import Callable

unhurried = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
NESTED = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


def mapped(
    record: Any, resource: Any = "assignments", transforms: Any = None, **fields: Any
) -> dict[str, Any]:
    mapping = FieldMapping.model_validate({"fields": {k.replace("__", "."): v for k, v in fields.items()}})
    return compile_mapping(resource, mapping, transforms)(record)


def code_of(record: Any, resource: Any = "assignments", **fields: Any) -> str:
    with pytest.raises(RecordError) as caught:
        mapped(record, resource, **fields)
    return caught.value.code


def test_targets_are_nested() -> None:
    fields = {"outcome__score__raw": "s", "outcome__grade": "g", "progress__percent": "p"}
    assert mapped({"s": 1, "g": "A", "p": 40}, **fields) == {
        "outcome": {"score": {"raw": 1.0}, "grade": "A"},
        "progress": {"percent": 40.0},
    }


@pytest.mark.parametrize("value", [None, "", "   ", "-", "N/A "])
def test_nothing_is_left_out_or_given_the_default(value: Any) -> None:
    field = {"path": "x", "nulls": ["-", "n/a"]}
    assert mapped({"x": value}, outcome__grade=field) == {}
    assert mapped({"x": value}, outcome__grade=field | {"default": "none"}) == {"outcome": {"grade": "none"}}


def test_a_missing_path_is_nothing() -> None:
    assert mapped({"a": "text"}, outcome__grade="a.b.c", mentor_ref="nowhere") == {}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-11-03T11:30:00.000Z", datetime(2026, 11, 3, 11, 30, tzinfo=UTC)),
        ("2026-11-03T11:30:00+02:00", datetime(2026, 11, 3, 9, 30, tzinfo=UTC)),
        ("2026-07-03T11:30:00", datetime(2026, 7, 3, 10, 30, tzinfo=UTC)),
        ("2026-07-03", datetime(2026, 7, 2, 23, 0, tzinfo=UTC)),
        (" 2026-01-03 ", datetime(2026, 1, 3, tzinfo=UTC)),
    ],
)
def test_times_become_utc_by_their_zone_or_the_fields(value: str, expected: datetime) -> None:
    assert mapped({"x": value}, due_at={"path": "x", "timezone": "Europe/London"}) == {"due_at": expected}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("03/11/2026", (2026, 11, 3, 0, 0)),
        ("2026-11-03 14:05", (2026, 11, 3, 14, 5)),
        ("3 Nov 2026", (2026, 11, 3, 0, 0)),
    ],
)
def test_formats_are_tried_in_order(value: str, expected: tuple[int, int, int, int, int]) -> None:
    field = {"path": "x", "formats": ["%d/%m/%Y", "%Y-%m-%d %H:%M", "%d %b %Y"]}
    assert mapped({"x": value}, due_at=field) == {"due_at": datetime(*expected, tzinfo=UTC)}


@pytest.mark.parametrize(
    ("form", "value"), [("epoch_seconds", 1_767_225_600), ("epoch_millis", "1767225600000")]
)
def test_epochs_are_times(form: str, value: Any) -> None:
    assert mapped({"x": value}, due_at={"path": "x", "formats": form}) == {
        "due_at": datetime(2026, 1, 1, tzinfo=UTC)
    }


@pytest.mark.parametrize(
    "value", ["31/02/2026", "soon", 5, True, [], {}, "0000-00-00", "0001-01-01T00:00:00+14:00", "9" * 400]
)
@pytest.mark.parametrize("formats", [["iso8601"], ["%d/%m/%Y"], ["iso8601", "%d/%m/%Y"]])
def test_what_is_no_time_is_a_bad_datetime(value: Any, formats: list[str]) -> None:
    assert code_of({"x": value}, due_at={"path": "x", "formats": formats}) == "bad_datetime"


@pytest.mark.parametrize("value", [1e300, float("inf"), True, "x", -1e18])
def test_what_is_no_epoch_is_a_bad_datetime(value: Any) -> None:
    assert code_of({"x": value}, due_at={"path": "x", "formats": "epoch_seconds"}) == "bad_datetime"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (5, 5.0),
        ("5", 5.0),
        (" 1,234.5 ", 1234.5),
        ("45,5", 45.5),
        ("1,234", 1234.0),
        ("1 234", 1234.0),
        ("-3", -3.0),
        ("1e3", 1000.0),
    ],
)
def test_numbers(value: Any, expected: float) -> None:
    assert mapped({"x": value}, outcome__score__raw="x") == {"outcome": {"score": {"raw": expected}}}


@pytest.mark.parametrize("value", ["forty", True, [], {}, "nan", "inf", "1_0", "5 apples", "1.2.3", 10**400])
def test_what_is_no_number_is_a_bad_number(value: Any) -> None:
    assert code_of({"x": value}, outcome__score__raw="x") == "bad_number"


@pytest.mark.parametrize(
    ("value", "expected"),
    [(45, 45.0), ("45 %", 45.0), ("45%", 45.0), ("62,5 %", 62.5), (0, 0.0), ("100%", 100.0)],
)
def test_percentages(value: Any, expected: float) -> None:
    assert mapped({"x": value}, progress__percent="x") == {"progress": {"percent": expected}}


@pytest.mark.parametrize("value", ["about half", 101, -0.1, "120 %", "%", True, []])
def test_what_is_no_percentage_is_a_bad_percent(value: Any) -> None:
    assert code_of({"x": value}, progress__percent="x") == "bad_percent"


def test_a_share_is_scaled_to_a_percentage() -> None:
    assert mapped({"x": 0.29}, progress__percent={"path": "x", "scale": 100}) == {
        "progress": {"percent": 29.0}
    }


@pytest.mark.parametrize(
    ("value", "good"), [(1, True), (2.0, True), ("3", True), (1.5, False), ("x", False), (True, False)]
)
def test_whole_numbers(value: Any, good: bool) -> None:
    if good:
        assert mapped({"x": value}, attempt="x") == {"attempt": int(value)}
    else:
        assert code_of({"x": value}, attempt="x") == "bad_number"


@pytest.mark.parametrize("value", [2**53 - 1, 1 - 2**53, str(2**53 - 1)])
def test_a_whole_number_is_exact(value: Any) -> None:
    assert mapped({"x": value}, attempt="x") == {"attempt": int(value)}


@pytest.mark.parametrize("value", [2**53, 2**53 + 1, -(2**53) - 1, str(2**53 + 1), 1e300])
def test_a_whole_number_that_cannot_be_exact_is_a_bad_number(value: Any) -> None:
    assert code_of({"x": value}, attempt="x") == "bad_number"


@pytest.mark.parametrize("name", ["a.b", ".", "$set", "$", "a\0b"])
def test_an_object_has_no_name_the_store_takes_for_something_else(name: str) -> None:
    assert mapped({"x": {"a$": 1, "b": None}}, outcome__grade={"path": "x", "type": "object"}) == {
        "outcome": {"grade": {"a$": "1"}}
    }
    assert code_of({"x": {name: "v"}}, outcome__grade={"path": "x", "type": "object"}) == "bad_object"


@pytest.mark.parametrize(
    ("value", "expected"), [(True, True), ("Yes", True), ("n", False), (0, False), ("TRUE ", True)]
)
def test_booleans(value: Any, expected: bool) -> None:
    assert mapped({"x": value}, outcome__passed="x") == {"outcome": {"passed": expected}}


@pytest.mark.parametrize("value", ["perhaps", 2, [], 1.0])
def test_what_is_no_boolean_is_a_bad_boolean(value: Any) -> None:
    assert code_of({"x": value}, outcome__passed="x") == "bad_boolean"


def test_html_is_cleaned_of_what_can_act() -> None:
    html = (
        '<p onclick="x()">Hi <script>alert(1)</script><a href="javascript:x">a</a><img src=x onerror=y></p>'
    )
    (text,) = mapped({"x": html}, "offerings", description_html="x").values()
    assert text.startswith("<p>Hi ")
    assert not any(word in text for word in ("script", "onclick", "onerror", "img"))


@pytest.mark.parametrize(
    "value",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "//x.example",
        "http://",
        "x",
        "https://a@b.example/",
        "http://[::1",
        5,
    ],
)
def test_only_web_addresses_are_links(value: Any) -> None:
    assert code_of({"x": value}, "offerings", url="x") == "bad_url"


def test_a_value_table_ignores_case_and_space_and_falls_back() -> None:
    field = {
        "path": "x",
        "values": {"In Progress": "in_progress", "1": "enrolled", True: "completed"},
        "default": "unknown",
    }
    found = [
        mapped({"x": value}, status=field)["status"]
        for value in (" in progress", "IN PROGRESS", 1, "1", True, "new", 7.5, None)
    ]
    assert found == [
        "in_progress",
        "in_progress",
        "enrolled",
        "enrolled",
        "completed",
        "unknown",
        "unknown",
        "unknown",
    ]


def test_an_enumeration_takes_its_own_words_without_a_table() -> None:
    assert mapped({"x": "IN_PROGRESS"}, status="x") == {"status": "in_progress"}
    assert code_of({"x": "new"}, status="x") == "unknown_value"
    assert mapped({"x": "new"}, status={"path": "x", "default": "unknown"}) == {"status": "unknown"}


def test_a_star_in_a_table_is_any_other_value() -> None:
    field = {"path": "x", "values": {"*": "reported"}, "default": "none"}
    assert [mapped({"x": value}, progress__basis=field)["progress"]["basis"] for value in (0, "5", None)] == [
        "reported",
        "reported",
        "none",
    ]


@pytest.mark.parametrize("value", [{}, {"a": 1}, [], ["active"]])
def test_a_table_looks_up_single_values_only(value: Any) -> None:
    assert (
        code_of({"x": value}, status={"path": "x", "values": {"a": "enrolled"}, "default": "unknown"})
        == "bad_text"
    )


def test_lists_hold_each_value_once_in_order() -> None:
    field = {
        "path": "x[].c",
        "values": {"food": "groceries_and_meals", "cv": "resume_writing"},
        "default": "other",
    }
    record = {"x": [{"c": "cv"}, {"c": "food"}, {"c": "CV"}, {"c": "zumba"}, {"c": None}]}
    assert mapped(record, "offerings", categories=field) == {
        "categories": ["resume_writing", "groceries_and_meals", "other"]
    }


def test_a_single_value_is_a_list_of_one_and_text_can_be_split() -> None:
    assert mapped({"x": "en"}, "offerings", delivery__languages="x") == {"delivery": {"languages": ["en"]}}
    split = {"path": "x", "split": ","}
    assert mapped({"x": "en, fr ,"}, "offerings", delivery__languages=split) == {
        "delivery": {"languages": ["en", "fr"]}
    }


def test_concat_joins_what_is_there() -> None:
    field = {"concat": ["a", "b.c", "d"], "separator": ", "}
    assert mapped({"a": "x ", "b": {"c": 5}, "d": ""}, "offerings", summary=field) == {"summary": "x, 5"}
    assert mapped({}, "offerings", summary=field) == {}


def test_a_pattern_picks_a_part_and_no_match_is_nothing() -> None:
    field = {"path": "x", "pattern": r"(\d+) of"}
    assert mapped({"x": "5 of 11"}, progress__units_done=field) == {"progress": {"units_done": 5.0}}
    assert mapped({"x": "none"}, progress__units_done=field) == {}
    assert mapped({"x": 7}, progress__units_done=field) == {}


def test_a_condition_decides_whether_a_field_is_filled() -> None:
    field = {"path": "x", "when": {"path": "s", "values": ["Finished"]}}
    assert mapped({"s": "finished ", "x": "2026-01-01"}, completed_at=field) != {}
    assert mapped({"s": "Dropped out", "x": "not even a date"}, completed_at=field) == {}
    assert mapped({"x": "2026-01-01"}, completed_at=field) == {}


def test_a_transform_is_applied_before_the_cast() -> None:
    field = {"path": "x", "transform": "double"}
    assert mapped({"x": 2}, transforms={"double": lambda value: value * 2}, attempt=field) == {"attempt": 4}


@pytest.mark.parametrize(
    "expression", ["length(x)", "join(' ', x)", "x | keys(@)", "ceil(to_number('1e999'))"]
)
def test_an_expression_that_meets_another_type_spoils_one_record(expression: str) -> None:
    assert code_of({"x": 5}, outcome__grade=expression) == "bad_shape"


def test_a_message_names_field_origin_and_expectation_but_no_value() -> None:
    with pytest.raises(RecordError) as caught:
        mapped({"born": "Jane Roe"}, due_at="born")
    assert str(caught.value) == "due_at (from born): expected a time written as iso8601"


@unhurried
@given(record=st.dictionaries(st.sampled_from("abc"), NESTED), path=st.sampled_from(["a", "a.b", "a.b.c"]))
def test_the_short_cut_reads_what_jmespath_reads(record: Any, path: str) -> None:
    import jmespath

    assert getter(path)(record) == jmespath.search(path, record)


@pytest.mark.parametrize(
    "value", ["2026-11-03T11:30:00+02:00", "2026-11-03T11:30:00Z", "2026-07-03T11:30:00"]
)
def test_a_time_is_written_in_utc_whatever_zone_it_came_in(value: str) -> None:
    moment = mapped({"x": value}, due_at={"path": "x", "timezone": "Europe/London"})["due_at"]
    assert moment.tzinfo is UTC


def outcome_of(compiled: Callable[[Any], dict[str, Any]], record: Any) -> str:
    """Return a comparable form; with the type, because 1, 1.0 and true are equal."""
    try:
        return repr(compiled(record))
    except RecordError as error:
        return error.code


@unhurried
@given(
    record=st.dictionaries(st.sampled_from("abc"), NESTED),
    keys=st.sampled_from([["a"], ["a", "b"], ["a", "b", "c"]]),
    policy=st.fixed_dictionaries(
        {},
        optional={
            "default": st.sampled_from(["unknown", "a"]),
            "nulls": st.just(["a"]),
            "on_invalid": st.sampled_from(["default", "null"]),
            "values": st.sampled_from([{"a": "enrolled", "1": "completed"}, {"*": "unknown"}]),
        },
    ),
    field=st.sampled_from(["status", "progress.percent", "attempt", "due_at", "milestones"]),
)
def test_a_plain_path_fills_a_field_as_the_same_expression_does(
    record: Any, keys: list[str], policy: dict[str, Any], field: str
) -> None:
    paths = (".".join(keys), ".".join(f'"{key}"' for key in keys))  # quoted: read by the interpreter
    short, full = (
        compile_mapping(
            "assignments", FieldMapping.model_validate({"fields": {field: {"path": path} | policy}})
        )
        for path in paths
    )
    assert outcome_of(short, record) == outcome_of(full, record)


@unhurried
@given(
    values=st.lists(st.sampled_from([1, 1.0, True, "1", " 1 ", "TRUE", "true", "odd", 0, False, "x" * 500]))
)
def test_a_word_means_the_same_however_often_and_after_whatever_it_came(values: list[Any]) -> None:
    spec = {"path": "x", "values": {"1": "one", "true": "yes", "x" * 500: "long"}, "on_unknown": "keep"}
    mapping = FieldMapping.model_validate({"fields": {"external_status": spec}})
    kept = compile_mapping("assignments", mapping)
    for value in values:
        anew = compile_mapping("assignments", mapping)
        assert outcome_of(kept, {"x": value}) == outcome_of(anew, {"x": value})


@unhurried
@given(
    text=st.text(alphabet="htps:/.-_~a1@ []?#", max_size=20).map("http".__add__) | st.from_regex(PLAIN_URL)
)
def test_the_short_cut_takes_no_address_that_the_parser_refuses(text: str) -> None:
    if PLAIN_URL.fullmatch(text):
        parts = urlsplit(text)
        assert parts.scheme in ("http", "https")
        assert parts.hostname
        assert "@" not in parts.netloc
        assert parts.geturl().rstrip("/") == text.rstrip("/")


@unhurried
@given(value=st.integers(-(2**54), 2**54))
def test_a_whole_number_is_what_its_text_is(value: int) -> None:
    fields = FieldMapping.model_validate({"fields": {"attempt": "x", "progress.units_done": "x"}})
    compiled = compile_mapping("assignments", fields)
    assert outcome_of(compiled, {"x": value}) == outcome_of(compiled, {"x": str(value)})


@unhurried
@given(value=NESTED)
def test_any_value_in_any_field_is_cast_or_refused(value: Any) -> None:
    for resource in ("offerings", "assignments"):
        for name in canonical_fields(resource):
            try:
                fields = mapped({"x": value}, resource, **{name.replace(".", "__"): "x"})
            except RecordError as error:
                assert error.code  # noqa: PT017 - either outcome is right
            else:
                json.dumps(fields, default=str)

"""What a manifest's mistake is told with, the editors' schema, and manifests of an older version."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from include.connectors.manifest import Manifest, merge, parse_manifest
from include.connectors.manifest_migrations import migrate
from include.connectors.manifest_schema import json_schema
from include.errors import ConfigurationError
from include.settings import PROJECT_ROOT
from tests.unit.connectors.test_manifest import OFFERINGS, problems, with_change

CONNECTORS = PROJECT_ROOT / "include" / "connectors"
NESTED = {"fields": {"id": "id"}}


def nested(**changes: Any) -> dict[str, Any]:
    data = with_change("manifest_version", 2)
    data["resources"]["assignments"] = {
        "endpoint": {"path": "items/{resources.offerings.id}/progress"},
        "nested": {"parent": "offerings", **NESTED},
        "primary_key": "id",
        "mapping": {"version": 1, "fields": {"status": {"const": "enrolled"}}},
        **changes,
    }
    return data


@pytest.mark.parametrize(
    ("path", "value", "line"),
    [
        (
            f"{OFFERINGS}/endpoint/methd",
            "GET",
            "offerings.endpoint.methd: expected no such field here, got one (did you mean 'method'?)",
        ),
        (
            f"{OFFERINGS}/incremental",
            {"cursor_path": "u", "lookback": []},
            "lookback: expected a valid timedelta, got list (for example lookback: PT1H)",
        ),
        (
            f"{OFFERINGS}/incremental",
            {"cursor_path": "u", "order": "descnding"},
            "'descending' or 'none', got 'descnding' (did you mean 'descending'?)",
        ),
        (
            f"{OFFERINGS}/mapping/fields/status",
            {"path": "s", "values": {"o": "actve"}},
            "temporarily_closed, unknown, withdrawn, got 'actve' (did you mean 'active'?)",
        ),
        (
            "client/auth",
            {"type": "baerer"},
            "oauth2_client_credentials or oauth2_refresh_token, got 'baerer' (did you mean 'bearer'?)",
        ),
        (
            "client/paginator",
            {"type": "offset"},
            "client.paginator.limit: expected a value, got none (for example limit: 100)",
        ),
        ("client/auht", {}, "client.auht: expected no such field here, got one (did you mean 'auth'?)"),
        (
            "manifest_version",
            3,
            "manifest_version: expected at most 2, got a newer one; update this deployment",
        ),
    ],
)
def test_a_mistake_is_told_with_a_hint(path: str, value: Any, line: str) -> None:
    (told,) = problems(with_change(path, value))
    assert line in told


def test_a_number_too_long_to_be_written_is_told_without_it() -> None:
    (told,) = problems(with_change("client/timeout", 10**5000))
    assert told == "client.timeout: expected a valid number, got a very large number (for example 30)"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"endpoint": {"path": "progress"}},
            "to name a value of the parent, such as {resources.offerings.id}",
        ),
        ({"nested": None}, "expected 'nested' beside an endpoint that names {resources.…}"),
        (
            {"endpoint": {"path": "x/{resources.offerings.code}"}},
            "expected one of nested.fields of offerings (id) in the endpoint, got {resources.offerings.code}",
        ),
        ({"nested": {"parent": "assignments", **NESTED}}, "got {resources.offerings.id}"),
        (
            {
                "nested": {"parent": "assignments", **NESTED},
                "endpoint": {"path": "x/{resources.assignments.id}"},
            },
            "expected assignments.nested.parent to be another resource of this manifest",
        ),
        (
            {"nested": {**NESTED, "include_from_parent": ["name"]}},
            "expected include_from_parent to name some of fields (id), got name",
        ),
        ({"deletes": {"mode": "snapshot"}}, "expected nested.cursors 'one' beside deletes.mode 'snapshot'"),
        (
            {
                "deletes": {"mode": "snapshot"},
                "incremental": {"cursor_path": "u", "client_filter": True},
            },
            "got it beside incremental.client_filter",
        ),
        (
            {"incremental": {"cursor_path": "u", "client_filter": True, "param": "since"}},
            "expected 'param' or 'client_filter', got both",
        ),
    ],
)
def test_a_nested_resource_that_cannot_be_read_is_told(changes: dict[str, Any], expected: str) -> None:
    (line,) = problems(nested(**changes))
    assert expected in line


def test_a_nested_resource_is_read_after_its_parent_whichever_comes_first() -> None:
    data = nested()
    resources = data["resources"]
    assert parse_manifest(data).reading_order == ("offerings", "assignments")
    swapped = {
        "assignments": deepcopy(resources["offerings"]),
        "offerings": deepcopy(resources["assignments"]),
    }
    swapped["assignments"]["mapping"], swapped["offerings"]["mapping"] = (
        resources["assignments"]["mapping"],
        resources["offerings"]["mapping"],
    )
    swapped["offerings"]["nested"]["parent"] = "assignments"
    swapped["offerings"]["endpoint"] = {"path": "x", "params": {"of": "{resources.assignments.id}"}}
    manifest = parse_manifest(data | {"resources": swapped})
    assert manifest.reading_order == ("assignments", "offerings")
    assert manifest.nested_in("assignments") == "offerings"
    assert manifest.nested_in("offerings") is None


def test_the_schema_for_editors_is_the_one_the_model_gives() -> None:
    kept = (CONNECTORS / "manifest.schema.json").read_text("utf-8")
    assert json.loads(kept) == json_schema(), (
        "write it again: spotlight manifest schema > include/connectors/manifest.schema.json"
    )


@pytest.mark.parametrize(
    "path", sorted(CONNECTORS.glob("*/connector.yaml")), ids=lambda path: path.parent.name
)
def test_a_connector_of_ours_is_valid_by_the_schema_and_of_the_newest_version(path: Any) -> None:
    data = yaml.safe_load(path.read_text("utf-8"))
    jsonschema.validate(data, json_schema(), jsonschema.Draft202012Validator)
    assert data["manifest_version"] == 2
    parse_manifest(data)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (f"{OFFERINGS}/primary_key", ["a", "b"]),
        (f"{OFFERINGS}/primary_key", "a"),
        ("client/paginator", "json_link"),
        ("client/paginator", {"type": "json_link", "same_host": False}),
        (f"{OFFERINGS}/mapping/fields/name", {"concat": ["a", "b"]}),
        (f"{OFFERINGS}/mapping/fields/name", "a"),
        ("errors", [{"status": 403, "action": "retry"}]),
        (f"{OFFERINGS}/endpoint/json", {"a": 1}),
    ],
)
def test_the_schema_takes_what_the_checks_take_short_or_long(path: str, value: Any) -> None:
    data = with_change(path, value)
    parse_manifest(data)
    jsonschema.validate(data, json_schema(), jsonschema.Draft202012Validator)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("client/paginator", "jsonlink"),
        ("client/paginator", "offset"),
        ("client/timout", 3),
        (f"{OFFERINGS}/mapping", {}),
        (f"{OFFERINGS}/primary_key", 3),
    ],
)
def test_the_schema_refuses_what_the_checks_refuse(path: str, value: Any) -> None:
    data = with_change(path, value)
    assert problems(data)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(data, json_schema(), jsonschema.Draft202012Validator)


def test_the_schema_explains_the_words() -> None:
    parts = json_schema()["$defs"]
    assert "newest first" in parts["Incremental"]["properties"]["order"]["description"]
    assert parts["Endpoint"]["description"].startswith("One request and where its records are")


@pytest.mark.parametrize("kind", ["json_link", "header_link"])
@pytest.mark.parametrize("place", ["client", f"{OFFERINGS}/endpoint"])
@pytest.mark.parametrize("plain", [True, False])
def test_a_link_of_version_1_may_still_lead_to_any_allowed_host(kind: str, place: str, plain: bool) -> None:
    old = with_change(f"{place}/paginator", kind if plain else {"type": kind})
    before = deepcopy(old)
    manifest = parse_manifest(old)
    assert old == before
    assert manifest.manifest_version == 2
    found = (
        manifest.client.paginator if place == "client" else manifest.resource("offerings").endpoint.paginator
    )
    assert getattr(found, "same_host", None) is False
    today = parse_manifest(old | {"manifest_version": 2})
    found = today.client.paginator if place == "client" else today.resource("offerings").endpoint.paginator
    assert getattr(found, "same_host", None) is True


def test_migrating_twice_is_migrating_once() -> None:
    once = migrate(with_change("client/paginator", "json_link"))
    assert migrate(once) == once
    assert once["client"]["paginator"] == {"type": "json_link", "same_host": False}


def test_a_row_of_version_1_completes_a_connector_of_today() -> None:
    connector = with_change("client/paginator", {"type": "single_page"}) | {"manifest_version": 2}
    row = {"client": {"paginator": "header_link"}}
    paginator = parse_manifest(merge(connector, row)).client.paginator
    assert (paginator.type, getattr(paginator, "same_host", None)) == ("header_link", False)


def test_an_anchor_that_holds_itself_is_told_and_not_followed() -> None:
    looped = yaml.safe_load("resources: &x {offerings: *x}")
    with pytest.raises(ConfigurationError, match="look for an anchor that holds itself"):
        parse_manifest(looped)


def test_a_few_lines_that_stand_for_millions_of_values_are_refused_quickly() -> None:
    levels = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12))
    bomb = yaml.safe_load(f"a0: &a0 [x, x, x, x, x, x, x, x, x]\n{levels}")
    with pytest.raises(ConfigurationError, match="expected at most 50000 values"):
        parse_manifest(bomb)


WORDS = sorted(
    {word for part in Manifest.model_json_schema()["$defs"].values() for word in part.get("properties", {})}
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(10**400)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(
        [
            *WORDS,
            "a.[",
            "Europe",
            "../../etc/passwd",
            "a" * 300,
            "a{99999999999}",
            "(" * 200,
            "`[`",
            "{credential.password}",
            "{resources.offerings.id}",
            "P1D",
            "P99999999999D",
            "\0",
            "\ud800",
        ]
    )
    | st.dates()
    | st.binary(max_size=4)
)
GARBAGE = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=6) | st.integers(), inner, max_size=6)
    ),
    max_leaves=25,
)


def places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(data, dict):
        below = [found for key, value in data.items() for found in places(value, (*path, key))]
    elif isinstance(data, list):
        below = [found for index, value in enumerate(data) for found in places(value, (*path, index))]
    else:
        below = []
    return [path, *below]


GOOD = [
    yaml.safe_load((CONNECTORS / name / "connector.yaml").read_text("utf-8"))
    for name in ("hopeworks", "codebridge", "mentornet")
] + [nested()]


@st.composite
def spoilt(draw: st.DrawFn) -> Any:
    """Return a good manifest with up to three values anywhere in it replaced."""
    data = deepcopy(draw(st.sampled_from(GOOD)))
    for _ in range(draw(st.integers(1, 3))):
        *parents, key = draw(st.sampled_from(places(data)[1:]))
        place = data
        for parent in parents:
            place = place[parent]
        place[key] = draw(GARBAGE)
    return data


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(GARBAGE | spoilt())
def test_whatever_a_manifest_is_it_is_accepted_or_told_as_a_matter_of_configuration(data: Any) -> None:
    try:
        parse_manifest(data)
    except ConfigurationError as error:
        lines = str(error).splitlines()
        assert lines[0] == "the manifest is not valid:"
        assert all(": expected" in line for line in lines[1:])

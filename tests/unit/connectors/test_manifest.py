"""The manifest: what is accepted, and how a mistake is told."""

from __future__ import annotations

import re
from copy import deepcopy
from datetime import timedelta
from typing import Any

import pytest
import yaml

from include.connectors.manifest import Manifest, merge, parse_manifest
from include.errors import ConfigurationError
from include.settings import PROJECT_ROOT


def minimal() -> dict[str, Any]:
    return {
        "resources": {
            "offerings": {
                "endpoint": {"path": "items", "data_selector": "data.items"},
                "primary_key": "id",
                "mapping": {"version": 1, "fields": {"name": "title", "status": {"const": "active"}}},
            }
        }
    }


def with_change(path: str, value: Any) -> dict[str, Any]:
    data = deepcopy(minimal())
    *parents, key = path.split("/")
    place = data
    for parent in parents:
        place = place.setdefault(parent, {})
    place[key] = value
    return data


def problems(data: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        parse_manifest(data)
    return str(caught.value).splitlines()[1:]


OFFERINGS = "resources/offerings"


def test_a_minimal_manifest_is_enough() -> None:
    manifest = parse_manifest(minimal())
    assert manifest.resource_names == ("offerings",)
    assert manifest.resource("offerings").deletes.max_share == 0.2
    assert manifest.client.paginator.type == "single_page"


def test_a_resource_that_is_not_there_is_told() -> None:
    with pytest.raises(ConfigurationError, match=r"resources\.assignments"):
        parse_manifest(minimal()).resource("assignments")


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (f"{OFFERINGS}/primary_key", 7, "resources.offerings.primary_key.0: expected a valid string, got 7"),
        (
            f"{OFFERINGS}/primary_key",
            "a.[",
            "resources.offerings.primary_key.0: expected a JMESPath expression, got 'a.['",
        ),
        (f"{OFFERINGS}/primary_key", [], "resources.offerings.primary_key: expected"),
        (
            f"{OFFERINGS}/endpoint/data_selector",
            "a b",
            "endpoint.data_selector: expected a JMESPath expression",
        ),
        (
            f"{OFFERINGS}/endpoint/path",
            "https://evil.example/x",
            "endpoint.path: expected a path below base_url",
        ),
        (f"{OFFERINGS}/endpoint/path", "//evil.example/x", "endpoint.path: expected a path below base_url"),
        (f"{OFFERINGS}/endpoint/method", "DELETE", "endpoint.method: expected 'GET' or 'POST', got 'DELETE'"),
        (f"{OFFERINGS}/endpoint/pth", "x", "resources.offerings.endpoint.pth: expected no such field"),
        (f"{OFFERINGS}/mapping/version", 0, "mapping.version: expected"),
        (f"{OFFERINGS}/mapping/fields", {}, "mapping.fields: expected"),
        (
            f"{OFFERINGS}/mapping/fields/nmae",
            "x",
            "expected a canonical field, got 'nmae' (did you mean 'name'?)",
        ),
        (f"{OFFERINGS}/mapping/fields/offering_id", "x", "expected a canonical field, got 'offering_id'"),
        (
            f"{OFFERINGS}/mapping/fields/source.raw_ref",
            "x",
            "expected a canonical field, got 'source.raw_ref'",
        ),
        (
            f"{OFFERINGS}/mapping/fields/status",
            {"path": "s", "values": {"o": "activ"}},
            "status.values.o: expected one of active,",
        ),
        (
            f"{OFFERINGS}/mapping/fields/status",
            {"path": "s", "default": "none"},
            "status.default: expected one of active,",
        ),
        (f"{OFFERINGS}/mapping/fields/status", {"const": "open"}, "status.const: expected one of active,"),
        (
            f"{OFFERINGS}/mapping/fields/categories",
            {"const": ["housing", "x"]},
            "categories.const: expected one of",
        ),
        (
            f"{OFFERINGS}/mapping/fields/name",
            {},
            "fields.name: expected exactly one of 'path', 'const' and 'concat'",
        ),
        (f"{OFFERINGS}/mapping/fields/name", {"path": "a", "const": "b"}, "expected exactly one of"),
        (f"{OFFERINGS}/mapping/fields/name", {"path": "a", "pattern": "("}, "expected a regular expression"),
        (f"{OFFERINGS}/mapping/fields/name", {"path": "a", "pattern": "a"}, "with one group, got 0"),
        (
            f"{OFFERINGS}/mapping/fields/name",
            {"path": "a", "timezone": "Mars/One"},
            "expected an IANA time zone",
        ),
        (
            f"{OFFERINGS}/incremental",
            {"cursor_path": "u", "template": "x"},
            "expected text with {value} in it once",
        ),
        (
            f"{OFFERINGS}/incremental",
            {"cursor_path": "u", "lookback": "-P1D"},
            "incremental.lookback: expected",
        ),
        (f"{OFFERINGS}/deletes", {"mode": "flag"}, "deletes: expected 'flag' exactly when mode is 'flag'"),
        (f"{OFFERINGS}/deletes", {"mode": "snapshot", "max_share": 0}, "deletes.max_share: expected"),
        (
            "resources",
            {
                "offerings": minimal()["resources"]["offerings"]
                | {"deletes": {"mode": "snapshot"}, "incremental": {"cursor_path": "u", "param": "since"}}
            },
            "resources.offerings: expected deletes.mode 'snapshot' only where every run reads the full list",
        ),
        ("client/paginator", {"type": "offset"}, "client.paginator.limit: expected a value, got none"),
        (
            "client/paginator",
            "jsonlink",
            "cursor, offset or page_number, got 'jsonlink' (did you mean 'json_link'?)",
        ),
        ("client/auth", {"type": "magic"}, "client.auth: expected"),
        (
            "client/headers",
            {"Host": "evil.example"},
            "client.headers: expected no header that steers the connection",
        ),
        ("client/timeout", 0, "client.timeout: expected"),
        ("errors", [{"action": "retry"}], "errors.0: expected 'status' or 'when'"),
        (
            "errors",
            [{"status": 403, "action": "shrug"}],
            "errors.0.action: expected 'retry', 'fail', 'ignore' or 'rate_limited'",
        ),
        ("errors", [{"when": {"json": "a ="}, "action": "retry"}], "errors.0.when.json: expected a JMESPath"),
        (
            "resources/offerings/endpoint/response",
            {"format": "csv", "delimiter": "'", "quote": "'"},
            "resources.offerings.endpoint.response: expected a delimiter other than quote",
        ),
        (
            "resources/offerings/endpoint/response",
            {"format": "csv", "delimiter": "\n"},
            "resources.offerings.endpoint.response: expected a delimiter that is no line end",
        ),
        (
            "resources/offerings/endpoint/response",
            {"format": "csv", "quote": "\r"},
            "resources.offerings.endpoint.response: expected a quote that is no line end",
        ),
        (
            "resources/offerings/mapping/fields/status",
            {"path": "state", "values": {"open": "active"}, "on_unknown": "keep"},
            "resources.offerings.mapping.fields.status.on_unknown: expected default, null or quarantine",
        ),
        ("extra", 1, "extra: expected no such field"),
        ("resources", {}, "resources: expected 'offerings', 'assignments' or both"),
    ],
)
def test_a_mistake_is_told_by_path_and_expectation(path: str, value: Any, expected: str) -> None:
    (line,) = problems(with_change(path, value))
    assert expected in line


def test_a_full_list_may_say_when_records_changed() -> None:
    data = with_change(f"{OFFERINGS}/deletes", {"mode": "snapshot"})
    data["resources"]["offerings"]["incremental"] = {"cursor_path": "u"}
    assert parse_manifest(data).resource("offerings").deletes.mode == "snapshot"


def test_every_problem_is_listed() -> None:
    data = with_change("client/timeout", -1) | {"extra": 1}
    data["resources"]["offerings"]["primary_key"] = None
    assert len(problems(data)) == 3


@pytest.mark.parametrize(
    ("auth", "bad"),
    [
        ({"type": "bearer", "token": "literal-secret-value"}, "client.auth.token"),
        ({"type": "api_key", "api_key": "literal-secret-value"}, "client.auth.api_key"),
        ({"type": "http_basic", "username": "u", "password": "literal-secret-value"}, "client.auth.password"),
        (
            {
                "type": "oauth2_client_credentials",
                "access_token_url": "/t",
                "client_id": "c",
                "client_secret": "literal-secret-value",
            },
            "client.auth.client_secret",
        ),
    ],
)
def test_a_literal_secret_is_refused_and_not_shown(auth: dict[str, str], bad: str) -> None:
    (line,) = problems(with_change("client/auth", auth))
    assert line.startswith(f"{bad}: expected a placeholder")
    assert "literal-secret-value" not in line


@pytest.mark.parametrize(
    "name", ["X-Api-Key", "apiKey", "X-Auth-Token", "Authorization", "Cookie", "Ocp-Apim-Subscription-Key"]
)
def test_a_literal_secret_in_a_header_is_refused_and_not_shown(name: str) -> None:
    (line,) = problems(with_change("client/headers", {name: "literal-secret-value", "Accept": "text/csv"}))
    assert line.startswith("client.headers: expected a placeholder")
    assert name in line
    assert "literal-secret-value" not in line
    parse_manifest(with_change("client/headers", {name: "Key {credential.password}"}))


@pytest.mark.parametrize(
    "name", ["Accept", "X-Experience-API-Version", "X-Author", "X-Keyboard", "X-Tenant", "X-Client-Id"]
)
def test_a_header_that_names_no_secret_may_be_literal(name: str) -> None:
    assert parse_manifest(with_change("client/headers", {name: "plain"})).client.headers == {name: "plain"}


@pytest.mark.parametrize("path", [f"{OFFERINGS}/endpoint/params", f"{OFFERINGS}/endpoint/json"])
def test_a_placeholder_outside_auth_and_headers_is_refused(path: str) -> None:
    (line,) = problems(with_change(path, {"auth": "{credential.password}"}))
    assert "expected no credential outside auth and headers" in line


@pytest.mark.parametrize(
    "text", ["{credential.pasword}", "{credential}", "{credential.extra}", "{ credential.login }"]
)
def test_a_misspelt_placeholder_is_refused(text: str) -> None:
    lines = problems(with_change("client/headers", {"X-Key": text}))
    assert any("expected {credential.login}" in line for line in lines)


def test_a_placeholder_in_a_header_is_fine() -> None:
    headers = {"X-Tenant": "{credential.extra.tenant}"}
    assert parse_manifest(with_change("client/headers", headers)).client.headers == headers


@pytest.mark.parametrize(("text", "meant"), [("$", "@"), ("$.data", "data"), ("data.items", "data.items")])
def test_dlts_selectors_are_understood(text: str, meant: str) -> None:
    manifest = parse_manifest(with_change(f"{OFFERINGS}/endpoint/data_selector", text))
    assert manifest.resource("offerings").endpoint.data_selector == meant


def test_a_value_tables_keys_ignore_case_and_yaml_types() -> None:
    table = {"Open": "active", True: "full", 7: "draft", " On  break ": "inactive"}
    manifest = parse_manifest(
        with_change(f"{OFFERINGS}/mapping/fields/status", {"path": "s", "values": table})
    )
    assert set(manifest.resource("offerings").mapping.fields["status"].values) == {
        "open",
        "true",
        "7",
        "on  break",
    }


def test_a_lookback_is_an_iso_duration() -> None:
    data = with_change(f"{OFFERINGS}/incremental", {"cursor_path": "u", "lookback": "PT1H30M"})
    incremental = parse_manifest(data).resource("offerings").incremental
    assert incremental is not None
    assert incremental.lookback == timedelta(hours=1, minutes=30)


def test_an_enrolment_section_is_accepted_and_checked() -> None:
    enrolment = {
        "endpoint": {"method": "POST", "path": "enrol"},
        "request": {"fields": {"learner": "candidate.ref"}},
        "response": {"accepted": "status == 'ok'", "external_id": "id"},
        "lookup": {"path": "enrolments", "match": "items[0].id"},
    }
    assert parse_manifest(minimal() | {"enrolment": enrolment}).enrolment is not None
    enrolment["request"] = {"fields": {"learner": "a.["}}
    assert problems(minimal() | {"enrolment": enrolment})[0].startswith(
        "enrolment.request.fields.learner.path: expected"
    )


def test_merge_completes_deeply_and_changes_neither() -> None:
    base = {"a": {"b": 1, "c": [1, 2]}, "d": 1}
    override = {"a": {"c": [3], "e": 2}}
    copies = deepcopy(base), deepcopy(override)
    assert merge(base, override) == {"a": {"b": 1, "c": [3], "e": 2}, "d": 1}
    assert (base, override) == copies


def test_merge_replaces_a_section_whose_type_changes() -> None:
    base = {"auth": {"type": "bearer", "token": "t"}}
    assert merge(base, {"auth": {"type": "http_basic", "username": "u"}}) == {
        "auth": {"type": "http_basic", "username": "u"}
    }
    assert merge(base, {"auth": {"token": "u"}}) == {"auth": {"type": "bearer", "token": "u"}}
    assert merge(base, {"auth": {"type": "bearer", "token": "u"}}) == {
        "auth": {"type": "bearer", "token": "u"}
    }


def test_the_example_of_the_reference_is_valid() -> None:
    text = (PROJECT_ROOT / "docs" / "reference-manifest.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert parse_manifest(yaml.safe_load(example)).resource_names == ("offerings", "assignments")


def test_the_reference_names_every_word() -> None:
    text = (PROJECT_ROOT / "docs" / "reference-manifest.md").read_text(encoding="utf-8")
    schema = Manifest.model_json_schema()
    words = {word for part in schema["$defs"].values() for word in part.get("properties", {})} | set(
        schema["properties"]
    )
    assert {word for word in words if word not in text} == set()

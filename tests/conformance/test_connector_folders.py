"""What every connector folder must keep, found by its ``connector.yaml`` and nothing else."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from include.canonical import checkers
from include.connectors.canonical_fields import canonical_fields
from include.connectors.discovery import CONNECTORS, connector_names
from include.connectors.open import open_connector
from include.connectors.samples import outcome, sample_pages
from include.errors import RecordError
from include.settings import Settings
from tests.conformance.rows import CREDENTIAL, make_row

FOLDERS = [name for name in connector_names() if name != "rest"]
SAMPLES = [(name, *sample) for name in FOLDERS for sample in sample_pages(name)]
SAMPLE_IDS = [f"{name}-{page.name.partition('.page.')[0]}" for name, _, page, _ in SAMPLES]
each_sample = pytest.mark.parametrize(("name", "resource", "page", "expected"), SAMPLES, ids=SAMPLE_IDS)
ODD_VALUES: list[Any] = [
    None,
    "",
    "  ",
    "odd text",
    -1,
    1e308,
    True,
    [],
    [None],
    ["a", {}],
    {},
    {"x": None},
    "\u0000\ud7ff",
]


def opened(name: str) -> Any:
    return open_connector(make_row("https://api.example.org", connector=name), CREDENTIAL, Settings())


def good_records(connector: Any, resource: Any, page: Path) -> list[dict[str, Any]]:
    body = page.read_bytes()
    pairs = zip(connector.records(resource, body), outcome(connector, resource, body), strict=True)
    return [record for record, result in pairs if "error" not in result]


def canonical(resource: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Complete mapped fields as the transform stage does."""
    fields = copy.deepcopy(fields)
    fields.pop("offering_external_id", None)
    source = fields.pop("source", {})
    whole = {
        **fields,
        ("offering_id" if resource == "offerings" else "assignment_id"): "x",
        "external_id": "x",
        "npo_id": "x",
        "source": source
        | {"fetched_at": "2026-01-01T00:00:00Z", "content_hash": "x", "mapping_version": 1, "raw_ref": "x"}
        | {"deleted_upstream": False},
    }
    checked: dict[str, Any] = checkers()[resource].validate_python(whole)
    return checked


def test_there_are_connectors() -> None:
    assert {"hopeworks", "codebridge", "mentornet", "skillsfile", "learnstore"} <= set(FOLDERS)


@pytest.mark.parametrize("name", FOLDERS)
def test_the_manifest_is_valid_and_reads_progress(name: str) -> None:
    assert "assignments" in opened(name).manifest.resource_names


@pytest.mark.parametrize("name", FOLDERS)
def test_each_resource_has_a_sample(name: str) -> None:
    assert {resource for resource, _, _ in sample_pages(name)} == set(opened(name).manifest.resource_names)


@pytest.mark.parametrize("name", FOLDERS)
def test_a_connector_uses_no_secret_but_by_placeholder(name: str) -> None:
    text = (CONNECTORS / name / "connector.yaml").read_text()
    assert "sandbox" not in text
    assert "{credential." in text


@each_sample
def test_samples_become_the_expected_records(name: str, resource: Any, page: Path, expected: Path) -> None:
    assert outcome(opened(name), resource, page.read_bytes()) == json.loads(expected.read_text())


@each_sample
def test_mapping_twice_gives_the_same(name: str, resource: Any, page: Path, expected: Path) -> None:
    connector, body = opened(name), page.read_bytes()
    before = orjson.dumps(connector.records(resource, body))
    records = connector.records(resource, body)
    first = [outcome(connector, resource, body), outcome(opened(name), resource, body)]
    assert first[0] == first[1]
    for record in records:
        with_fields(connector, resource, record)
    assert orjson.dumps(records) == before


def with_fields(connector: Any, resource: Any, record: Any) -> dict[str, Any] | None:
    """Return what a record becomes, ``None`` for a bad one; anything but a RecordError is a failure."""
    try:
        connector.external_id(resource, record)
        connector.cursor(resource, record)
        connector.is_deleted(resource, record)
        fields: dict[str, Any] = connector.to_platform(resource, record)
    except RecordError as error:
        assert error.code  # noqa: PT017 - either outcome is right
        return None
    return fields


@each_sample
def test_ids_are_unique_and_never_empty(name: str, resource: Any, page: Path, expected: Path) -> None:
    found = [entry["external_id"] for entry in json.loads(expected.read_text()) if "error" not in entry]
    assert found
    assert len(found) == len(set(found))
    assert all(text and text == text.strip() for text in found)


@each_sample
def test_mapped_fields_are_canonical(name: str, resource: Any, page: Path, expected: Path) -> None:
    connector = opened(name)
    for record in good_records(connector, resource, page):
        canonical(resource, connector.to_platform(resource, record))


@each_sample
def test_every_good_record_says_when_it_changed_or_nothing(
    name: str, resource: Any, page: Path, expected: Path
) -> None:
    connector = opened(name)
    cursors = [connector.cursor(resource, record) for record in good_records(connector, resource, page)]
    assert any(cursors)
    assert all(cursor is None or cursor.utcoffset().total_seconds() == 0 for cursor in cursors)


@each_sample
def test_a_new_field_changes_nothing(name: str, resource: Any, page: Path, expected: Path) -> None:
    connector = opened(name)
    for record in good_records(connector, resource, page):
        more = record | {"a_new_field": {"deep": [1, 2, 3]}, "": 1}
        assert connector.to_platform(resource, more) == connector.to_platform(resource, record)


@each_sample
def test_a_missing_field_is_no_crash_and_null_is_as_missing(
    name: str, resource: Any, page: Path, expected: Path
) -> None:
    connector = opened(name)
    for record in good_records(connector, resource, page)[:4]:
        for field in record:
            without = {key: value for key, value in record.items() if key != field}
            null = record | {field: None}
            assert with_fields(connector, resource, without) == with_fields(connector, resource, null)


@each_sample
def test_an_odd_value_anywhere_spoils_one_record_at_most(
    name: str, resource: Any, page: Path, expected: Path
) -> None:
    connector = opened(name)
    for record in good_records(connector, resource, page)[:2]:
        for path in list(paths(record)):
            for odd in ODD_VALUES:
                with_fields(connector, resource, replaced(record, path, odd))


def paths(value: Any, path: tuple[Any, ...] = ()) -> Any:
    """Yield the path of everything inside a value."""
    entries = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, entry in entries:
        yield (*path, key)
        yield from paths(entry, (*path, key))


def replaced(record: Any, path: tuple[Any, ...], value: Any) -> Any:
    changed = copy.deepcopy(record)
    place = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return changed


@each_sample
def test_an_unknown_status_is_unknown_and_kept_verbatim(
    name: str, resource: Any, page: Path, expected: Path
) -> None:
    connector = opened(name)
    spec = connector.manifest.resource(resource).mapping.fields["status"]
    path = (spec.path or "").rpartition("||")[2].strip().split(".")
    # A deleted record's status may come from its mark, whatever its state says.
    record = next(
        record
        for record in good_records(connector, resource, page)
        if not connector.is_deleted(resource, record)
    )
    fields = connector.to_platform(resource, replaced(record, tuple(path), "Brand-new state"))
    assert fields["status"] == "unknown"
    if resource == "assignments":
        assert fields["external_status"] == "Brand-new state"


@each_sample
def test_messages_about_bad_records_hold_no_value(
    name: str, resource: Any, page: Path, expected: Path
) -> None:
    connector = opened(name)
    record = good_records(connector, resource, page)[0]
    for path in list(paths(record)):
        try:
            connector.to_platform(resource, replaced(record, path, "Jane Roe, 1 High Street"))
        except RecordError as error:
            assert "Jane" not in str(error)  # noqa: PT017 - every message there is


@pytest.mark.parametrize("name", FOLDERS)
def test_status_and_name_are_mapped(name: str) -> None:
    manifest = opened(name).manifest
    if "offerings" in manifest.resource_names:
        assert {"name", "status"} <= set(manifest.resource("offerings").mapping.fields)
    assert {"offering_external_id", "external_candidate_ref", "status", "external_status"} <= set(
        manifest.resource("assignments").mapping.fields
    )
    for resource in manifest.resource_names:
        assert set(manifest.resource(resource).mapping.fields) <= set(canonical_fields(resource))


def test_opening_one_connector_imports_no_other_and_no_heavy_module() -> None:
    code = (
        "import sys; from include.connectors.discovery import load_manifest; "
        "from tests.conformance.rows import make_row; "
        "import include.connectors.discovery as d; "
        "load_manifest(make_row('https://x.example', connector='mentornet')); "
        "print([n for n in sys.modules if n.startswith('include.connectors.') and n.split('.')[2] in "
        "('hopeworks', 'codebridge', 'mentornet')], "
        "[n for n in ('dlt', 'requests', 'pandas', 'nh3', 'numpy') if n in sys.modules], "
        "d._read_yaml.cache_info().currsize)"
    )
    root = CONNECTORS.parents[1]
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert out.stdout.split() == ["[]", "[]", "1"]

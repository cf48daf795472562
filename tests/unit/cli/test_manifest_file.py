"""A manifest file becomes a row, or a list of all that is wrong with it."""

from __future__ import annotations

from datetime import date

import pytest
from typer.testing import CliRunner

from include.cli import app
from include.errors import ConfigurationError
from include.registry.airflow_connections import parts_needed
from include.registry.editing import ManifestFile, new_values, problems_of, read_manifest_file

TODAY = date(2026, 3, 1)
MANIFEST = (
    "resources: {offerings: {endpoint: {path: a}, primary_key: id, mapping: {fields: {name: title}}}}\n"
)
# Nine lines, each nine of the one before: half a billion values.
LAUGHS = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9))


def written(tmp_path, text):
    path = tmp_path / "severn.yaml"
    path.write_text(text)
    return path


def test_the_head_becomes_columns_and_the_rest_the_manifest(tmp_path):
    file = read_manifest_file(written(tmp_path, f"npo: {{name: Severn, start_date: 2026-01-01}}\n{MANIFEST}"))
    assert file.head == {"name": "Severn", "start_date": "2026-01-01"}
    assert set(file.manifest) == {"resources"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: [", "not readable YAML at line"),
        ("- a\n", "expected a mapping at the top"),
        ("a: 1\na: 2\n", "'a' stands twice"),
        ("npo: severn\n", "npo: expected a mapping"),
        ("a: !!python/object/apply:os.system [ls]\n", "not readable YAML"),
        ("a: !!binary aGk=\n", "a value that JSON does not have"),
        ("a: .nan\n", "a value that JSON does not have"),
        ("a: &a [*a]\n", "more than"),
        (LAUGHS, "more than 20000 values"),
    ],
    ids=["broken", "list", "twice", "head", "object", "binary", "nan", "itself", "laughs"],
)  # fmt: skip
def test_a_file_that_is_no_manifest_is_refused_with_the_reason(tmp_path, text, told):
    with pytest.raises(ConfigurationError, match=told):
        read_manifest_file(written(tmp_path, text))


def test_a_file_too_large_or_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="no manifest"):
        read_manifest_file(written(tmp_path, "#" * (2**20 + 1)))
    with pytest.raises(ConfigurationError, match="No such file"):
        read_manifest_file(tmp_path / "nowhere.yaml")


def test_options_come_before_the_files_head_and_that_before_the_defaults():
    file = ManifestFile({"name": "Head", "schedule": "@daily", "status": "active"}, {"client": {}})
    values = new_values(
        "severn", {"name": "Option", "base_url": "https://API.severn.example/v1"}, file, today=TODAY
    )
    assert values["name"] == "Option"
    assert values["schedule"] == "@daily"
    assert values["timezone"] == "UTC"
    assert values["status"] == "draft"
    assert values["allowed_hosts"] == ["api.severn.example"]
    assert values["start_date"] == "2026-01-29"
    assert values["manifest"] == {"client": {}}


def test_a_file_about_another_npo_is_refused():
    with pytest.raises(ConfigurationError, match="the file is about 'other'"):
        new_values("severn", {}, ManifestFile({"npo_id": "other"}, {}), today=TODAY)


def test_problems_of_columns_and_manifest_are_told_together():
    values = {
        "npo_id": "severn",
        "name": "",
        "connector": "rest",
        "manifest": {"resources": {}},
        "schedule": "x",
    }
    problems, npo = problems_of(values)
    assert npo is None
    told = "\n".join(problems)
    assert "owner_email" in told
    assert "schedule: 'x' is neither" in told
    assert "manifest: resources" in told


def test_a_word_the_row_does_not_have_is_told():
    problems, _ = problems_of({"npo_id": "severn", "shedule": "@daily"})
    assert any(problem.startswith("shedule: ") for problem in problems)


def test_the_parts_of_a_credential_are_those_the_manifest_names():
    manifest = {
        "client": {"auth": {"username": "{credential.login}", "password": "{credential.extra.pin}"}},
        "headers": ["{credential.extra.pin}"],
    }
    assert parts_needed(manifest) == ("extra.pin", "login")


def spotlight(*arguments):
    return CliRunner().invoke(app, ["manifest", *arguments])


def test_validate_accepts_a_good_file_and_lists_what_is_wrong_with_a_bad_one(tmp_path):
    good = spotlight("validate", str(written(tmp_path, MANIFEST)))
    assert (good.exit_code, good.output.strip()) == (0, "severn.yaml is valid: offerings")
    bad = spotlight("validate", str(written(tmp_path, MANIFEST.replace("name: title", "nam: title, u: v"))))
    assert bad.exit_code == 1
    assert "mapping.fields.nam" in bad.output
    assert "mapping.fields.u" in bad.output


def test_validate_completes_the_file_with_a_connectors_manifest(tmp_path):
    path = written(tmp_path, "resources: {offerings: {mapping: {version: 9}}}\n")
    assert spotlight("validate", str(path)).exit_code == 1
    assert spotlight("validate", str(path), "--connector", "codebridge").exit_code == 0

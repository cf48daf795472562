"""airflow_settings.yaml: read in Astronomer's schema, refused with one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from include.sandbox.airflow.settings_file import main, read_settings_file
from include.sandbox.stack.errors import StackError
from include.settings import PROJECT_ROOT

SECRET = "do-not-show-me"


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "airflow_settings.yaml"
    path.write_text(text)
    return path


def test_the_projects_own_file_names_the_partners_credentials_and_pools():
    settings = read_settings_file(PROJECT_ROOT / "airflow_settings.yaml")
    assert {entry.conn_id for entry in settings.connections} >= {
        "hopeworks_api",
        "codebridge_api",
        "mentornet_api",
    }
    assert settings.pools


def test_astronomers_empty_template_holds_nothing(tmp_path):
    path = written(
        tmp_path,
        """
airflow:
  connections:
    - conn_id:
      conn_type:
      conn_host:
      conn_schema:
      conn_login:
      conn_password:
      conn_port:
      conn_extra:
        example_extra_field: example-value
  pools:
    - pool_name:
      pool_slot:
      pool_description:
  variables:
""".replace("\n      conn_extra:\n        example_extra_field: example-value", "\n      conn_extra:"),
    )
    settings = read_settings_file(path)
    assert (settings.connections, settings.pools, settings.variables) == ((), (), ())


def test_an_extra_written_as_yaml_reaches_airflow_as_json_text(tmp_path):
    path = written(
        tmp_path,
        "airflow: {connections: [{conn_id: a, conn_type: http, conn_port: 84, conn_extra: {verify: true}}]}",
    )
    payload = read_settings_file(path).connections[0].payload()
    assert (payload["connection_id"], payload["port"]) == ("a", 84)
    assert json.loads(str(payload["extra"])) == {"verify": True}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("airflow: [", "is not YAML"),
        ("- a\n- b\n", "the top level must be 'airflow:'"),
        ("connections: []", "the top level must be 'airflow:'"),
        ("airflow: {connection: []}", "airflow.connection: Extra inputs"),
        ("airflow: {connections: {conn_id: a}}", "airflow.connections: Input should be a valid tuple"),
        (
            f"airflow: {{connections: [{{conn_id: a b, conn_type: http, conn_password: {SECRET}}}]}}",
            "connections.0.conn_id",
        ),
        (f"airflow: {{connections: [{{conn_id: a, conn_password: {SECRET}}}]}}", "connections.0.conn_type"),
        (
            "airflow: {connections: [{conn_id: a, conn_type: http, conn_port: many}]}",
            "connections.0.conn_port",
        ),
        ("airflow: {pools: [{pool_name: a, pool_slot: -2}]}", "pools.0.pool_slot"),
        ("airflow: {variables: [{variable_name: a}]}", "variables.0.variable_value"),
    ],
)
def test_a_bad_file_gives_one_line_that_names_the_place_and_no_secret(tmp_path, text, says):
    with pytest.raises(StackError) as caught:
        read_settings_file(written(tmp_path, text))
    line = str(caught.value)
    assert says in line
    assert "airflow_settings.yaml" in line
    assert "\n" not in line
    assert SECRET not in line


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    with pytest.raises(StackError, match="No such file"):
        read_settings_file(tmp_path / "airflow_settings.yaml")


def test_the_check_of_make_lint_fails_for_a_bad_file(tmp_path, capsys):
    assert main([str(written(tmp_path, "airflow: 7"))]) == 1
    assert "top level" in capsys.readouterr().err

"""The local Airflow's settings: loopback only, secrets private, nothing inherited."""

from __future__ import annotations

import json
import stat
import time
from pathlib import Path

import pytest

from include.sandbox.airflow.client import AirflowApi
from include.sandbox.airflow.config import AirflowPlace, airflow_environment, options, sqlalchemy_url
from include.sandbox.airflow.keys import AirflowKeys, load_keys
from include.sandbox.airflow.local_airflow import COMMANDS, LocalAirflow, _stable_port
from include.sandbox.stack.errors import StackError
from include.sandbox.stack.processes import ProcessBook

KEYS = AirflowKeys("fernet", "secret", "jwt", "password")


def environment(tmp_path: Path) -> dict[str, str]:
    place = AirflowPlace(tmp_path)
    table = options(place, dsn="postgresql://u@/airflow?host=/s", port=4711, keys=KEYS, parallelism=4)
    return airflow_environment(place, table, stack={})


def test_every_address_airflow_is_told_is_the_loopback(tmp_path):
    told = {
        name: value
        for name, value in environment(tmp_path).items()
        if name.startswith("AIRFLOW__") and name.endswith(("_URL", "HOST"))
    }
    assert told
    assert all("127.0.0.1" in value for value in told.values())


def test_no_component_serves_logs_on_every_interface():
    # The log servers bind 0.0.0.0 and have no setting for the address.
    assert all("--skip-serve-logs" in COMMANDS[name] for name in ("airflow-scheduler", "airflow-triggerer"))


def test_airflow_settings_of_the_users_shell_do_not_reach_the_local_airflow(tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    monkeypatch.setenv("AIRFLOW_CONN_HOPEWORKS_API", "http://elsewhere")
    found = environment(tmp_path)
    assert found["AIRFLOW__CORE__EXECUTOR"] == "LocalExecutor"
    assert "AIRFLOW_CONN_HOPEWORKS_API" not in found


def test_every_option_says_why(tmp_path):
    table = options(AirflowPlace(tmp_path), dsn="postgresql://h/d", port=1, keys=KEYS, parallelism=4)
    assert all(option.why for option in table)
    assert len({option.variable for option in table}) == len(table)


@pytest.mark.parametrize(
    ("dsn", "url"),
    [
        ("postgresql://u:p@127.0.0.1:5/db", "postgresql+psycopg2://u:p@127.0.0.1:5/db"),
        ("postgres://u@/db?host=/a%20b", "postgresql+psycopg2://u@/db?host=/a%20b"),
        ("postgresql+psycopg://h/db", "postgresql+psycopg2://h/db"),
    ],
)
def test_a_libpq_uri_becomes_one_for_psycopg2(dsn, url):
    assert sqlalchemy_url(dsn) == url


@pytest.mark.parametrize("dsn", ["sqlite:///x.db", "mysql://h/db", "host=127.0.0.1"])
def test_any_other_database_is_refused(dsn):
    with pytest.raises(ValueError, match="postgresql://"):
        sqlalchemy_url(dsn)


def test_keys_are_made_once_and_readable_by_their_owner_only(tmp_path):
    place = AirflowPlace(tmp_path / "airflow")
    keys = load_keys(place)
    assert load_keys(place) == keys
    assert json.loads(place.passwords.read_text()) == {"admin": keys.admin_password}
    for path in (place.passwords, place.home / "keys.json"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_damaged_key_file_is_replaced(tmp_path):
    place = AirflowPlace(tmp_path)
    (tmp_path / "keys.json").write_text('{"fernet_key": "only')
    assert load_keys(place) == load_keys(place)


def test_keys_do_not_show_in_their_repr(tmp_path):
    keys = load_keys(AirflowPlace(tmp_path))
    assert keys.admin_password not in repr(keys)


def test_the_port_stays_while_it_is_free(tmp_path):
    import socket

    kept = tmp_path / "port"
    port = _stable_port(kept, in_use=False)
    assert _stable_port(kept, in_use=False) == port
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        assert _stable_port(kept, in_use=False) != port


def test_a_proxy_of_the_users_shell_does_not_stand_between_tasks_and_api_server(tmp_path, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "intranet.example")
    assert environment(tmp_path)["no_proxy"] == "intranet.example,127.0.0.1,localhost"


def test_a_component_that_dies_is_one_line_with_its_reason_and_log(tmp_path):
    book = ProcessBook(tmp_path)
    airflow = LocalAirflow(book, {"SPOTLIGHT_AIRFLOW_DSN": "postgresql://127.0.0.1:1/airflow"})
    try:
        for name in COMMANDS:
            last = "exit 1" if name == "airflow-scheduler" else "sleep 60"
            book.spawn(name, ["sh", "-c", f"echo 'error: disk is full'; {last}"])
        while book.alive("airflow-scheduler"):
            time.sleep(0.01)
        with pytest.raises(StackError) as caught:
            airflow.check()
    finally:
        airflow.down()
    line = str(caught.value)
    assert line.startswith("airflow-scheduler stopped: error: disk is full (log: ")
    assert "\n" not in line
    assert book.names() == []


def test_a_stack_without_a_database_for_airflow_is_refused(tmp_path):
    with pytest.raises(StackError, match="SPOTLIGHT_AIRFLOW_DSN is not set"):
        LocalAirflow(ProcessBook(tmp_path), {})


def test_an_api_server_that_does_not_answer_has_no_health_and_gives_one_line():
    api = AirflowApi("http://127.0.0.1:1", "password")
    assert api.health() == {}
    with pytest.raises(StackError, match=r"Airflow's API at http://127\.0\.0\.1:1: GET dags"):
        api.dags()

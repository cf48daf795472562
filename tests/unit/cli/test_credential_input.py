"""What ``spotlight npo credential set`` takes from standard input."""

from __future__ import annotations

import io

import pytest

from include.cli.npo_credential import MAX_STDIN, _from_stdin, _require_usable
from include.errors import ConfigurationError
from include.registry.airflow_connections import write_connection

SECRET = "s3cr3t-that-must-not-show"


def read(monkeypatch, text, needed=("password",)):
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    return _from_stdin(needed)


def test_one_part_may_come_bare(monkeypatch):
    assert read(monkeypatch, f" {SECRET}\n", ("extra.refresh_token",)) == {"extra.refresh_token": SECRET}


def test_several_parts_come_as_json(monkeypatch):
    text = '{"login": "l", "password": "p", "extra": {"pin": "7"}}'
    assert read(monkeypatch, text, ("login", "password")) == {"login": "l", "password": "p", "extra.pin": "7"}


@pytest.mark.parametrize(
    ("text", "needed", "told"),
    [
        (SECRET, ("login", "password"), "expected JSON such as"),
        ("", ("password",), "expected JSON such as"),
        (f'{{"password": "{SECRET}"', ("password",), "expected JSON such as"),
        (f'{{"token": "{SECRET}"}}', ("password",), "expected login, password and extra"),
        (f'{{"extra": "{SECRET}"}}', ("password",), "expected login, password and extra"),
        (SECRET * MAX_STDIN, ("password",), "are no credential"),
    ],
    ids=["bare", "empty", "cut", "unknown", "extra", "long"],
)
def test_anything_else_is_refused_without_being_told_back(monkeypatch, text, needed, told):
    with pytest.raises(ConfigurationError, match=told) as caught:
        read(monkeypatch, text, needed)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("value", [f"{SECRET}\r\nX-Admin: 1", 7, None, ""])
def test_a_value_that_cannot_stand_in_a_header_is_refused(value):
    with pytest.raises(ConfigurationError, match="nothing was written") as caught:
        _require_usable({"password": value}, ("password",))
    assert SECRET not in str(caught.value)


def test_what_the_environment_would_hide_is_not_written(monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_SEVERN_API", "{}")
    with pytest.raises(ConfigurationError, match="AIRFLOW_CONN_SEVERN_API is set"):
        write_connection("severn_api", {"password": SECRET})

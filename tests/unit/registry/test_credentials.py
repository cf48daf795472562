"""From a credential_ref to the secret, in a process that is no task."""

from __future__ import annotations

import json

import pytest

from include.errors import ConfigurationError
from include.registry.credentials import resolve_credential
from include.registry.models import Credential


def test_no_reference_is_an_empty_credential():
    assert resolve_credential(None) == Credential()


def test_login_password_and_extra_come_from_the_connection(monkeypatch: pytest.MonkeyPatch):
    connection = {
        "conn_type": "http",
        "login": "client",
        "password": "s3cret/with?marks",
        "extra": {"tenant": "north", "tries": 3},
    }
    monkeypatch.setenv("AIRFLOW_CONN_UNIT_TEST_API", json.dumps(connection))
    credential = resolve_credential("unit_test_api")
    assert (credential.login, credential.password) == ("client", "s3cret/with?marks")
    assert dict(credential.extra) == {"tenant": "north", "tries": "3"}
    assert "s3cret" not in repr(credential)


def test_a_missing_connection_names_itself_and_what_to_do():
    with pytest.raises(ConfigurationError, match=r"'no_such_api'.*AIRFLOW_CONN_NO_SUCH_API"):
        resolve_credential("no_such_api")


def test_a_malformed_connection_does_not_show_its_secret(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AIRFLOW_CONN_UNIT_TEST_BAD", '{"conn_type": "http", "password": "hidden", oops')
    with pytest.raises(ConfigurationError) as caught:
        resolve_credential("unit_test_bad")
    shown = f"{caught.value} {caught.value!r} {caught.value.__cause__!r}"
    assert "hidden" not in shown
    assert caught.value.__suppress_context__

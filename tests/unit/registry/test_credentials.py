"""From a credential_ref to the secret, in a process that is no task and in one that is."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from airflow.sdk.bases.secrets_backend import BaseSecretsBackend
from airflow.sdk.exceptions import ErrorType
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import (
    CommsDecoder,
    ConnectionResult,
    ErrorResponse,
    _RequestFrame,
    _ResponseFrame,
)
from sqlalchemy import create_engine

from include.errors import ConfigurationError, TransientError
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


# a backend that does not answer


class Vault(BaseSecretsBackend):
    """A secrets backend out of the house; fails as often as it is told to, then knows one connection."""

    failures = 0

    def get_conn_value(self, conn_id: str, team_name: str | None = None) -> str | None:  # noqa: ARG002 - Airflow's
        if Vault.failures:
            Vault.failures -= 1
            raise ConnectionError("https://vault.example?token=hidden does not answer")
        return '{"conn_type": "http", "password": "s3cret"}' if conn_id == "kept_in_vault" else None


@pytest.fixture
def vault(monkeypatch: pytest.MonkeyPatch) -> type[Vault]:
    monkeypatch.setenv("AIRFLOW__SECRETS__BACKEND", f"{__name__}.Vault")
    monkeypatch.setattr("airflow.sdk.configuration._secrets_backend_cache", {})
    monkeypatch.setattr(Vault, "failures", 0)
    return Vault


def test_a_backend_that_does_not_answer_is_not_a_missing_connection(vault: type[Vault]):
    vault.failures = 9
    with pytest.raises(
        TransientError, match=r"Vault: ConnectionError.*whether it is there is not known"
    ) as caught:
        resolve_credential("kept_in_vault")
    assert "hidden" not in f"{caught.value} {caught.value.__cause__!r}"
    assert caught.value.__suppress_context__


def test_a_backend_that_answers_at_the_second_time_is_believed(vault: type[Vault]):
    vault.failures = 1
    assert resolve_credential("kept_in_vault").password == "s3cret"


def test_a_backend_that_answers_and_does_not_have_it_makes_it_missing(vault: type[Vault]):
    with pytest.raises(ConfigurationError, match="'no_such_api' is not a readable Airflow connection"):
        resolve_credential("no_such_api")


# the metadata database


@pytest.fixture
def use_database(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that makes a database Airflow's own."""
    from airflow import settings
    from sqlalchemy.orm import scoped_session, sessionmaker

    def use(url: str) -> None:
        engine = create_engine(url)
        monkeypatch.setattr(settings, "engine", engine)
        monkeypatch.setattr(settings, "Session", scoped_session(sessionmaker(bind=engine)))

    return use


def test_a_metadata_database_that_does_not_answer_is_not_a_missing_connection(
    use_database: Callable[[str], None],
):
    use_database("postgresql+psycopg2://me:hidden@127.0.0.1:9/none")
    with pytest.raises(TransientError, match="MetastoreBackend: OperationalError") as caught:
        resolve_credential("unit_test_api")
    assert "hidden" not in str(caught.value)


def test_a_database_that_was_never_set_up_has_no_connection(use_database: Callable[[str], None]):
    use_database("sqlite://")
    with pytest.raises(ConfigurationError, match="'unit_test_api'"):
        resolve_credential("unit_test_api")


# inside a task


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """The other end of the task's wire; answers with ``body`` or ``error``, the first time with ``first``."""
    ours, theirs = socket.socketpair()
    answer = SimpleNamespace(body=None, error=None, first=None)
    decoder = msgspec.msgpack.Decoder(_RequestFrame)

    def serve() -> None:
        stream = theirs.makefile("rwb")
        while header := stream.read(4):
            request = decoder.decode(stream.read(int.from_bytes(header)))
            assert request.body
            frame = _ResponseFrame(request.id)  # enough for a request to mask a secret
            if request.body["type"] == "GetConnection":
                error, answer.first = answer.first or answer.error, None
                frame = _ResponseFrame(request.id, None if error else dumped(answer.body), dumped(error))
            stream.write(frame.as_bytes())
            stream.flush()

    thread = threading.Thread(target=serve)
    thread.start()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", CommsDecoder(socket=ours), raising=False)
    yield answer
    ours.close()
    thread.join(timeout=10)
    theirs.close()


def dumped(message: Any) -> dict[str, Any] | None:
    return message.model_dump(mode="json", by_alias=True) if message else None


def failed(error: ErrorType) -> ErrorResponse:
    return ErrorResponse(error=error, detail={"message": "password=hidden"})


HAS_IT = ConnectionResult.model_validate(
    dict.fromkeys(("host", "schema", "port", "extra"))
    | {"conn_id": "unit_test_api", "conn_type": "http", "login": "a", "password": "s3cret"}
)


def test_in_a_task_the_connection_comes_over_its_api(supervisor: SimpleNamespace):
    supervisor.body = HAS_IT
    assert resolve_credential("unit_test_api").password == "s3cret"


def test_in_a_task_an_api_that_answers_at_the_second_time_is_believed(supervisor: SimpleNamespace):
    supervisor.body, supervisor.first = HAS_IT, failed(ErrorType.API_SERVER_ERROR)
    credential = resolve_credential("unit_test_api")
    assert (credential.login, credential.password, dict(credential.extra)) == ("a", "s3cret", {})


def test_in_a_task_not_found_is_a_missing_connection(
    supervisor: SimpleNamespace, use_database: Callable[[str], None]
):
    use_database("postgresql+psycopg2://me@127.0.0.1:9/none")  # is out of bounds: must not be asked
    supervisor.body = failed(ErrorType.CONNECTION_NOT_FOUND)
    with pytest.raises(ConfigurationError, match="'unit_test_api' is not a readable Airflow connection"):
        resolve_credential("unit_test_api")


@pytest.mark.parametrize("part", ["body", "error"])
@pytest.mark.parametrize("kind", [ErrorType.API_SERVER_ERROR, ErrorType.GENERIC_ERROR])
def test_in_a_task_an_api_that_fails_is_not_a_missing_connection(
    supervisor: SimpleNamespace, part: str, kind: ErrorType
):
    setattr(supervisor, part, failed(kind))
    with pytest.raises(TransientError, match="could not be looked up") as caught:
        resolve_credential("unit_test_api")
    assert "hidden" not in str(caught.value)

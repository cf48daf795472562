"""From a row's ``credential_ref`` to the secret, through Airflow's connections."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from include.errors import ConfigurationError, TransientError
from include.registry.models import Credential


def resolve_credential(ref: str | None) -> Credential:
    """Return the login, password and extra of the Airflow connection named ``ref``.

    Every secrets backend Airflow is configured with is asked, in its order: inside a task through
    the task's API, in a plain process (``spotlight run``) the environment (``AIRFLOW_CONN_<REF>``),
    an external backend, and last Airflow's metadata database. No ``ref`` gives an empty credential.

    Raises:
        ConfigurationError: No backend knows the connection, or its extra is no object.
        TransientError: A backend did not answer: "could not look it up" is never "not there".
    """
    if not ref:
        return Credential()
    connection = _connection(ref)
    return Credential(
        login=connection.login, password=connection.password, extra=_extra(ref, connection.extra_dejson)
    )


def _connection(ref: str) -> Any:
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        return BaseHook.get_connection(ref)
    except AirflowNotFoundException:
        return _look_again(ref)
    except Exception as error:  # noqa: BLE001 - the text or cause may quote the secret: neither is passed on
        raise _not_looked_up(ref, [type(error).__name__]) from None


def _look_again(ref: str) -> Any:
    """Ask each backend once more: Airflow says "not found" also when one of them did not answer."""
    from airflow.sdk.log import mask_secret

    failures = []
    for backend in _backends():
        try:
            connection = _ask(backend, ref)
        except Exception as error:  # noqa: BLE001 - as above; the next backend may still have it
            failures.append(f"{type(backend).__name__}: {type(error).__name__}")
            continue
        if connection:
            mask_secret(connection.password)
            mask_secret(connection.extra)
            return connection
    if failures:
        raise _not_looked_up(ref, failures) from None
    raise ConfigurationError(
        f"credential_ref {ref!r} is not a readable Airflow connection; add it under Admin > Connections, "
        f"in the secrets backend, or as AIRFLOW_CONN_{ref.upper()}"
    ) from None


def _backends() -> list[Any]:
    """Return Airflow's secrets backends, the metadata database with them where it may be asked.

    Outside a task Airflow's SDK reads environment and external backends only. Inside a task the
    database is out of bounds and the task's API stands for it.
    """
    from airflow.sdk.execution_time.secrets import ExecutionAPISecretsBackend
    from airflow.sdk.execution_time.supervisor import ensure_secrets_backend_loaded
    from airflow.secrets.metastore import MetastoreBackend

    backends = list(ensure_secrets_backend_loaded())
    if any(isinstance(backend, ExecutionAPISecretsBackend | MetastoreBackend) for backend in backends):
        return backends
    return [*backends, MetastoreBackend()]


def _ask(backend: Any, ref: str) -> Any:
    """Return a backend's connection, ``None`` if it has none; whatever it raises means "not known"."""
    from airflow.sdk.execution_time.secrets import ExecutionAPISecretsBackend
    from airflow.secrets.environment_variables import EnvironmentVariablesBackend
    from airflow.secrets.metastore import MetastoreBackend

    if isinstance(backend, ExecutionAPISecretsBackend):
        return _from_task_api(ref)
    if isinstance(backend, MetastoreBackend):
        return _from_metadata_database(backend, ref)
    if isinstance(backend, EnvironmentVariablesBackend):
        with suppress(Exception):  # the environment always answers: what fails is a malformed connection
            return backend.get_connection(ref)
        return None
    return backend.get_connection(ref)


def _from_task_api(ref: str) -> Any:
    """Ask the task's API itself: its backend gives ``None`` for "not there" and "no answer" alike."""
    from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
    from airflow.sdk.execution_time.comms import ConnectionResult, ErrorResponse, GetConnection
    from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

    answer = SUPERVISOR_COMMS.send(GetConnection(conn_id=ref))
    if isinstance(answer, ConnectionResult):
        from airflow.sdk import Connection

        return Connection(**answer.model_dump(exclude={"type"}, by_alias=True))
    if isinstance(answer, ErrorResponse) and answer.error is not ErrorType.CONNECTION_NOT_FOUND:
        raise AirflowRuntimeError(answer)
    return None


def _from_metadata_database(backend: Any, ref: str) -> Any:
    from airflow import settings
    from sqlalchemy import inspect
    from sqlalchemy.exc import SQLAlchemyError

    try:
        return backend.get_connection(ref)
    except SQLAlchemyError:
        if inspect(settings.engine).has_table("connection"):
            raise
        return None  # it answers and was never set up: no Airflow here


def _not_looked_up(ref: str, failures: list[str]) -> TransientError:
    return TransientError(
        f"credential_ref {ref!r} could not be looked up ({', '.join(failures)}): whether it is there is "
        "not known; it is tried again, look at the secrets backend if it stays"
    )


def _extra(ref: str, extra: Any) -> dict[str, str]:
    if not isinstance(extra, dict):
        raise ConfigurationError(f"the extra of connection {ref!r} must be a JSON object")
    return {str(key): value if isinstance(value, str) else str(value) for key, value in extra.items()}

"""From a row's ``credential_ref`` to the secret, through Airflow's connections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from include.errors import ConfigurationError, TransientError
from include.registry.models import Credential

if TYPE_CHECKING:
    from airflow.sdk import Connection


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


def _connection(ref: str) -> Connection:
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException

    connection: Connection | None
    try:
        connection = BaseHook.get_connection(ref)
    except AirflowNotFoundException:
        connection = _from_metadata_database(ref)
    except Exception as error:  # noqa: BLE001 - the text or cause may quote the secret: neither is passed on
        raise TransientError(
            f"credential_ref {ref!r} could not be looked up ({type(error).__name__}): whether it is there is "
            "not known; it is tried again, look at the secrets backend if it stays"
        ) from None
    if connection is None:
        raise ConfigurationError(
            f"credential_ref {ref!r} is not a readable Airflow connection; add it under Admin > Connections, "
            f"in the secrets backend, or as AIRFLOW_CONN_{ref.upper()}"
        ) from None
    return connection


def _from_metadata_database(ref: str) -> Any:
    """Return the connection as the metadata database has it, ``None`` where it may not be asked.

    Outside a task Airflow's SDK reads environment and external backends only. Inside a task the
    database is out of bounds and Airflow refuses the attempt.
    """
    from airflow.secrets.metastore import MetastoreBackend

    try:
        return MetastoreBackend().get_connection(ref)
    except Exception:  # noqa: BLE001 - refused, unreachable or not set up: all mean "not there"
        return None


def _extra(ref: str, extra: Any) -> dict[str, str]:
    if not isinstance(extra, dict):
        raise ConfigurationError(f"the extra of connection {ref!r} must be a JSON object")
    return {str(key): value if isinstance(value, str) else str(value) for key, value in extra.items()}

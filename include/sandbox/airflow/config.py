"""The one table of Airflow settings for the local stack, and why each differs from the default."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from include.settings import PROJECT_ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from include.sandbox.airflow.keys import AirflowKeys

ADMIN_USER = "admin"


class Option(NamedTuple):
    """One Airflow option: ``[section] key = value``, and the reason it is set."""

    section: str
    key: str
    value: str
    why: str

    @property
    def variable(self) -> str:
        """Return the environment variable Airflow reads the option from."""
        return f"AIRFLOW__{self.section.upper()}__{self.key.upper()}"


@dataclass(frozen=True, slots=True)
class AirflowPlace:
    """Where one local Airflow keeps its files: ``<stack home>/airflow``."""

    home: Path

    @property
    def passwords(self) -> Path:
        """Return the file from which the simple auth manager reads the admin's password."""
        return self.home / "passwords.json"

    @property
    def logs(self) -> Path:
        """Return the folder of task logs."""
        return self.home / "logs"


def options(place: AirflowPlace, *, dsn: str, port: int, keys: AirflowKeys, parallelism: int) -> list[Option]:
    """Return the table.

    Args:
        place: The files of this Airflow.
        dsn: libpq URI of the metadata database.
        port: The API server's port on 127.0.0.1.
        keys: Secrets generated once per home.
        parallelism: Tasks at once; each keeps a worker process of about 145 MB.
    """
    url = f"http://127.0.0.1:{port}"
    return [
        Option("core", "executor", "LocalExecutor", "workers are forked from the warm scheduler"),
        Option("core", "mp_start_method", "fork", "Python 3.14's default would start cold workers"),
        Option("core", "parallelism", str(parallelism), "the default of 32 workers needs 4.5 GB"),
        Option("core", "load_examples", "False", "only our own DAGs"),
        Option("core", "dags_folder", str(PROJECT_ROOT / "dags"), "the default DAG bundle points here"),
        Option("core", "plugins_folder", str(PROJECT_ROOT / "plugins"), "the project's, not the home's"),
        Option("core", "dags_are_paused_at_creation", "False", "the config table says what is paused"),
        Option("core", "min_serialized_dag_update_interval", "0", "a row changed twice shows at once"),
        Option("core", "execution_api_server_url", f"{url}/execution/", "tasks report to this port"),
        Option("core", "simple_auth_manager_users", f"{ADMIN_USER}:admin", "one user, role admin"),
        Option("core", "simple_auth_manager_passwords_file", str(place.passwords), "a password of ours"),
        Option("core", "fernet_key", keys.fernet_key, "connections stay readable after a restart"),
        Option("database", "sql_alchemy_conn", sqlalchemy_url(dsn), "SQLite answers 500 under load"),
        Option("api", "host", "127.0.0.1", "the default is 0.0.0.0: reachable from the network"),
        Option("api", "port", str(port), "free when it was chosen"),
        Option("api", "base_url", url, "links and redirects stay on this address"),
        Option("api", "workers", "1", "each costs 400 MB"),
        Option("api", "secret_key", keys.secret_key, "sessions survive a restart"),
        Option("api_auth", "jwt_secret", keys.jwt_secret, "shared by all components, kept over restarts"),
        Option("workers", "execution_api_timeout", "60", "5 s is too short for a loaded small machine"),
        Option("dag_processor", "min_file_process_interval", "120", "a changed row's file is read at once"),
        Option("dag_processor", "file_parsing_sort_mode", "alphabetical", "files asked for stay in front"),
        Option("dag_processor", "refresh_interval", "10", "a new DAG file is seen within seconds"),
        Option("dag_processor", "parsing_processes", "1", "few files; leave the cores to the tasks"),
        Option("scheduler", "task_instance_heartbeat_timeout", "60", "tasks cut off by a kill -9 retry soon"),
        Option("scheduler", "parsing_cleanup_interval", "10", "a disabled row's DAG leaves the list soon"),
        Option("triggerer", "capacity", "100", "a handful of watchers"),
        Option("logging", "colored_console_log", "False", "components log to files"),
        Option("logging", "base_log_folder", str(place.logs), "beside the other files of this home"),
    ]


def airflow_environment(
    place: AirflowPlace, table: list[Option], *, stack: Mapping[str, str]
) -> dict[str, str]:
    """Return the whole environment of every Airflow component.

    Args:
        place: The files of this Airflow.
        table: What ``options`` returns.
        stack: The stack's ``SPOTLIGHT_*`` variables.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    binaries = Path(sys.executable).parent
    past_proxies = ",".join(filter(None, (inherited.get("NO_PROXY"), "127.0.0.1,localhost")))
    return (
        inherited
        | dict(stack)
        | {
            "AIRFLOW_HOME": str(place.home),
            "PATH": f"{binaries}{os.pathsep}{inherited.get('PATH', os.defpath)}",
            "PYTHONPATH": str(PROJECT_ROOT),
            "PYTHONUNBUFFERED": "1",
            # Tasks report to the API server on the loopback: a proxy for the outside world is no way there.
            "NO_PROXY": past_proxies,
            "no_proxy": past_proxies,
            # Neither of the two may call home.
            "GX_ANALYTICS_ENABLED": "false",
            "RUNTIME__DLTHUB_TELEMETRY": "false",
            # Worker processes are the parallelism here; threads on top of them only get in each other's way.
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
        }
        | {option.variable: option.value for option in table}
    )


def sqlalchemy_url(dsn: str) -> str:
    """Return a libpq URI as SQLAlchemy's; it names psycopg2, since SQLAlchemy 2.1 would take psycopg 3."""
    scheme, separator, rest = dsn.partition("://")
    if not separator or scheme.split("+")[0] not in ("postgresql", "postgres"):
        raise ValueError("the metadata database must be a postgresql:// URI (SPOTLIGHT_AIRFLOW_DSN)")
    return f"postgresql+psycopg2://{rest}"

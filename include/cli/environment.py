"""Where the commands find the servers: the environment first, else the local stack's env file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from include.settings import PROJECT_ROOT

if TYPE_CHECKING:
    from pathlib import Path

LOCAL_HOME = PROJECT_ROOT / ".local" / "run"


def use_local_stack(home: Path = LOCAL_HOME) -> bool:
    """Complete the environment with the local stack of ``home``; what is set already wins.

    Does nothing where a ``SPOTLIGHT_*`` variable says that the caller has servers of his own, or where
    no local stack was ever started.

    Returns:
        Whether the local stack is used.
    """
    env_file = home / "stack.env"
    if any(name.startswith("SPOTLIGHT_") for name in os.environ) or not env_file.is_file():
        return False
    from include.sandbox.stack.stack import read_env_file

    values = read_env_file(env_file)
    os.environ.update(values)
    _use_local_airflow(home / "airflow", values.get("SPOTLIGHT_AIRFLOW_DSN"))
    return True


def _use_local_airflow(folder: Path, dsn: str | None) -> None:
    """Let Airflow's connections, where credentials are kept, be read in this process."""
    from include.sandbox.airflow.config import AirflowPlace, sqlalchemy_url
    from include.sandbox.airflow.keys import load_keys

    if dsn is None or not (folder / "keys.json").is_file():
        return
    os.environ.setdefault("AIRFLOW_HOME", str(folder))
    os.environ.setdefault("AIRFLOW__CORE__FERNET_KEY", load_keys(AirflowPlace(folder)).fernet_key)
    os.environ.setdefault("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", sqlalchemy_url(dsn))

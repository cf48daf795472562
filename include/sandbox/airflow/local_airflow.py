"""Start, watch and stop Airflow's four components as recorded children of one home.

``airflow standalone`` is not used: its children outlive it, and it listens on every interface.
"""

from __future__ import annotations

import socket
import sys
import time
from typing import TYPE_CHECKING

from include.sandbox.airflow import database
from include.sandbox.airflow.client import AirflowApi
from include.sandbox.airflow.config import AirflowPlace, airflow_environment, options
from include.sandbox.airflow.keys import load_keys
from include.sandbox.stack.errors import StackError
from include.sandbox.stack.ports import is_free
from include.settings import PROJECT_ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from include.sandbox.stack.processes import ProcessBook

API_SERVER = "airflow-api-server"
# Logs are read from the shared folder: the log servers (8793, 8794, every interface) stay off, so two
# clones do not meet there.
COMMANDS: dict[str, tuple[str, ...]] = {
    API_SERVER: ("api-server",),
    "airflow-scheduler": ("scheduler", "--skip-serve-logs"),
    "airflow-dag-processor": ("dag-processor",),
    "airflow-triggerer": ("triggerer", "--skip-serve-logs"),
}
START_TIMEOUT = 180.0
TELL_EVERY = 10.0
# The scheduler waits for its running tasks, which are safe to cut off; an interpreter of this size takes
# another four seconds to end, which nobody needs to wait for: all state is in the database.
STOP_TIMEOUT = 4.0
API_STOP_TIMEOUT = 1.0


class LocalAirflow:
    """One Airflow on top of one stack.

    Args:
        book: The stack's process book: the components are entries of it.
        stack: The stack's environment (``SPOTLIGHT_*``); SPOTLIGHT_AIRFLOW_DSN names the metadata database.
        parallelism: Tasks at once.
        on_progress: Called with one short line at every step.
    """

    def __init__(
        self,
        book: ProcessBook,
        stack: Mapping[str, str],
        *,
        parallelism: int = 4,
        on_progress: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self._book = book
        self._progress = on_progress
        self._dsn = _metadata_dsn(stack)
        self.place = AirflowPlace(book.home / "airflow")
        self.keys = load_keys(self.place)
        self.port = _stable_port(self.place.home / "port", in_use=book.alive(API_SERVER))
        self.url = f"http://127.0.0.1:{self.port}"
        table = options(self.place, dsn=self._dsn, port=self.port, keys=self.keys, parallelism=parallelism)
        self.environment = airflow_environment(self.place, table, stack=stack)
        self.api = AirflowApi(self.url, self.keys.admin_password)

    def up(self) -> None:
        """Migrate the database when needed, start the components and wait until all are healthy.

        Raises:
            StackError: A component died or is not healthy in time; the line has its reason and log.
        """
        _link_config(self.place)
        if not database.is_migrated(self.place, self._dsn):
            self._progress("migrating Airflow's database (once)")
            database.migrate(self.place, self._dsn, self.environment)
        self._progress("starting Airflow")
        for name, command in COMMANDS.items():
            if not self._book.alive(name):
                self._book.spawn(
                    name,
                    [sys.executable, "-m", "airflow", *command],
                    env=self.environment,
                    cwd=self.place.home,
                )
        self._wait_until_healthy()

    def down(self) -> None:
        """Stop the components with everything they started; the API server last: tasks report to it."""
        self.api.close()
        self._book.end_leftovers(set(COMMANDS) - {API_SERVER}, timeout=STOP_TIMEOUT)
        self._book.stop(API_SERVER, timeout=API_STOP_TIMEOUT)

    def check(self) -> None:
        """Raise when a component has died.

        Raises:
            StackError: One line with the component, its last telling log line and the log's path.
        """
        for name in COMMANDS:
            if not self._book.alive(name):
                raise StackError(self._book.death_notice(name))

    def _wait_until_healthy(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        told = time.monotonic()
        while True:
            self.check()
            health = self.api.health()
            healthy = {name for name, state in health.items() if state == "healthy"}
            if health and len(healthy) == len(health):
                self._progress(f"Airflow: {', '.join(sorted(healthy))} healthy")
                return
            if time.monotonic() - told > TELL_EVERY:
                told = time.monotonic()
                ready = ", ".join(sorted(healthy)) or "its API server does not answer yet"
                self._progress(f"waiting for Airflow: {ready}")
            if time.monotonic() > deadline:
                late = ", ".join(sorted(set(health) - healthy)) or "the API server"
                logs = self._book.log_path(API_SERVER).parent
                raise StackError(f"Airflow: {late} not healthy after {START_TIMEOUT:.0f} s; logs: {logs}")
            time.sleep(0.5)


def _metadata_dsn(stack: Mapping[str, str]) -> str:
    dsn = stack.get("SPOTLIGHT_AIRFLOW_DSN")
    if not dsn:
        raise StackError("SPOTLIGHT_AIRFLOW_DSN is not set: Airflow needs a PostgreSQL database of its own")
    return dsn


def _stable_port(kept: Path, *, in_use: bool) -> int:
    """Return the port of the last start while it is free (or ours), so that the UI's address stays."""
    try:
        port = int(kept.read_text())
    except (OSError, ValueError):
        port = 0
    if not (port and (in_use or is_free(port))):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(str(port))
    return port


def _link_config(place: AirflowPlace) -> None:
    """Let ``$AIRFLOW_HOME/config`` be the project's: airflow_local_settings.py warms the workers."""
    link = place.home / "config"
    target = PROJECT_ROOT / "config"
    if link.is_symlink() and link.readlink() == target:
        return
    link.unlink(missing_ok=True)
    link.symlink_to(target, target_is_directory=True)

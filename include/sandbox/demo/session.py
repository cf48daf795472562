"""One local session: the stack, the registry and Airflow on top; all of it stopped at the end."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from include.prepare import prepare
from include.sandbox.airflow.local_airflow import LocalAirflow
from include.sandbox.airflow.settings_file import load_settings, read_settings_file
from include.sandbox.demo.locks import sole_user
from include.sandbox.demo.rows import insert_partners, partner_urls
from include.sandbox.demo.signals import shielded_from_signals
from include.sandbox.stack import LocalStack
from include.sandbox.stack.processes import ProcessBook
from include.settings import PROJECT_ROOT
from include.storage.mongo import IntegrationStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from include.settings import Settings

    Progress = Callable[[str], None]

SETTINGS_FILE = PROJECT_ROOT / "airflow_settings.yaml"


@dataclass(frozen=True, slots=True)
class Session:
    """What a flow works with while everything is up."""

    stack: Mapping[str, str]
    settings: Settings
    airflow: LocalAirflow
    store: IntegrationStore

    @property
    def urls(self) -> dict[str, str]:
        """Return the partners' addresses by npo_id."""
        return partner_urls(self.stack)

    def add_partners(self) -> None:
        """Put the partners' rows into the config table: their DAGs follow by themselves."""
        insert_partners(self.settings.registry_dsn.get_secret_value(), self.urls)


@contextlib.contextmanager
def local_session(home: Path, *, wipe: bool, on_progress: Progress) -> Iterator[Session]:
    """Bring everything up, yield, and stop all of it however the block ends.

    Leftovers of an earlier session of this home (a kill -9, a crash) are ended first.

    Args:
        home: Folder of this session's data; it stays, unless ``wipe`` empties it at the start.
        wipe: Start from nothing.
        on_progress: Called with one short line at every step, from several threads.

    Raises:
        StackError: Something does not start; one line says what and what to do.
    """
    settings_file = read_settings_file(SETTINGS_FILE)
    with sole_user(home):
        _clear_away(home, wipe=wipe, on_progress=on_progress)
        cleanup = contextlib.ExitStack()
        try:
            session = _bring_up(home, cleanup, on_progress)
            on_progress("loading airflow_settings.yaml")
            load_settings(session.airflow.api, settings_file)
            yield session
        finally:
            # Stopping is bounded, and half-stopped is what leaves leftovers: nothing may interrupt it.
            with shielded_from_signals():
                cleanup.callback(on_progress, "stopping everything")
                cleanup.close()


def _clear_away(home: Path, *, wipe: bool, on_progress: Progress) -> None:
    if ended := ProcessBook(home).end_leftovers():
        on_progress(f"ended {len(ended)} processes that an earlier session left behind")
    if wipe:
        shutil.rmtree(home)


def _bring_up(home: Path, cleanup: contextlib.ExitStack, on_progress: Progress) -> Session:
    """Start stack and Airflow; what has to be stopped later goes to ``cleanup``, the last one first."""
    stack = LocalStack(home)
    cleanup.callback(stack.book.end_leftovers)
    cleanup.callback(stack.down)
    on_progress("starting the local stack")
    settings = stack.up(lambda server, state: on_progress(f"{server}: {state}"))
    store = IntegrationStore(settings)
    cleanup.callback(store.close)
    prepare(settings)
    airflow = LocalAirflow(stack.book, stack.env(), on_progress=on_progress)
    cleanup.callback(airflow.down)
    airflow.up()
    return Session(stack.env(), settings, airflow, store)

"""Starts, beside the triggerer, the thread that keeps the DAGs' switches in step with the registry."""

from __future__ import annotations

import logging
import sys
import threading

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin

log = logging.getLogger(__name__)


class TriggererStart:
    """Listens for the start of the triggerer.

    The triggerer may use the metadata database, and forks only once, before the thread's first look.
    Scheduler and DAG processor fork all the time: a thread of ours there could leave a lock held in a
    child. Airflow does not say which component starts (``job_type`` is set later), the command line does.
    """

    @hookimpl
    def on_starting(self, component: object) -> None:
        """Start following the registry if this is a triggerer; never fail."""
        if type(component).__name__ != "Job" or sys.argv[1:2] != ["triggerer"]:
            return
        try:
            _start()
        except Exception:
            log.exception("the DAGs' switches will not follow the registry")


def _start() -> None:
    from include.registry.follower import follow
    from include.settings import get_settings

    threading.Thread(
        target=follow, args=(get_settings(), threading.Event()), name="registry-follower", daemon=True
    ).start()


class RegistryFollower(AirflowPlugin):
    """Airflow's handle on the listener."""

    name = "registry_follower"
    listeners = [TriggererStart()]  # noqa: RUF012 - the base class declares it

"""Tell that a run failed or is late: one structured log line each, ready for any log-based alert.

A line names DAG, task, run and the kind of failure. The message is added only for errors of our
own taxonomy, which by its rule hold no personal data and no secret; the text of any other exception
(a driver's, say) may quote a record, so only its class is told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog
from airflow.sdk import BaseNotifier

from include.errors import IntegrationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.sdk import Context


class FailureNotifier(BaseNotifier):
    """Writes the event ``task_failed`` when a task has failed for good."""

    def notify(self, context: Context) -> None:
        """Log the failure of ``context``'s task instance."""
        structlog.get_logger("spotlight.alerts").error("task_failed", **failure(context))

    async def async_notify(self, context: Context) -> None:
        """Do the same where Airflow awaits its notifiers."""
        self.notify(context)


def failure(context: Context) -> dict[str, Any]:
    """Return what may be told about a failed task instance."""
    instance = context["ti"]
    exception = context.get("exception")
    told: dict[str, Any] = {
        "dag_id": instance.dag_id,
        "task_id": instance.task_id,
        "run_id": instance.run_id,
        "try_number": instance.try_number,
        "failure": type(exception).__name__ if isinstance(exception, BaseException) else "unknown",
    }
    if isinstance(exception, IntegrationError):
        told["message"] = str(exception)
    return told


async def deadline_missed(context: Mapping[str, Any], within: str) -> None:
    """Write the event ``deadline_missed`` for a run that is not done in time; the triggerer calls it.

    Args:
        context: The run, as Airflow sends it: ``{"dag_run": {"dag_id": .., "dag_run_id": .., ..}, ..}``.
        within: The time the run had, in words.
    """
    run = context["dag_run"]
    structlog.get_logger("spotlight.alerts").error(
        "deadline_missed", dag_id=run.get("dag_id"), run_id=run.get("dag_run_id"), within=within
    )

"""What every DAG and task here must have, and the values most of them share."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryDecision, RetryRule
from airflow.sdk.definitions.callback import AsyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference

from include.errors import IntegrationError, NotYetError, RateLimitedError, TransientError
from include.notify import FailureNotifier, deadline_missed
from include.settings import PROJECT_ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow.sdk import DAG, BaseOperator, Context

EXTRACT_POOL = "npo_extract"
STORE_POOL = "integration_store"
ESR_POOL = "esr_exchange"
ENROLMENT_POOL = "npo_enrolment"

RATE_LIMIT_WAIT = timedelta(minutes=15)
SHORTEST_LOOK = timedelta(seconds=30)
"""Between two looks for what is not there yet: each uses up a try, and together they outlast a failover."""
LONGEST_WAIT = timedelta(hours=6)


class TaxonomyRetryPolicy(ExceptionRetryPolicy):
    """Retry as the failure taxonomy says: the class of the error decides.

    Anything else (a driver's own error, a bug) falls back to the task's retries.
    """

    def __init__(self) -> None:
        super().__init__(
            rules=[
                RetryRule(RateLimitedError, RetryAction.RETRY, RATE_LIMIT_WAIT, "the partner throttles us"),
                RetryRule(TransientError, RetryAction.RETRY, reason="the other side is unwell"),
                RetryRule(IntegrationError, RetryAction.FAIL, reason="trying again cannot help"),
            ]
        )

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Context | None = None
    ) -> RetryDecision:
        """Return the decision; who said when to come back is taken at his word, within reason."""
        if isinstance(exception, (RateLimitedError, NotYetError)) and exception.retry_after is not None:
            shortest = SHORTEST_LOOK if isinstance(exception, NotYetError) else timedelta()
            wait = min(max(timedelta(seconds=max(exception.retry_after, 0)), shortest), LONGEST_WAIT)
            return RetryDecision.retry(wait, "it was said when to come back")
        return super().evaluate(exception, try_number, max_tries, context)


def task_defaults(*, execution_timeout: timedelta = timedelta(hours=2)) -> dict[str, Any]:
    """Return ``default_args`` for a DAG: retries, back-off, time-out and notifier (not the owner)."""
    return {
        "retries": 3,
        "retry_delay": timedelta(seconds=30),
        "retry_exponential_backoff": 4,
        "max_retry_delay": timedelta(minutes=30),
        "retry_policy": TaxonomyRetryPolicy(),
        "execution_timeout": execution_timeout,
        "on_failure_callback": [FailureNotifier()],
    }


def exchange_dag(description: str, page: str) -> dict[str, Any]:
    """Return what every DAG of the ESR exchange is given beside its id and schedule: one run at a time."""
    return {
        "description": description,
        "doc_md": page,
        "start_date": datetime(2026, 1, 1, tzinfo=UTC),
        "catchup": False,
        "max_active_runs": 1,
        "default_args": {"owner": "esr-exchange", **task_defaults()},
        "deadline": deadline(timedelta(hours=4)),
        "tags": ["esr"],
    }


def deadline(within: timedelta) -> DeadlineAlert:
    """Return the alert of a run that is not done ``within`` this time of being queued."""
    return DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=within,
        callback=AsyncCallback(deadline_missed, kwargs={"within": str(within)}),
    )


def is_ours(dag: DAG | None) -> bool:
    """Return whether a DAG is of this project: its file lies in the ``dags`` folder beside ``include``."""
    return dag is not None and _in_our_folder(dag.fileloc)


@lru_cache(maxsize=256)
def _in_our_folder(fileloc: str) -> bool:
    """Remembered: a file is asked about once for each of its DAGs and tasks."""
    return Path(fileloc).resolve().is_relative_to(PROJECT_ROOT / "dags")


def dag_violations(dag: DAG) -> list[str]:
    """Return what a DAG lacks of the rules; empty when all is there."""
    return [
        *_when(not dag.tags, "at least one tag"),
        *_when(not dag.doc_md, "doc_md"),
        *_when(dag.catchup, "catchup=False: an interval is run again by a backfill, not by a new deployment"),
    ]


def task_violations(task: BaseOperator) -> list[str]:
    """Return what a task lacks of the rules; empty when all is there."""
    return [
        *_when(task.owner in {"", "airflow"}, "an owner"),
        *_when(not task.retries, "explicit retries"),
        *_when(task.retry_policy is None, "a retry_policy (TaxonomyRetryPolicy)"),
        *_when(task.execution_timeout is None, "an execution_timeout"),
        *_when(task.pool == "default_pool", "a pool of its own"),
        *_when(not task.on_failure_callback, "an on_failure_callback (FailureNotifier)"),
    ]


def _when(lacking: object, what: str) -> Iterable[str]:
    return (what,) if lacking else ()

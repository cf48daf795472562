"""Loaded by every Airflow process at start: policies for our own DAGs, warm imports for the workers.

Airflow finds it in ``$AIRFLOW_HOME/config`` (the image's layout) or anywhere on ``PYTHONPATH``.
"""

# ruff: noqa: INP001 - Airflow imports it as a top-level module

from __future__ import annotations

import contextlib
import importlib
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow.sdk import DAG, BaseOperator

__all__ = ["dag_policy", "task_policy"]

# What the files in dags/ import. The DAG processor forks for each reading, the scheduler's worker for
# each task: each fork would pay for them again, 0.18 s of a core in the 0.28 s of all imports.
_DAG_FILES = (
    "airflow.dag_processing.dagbag",
    "airflow.providers.standard.utils.skipmixin",
    "airflow.sdk.definitions.dag",
    "airflow.sdk.definitions.decorators",
    "airflow.sdk.definitions.retry_policy",
    "airflow.sdk.definitions.timetables.interval",
    "psycopg.types.json",
    "pydantic_settings",
    "dotenv",
    "jmespath",
    "croniter",
    "yaml",
)

# What Airflow itself imports when it serialises the first DAG of a file.
_SERIALISING = (
    "airflow.providers.standard.operators.trigger_dagrun",
    "airflow.providers.standard.sensors.external_task",
)

# In the order of their cost: what the stages import when they run.
_HEAVY = (
    "great_expectations",
    "pandas",
    "pyarrow.csv",
    "dlt.sources.helpers.rest_client",
    "aiohttp",
    "asyncssh",
    "pymongo",
    "boto3",
)


def dag_policy(dag: DAG) -> None:
    """Refuse a DAG of this project without tags or doc_md, or one that would catch up by itself."""
    from include.dag_policy import dag_violations, is_ours

    if is_ours(dag):
        _refuse(f"DAG {dag.dag_id}", dag_violations(dag))


def task_policy(task: BaseOperator) -> None:
    """Refuse a task of this project without owner, retries, retry policy, time-out, pool or notifier."""
    from include.dag_policy import is_ours, task_violations

    if is_ours(task.get_dag()):
        _refuse(f"task {task.dag_id}.{task.task_id}", task_violations(task))


def _refuse(what: str, violations: list[str]) -> None:
    if violations:
        from airflow.exceptions import AirflowClusterPolicyViolation

        raise AirflowClusterPolicyViolation(f"{what} needs {'; '.join(violations)}")


def _warm(*modules: str) -> None:
    for name in modules:
        with contextlib.suppress(ImportError):  # a slim image may do without: then that worker pays itself
            importlib.import_module(name)


# LocalExecutor forks its workers from the scheduler, so what is imported here is there in every task:
# five tasks that use great_expectations take 5 s instead of 19 s. No other process has a use for it.
# Nothing of include/ is among it: code is read afresh by each fork.
if sys.argv[1:2] == ["scheduler"]:
    _warm(*_DAG_FILES, *_HEAVY)
if sys.argv[1:2] == ["dag-processor"]:
    _warm(*_DAG_FILES, *_SERIALISING)

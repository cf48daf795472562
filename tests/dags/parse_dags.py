"""Parses ``dags/`` as the DAG processor does and prints what came of it as one JSON line.

With ``--serve`` it imports Airflow once and then forks a child for each line of environment variables
(JSON) on its standard input, as the DAG processor forks for each file.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

HEAVY = (
    "pandas", "numpy", "pyarrow", "great_expectations", "pymongo", "bson", "boto3", "botocore", "dlt",
    "requests", "paramiko", "asyncssh", "aiohttp", "orjson",
)  # fmt: skip
network: list[str] = []


def watch(event: str, arguments: tuple[object, ...]) -> None:
    """Note each connection made from Python; libpq (the registry query) makes its own in C."""
    if event in {"socket.connect", "socket.getaddrinfo", "sqlite3.connect"}:
        network.append(f"{event} {arguments[-1]}")


def note_statements() -> list[str]:
    """Return a list that fills with the statements sent through psycopg."""
    import psycopg

    sent: list[str] = []
    execute = psycopg.Connection.execute

    def noted(connection: Any, statement: Any, *rest: Any, **more: Any) -> Any:
        sent.append(" ".join(str(statement).split()))
        return execute(connection, statement, *rest, **more)

    psycopg.Connection.execute = noted  # type: ignore[method-assign,assignment]
    return sent


def main() -> None:
    """Parse, serialise, print."""
    from airflow.dag_processing.dagbag import DagBag
    from airflow.serialization.serialized_objects import DagSerialization

    statements = note_statements()
    sys.addaudithook(watch)
    began, busy = time.monotonic(), time.process_time()
    bag = DagBag(dag_folder=os.environ["AIRFLOW__CORE__DAGS_FOLDER"])
    parsed, busy = time.monotonic(), time.process_time() - busy
    result: dict[str, object] = {
        "errors": bag.import_errors,
        "modules": [name for name in HEAVY if name in sys.modules],
        "network": list(network),
        "statements": list(statements),
        "violations": violations(bag),
    }
    checked = time.monotonic()
    dags = {dag_id: DagSerialization.to_dict(dag) for dag_id, dag in bag.dags.items()}
    result["dags"] = dags
    result["parse_cpu_seconds"] = round(busy, 2)
    result["parse_seconds"] = round(parsed - began, 2)
    result["serialize_seconds"] = round(time.monotonic() - checked, 2)
    result["next_runs"] = {dag_id: next_runs(dag) for dag_id, dag in list(dags.items())[:4]}
    sys.stdout.write(json.dumps(result, sort_keys=True) + "\n")


def next_runs(serialized: dict[str, Any]) -> list[str]:
    """Return when the scheduler, which reads the DAG back, would next run it after two moments."""
    import pendulum
    from airflow.serialization.serialized_objects import DagSerialization
    from airflow.timetables.base import DataInterval, TimeRestriction

    timetable = DagSerialization.from_dict(serialized).timetable
    moments = (pendulum.datetime(2026, 3, 28, 12), pendulum.datetime(2026, 10, 25, 12))
    runs = (
        timetable.next_dagrun_info(
            last_automated_data_interval=DataInterval.exact(moment),
            restriction=TimeRestriction(earliest=None, latest=None, catchup=True),
        )
        for moment in moments
    )
    return [
        run.data_interval.start.in_timezone("UTC").isoformat() for run in runs if run and run.data_interval
    ]


def violations(bag: Any) -> list[str]:
    """Return each rule of the DAG policy that some DAG or task breaks."""
    from include.dag_policy import dag_violations, task_violations

    found = []
    for dag_id, dag in bag.dags.items():
        found += [f"{dag_id}: {what}" for what in dag_violations(dag)]
        for task in dag.tasks:
            found += [f"{dag_id}.{task.task_id}: {what}" for what in task_violations(task)]
    return found


def serve() -> None:
    """Parse in a child for each line on standard input."""
    import airflow.dag_processing.dagbag
    import airflow.serialization.serialized_objects  # noqa: F401

    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            os.environ.update(json.loads(line))
            main()
            sys.stdout.flush()
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status:
            sys.stdout.write(json.dumps({"failed": status}) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    serve() if "--serve" in sys.argv else main()

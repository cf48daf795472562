"""What the generated DAGs cost at 100, 1,000 and 10,000 rows, beside one plain file that builds them all.

Prints one JSON line. Ours: one DAG file a shard, and for a task start the one DAG it needs. The peer: the
plain way, one DAG file that reads all rows and builds all DAGs, whoever asks; the DAGs are the same. Each
is a process of its own, so that peak memory is its own.

    .venv/bin/python -m benchmarks.dag_factory [--rows 100 1000 10000] [--sides ours plain]

- ``parse_seconds``: all files through Airflow's own importer, and every DAG serialised, each in a fork of
  a DAG processor; ``worst_file_seconds`` is the slowest file (limits: 30 s to import, 50 s in all).
- ``start_ms``: what the file adds to the start of one task, all our imports included: in a fork of the
  scheduler (``worker``: what LocalExecutor does for each task), and in a process that has imported Airflow
  and nothing else (``cold``).

Seconds are of the CPU where it says ``cpu``: the machine may be shared.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from include.settings import PROJECT_ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

HOME = PROJECT_ROOT / ".local" / "bench-dags"  # its own: another benchmark may be running
DATABASE = "dag_factory"
DAGS = PROJECT_ROOT / "dags"
STARTS = 5
SLOW_START = 2_000  # ms; then imports are a small part of it, and more of them are a long wait
SIDES = ("ours", "plain")
PLAIN = """\
from airflow.sdk import DAG
from include.registry import queries
from include.registry.catalogue import parse_rows
from include.registry.dags import npo_dag
from include.settings import get_settings

settings = get_settings()
for npo in parse_rows(queries.active_rows(settings.registry_dsn.get_secret_value(), 60))[0]:
    globals()[npo.dag_id] = npo_dag(npo)
"""


def main() -> None:
    """Run the benchmark, or one measured child of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[100, 1_000, 10_000])
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--child", choices=sorted(CHILDREN), help=argparse.SUPPRESS)
    parser.add_argument("--files", nargs="+", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--dag-id", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        # config/airflow_local_settings.py looks there for what this process stands for.
        sys.argv = ["airflow", COMPONENTS[options.child]]
        figures = CHILDREN[options.child](options.files, options.dag_id)
        print(json.dumps({"peak_mib": peak_mib()} | figures))
    else:
        print(json.dumps(compare(options.rows, options.sides)))


def compare(sizes: list[int], sides: list[str]) -> dict[str, Any]:
    """Measure the sides at each size and return the figures."""
    from include.sandbox.stack.stack import LocalStack

    stack = LocalStack(HOME, services=("postgres",))
    stack.up()
    try:
        with tempfile.TemporaryDirectory() as folder:
            plain = Path(folder) / "plain_npo_dags.py"
            plain.write_text(PLAIN)
            environment = _environment(stack.env()["SPOTLIGHT_REGISTRY_DSN"], Path(folder))
            return {"benchmark": "dag_factory", "cpus": os.cpu_count()} | {
                str(rows): measure(rows, sides, plain, environment) for rows in sizes
            }
    finally:
        stack.down()


def measure(rows: int, sides: list[str], plain: Path, environment: dict[str, str]) -> dict[str, Any]:
    """Return the figures of each side with so many rows in the registry."""
    from include.registry.shards import SHARDS, shard_file, shard_of

    fill(environment["SPOTLIGHT_REGISTRY_DSN"], rows)
    npo_id = f"npo_{rows // 2}"
    shards = [DAGS / shard_file(shard) for shard in range(SHARDS)]
    files = {"ours": (shards, [DAGS / shard_file(shard_of(npo_id))]), "plain": ([plain], [plain])}
    figures = {}
    for side in sides:
        to_parse, started = files[side]
        figures[side] = run_child("parse", to_parse, environment)
        starts = partial(run_child, files=started, environment=environment, dag_id=f"npo__{npo_id}")
        figures[side]["start_ms"] = {"worker": starts("start_worker"), "cold": starts("start_cold")}
    return figures


def run_child(
    name: str, files: list[Path], environment: dict[str, str], *, dag_id: str = ""
) -> dict[str, Any]:
    """Run one measurement in a process of its own and return its figures."""
    argv = [sys.executable, "-m", "benchmarks.dag_factory", "--child", name, "--dag-id", dag_id, "--files"]
    done = subprocess.run(
        [*argv, *map(str, files)],
        env=environment,
        cwd=PROJECT_ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(f"{name} {files[0].name}: {json.dumps(figures)}", file=sys.stderr)
    return figures


def measure_parse(files: list[Path], _dag_id: str) -> dict[str, Any]:
    """Import and serialise every file as the DAG processor does: each in a fork of a process with Airflow."""
    import airflow.dag_processing.dagbag
    import airflow.serialization.serialized_objects  # noqa: F401 - the forks have them

    parsed = [_in_a_fork(partial(_parse, file)) for file in files]
    return {
        "dags": sum(one["dags"] for one in parsed),
        "parse_seconds": round(sum(one["wall"] for one in parsed), 2),
        "parse_cpu_seconds": round(sum(one["cpu"] for one in parsed), 2),
        "worst_file_seconds": round(max(one["wall"] for one in parsed), 2),
        "worst_file_cpu_seconds": round(max(one["cpu"] for one in parsed), 2),
        "bytes_per_dag": round(sum(one["bytes"] for one in parsed) / sum(one["dags"] for one in parsed)),
        "peak_mib": max(one["peak_mib"] for one in parsed),
    }


def _parse(file: Path) -> dict[str, float]:
    from airflow.dag_processing.dagbag import DagBag
    from airflow.serialization.serialized_objects import DagSerialization

    wall, cpu = time.perf_counter(), time.process_time()
    bag = DagBag(dag_folder=file, bundle_path=file.parent, bundle_name="dags-folder")
    if bag.import_errors:
        raise RuntimeError(bag.import_errors)
    sizes = [len(json.dumps(DagSerialization.to_dict(dag))) for dag in bag.dags.values()]
    return {
        "dags": len(sizes),
        "bytes": sum(sizes),
        "wall": time.perf_counter() - wall,
        "cpu": time.process_time() - cpu,
        "peak_mib": peak_mib(),
    }


def _in_a_fork(work: Callable[[], dict[str, float]]) -> dict[str, float]:
    receive, send = os.pipe()
    gc.freeze()  # as Airflow's DAG processor and LocalExecutor do before they fork
    if (child := os.fork()) == 0:
        with os.fdopen(send, "w") as pipe:
            json.dump(work(), pipe)
        os._exit(0)
    os.close(send)
    with os.fdopen(receive) as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    figures: dict[str, float] = json.loads(answer)
    return figures


def measure_starts(files: list[Path], dag_id: str) -> dict[str, Any]:
    """Measure the start of a task in forks of this process: none has imported anything of ours."""
    import airflow.dag_processing.dagbag
    import airflow.sdk.execution_time.task_runner  # noqa: F401 - what every task has imported

    start = partial(_start, files[0], dag_id)
    starts = [_in_a_fork(start)]
    if starts[0]["wall"] < SLOW_START:
        starts = [_in_a_fork(start) for _ in range(STARTS)]
    return {key: round(statistics.median(start[key] for start in starts), 1) for key in ("wall", "cpu")}


def _start(file: Path, dag_id: str) -> dict[str, float]:
    from airflow.dag_processing.dagbag import BundleDagBag

    os.environ["_AIRFLOW_PARSING_CONTEXT_DAG_ID"] = dag_id
    wall, cpu = time.perf_counter(), time.process_time()
    bag = BundleDagBag(
        dag_folder=str(file), safe_mode=False, load_op_links=False, bundle_path=file.parent, bundle_name="x"
    )
    took = {
        "wall": round(1000 * (time.perf_counter() - wall), 1),
        "cpu": round(1000 * (time.process_time() - cpu), 1),
    }
    if dag_id not in bag.dags:
        raise RuntimeError(bag.import_errors)
    return took


def fill(dsn: str, rows: int) -> None:
    """Leave so many active rows: one in five is data only, with a manifest of its own."""
    import psycopg
    import yaml
    from psycopg.types.json import Jsonb

    own = yaml.safe_load((PROJECT_ROOT / "include/connectors/codebridge/connector.yaml").read_text())
    with psycopg.connect(dsn) as connection:
        connection.execute("truncate integration.npo, integration.npo_history")
        connection.execute(
            "insert into integration.npo (npo_id, name, owner_email, status, connector, base_url,"
            " allowed_hosts, manifest) select 'npo_' || n, 'NPO ' || n, 'o@example.org', 'active',"
            " case when n %% 5 = 0 then 'rest' else 'hopeworks' end, 'http://127.0.0.1:8080',"
            " '{127.0.0.1:8080}', case when n %% 5 = 0 then %s else '{}'::jsonb end"
            " from generate_series(1, %s) as n",
            (Jsonb(own), rows),
        )


def peak_mib() -> float:
    """Return this process's peak resident memory in MiB."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def _environment(server: str, folder: Path) -> dict[str, str]:
    """Return the environment of a child, with a migrated registry of this benchmark's own."""
    import psycopg

    from include.registry.migrate import apply_migrations

    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"drop database if exists {DATABASE} with (force)")
        connection.execute(f"create database {DATABASE}")
    dsn = f"{server.rsplit('/', 1)[0]}/{DATABASE}"
    apply_migrations(dsn)
    return os.environ | {
        "AIRFLOW_HOME": str(folder / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT_ROOT / "plugins"),
        "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "600",  # the peer may take as long as it needs
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "postgresql+psycopg2://nobody@127.0.0.1:9/none",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "CRITICAL",
        "PYTHONPATH": os.pathsep.join((str(PROJECT_ROOT), str(PROJECT_ROOT / "config"))),
        "SPOTLIGHT_REGISTRY_DSN": dsn,
        "SPOTLIGHT_REGISTRY_SNAPSHOT": str(folder / "registry_snapshot.json"),
    }


CHILDREN: dict[str, Callable[[list[Path], str], dict[str, Any]]] = {
    "parse": measure_parse,
    "start_worker": measure_starts,
    "start_cold": measure_starts,
}
COMPONENTS = {"parse": "dag-processor", "start_worker": "scheduler", "start_cold": "tasks"}

if __name__ == "__main__":
    main()

"""How soon a new row is a DAG in a live Airflow that has a thousand others.

Prints one JSON line. The whole local stack is brought up, with Airflow's own scheduler, DAG processor,
triggerer and API server. Then, again and again, at moments that have nothing to do with the DAG processor's
rounds, one more row becomes active: by plain SQL, or with ``spotlight npo activate``. The others are active
too, but none is due: this measures the way from row to run, not a machine full of runs.

    .venv/bin/python -m benchmarks.new_row [--rows 1000] [--trials 6]

Seconds from the insert, or from the start of the command:

- ``visible``: Airflow's API lists the DAG;
- ``triggered``: its API has taken a run by hand;
- ``running``: the scheduler has begun that run;
- ``gone``, from the row's deletion: the API lists the DAG no more.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

from benchmarks.dag_factory import fill
from include.registry.shards import shard_of
from include.sandbox.demo.session import local_session
from include.sandbox.stack.errors import StackError
from include.settings import PROJECT_ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

    from include.sandbox.airflow.client import AirflowApi
    from include.sandbox.demo.session import Session

HOME = PROJECT_ROOT / ".local" / "bench-new-row"
WAYS = ("sql", "activate")
SECONDS_BETWEEN_LOOKS = 0.2
SECONDS_BETWEEN_COUNTS = 3.0  # counting a thousand DAGs takes Airflow a tenth of a second of a core
PATIENCE = 900.0
LONGEST_PAUSE = 20.0
SEED = 5
# Nothing is due before the first of the month after next.
AT_REST = "update integration.npo set schedule = '@monthly', start_date = current_date"
INSERT = """
insert into integration.npo (npo_id, name, owner_email, status, connector, base_url, allowed_hosts, schedule,
    start_date)
values (%s, 'A late arrival', 'o@example.org', %s, 'hopeworks', 'http://127.0.0.1:9', '{127.0.0.1:9}',
    '@monthly', current_date)
"""


@dataclass(frozen=True, slots=True)
class Trial:
    """Seconds of one new row, and of the command that made it active (0: plain SQL)."""

    shard: int
    visible: float
    triggered: float
    running: float
    gone: float
    command: float


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000)
    parser.add_argument("--trials", type=int, default=6, help="of each way")
    options = parser.parse_args()
    with local_session(HOME, wipe=True, on_progress=_tell) as session:
        print(json.dumps(measure(session, options.rows, options.trials)))


def measure(session: Session, rows: int, trials: int) -> dict[str, Any]:
    """Fill the registry, wait until Airflow has all, and return the figures of the trials."""
    dsn = session.settings.registry_dsn.get_secret_value()
    fill(dsn, rows)
    with psycopg.connect(dsn) as connection:
        connection.execute(AT_REST)
    began = time.monotonic()
    _wait(lambda: _listed(session.airflow.api) >= rows, began, every=SECONDS_BETWEEN_COUNTS)
    figures: dict[str, Any] = {"rows": rows, "all_listed": round(time.monotonic() - began, 1)}
    # What the other DAGs had to catch up with in a new Airflow is not what is measured.
    _wait(lambda: _at_rest(session.airflow.api), began, every=SECONDS_BETWEEN_COUNTS)
    _tell(f"{rows} DAGs are listed: {figures}")
    done: dict[str, list[Trial]] = {way: [] for way in WAYS}
    moments = random.Random(SEED)  # noqa: S311 - moments, not secrets
    for number in range(trials):
        for way in WAYS:
            time.sleep(moments.uniform(0, LONGEST_PAUSE))
            done[way].append(trial(session, dsn, f"late_{way}_{number}", way))
            _tell(f"{way}: {done[way][-1]}")
    figures |= {"load_average": round(os.getloadavg()[1], 1)}
    return {"benchmark": "new_row"} | figures | {way: _summary(all_of) for way, all_of in done.items()}


def trial(session: Session, dsn: str, npo_id: str, way: str) -> Trial:
    """Let one row become active, wait for its DAG and a run of it, and delete the row again."""
    api, dag_id, run_id = session.airflow.api, f"npo__{npo_id}", "by_hand"
    if way == "activate":
        _execute(dsn, INSERT, npo_id, "draft")
        began = time.monotonic()
        _activate(session, npo_id)
    else:
        began = time.monotonic()
        _execute(dsn, INSERT, npo_id, "active")
    command = time.monotonic() - began if way == "activate" else 0.0
    visible = _wait(lambda: _answers(lambda: api.get(f"dags/{dag_id}")), began)
    triggered = _wait(lambda: _answers(lambda: api.trigger(dag_id, run_id)), began)
    running = _wait(lambda: api.run(dag_id, run_id)["state"] != "queued", began)
    api.give_up(dag_id, run_id)  # nobody answers at that address: it would be tried again and again
    deleted = time.monotonic()
    _execute(dsn, "delete from integration.npo where npo_id = %s", npo_id)
    gone = _wait(lambda: api.get("dags", dag_id_pattern=dag_id)["total_entries"] == 0, deleted)
    return Trial(shard_of(npo_id), visible, triggered, running, gone, round(command, 2))


def _activate(session: Session, npo_id: str) -> None:
    subprocess.run(
        [str(Path(sys.executable).with_name("spotlight")), "npo", "activate", npo_id],
        env=os.environ | dict(session.stack),
        cwd=PROJECT_ROOT,
        stdout=sys.stderr,
        check=True,
    )


def _execute(dsn: str, statement: str, *values: object) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute(statement.encode(), values)


def _listed(api: AirflowApi) -> int:
    """Return how many NPO DAGs Airflow lists."""
    found: int = api.get("dags", limit=1, tags="npo", exclude_stale="true")["total_entries"]
    return found


def _at_rest(api: AirflowApi) -> bool:
    """Return whether no run is under way."""
    states = (api.get("dags/~/dagRuns", limit=1, state=state) for state in ("queued", "running"))
    return all(found["total_entries"] == 0 for found in states)


def _answers(call: Callable[[], object]) -> bool:
    try:
        call()
    except StackError:  # not there yet, or too busy to say
        return False
    return True


def _wait(condition: Callable[[], bool], began: float, *, every: float = SECONDS_BETWEEN_LOOKS) -> float:
    """Return the seconds since ``began`` at which the condition came true."""
    while not condition():
        if time.monotonic() - began > PATIENCE:
            raise TimeoutError(f"still not so after {PATIENCE:.0f} s")
        time.sleep(every)
    return round(time.monotonic() - began, 2)


def _summary(trials: list[Trial]) -> dict[str, Any]:
    names = ("visible", "triggered", "running", "gone", "command")
    series = {name: [getattr(one, name) for one in trials] for name in names}
    return {
        name: {"median": round(statistics.median(values), 2), "worst": max(values), "all": values}
        for name, values in series.items()
        if any(values)
    }


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

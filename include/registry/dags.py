"""The DAG ``npo__<npo_id>`` of a row: five stages in a chain, when the row says."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from airflow.sdk import DAG, CronDataIntervalTimetable, get_current_context, task

from include.dag_policy import EXTRACT_POOL, STORE_POOL, deadline, task_defaults
from include.registry.catalogue import DAG_PREFIX, load_dag, load_shard
from include.registry.describe import dag_page, owner
from include.registry.models import NpoStatus
from include.registry.schedules import cron_expression
from include.registry.shards import shard_of

if TYPE_CHECKING:
    from include.registry.models import NpoConfig


def npo_dags(shard: int, dag_id: str | None) -> dict[str, DAG]:
    """Return the DAGs a shard's file defines, by DAG id.

    Args:
        shard: Number of the shard.
        dag_id: The one DAG a starting task needs (``get_parsing_context().dag_id``); ``None`` means all
            of the shard. A task start reads one row, a parse the rows of its shard in one query.

    Raises:
        ConfigurationError: Neither registry nor snapshot can be read; or the one row asked for is broken.
    """
    if dag_id is None:
        return {npo.dag_id: npo_dag(npo) for npo in load_shard(shard).configs}
    if shard_of(dag_id.removeprefix(DAG_PREFIX)) != shard:
        return {}
    npo = load_dag(dag_id)
    return {dag_id: npo_dag(npo)} if npo else {}


def npo_dag(npo: NpoConfig) -> DAG:
    """Return the DAG of one row. Only what decides when and in what order: tasks read the row again."""
    paused = npo.status is NpoStatus.PAUSED
    cron = CronDataIntervalTimetable(cron_expression(npo.npo_id, npo.schedule), timezone=npo.timezone)
    with DAG(
        npo.dag_id,
        description=f"Offerings and assignments of {npo.name}",
        doc_md=dag_page(npo),
        # The row decides; a plugin pauses a DAG that exists already, until then no schedule, no run.
        schedule=None if paused else cron,
        is_paused_upon_creation=paused,
        start_date=datetime.combine(npo.start_date, time.min, ZoneInfo(npo.timezone)),
        catchup=False,
        max_active_runs=1,
        default_args={"owner": owner(npo), **task_defaults()},
        deadline=deadline(timedelta(hours=4)),
        tags=sorted({"npo", npo.connector}),
    ) as dag:
        ref: Any = _extract("extract", npo.npo_id)
        for stage, later in _LATER.items():
            ref = later(stage, npo.npo_id, ref)
    return dag


def run(stage: str, npo_id: str, ref: dict[str, Any] | None = None) -> dict[str, Any] | None:
    """Run one stage for the data interval of this DAG run and return the reference for the next."""
    from include.npo.run import run_stage

    context = get_current_context()
    start, end = context.get("data_interval_start"), context.get("data_interval_end")
    return run_stage(
        stage,
        npo_id,
        ref,
        run_id=context["run_id"],
        data_interval=(start, end) if start and end else None,
        backfill=context["dag_run"].run_type == "backfill",
    )


# Made once for all DAGs: what a decorator finds out about its function is the same each time.
# Nothing new and nothing pending is a falsy reference: the stages after extract are skipped.
_extract: Any = task.short_circuit(task_id="extract", pool=EXTRACT_POOL, multiple_outputs=False)(run)
_LATER: dict[str, Any] = {
    stage: task(task_id=stage, pool=STORE_POOL, multiple_outputs=False)(run)
    for stage in ("land_raw", "validate", "transform", "publish")
}

"""One DAG ``npo__<npo_id>`` for each active or paused row of the registry."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from airflow.sdk import DAG, CronDataIntervalTimetable, get_current_context, get_parsing_context, task

from include.dag_policy import EXTRACT_POOL, STORE_POOL, deadline, task_defaults
from include.registry.catalogue import load
from include.registry.describe import dag_page, owner
from include.registry.models import NpoStatus
from include.registry.schedules import cron_expression

if TYPE_CHECKING:
    from include.registry.models import NpoConfig

LATER_STAGES = ("land_raw", "validate", "transform", "publish")


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
        # Nothing new and nothing pending is a falsy reference: the stages after it are skipped.
        ref: Any = task.short_circuit(task_id="extract", pool=EXTRACT_POOL, multiple_outputs=False)(run)(
            "extract", npo.npo_id
        )
        for stage in LATER_STAGES:
            ref = task(task_id=stage, pool=STORE_POOL, multiple_outputs=False)(run)(stage, npo.npo_id, ref)
    return dag


for row in load(get_parsing_context().dag_id).configs:
    globals()[row.dag_id] = npo_dag(row)

"""The DAG ``npo__<npo_id>`` of a row: five stages in a chain, when the row says."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from airflow.providers.standard.utils.skipmixin import SkipMixin
from airflow.sdk import DAG, BaseOperator, CronDataIntervalTimetable

from include.dag_policy import EXTRACT_POOL, STORE_POOL, deadline, task_defaults
from include.registry.catalogue import DAG_PREFIX, load_dag, load_shard
from include.registry.describe import dag_page, owner
from include.registry.models import NpoStatus
from include.registry.schedules import cron_expression
from include.registry.shards import shard_of

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.registry.models import NpoConfig

LATER_STAGES = ("land_raw", "validate", "transform", "publish")


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
        deadline=deadline(timedelta(hours=4)),
        tags=sorted({"npo", npo.connector}),
    ) as dag:
        # Given to each task and not as default_args: Airflow would serialise them once more for each DAG.
        common = {"npo_id": npo.npo_id, "owner": owner(npo), **task_defaults()}
        stage: StageOperator = FirstStageOperator(task_id="extract", pool=EXTRACT_POOL, **common)
        for task_id in LATER_STAGES:
            later = StageOperator(task_id=task_id, pool=STORE_POOL, after=stage.task_id, **common)
            stage >> later
            stage = later
    return dag


class StageOperator(BaseOperator):
    """One stage of an NPO's run, named by the task's id.

    An operator of our own: with ``@task`` a DAG takes twice the time to build and serialise.

    Args:
        npo_id: The row.
        after: Task whose reference this stage is given; ``None`` for the first.
    """

    def __init__(self, *, npo_id: str, after: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.npo_id = npo_id
        self.after = after

    def execute(self, context: Context) -> dict[str, Any] | None:
        """Run the stage for the data interval of this DAG run and return the reference for the next."""
        from include.npo.run import run_stage

        start, end = context.get("data_interval_start"), context.get("data_interval_end")
        return run_stage(
            self.task_id,
            self.npo_id,
            context["ti"].xcom_pull(task_ids=self.after) if self.after else None,
            run_id=context["run_id"],
            data_interval=(start, end) if start and end else None,
            backfill=context["dag_run"].run_type == "backfill",
        )


class FirstStageOperator(StageOperator, SkipMixin):
    """The stage that finds out whether there is anything to do: if not, the rest of the run is skipped."""

    inherits_from_skipmixin = True

    def execute(self, context: Context) -> dict[str, Any] | None:
        """Run the stage; nothing new and nothing pending is an empty reference."""
        ref = super().execute(context)
        if not ref:
            self.skip(context["ti"], self.get_flat_relatives(upstream=False))
        return ref

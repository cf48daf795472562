"""The DAG ``esr_inbound``: RMF and RMC files from the SFTP server to reconciled positions and TCS."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, CronDataIntervalTimetable, task_group

from include.dag_policy import ESR_POOL, deadline, task_defaults
from include.esr.describe import DAG_PAGE
from include.esr.operators import DiscoverFilesOperator, EsrStageOperator
from include.esr.run import STAGES

FILES_AT_ONCE = 4

with DAG(
    "esr_inbound",
    description="Deanery files from ESR: landed, split, reconciled with TCS, events published",
    doc_md=DAG_PAGE,
    schedule=CronDataIntervalTimetable("*/15 * * * *", timezone="Europe/London"),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={"owner": "esr-exchange", **task_defaults()},
    deadline=deadline(timedelta(hours=4)),
    tags=["esr"],
) as dag:
    subjects = DiscoverFilesOperator(task_id="discover", pool=ESR_POOL).output

    @task_group
    def file(subject: str) -> None:
        """Take one file, or what a deanery has left from before, through the stages."""
        before = None
        for stage in STAGES:
            task = EsrStageOperator(
                task_id=stage,
                stage=stage,
                subject=subject,
                pool=ESR_POOL,
                max_active_tis_per_dag=FILES_AT_ONCE,
            )
            if before is not None:
                before >> task
            before = task

    file.expand(subject=subjects)

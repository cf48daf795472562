"""The DAG ``esr_inbound``: RMF and RMC files from the SFTP server to reconciled positions and TCS."""

from __future__ import annotations

from airflow.sdk import DAG, CronDataIntervalTimetable, task_group

from include.dag_policy import ESR_POOL, exchange_dag
from include.esr.describe import DAG_PAGE
from include.esr.operators import DiscoverFilesOperator, EsrStageOperator
from include.esr.run import STAGES

FILES_AT_ONCE = 4

with DAG(
    "esr_inbound",
    schedule=CronDataIntervalTimetable("*/15 * * * *", timezone="Europe/London"),
    **exchange_dag("Deanery files from ESR: landed, split, reconciled with TCS, events published", DAG_PAGE),
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

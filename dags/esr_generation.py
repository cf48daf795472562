"""The DAG ``esr_generation``: AppRecords and notifications of posts whose positions were reconciled."""

from __future__ import annotations

from airflow.sdk import DAG, CronTriggerTimetable, task_group

from include.dag_policy import ESR_POOL, exchange_dag
from include.esr.describe import GENERATION_PAGE
from include.esr.outbound_operators import OutboundStageOperator, WokenDeaneriesOperator

DEANERIES_AT_ONCE = 2

with DAG(
    "esr_generation",
    schedule=CronTriggerTimetable("7-59/15 * * * *", timezone="Europe/London"),
    **exchange_dag(
        "Subscribers of reconciled positions: applicants and notifications for ESR", GENERATION_PAGE
    ),
) as dag:

    @task_group
    def deanery(subject: str) -> None:
        """Look at the posts of one deanery."""
        OutboundStageOperator(
            task_id="generate",
            stage="generate",
            subject=subject,
            pool=ESR_POOL,
            max_active_tis_per_dag=DEANERIES_AT_ONCE,
        )

    deanery.expand(subject=WokenDeaneriesOperator(task_id="receive", pool=ESR_POOL).output)

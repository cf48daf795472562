"""The DAG ``esr_confirmations``: what ESR answers is applied, receipts go out, silence is reported."""

from __future__ import annotations

from airflow.sdk import DAG, CronTriggerTimetable, task_group

from include.dag_policy import ESR_POOL, exchange_dag
from include.esr.describe import CONFIRMATIONS_PAGE
from include.esr.outbound_operators import AnswerFilesOperator, OutboundStageOperator

FILES_AT_ONCE = 4

with DAG(
    "esr_confirmations",
    schedule=CronTriggerTimetable("11-59/15 * * * *", timezone="Europe/London"),
    **exchange_dag(
        "Answers from ESR (APC, DCC) applied; receipts (RTC) sent; unanswered files reported",
        CONFIRMATIONS_PAGE,
    ),
) as dag:

    @task_group
    def file(subject: str) -> None:
        """Apply one answer file."""
        OutboundStageOperator(
            task_id="confirm",
            stage="confirm",
            subject=subject,
            pool=ESR_POOL,
            max_active_tis_per_dag=FILES_AT_ONCE,
        )

    file.expand(subject=AnswerFilesOperator(task_id="discover", pool=ESR_POOL).output)

    for stage in ("receipts", "unanswered"):
        OutboundStageOperator(task_id=stage, stage=stage, subject="esr", pool=ESR_POOL)

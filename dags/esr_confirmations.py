"""The DAG ``esr_confirmations``: what ESR answers is applied, receipts go out, silence is reported."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, CronTriggerTimetable, task_group

from include.dag_policy import ESR_POOL, deadline, task_defaults
from include.esr.describe import CONFIRMATIONS_PAGE
from include.esr.outbound_operators import AnswerFilesOperator, OutboundStageOperator

FILES_AT_ONCE = 4

with DAG(
    "esr_confirmations",
    description="Answers from ESR (APC, DCC) applied; receipts (RTC) sent; unanswered files reported",
    doc_md=CONFIRMATIONS_PAGE,
    schedule=CronTriggerTimetable("11-59/15 * * * *", timezone="Europe/London"),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={"owner": "esr-exchange", **task_defaults()},
    deadline=deadline(timedelta(hours=4)),
    tags=["esr"],
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

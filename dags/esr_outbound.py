"""The DAG ``esr_outbound``: each afternoon one file of applicants and one of notifications a deanery."""

from __future__ import annotations

from airflow.sdk import DAG, CronTriggerTimetable, task_group

from include.dag_policy import ESR_POOL, exchange_dag
from include.esr.describe import OUTBOUND_PAGE
from include.esr.outbound_operators import OutboundDeaneriesOperator, OutboundStageOperator
from include.esr.outbound_run import OUTBOUND

DEANERIES_AT_ONCE = 2

with DAG(
    "esr_outbound",
    # A run's logical date is the moment it is for, in London: the day every rule goes by.
    schedule=CronTriggerTimetable("0 14 * * *", timezone="Europe/London"),
    **exchange_dag("Files for ESR: applicants (APP) and notifications (DNC)", OUTBOUND_PAGE),
) as dag:
    deaneries = OutboundDeaneriesOperator(task_id="deaneries", pool=ESR_POOL).output

    @task_group
    def deanery(subject: str) -> None:
        """Take one deanery from the day's inbound to its files on the SFTP server."""
        ready, sweep, *exports = (
            OutboundStageOperator(
                task_id=stage,
                stage=stage,
                subject=subject,
                pool=ESR_POOL,
                max_active_tis_per_dag=DEANERIES_AT_ONCE,
            )
            for stage in OUTBOUND
        )
        ready >> sweep >> exports

    deanery.expand(subject=deaneries)

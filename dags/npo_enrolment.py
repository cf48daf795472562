"""The DAG ``npo_enrolment``: the platform's commands to the NPOs, and what comes of them back as events."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import (
    DAG,
    Asset,
    AssetOrTimeSchedule,
    AssetWatcher,
    CronTriggerTimetable,
    TriggerRule,
    task,
    task_group,
)

from include.dag_policy import ENROLMENT_POOL, deadline, task_defaults
from include.events.topics import ASSIGNMENT_COMMANDS, ENROLMENT_CONSUMER
from include.npo.enrolment.describe import DAG_PAGE
from include.npo.enrolment.due_trigger import DueTrigger
from include.queue_trigger import QueueTrigger

NPOS_AT_ONCE = 4
MOST_NPOS = 500

commands = Asset(
    "enrolment_commands",
    watchers=[
        AssetWatcher(name="enrolment_queue", trigger=QueueTrigger(ENROLMENT_CONSUMER, ASSIGNMENT_COMMANDS)),
        AssetWatcher(name="enrolment_due", trigger=DueTrigger()),
    ],
)

with DAG(
    "npo_enrolment",
    description="Candidates enrolled at NPOs as the platform asks; outcomes published",
    doc_md=DAG_PAGE,
    # The watchers make it quick: commands that wait, and what is due; the sweep does without them.
    schedule=AssetOrTimeSchedule(
        timetable=CronTriggerTimetable("*/5 * * * *", timezone="UTC"), assets=[commands]
    ),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={
        "owner": "npo-enrolment",
        **task_defaults(execution_timeout=timedelta(minutes=20)),
        # A task that waits for its next try holds the only run, and with it every other NPO. What it leaves
        # is in the store, and the next run, seconds or minutes later, goes on with it.
        "retries": 1,
        "retry_delay": timedelta(seconds=5),
        "retry_exponential_backoff": 0,
    },
    deadline=deadline(timedelta(hours=1)),
    tags=["npo", "enrolment"],
) as dag:

    @task(pool=ENROLMENT_POOL, multiple_outputs=False)
    def drain() -> dict[str, int]:
        """Take the platform's commands from the queue into the store."""
        from include.npo.enrolment.run import drain

        return drain()

    # Whatever becomes of the queue: what is in the store already is worked at.
    @task(pool=ENROLMENT_POOL, multiple_outputs=False, trigger_rule=TriggerRule.ALL_DONE)
    def npos() -> list[str]:
        """List the NPOs with enrolments to be worked at."""
        from include.npo.enrolment.run import npos_with_work

        return npos_with_work(MOST_NPOS)

    @task_group
    def npo(npo_id: str) -> None:
        """Enrol at one NPO; its failure is its own."""

        @task(
            pool=ENROLMENT_POOL,
            multiple_outputs=False,
            max_active_tis_per_dag=NPOS_AT_ONCE,
            map_index_template="{{ task.op_kwargs['npo_id'] }}",
        )
        def enrol(npo_id: str) -> dict[str, int]:
            from include.npo.enrolment.run import enrol

            return enrol(npo_id)

        enrol(npo_id=npo_id)

    found: Any = npos()
    drain() >> found
    npo.expand(npo_id=found)

"""The DAG ``maintenance``: what is past its time goes, broken-off erasures are ended, gaps are told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, CronTriggerTimetable, task

from include.dag_policy import STORE_POOL, deadline, task_defaults

PAGE = """\
# Maintenance

Every night, parts that do not wait for each other:

- **retention** deletes what is older than its store's setting (`SPOTLIGHT_RETENTION_*_DAYS`).
- **erasures** ends every erasure of a candidate that was asked for and broken off, and looks through the
  pages landed since the last night for what was erased before.
- **gaps** logs the stretches of the last week that no landed extraction of an NPO covers and no next run
  catches up, each with the backfill to type.

Clearing and running any of them again is harmless. `spotlight erase` asks for an erasure.
"""


@task(pool=STORE_POOL, multiple_outputs=False)
def retention() -> dict[str, int]:
    """Delete what is past its time."""
    from include.privacy import maintenance

    return maintenance.retention()


@task(pool=STORE_POOL, multiple_outputs=False)
def erasures() -> dict[str, int]:
    """End erasures that were broken off, and erase what was landed since."""
    from include.privacy import maintenance

    return maintenance.erasures()


@task(pool=STORE_POOL, multiple_outputs=False)
def gaps() -> dict[str, int]:
    """Tell of stretches of time that nobody read."""
    from include.privacy import maintenance

    return maintenance.gaps()


with DAG(
    "maintenance",
    description="Retention, erasure of personal data, and gaps in what was read",
    doc_md=PAGE,
    schedule=CronTriggerTimetable("17 3 * * *", timezone="UTC"),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={"owner": "platform", **task_defaults()},
    deadline=deadline(timedelta(hours=6)),
    tags=["maintenance"],
):
    retention()
    erasures()
    gaps()

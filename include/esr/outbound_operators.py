"""Airflow operators of the way out: they wait without a worker slot and without using up a try."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from airflow.sdk import BaseOperator

from include.errors import NotYetError, TransientError
from include.esr.operators import DiscoverFilesOperator, EsrStageOperator, patiently

if TYPE_CHECKING:
    from airflow.sdk import Context

BETWEEN_LOOKS = timedelta(minutes=15)
"""Between two runs of ``esr_confirmations``."""
LONGEST_DAY = timedelta(hours=12)
"""A run waits so long for anything; then the task fails, so that the next run can begin."""


class WokenDeaneriesOperator(BaseOperator):
    """Reads the subscribers' queues and returns the deaneries with posts to be looked at."""

    def execute(self, context: Context) -> list[str]:
        """Read the queues."""
        from include.esr.outbound_run import woken_deaneries

        return patiently(lambda: woken_deaneries(run_id=context["run_id"]))


class OutboundDeaneriesOperator(BaseOperator):
    """Returns the deaneries there is anything to tell ESR of."""

    def execute(self, context: Context) -> list[str]:
        """Look into the store."""
        from include.esr.outbound_run import outbound_deaneries

        return patiently(lambda: outbound_deaneries(run_id=context["run_id"]))


class AnswerFilesOperator(DiscoverFilesOperator):
    """Looks for APC and DCC files on the SFTP server and returns those to be applied.

    A backfill does a day's answers again, from the landing zone: of its runs, a quarter of an hour apart,
    the one after midnight (UTC) does those of the day that begins.
    """

    def found(self, context: Context) -> tuple[list[str], int]:
        """Look for answers."""
        from include.esr.outbound_run import answer_files

        moment = moment_of(context)
        is_backfill = context["dag_run"].run_type == "backfill"
        return answer_files(
            run_id=context["run_id"], interval=(moment - BETWEEN_LOOKS, moment) if is_backfill else None
        )


class OutboundStageOperator(EsrStageOperator):
    """Runs one stage of ``include.esr.outbound_run`` for one subject, a deanery or an answer file.

    While what the stage needs is not there yet (the day's inbound file, TCS, the hour) the task is
    rescheduled: no try is used up and it goes on by itself. A run of a day waits until twelve hours after its
    logical date at most.
    """

    def work(self, context: Context) -> dict[str, int]:
        """Return the counts of the stage, done once for the run's day."""
        from include.esr.outbound_run import run_stage

        moment = moment_of(context)
        try:
            return run_stage(self.stage, self.subject, run_id=context["run_id"], moment=moment)
        except NotYetError as error:
            if datetime.now(tz=UTC) > _started(context, moment) + LONGEST_DAY:
                raise TransientError(
                    f"{error.message}; given up for this run, a backfill of this day goes on",
                    subject=error.subject,
                    stage=error.stage,
                ) from error
            raise


def moment_of(context: Context) -> datetime:
    """Return the run's logical date, UTC; one triggered without a date is of now."""
    run = context["dag_run"]
    moment: datetime = context.get("logical_date") or run.run_after
    return moment.astimezone(UTC)


def _started(context: Context, moment: datetime) -> datetime:
    """Return from when a run's patience counts: a backfill of a day long gone has just begun."""
    started = context["dag_run"].start_date or moment
    return max(moment, started.astimezone(UTC))

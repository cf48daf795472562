"""The exchange's Airflow operators: they wait without a worker slot and without using up a try."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowRescheduleException, AirflowSkipException

from include.errors import IntegrationError, NotYetError
from include.esr.run import LONGEST_WAIT, MAX_LOOKS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow.sdk import Context
Outcome = TypeVar("Outcome")

SHORTEST_WAIT = 15.0
"""Seconds until a rescheduled task starts again, at least. A worker takes some seconds to end after it has
told its state; a task that is queued again before that looks killed to the scheduler, which fails the try."""
LONGEST_NAME = 250
"""Airflow keeps so much of a mapped task's name; its API server fails on more."""


class DiscoverFilesOperator(BaseOperator):
    """Looks for new files on the SFTP server and returns what there is to do, as a list of subjects.

    A file that may still be on its way is looked at again after ``esr_settle_seconds``; in between the
    task is deferred. A backfill replays the files whose day lies in its data interval.
    """

    def execute(self, context: Context) -> list[str]:
        """Look for the first time."""
        return self._look(context, looks=1)

    def look_again(self, context: Context, looks: int, event: Any = None) -> list[str]:  # noqa: ARG002 - Airflow gives it
        """Look again, when the trigger has fired."""
        return self._look(context, looks)

    def found(self, context: Context) -> tuple[list[str], int]:
        """Return the subjects, and how many files may still be on their way."""
        from include.esr.run import discover_subjects

        return discover_subjects(run_id=context["run_id"], interval=_replayed(context))

    def _look(self, context: Context, looks: int) -> list[str]:
        from include.settings import get_settings

        subjects, unsettled = patiently(lambda: self.found(context))
        if unsettled and looks < MAX_LOOKS:
            wait = timedelta(seconds=get_settings().esr_settle_seconds)
            self.defer(trigger=TimeDeltaTrigger(wait), method_name="look_again", kwargs={"looks": looks + 1})
        return subjects


class EsrStageOperator(BaseOperator):
    """Runs one stage for one subject, a file or a deanery, and shows what came of it as the task's name.

    While what the stage needs is not there yet (a file's predecessor, TCS) the task is rescheduled: no try
    is used up, nothing is marked failed, and it goes on by itself. What this run cannot hope for (a file
    that has not come) is left to a later one, and the task skipped.

    Args:
        stage: One of ``include.esr.run.STAGES``.
        subject: ``<name>#<version>`` of a file, or a deanery.
    """

    template_fields: Sequence[str] = ("subject",)

    def __init__(self, *, stage: str, subject: str, **kwargs: Any) -> None:
        super().__init__(map_index_template="{{ told | default(task.subject, true) }}", **kwargs)
        self.stage = stage
        self.subject = subject

    def execute(self, context: Context) -> dict[str, int]:
        """Run the stage."""
        try:
            counts = patiently(lambda: self.work(context))
        except (AirflowRescheduleException, AirflowSkipException, IntegrationError) as error:
            _tell_name(context, explained(self.subject, error))
            raise
        _tell_name(context, described(self.subject, counts))
        return counts

    def work(self, context: Context) -> dict[str, int]:
        """Return the counts of the stage, done once."""
        from include.esr.run import run_stage

        return run_stage(self.stage, self.subject, run_id=context["run_id"])


def _replayed(context: Context) -> tuple[datetime, datetime] | None:
    """Return the data interval of a backfill, UTC; ``None`` for any other run."""
    start, end = context.get("data_interval_start"), context.get("data_interval_end")
    if context["dag_run"].run_type != "backfill" or start is None or end is None:
        return None
    return start.astimezone(UTC), end.astimezone(UTC)


def described(subject: str, counts: dict[str, int]) -> str:
    """Return a subject with its counts in one line, such as ``DE_KSS_...DAT#1: records 20,000, ...``."""
    told = ", ".join(f"{name} {number:,}" for name, number in counts.items() if number)
    return f"{subject}: {told}" if told else subject


def explained(subject: str, error: Exception) -> str:
    """Return a subject with why it waits or failed, such as ``DE_KSS_...DAT#1: waits for ...``."""
    known = error if isinstance(error, IntegrationError) else error.__cause__
    return f"{subject}: {known.message}" if isinstance(known, IntegrationError) else subject


def _tell_name(context: Context, name: str) -> None:
    """Give a mapped task its name; ``map_index_template`` reads it."""
    short = name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 3]}..."
    context["told"] = short  # type: ignore[typeddict-unknown-key]


def patiently(work: Callable[[], Outcome]) -> Outcome:
    """Do the work; when it cannot be done yet, let Airflow come back later, in this run or the next."""
    try:
        return work()
    except NotYetError as error:
        if error.retry_after > LONGEST_WAIT:
            raise AirflowSkipException(f"{error}; left to a later run") from error
        back = datetime.now(tz=UTC) + timedelta(seconds=max(error.retry_after, SHORTEST_WAIT))
        raise AirflowRescheduleException(back) from error  # type: ignore[no-untyped-call]  # it has no types

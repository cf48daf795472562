"""What the demo has done on a day: by the scheduler, run by run, or in this process for tests."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from datetime import time as clock
from typing import TYPE_CHECKING, Protocol
from zoneinfo import ZoneInfo

from include.sandbox.stack.errors import StackError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date

    from include.esr.inline import Report
    from include.sandbox.demo.session import Session

INBOUND, GENERATION = "esr_inbound", "esr_generation"
OUTBOUND, CONFIRMATIONS = "esr_outbound", "esr_confirmations"
HELD = (GENERATION, OUTBOUND)
"""DAGs that go by the day: runs of the clock's own day would get between those of the demo's."""
LOOK_EVERY = 1.0
ENDED = frozenset({"success", "failed"})


class Steps(Protocol):
    """One day's steps, each returning when it is done."""

    def inbound(self) -> None:
        """Take the files that lie there."""

    def generate(self, day: date) -> None:
        """Make applicants and notifications."""

    def send(self, day: date) -> None:
        """Send the day's files."""

    def confirm(self) -> None:
        """Apply ESR's answers."""


def moment_of(day: date) -> datetime:
    """Return when the files of a day are due: 14:00 in London."""
    return datetime.combine(day, clock(14), ZoneInfo("Europe/London")).astimezone(UTC)


class ScheduledSteps:
    """Runs the DAGs, each for the day's logical date.

    Args:
        session: Everything up.
        tell: Told where it is, every second.
        patience: Seconds a run may take.
    """

    def __init__(self, session: Session, tell: Callable[[str], None], *, patience: float) -> None:
        self._session = session
        self._api = session.airflow.api
        self._tell = tell
        self._patience = patience

    def hold(self) -> None:
        """Let nothing of the way out start by the clock; to be called before any file comes.

        Raises:
            StackError: A DAG does not appear.
        """
        for dag_id in HELD:
            wait_for_dag(self._session, dag_id, patience=self._patience)
            self._api.pause(dag_id)

    def release(self) -> None:
        """Let the clock start runs again."""
        for dag_id in HELD:
            self._api.pause(dag_id, paused=False)

    def inbound(self) -> None:
        """Run ``esr_inbound``."""
        self._run(INBOUND, None)

    def generate(self, day: date) -> None:
        """Run ``esr_generation`` for a day."""
        self._run(GENERATION, day)

    def send(self, day: date) -> None:
        """Run ``esr_outbound`` for a day."""
        self._run(OUTBOUND, day)

    def confirm(self) -> None:
        """Run ``esr_confirmations``."""
        self._run(CONFIRMATIONS, None)

    def _run(self, dag_id: str, day: date | None) -> None:
        run_id = f"demo_{day or 'files_came'}_{time.time_ns()}"
        held = dag_id in HELD
        if held:
            self._clear_the_way(dag_id)
        self._api.trigger(dag_id, run_id, logical_date=moment_of(day) if day else None)
        if held:
            # What the clock missed meanwhile is made up for now, after ours: then nothing is left to do.
            self._api.pause(dag_id, paused=False)
        try:
            self._wait(dag_id, run_id, f"{dag_id} for {day}" if day else dag_id)
        finally:
            if held:
                self._api.pause(dag_id)

    def _clear_the_way(self, dag_id: str) -> None:
        """Give up what the clock had begun when the DAG was paused: it would wait for its own day's files."""
        for run in self._api.runs(dag_id):
            if run["state"] not in ENDED:
                self._api.give_up(dag_id, run["dag_run_id"])

    def _wait(self, dag_id: str, run_id: str, what: str) -> None:
        deadline = time.monotonic() + self._patience
        while (state := self._api.run(dag_id, run_id)["state"]) not in ENDED:
            self._session.airflow.check()
            self._tell(f"{what}: {state}")
            if time.monotonic() > deadline:
                raise StackError(f"{what} is {state} after {self._patience:.0f} s")
            time.sleep(LOOK_EVERY)
        if state == "failed":
            tasks = self._api.task_instances(dag_id, run_id)
            failed = sorted({task["task_id"] for task in tasks if task["state"] == "failed"})
            logs = self._session.airflow.place.logs / f"dag_id={dag_id}"
            raise StackError(f"{what} failed at {', '.join(failed) or 'its start'}; task logs: {logs}")


def wait_for_dag(session: Session, dag_id: str, *, patience: float) -> None:
    """Wait until Airflow lists a DAG.

    Raises:
        StackError: It does not.
    """
    deadline = time.monotonic() + patience
    while session.airflow.api.dag(dag_id) is None:
        if time.monotonic() > deadline:
            errors = session.airflow.api.import_errors()
            hint = f"; DAG import error: {errors[0]}" if errors else ""
            raise StackError(f"there is no DAG {dag_id} after {patience:.0f} s{hint}")
        time.sleep(LOOK_EVERY / 2)


class InlineSteps:
    """Runs the same stages in this process, with the settings of the environment.

    Args:
        tell: Told every line of progress.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell

    def inbound(self) -> None:
        """Run the stages of ``esr_inbound``."""
        from include.esr.inline import run_inbound

        _require(run_inbound(_run_id(), None, self._tell))

    def generate(self, day: date) -> None:
        """Run the stages of ``esr_generation`` for a day."""
        from include.esr.outbound_inline import run_generation

        _require(run_generation(_run_id(), self._tell, moment=moment_of(day)))

    def send(self, day: date) -> None:
        """Run the stages of ``esr_outbound`` for a day."""
        from include.esr.outbound_inline import run_outbound

        _require(run_outbound(_run_id(), moment_of(day), self._tell))

    def confirm(self) -> None:
        """Run the stages of ``esr_confirmations``."""
        from include.esr.outbound_inline import run_confirmations

        _require(run_confirmations(_run_id(), self._tell))


def _run_id() -> str:
    return f"demo_{time.time_ns()}"


def _require(report: Report) -> None:
    if report.failed or report.waiting:
        raise StackError(f"not everything is done: {report.failed | report.waiting}")

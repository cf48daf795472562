"""Runs the DAGs of the way out in this process, without a scheduler."""

from __future__ import annotations

from typing import TYPE_CHECKING

from include.esr.inline import Report, in_turn, settled
from include.esr.outbound_run import (
    OUTBOUND,
    answer_files,
    outbound_deaneries,
    run_stage,
    woken_deaneries,
)
from include.npo.context import utc_now

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from include.esr.inline import Tell


def run_generation(run_id: str, tell: Tell, *, moment: datetime | None = None) -> Report:
    """Make AppRecords and notifications of the posts whose positions were reconciled.

    Args:
        run_id: Id of the run.
        tell: Told one line whenever there is something to tell.
        moment: What day it is; now when left out.

    Raises:
        IntegrationError: The queues could not be read.
    """
    return _run(woken_deaneries(run_id=run_id, progress=tell), ["generate"], run_id, moment, tell)


def run_outbound(
    run_id: str, moment: datetime, tell: Tell, *, deaneries: Iterable[str] | None = None
) -> Report:
    """Look at every post and send each deanery's files of a day; one that fails does not stop the others.

    Args:
        run_id: Id of the run.
        moment: The logical date; what day it is.
        tell: Told one line whenever there is something to tell.
        deaneries: Only these.

    Raises:
        IntegrationError: The store could not be read.
    """
    chosen = list(deaneries) if deaneries is not None else outbound_deaneries(run_id=run_id, progress=tell)
    return _run(chosen, OUTBOUND, run_id, moment, tell)


def run_confirmations(
    run_id: str, tell: Tell, *, interval: tuple[datetime, datetime] | None = None
) -> Report:
    """Apply what ESR answered, send the receipts that are due, report what was not answered.

    Args:
        run_id: Id of the run.
        tell: Told one line whenever there is something to tell.
        interval: Do the answers of these days again; ``None`` looks for new ones.

    Raises:
        IntegrationError: The looking itself failed.
    """
    files = settled(lambda: answer_files(run_id=run_id, interval=interval, progress=tell), tell)
    report = _run(files, ["confirm"], run_id, None, tell)
    rest = _run(["esr"], ["receipts", "unanswered"], run_id, None, tell)
    return Report(report.done | rest.done, report.waiting | rest.waiting, report.failed | rest.failed)


def _run(
    subjects: Iterable[str], stages: Sequence[str], run_id: str, moment: datetime | None, tell: Tell
) -> Report:
    def run(stage: str, subject: str) -> dict[str, int]:
        counts = run_stage(
            stage,
            subject,
            run_id=run_id,
            moment=moment or utc_now(),
            progress=lambda line: tell(f"{subject}/{stage}: {line}"),
        )
        return {f"{stage}_{name}": number for name, number in counts.items()}

    return in_turn(subjects, stages, run, tell)

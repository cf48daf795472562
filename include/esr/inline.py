"""Runs ``esr_inbound`` in this process, subject after subject, without a scheduler."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from include.errors import IntegrationError, NotYetError
from include.esr.run import LONGEST_WAIT, MAX_LOOKS, STAGES, discover_subjects, run_stage
from include.settings import get_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    Tell = Callable[[str], None]

PATIENCE = 60.0
"""Seconds a subject may wait for TCS or a predecessor; then it is left to a later run."""


@dataclass(slots=True)
class Report:
    """What became of each subject.

    Attributes:
        done: Counts by subject.
        waiting: Why a subject must wait, by subject; a later run goes on.
        failed: What failed, by subject.
    """

    done: dict[str, dict[str, int]] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON-able form."""
        return {"done": self.done, "waiting": self.waiting, "failed": self.failed}


def run_inbound(run_id: str, interval: tuple[datetime, datetime] | None, tell: Tell) -> Report:
    """Look for files and take each through the stages; one that fails does not stop the others.

    Args:
        run_id: Id of the run.
        interval: Replay the files of these days; ``None`` goes on with what is due.
        tell: Told one line whenever there is something to tell.

    Raises:
        IntegrationError: The looking itself failed.
    """
    subjects = settled(lambda: discover_subjects(run_id=run_id, interval=interval, progress=tell), tell)
    return in_turn(subjects, STAGES, lambda stage, subject: _stage(stage, subject, run_id, tell), tell)


def in_turn(
    subjects: Iterable[str],
    stages: Sequence[str],
    run: Callable[[str, str], dict[str, int]],
    tell: Tell,
) -> Report:
    """Take each subject through the stages; one that fails or must wait does not stop the others.

    Args:
        subjects: In this order.
        stages: In this order.
        run: Runs a stage for a subject and returns its counts.
        tell: Told one line whenever there is something to tell.
    """
    report = Report()
    for subject in subjects:
        try:
            for stage in stages:
                counts = patiently(partial(run, stage, subject), tell)
                report.done[subject] = report.done.get(subject, {}) | counts
        except NotYetError as error:
            report.waiting[subject] = error.message
            tell(f"waits: {error}")
        except IntegrationError as error:
            report.failed[subject] = str(error)
            tell(f"failed: {error}")
    return report


def settled(look_for: Callable[[], tuple[list[str], int]], tell: Tell) -> list[str]:
    """Look for files, again while some may still be on their way, and return the subjects found at last."""
    subjects: list[str] = []
    for look in range(1, MAX_LOOKS + 1):
        subjects, unsettled = look_for()
        if not unsettled or look == MAX_LOOKS:
            break
        tell(f"{unsettled} files may still be on their way; looking again")
        time.sleep(get_settings().esr_settle_seconds)
    return subjects


def patiently(work: Callable[[], dict[str, int]], tell: Tell) -> dict[str, int]:
    """Do the work; while it says that it cannot be done yet, wait for a minute at most, then raise that.

    Raises:
        NotYetError: It still cannot be done.
    """
    give_up = time.monotonic() + PATIENCE
    while True:
        try:
            return work()
        except NotYetError as error:
            wait = min(max(error.retry_after, 1.0), LONGEST_WAIT)
            if time.monotonic() + wait > give_up:
                raise
            tell(f"{error}; looking again in {wait:.0f} s")
            time.sleep(wait)


def _stage(stage: str, subject: str, run_id: str, tell: Tell) -> dict[str, int]:
    return run_stage(stage, subject, run_id=run_id, progress=lambda line: tell(f"{subject}/{stage}: {line}"))

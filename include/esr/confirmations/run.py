"""What the tasks of ``esr_confirmations`` do: look for answers, apply each, report what was not answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from include.esr.alerts import tell, tell_failed
from include.esr.confirmations.apply import apply_answers
from include.esr.confirmations.sent import taken_up
from include.esr.confirmations.unanswered import unanswered
from include.esr.documents import FileState, Source
from include.esr.errors import FileRejectedError
from include.esr.files import ledger
from include.esr.files.discovery import discover, settle_remote
from include.esr.files.replay import replay_days
from include.esr.names import ANSWERS, FileType

if TYPE_CHECKING:
    from datetime import datetime

    from pymongo.client_session import ClientSession

    from include.esr.context import EsrContext
    from include.storage.mongo import Write

MAX_SUBJECTS = 500
"""Airflow maps at most 1024 tasks by default; the next run takes the rest."""


def discover_answers(
    ctx: EsrContext, *, interval: tuple[datetime, datetime] | None = None
) -> tuple[list[str], int]:
    """Look for answer files, or at the days to be done again, and return what there is to do.

    Args:
        ctx: The stage's context.
        interval: Replay the APC and DCC files whose day begins in it (UTC, end exclusive), from the landing
            zone, rather than look for new ones and go on with what is due.

    Returns:
        The answer files, in order for each deanery, and how many on the server are still on their way.

    Raises:
        IntegrationError: SFTP, landing zone or store failed.
    """
    if interval is not None:
        return replay_days(ctx, *interval, types=ANSWERS)[:MAX_SUBJECTS], 0
    began = ctx.now()
    found = discover(ctx, ANSWERS)
    for file_id in (*found.landed, *found.rejected):
        tell(ledger.read(ctx.store, file_id), since=began)
    tell_failed(found.failed)
    subjects = ledger.due(ctx.store, types=ANSWERS)
    ctx.progress(f"{len(subjects)} answer files to do")
    return subjects[:MAX_SUBJECTS], found.unsettled


def confirm(ctx: EsrContext, subject: str) -> dict[str, int]:
    """Apply an answer file, tell TCS and the event stream everything that waits, and note it for the file.

    Harmless at any time, also for a file that is done.

    Args:
        ctx: The stage's context.
        subject: Id of the answer file.

    Returns:
        What ``apply_answers`` counted; ``told`` and ``published``, which may be of other files too.

    Raises:
        NotYetError: The file of ours it answers is not marked as sent yet, or TCS is left alone.
        FileRejectedError: The file cannot be believed as a whole.
        TransientError: Something did not answer; what was done stays, and the rest is done by a later try.
    """
    from include.esr.tcs import Tcs
    from include.esr.tcs.calls import deliver
    from include.events.drain import drain

    owner, began = Source.of(subject).owner, ctx.now()
    try:
        counts = apply_answers(ctx, subject)
    except FileRejectedError:
        tell(ledger.read(ctx.store, subject), since=began)
        settle_remote(ctx, subject)
        raise
    tell(ledger.read(ctx.store, subject), since=began)
    told = {"told": 0}
    if Source.of(subject).name.type is FileType.APC:  # of notifications TCS is told nothing: no need to wait
        with Tcs(ctx.settings, progress=ctx.progress) as tcs:
            told = deliver(ctx.store, owner, tcs, ctx.settings, now=ctx.now, progress=ctx.progress)
    published = drain(ctx.store, ctx.settings, owner, now=ctx.now, progress=ctx.progress)
    _note_published(ctx, subject)
    return counts | {"told": told["told"], "published": published}


def report_unanswered(ctx: EsrContext) -> dict[str, int]:
    """Report files of ours without an answer; see ``unanswered``."""
    return unanswered(ctx, now=ctx.now())


def _note_published(ctx: EsrContext, file_id: str) -> None:
    """Note that nothing is left to do for a file.

    Raises:
        NotYetError: It was replayed meanwhile.
    """

    def prepare() -> tuple[None, Write | None]:
        state = ledger.read(ctx.store, file_id).state
        if state is FileState.PUBLISHED:
            return None, None
        if state is not FileState.RECONCILED:
            raise taken_up(file_id)
        return None, write

    def write(session: ClientSession, _order: int) -> None:
        ledger.advance(ctx.store, session, file_id, FileState.PUBLISHED, at=ctx.now())

    ctx.store.commit_plan(Source.of(file_id).owner, prepare)

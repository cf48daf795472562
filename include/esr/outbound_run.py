"""Runs the stages of the way out: what the tasks of three DAGs, and ``spotlight run``, call.

A *subject* is what one mapped task works on: a deanery (``KSS``), or a version of an answer file
(``<name>#<version>``). The *moment* is the run's logical date: what day it is, to every rule.
"""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime, time, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from include.errors import NotYetError
from include.esr.documents import APPLIED, FileState, owner
from include.esr.names import RMT, Deanery
from include.esr.outbound import LONDON, RecordState, london_day
from include.esr.run import LONGEST_WAIT, open_context
from include.failures import located
from include.npo.context import settle_memory
from include.storage.mongo import store_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import date

    from include.esr.context import EsrContext
    from include.settings import Settings

Counts = dict[str, int]

APP_TIME, DNC_TIME = time(14), time(15)
"""When the day's files are due, in London; source: domain page, section 1 (F)."""
INBOUND_LOOK = 300.0
"""Seconds between two looks for the day's inbound file."""


def woken_deaneries(
    *, run_id: str, settings: Settings | None = None, progress: Callable[[str], None] | None = None
) -> list[str]:
    """Read the subscribers' queues, and return the deaneries with posts to be looked at.

    Raises:
        IntegrationError: Queue or store failed.
    """
    from include.esr.generation.todo import waiting_deaneries
    from include.esr.generation.wake import receive

    with located("esr_generation", "receive"), open_context(run_id, settings, progress) as ctx:
        receive(ctx)
        return waiting_deaneries(ctx.store)


def outbound_deaneries(
    *, run_id: str, settings: Settings | None = None, progress: Callable[[str], None] | None = None
) -> list[str]:
    """Return the deaneries there is anything to tell ESR of: with positions, or files of ours.

    Raises:
        IntegrationError: The store failed.
    """
    with (
        located("esr_outbound", "deaneries"),
        open_context(run_id, settings, progress) as ctx,
        store_errors("esr"),
    ):
        known = {
            deanery
            for collection in ("esr_position", "esr_export", "esr_app_record", "esr_notification")
            for deanery in ctx.store[collection].distinct("deanery")
        }
    return sorted(known & set(Deanery.__members__))


def answer_files(
    *,
    run_id: str,
    interval: tuple[datetime, datetime] | None = None,
    settings: Settings | None = None,
    progress: Callable[[str], None] | None = None,
) -> tuple[list[str], int]:
    """Look for APC and DCC files; return those to be applied, and how many are still on their way.

    Args:
        run_id: Id of the DAG run.
        interval: Do those again whose day begins in it (UTC, end exclusive), rather than look for new ones.
        settings: Those of the process when left out.
        progress: Told one line whenever there is something to tell; the log when left out.

    Raises:
        IntegrationError: SFTP, landing zone or store failed.
    """
    from include.esr.confirmations.run import discover_answers

    with located("esr_confirmations", "discover"), open_context(run_id, settings, progress) as ctx:
        return discover_answers(ctx, interval=interval)


def run_stage(
    stage: str,
    subject: str,
    *,
    run_id: str,
    moment: datetime,
    settings: Settings | None = None,
    progress: Callable[[str], None] | None = None,
) -> Counts:
    """Run a stage for one subject and return its counts.

    Args:
        stage: One of ``STAGES``.
        subject: A deanery, or an answer file.
        run_id: Id of the DAG run.
        moment: The run's logical date.
        settings: Those of the process when left out.
        progress: Told one line whenever there is something to tell; the log when left out.

    Raises:
        NotYetError: What it needs is not there yet; nothing failed, run it again later.
        IntegrationError: As the stages say, with subject and stage filled in.
    """
    with located(subject, stage), open_context(run_id, settings, progress, subject) as ctx:
        settle_memory()
        return STAGES[stage](ctx, subject, moment)


def require_inbound(ctx: EsrContext, deanery: str, moment: datetime) -> Counts:
    """Wait, bounded, until the day's RMF or RMC of a deanery is reconciled; then alert and go on.

    Raises:
        NotYetError: It is not, and less than ``esr_inbound_wait`` has passed since the files were due.
    """
    today = london_day(moment)
    states = _inbound_states(ctx, deanery, today)
    waiting = [state for state in states if state not in APPLIED]
    if states and not waiting and states != [FileState.REJECTED] * len(states):
        return {"inbound_files": len(states)}
    if states and not waiting:
        reason = f"the RMF or RMC of {today} was rejected"
    elif waiting:
        reason = f"the RMF or RMC of {today} is {waiting[0]}, not reconciled yet"
    else:
        reason = f"no RMF or RMC of {today} has come yet"
    # A rejected one may be sent again in time.
    if _is_early(ctx, moment):
        raise NotYetError(f"{reason}; the files for ESR wait for it", retry_after=INBOUND_LOOK)
    _tell_missing(deanery, today, f"{reason}; files for ESR are made without it")
    return {"inbound_files": 0}


def _is_early(ctx: EsrContext, moment: datetime) -> bool:
    """Tell whether inbound is still waited for: from when the day's files are due, whenever it is asked."""
    due = datetime.combine(london_day(moment), APP_TIME, LONDON)
    return ctx.now() < due + timedelta(seconds=ctx.settings.esr_inbound_wait)


def _tell_missing(deanery: str, today: date, message: str) -> None:
    structlog.get_logger("spotlight.alerts").warning(
        "esr_inbound_missing", deanery=deanery, day=today.isoformat(), message=message
    )


def _inbound_states(ctx: EsrContext, deanery: str, today: date) -> list[str]:
    query = {
        "deanery": deanery,
        "type": {"$in": [each.value for each in RMT]},
        "order": {"$gte": f"{today:%Y%m%d}", "$lt": f"{today:%Y%m%d}~"},
    }
    with store_errors(owner(deanery)):
        found = ctx.store["esr_file"].find(query, {"state": 1}).sort("order", 1)
        return [document["state"] for document in found]


def _generate(ctx: EsrContext, subject: str, moment: datetime) -> Counts:
    """Look at the posts events told of; what cannot be done now is left to the next run, which is soon."""
    from include.esr.generation.generate import generate
    from include.esr.placements.observe import looking
    from include.esr.tcs import Tcs

    with left_to_the_next_run(), Tcs(looking(ctx.settings), progress=ctx.progress) as tcs:
        return generate(ctx, subject, tcs, today=london_day(moment), sweep=False)


def _sweep(ctx: EsrContext, subject: str, moment: datetime) -> Counts:
    """Look at every post; while a file is half applied wait, bounded, then alert and leave it out."""
    from include.esr.generation.generate import generate, require_reconciled
    from include.esr.placements.observe import looking
    from include.esr.tcs import Tcs

    today = london_day(moment)
    try:
        require_reconciled(ctx.store, subject)
    except NotYetError as error:
        if _is_early(ctx, moment):
            raise
        _tell_missing(subject, today, f"{error.message}; today's files hold what was made before")
        return {"posts": 0}
    with Tcs(looking(ctx.settings), progress=ctx.progress) as tcs:
        return generate(ctx, subject, tcs, today=today, sweep=True)


def _export(ctx: EsrContext, subject: str, moment: datetime, *, kind: Any) -> Counts:
    from include.esr.exports.export import export_file
    from include.esr.tcs import Tcs

    today = london_day(moment)
    opens = datetime.combine(today, DNC_TIME, LONDON).astimezone(UTC)
    if kind == "DNC" and ctx.now() < opens:
        raise NotYetError(
            f"notifications go out from {DNC_TIME:%H:%M}",
            retry_after=min(INBOUND_LOOK, (opens - ctx.now()).total_seconds()),
        )
    with Tcs(ctx.settings, progress=ctx.progress) as tcs:
        return export_file(ctx, kind, subject, today=today, tcs=tcs)


def _confirm(ctx: EsrContext, subject: str, _moment: datetime) -> Counts:
    from include.esr.confirmations.run import confirm

    with left_to_the_next_run():
        return confirm(ctx, subject)


@contextmanager
def left_to_the_next_run() -> Iterator[None]:
    """Make what cannot be done yet a matter of the next run, in a quarter of an hour.

    Of these DAGs one run is active at a time: one that stayed open for one subject would hold up all others.
    """
    try:
        yield
    except NotYetError as error:
        error.retry_after = max(error.retry_after, LONGEST_WAIT + 1)
        raise


def _receipts(ctx: EsrContext, _subject: str, _moment: datetime) -> Counts:
    from include.esr.exports.receipts import send_receipts

    return send_receipts(ctx)


def _unanswered(ctx: EsrContext, _subject: str, _moment: datetime) -> Counts:
    from include.esr.confirmations.run import report_unanswered

    return report_unanswered(ctx)


STAGES: Mapping[str, Callable[[EsrContext, str, datetime], Counts]] = {
    "generate": _generate,
    "ready": require_inbound,
    "sweep": _sweep,
    "export_app": partial(_export, kind="APP"),
    "export_dnc": partial(_export, kind="DNC"),
    "confirm": _confirm,
    "receipts": _receipts,
    "unanswered": _unanswered,
}
OUTBOUND = ("ready", "sweep", "export_app", "export_dnc")
"""The stages of ``esr_outbound`` for one deanery, in order."""


def counts_by_state(ctx: EsrContext, collection: str, deaneries: Sequence[str] = ()) -> Counts:
    """Return how many records of a collection are in each state."""
    match: dict[str, Any] = {"deanery": {"$in": list(deaneries)}} if deaneries else {}
    with store_errors("esr"):
        found = ctx.store[collection].aggregate(
            [{"$match": match}, {"$group": {"_id": "$state", "n": {"$sum": 1}}}]
        )
        counts = {each["_id"]: each["n"] for each in found}
    return {state.value: counts[state.value] for state in RecordState if state.value in counts}

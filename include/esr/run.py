"""Runs the stages of the exchange: what the DAG's tasks, and ``spotlight run esr_inbound``, call.

A *subject* is what one mapped task works on: a version of a file (``<name>#<version>``), or a deanery
(``KSS``) that has work left from earlier runs and no new file.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from include.errors import NotYetError
from include.esr.alerts import tell, tell_failed
from include.esr.context import EsrContext
from include.esr.documents import FileState, owner
from include.esr.files import ledger
from include.esr.names import Deanery, FileName
from include.failures import located
from include.npo.context import settle_memory
from include.settings import get_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from include.settings import Settings

log = logging.getLogger("spotlight.esr")

STAGES = ("read", "reconcile", "publish")
MAX_SUBJECTS = 500
"""Airflow maps at most 1024 tasks by default; the next run takes the rest."""
MAX_LOOKS = 4
"""Looks at the server in one run; a file that is still growing then is the next run's."""
LONGEST_WAIT = 600.0
"""Seconds a run waits for one thing at a time; what takes longer is left to a later run."""

Counts = dict[str, int]


def discover_subjects(
    *,
    run_id: str,
    interval: tuple[datetime, datetime] | None = None,
    settings: Settings | None = None,
    progress: Callable[[str], None] | None = None,
) -> tuple[list[str], int]:
    """Look for new files, or at the days to be done again, and return what there is to do.

    Args:
        run_id: Id of the DAG run.
        interval: Replay the files whose day begins in it (UTC, end exclusive), from the landing zone, rather
            than look for new ones and go on with what is due.
        settings: Those of the process when left out.
        progress: Told one line whenever there is something to tell; the log when left out.

    Returns:
        The subjects, in sequence for each deanery, and how many files on the server are still on their way.

    Raises:
        IntegrationError: SFTP, landing zone or store failed.
    """
    from include.esr.files.discovery import discover
    from include.esr.files.replay import replay_days

    with located("esr_inbound", "discover"), open_context(run_id, settings, progress) as ctx:
        if interval is not None:
            return replay_days(ctx, *interval)[:MAX_SUBJECTS], 0
        began = ctx.now()
        found = discover(ctx)
        for file_id in (*found.landed, *found.rejected):
            tell(ledger.read(ctx.store, file_id), since=began)
        tell_failed(found.failed)
        files = ledger.due(ctx.store)
        # A file left from before may fail or wait for long: the rest of its deanery must not.
        deaneries = pending_deaneries(ctx) - {_deanery(file_id) for file_id in found.landed}
        subjects = files + sorted(deaneries)
        ctx.progress(f"{len(files)} files to do, {len(deaneries)} deaneries with work left from before")
        return subjects[:MAX_SUBJECTS], found.unsettled


def run_stage(
    stage: str,
    subject: str,
    *,
    run_id: str,
    settings: Settings | None = None,
    progress: Callable[[str], None] | None = None,
) -> Counts:
    """Run a stage for one subject and return its counts.

    Raises:
        NotYetError: What it needs is not there yet; nothing failed, run it again later.
        IntegrationError: As the stages say, with the file and the stage filled in.
    """
    stages = {"read": _read, "reconcile": _reconcile, "publish": _publish}
    with located(subject, stage), open_context(run_id, settings, progress, subject) as ctx:
        settle_memory()
        return stages[stage](ctx, subject)


@contextmanager
def open_context(
    run_id: str,
    settings: Settings | None = None,
    progress: Callable[[str], None] | None = None,
    subject: str = "esr_inbound",
) -> Iterator[EsrContext]:
    """Open what a stage works with and close it again."""
    from include.storage.landing import LandingZone
    from include.storage.mongo import IntegrationStore

    settings = settings or get_settings()
    store = IntegrationStore(settings)
    try:
        store.prepare()
        yield EsrContext(
            run_id=run_id,
            store=store,
            landing=LandingZone(settings),
            settings=settings,
            progress=progress or (lambda line: log.info("%s: %s", subject, line)),
        )
    finally:
        store.close()


def pending_deaneries(ctx: EsrContext) -> set[str]:
    """Return the deaneries with work left: positions, people, calls or events that wait."""
    waiting: set[str] = set()
    for collection, query in (
        ("esr_position", {"pending": True}),
        ("esr_position", {"unmatched": True}),
        ("esr_person", {"pending": True, "not_before": {"$lte": ctx.now()}}),
    ):
        waiting.update(ctx.store[collection].distinct("deanery", query))
    owners = {owner(deanery): deanery.value for deanery in Deanery}
    for collection in ("esr_call", "outbox"):
        found = ctx.store[collection].distinct("owner", {"pending": True, "owner": {"$in": list(owners)}})
        waiting.update(owners[each] for each in found)
    return waiting


def _read(ctx: EsrContext, subject: str) -> Counts:
    """Split, judge and save a file; a deanery has nothing to read."""
    from include.esr.errors import FileRejectedError
    from include.esr.files.discovery import settle_remote
    from include.esr.save import save_file
    from include.esr.split import split_file
    from include.esr.tcs import Tcs

    if _is_deanery(subject):
        return {}
    began = ctx.now()
    try:
        with Tcs(ctx.settings, progress=ctx.progress) as tcs:
            split_file(ctx, subject, tcs)
    except FileRejectedError:
        tell(ledger.read(ctx.store, subject), since=began)
        settle_remote(ctx, subject)
        raise
    save_file(ctx, subject)
    entry = ledger.read(ctx.store, subject)
    tell(entry, since=began)
    if _life(entry.state) < _life(FileState.SAVED):
        raise _replayed(subject)
    return dict(entry.counts)


def _reconcile(ctx: EsrContext, subject: str) -> Counts:
    """Reconcile everything of the deanery that waits and tell TCS, then note it for the file."""
    from include.esr.people.updates import update_people
    from include.esr.positions.reconcile import reconcile_positions
    from include.esr.results import file_counts
    from include.esr.tcs import Tcs
    from include.esr.tcs.calls import deliver

    deanery = _deanery(subject)
    with Tcs(ctx.settings, progress=ctx.progress) as tcs:
        done = reconcile_positions(ctx, deanery, tcs)
        done |= deliver(ctx.store, owner(deanery), tcs, ctx.settings, now=ctx.now, progress=ctx.progress)
        done |= update_people(ctx, deanery, tcs)
    if _is_deanery(subject):
        return done
    return _note(ctx, subject, FileState.RECONCILED, file_counts(ctx, subject))


def _publish(ctx: EsrContext, subject: str) -> Counts:
    """Send every event of the deanery that waits, then note it for the file."""
    from include.events.drain import drain

    published = drain(ctx.store, ctx.settings, owner(_deanery(subject)), now=ctx.now, progress=ctx.progress)
    counts = {"published": published}
    return counts if _is_deanery(subject) else _note(ctx, subject, FileState.PUBLISHED, counts)


def _note(ctx: EsrContext, file_id: str, state: FileState, counts: Counts) -> Counts:
    """Bring a file from the state before into this one, unless it is there or further on already.

    Raises:
        NotYetError: It was replayed meanwhile: what it holds has not been applied again yet.
    """

    def prepare() -> tuple[Counts, Any]:
        entry = ledger.read(ctx.store, file_id)
        if _life(entry.state) >= _life(state):
            return dict(entry.counts), None
        if _life(entry.state) < _life(state) - 1:
            raise _replayed(file_id)
        return {**entry.counts, **counts}, lambda session, _order: ledger.advance(
            ctx.store, session, file_id, state, at=ctx.now(), counts=counts
        )

    return ctx.store.commit_plan(owner(_deanery(file_id)), prepare)


def _life(state: FileState) -> int:
    return list(FileState).index(state)


def _replayed(file_id: str) -> NotYetError:
    return NotYetError(
        "the file is being done again since this run took it up; a later run goes on with it",
        retry_after=LONGEST_WAIT + 1,
        subject=file_id,
    )


def _is_deanery(subject: str) -> bool:
    return subject in Deanery.__members__


def _deanery(subject: str) -> str:
    return subject if _is_deanery(subject) else FileName.parse(subject.partition("#")[0]).deanery.value

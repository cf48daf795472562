"""Exporting: a day's APP or DNC file of a deanery, made once and sent once."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import structlog

from include.esr.documents import owner
from include.esr.exports import ledger
from include.esr.exports.allocating import allocate
from include.esr.exports.failing import collected, raise_worst
from include.esr.exports.sending import finish
from include.esr.names import FileType
from include.esr.tcs.calls import deliver
from include.events.drain import drain

if TYPE_CHECKING:
    from datetime import date

    from include.errors import IntegrationError
    from include.esr.context import EsrContext
    from include.esr.exports.ledger import Export
    from include.esr.outbound import Kind
    from include.esr.tcs import Tcs


def export_file(ctx: EsrContext, kind: Kind, deanery: str, *, today: date, tcs: Tcs) -> dict[str, int]:
    """Make and send a day's file of a deanery, after those of earlier runs that were not sent.

    Run again for the same day it sends nothing more, and goes on with what was left: the file that was
    made, calls to TCS, events. A file that fails holds up no other: the failure is raised in the end.

    Args:
        ctx: What the stage works with.
        kind: Of the file.
        deanery: Whose records.
        today: The run's logical date in London.
        tcs: TCS, to be told of applicants that were sent; of notifications it is not told.

    Returns:
        ``files`` and ``records`` sent now; ``carried_over`` to a later file and ``invalid`` of what was due,
        ``waiting`` for their posts to be looked at;
        for applicants ``told``, ``read_back`` and ``refused`` of the calls to TCS; ``published`` events.

    Raises:
        DataQualityError: A finished file is not sound; it was not sent, its records wait in it.
        NotYetError: TCS is left alone for a while; the files are sent and the calls wait.
        IntegrationError: SFTP, landing zone, store, TCS or event stream failed; run it again.
    """
    file_type = FileType(kind)
    counts = Counter(dict.fromkeys(("files", "records", "carried_over", "invalid", "waiting"), 0))
    failed: list[IntegrationError] = []
    tried: set[str] = set()
    for export in ledger.unfinished(ctx.store, deanery, *ledger.FINISHED_WITH[file_type]):
        if export.day <= today:
            tried.add(export.id)
            with collected(failed, ctx.progress):
                _add(counts, finish(ctx, export))
                _tell_late(export, today)
    with collected(failed, ctx.progress):
        allocation = allocate(ctx, file_type, deanery, today=today)
        counts.update(
            invalid=allocation.invalid, carried_over=allocation.carried_over, waiting=allocation.waiting
        )
        made = allocation.export
        if made and made.id not in tried and made.state in ledger.UNFINISHED:
            _add(counts, finish(ctx, made))
    told: dict[str, int] = {}
    with collected(failed, ctx.progress):
        told = _tell(ctx, deanery, tcs if file_type is FileType.APP else None)
    raise_worst(failed)
    return dict(counts) | told


def _tell_late(sent: Export, today: date) -> None:
    if sent.day < today:
        structlog.get_logger("spotlight.alerts").warning(
            "esr_export_late",
            file=sent.id,
            deanery=sent.deanery,
            day=sent.day.isoformat(),
            message="it went out after its day, as it was made then: what changed since is not in it",
        )


def _add(counts: Counter[str], sent: Export) -> None:
    counts.update(files=1, records=sent.records)


def _tell(ctx: EsrContext, deanery: str, tcs: Tcs | None) -> dict[str, int]:
    """Tell TCS, if there is something for it, and the event stream; the one does not wait for the other.

    Raises:
        IntegrationError: One of them did not take it; it waits.
    """
    whose = owner(deanery)
    told: dict[str, int] = {}
    try:
        if tcs is not None:
            told = deliver(ctx.store, whose, tcs, ctx.settings, now=ctx.now, progress=ctx.progress)
    finally:
        told["published"] = drain(ctx.store, ctx.settings, whose, now=ctx.now, progress=ctx.progress)
    return told

"""Exporting: a day's APP or DNC file of a deanery, made once and sent once."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from include.esr.documents import owner
from include.esr.exports import ledger
from include.esr.exports.allocating import allocate
from include.esr.exports.sending import finish
from include.esr.names import FileType
from include.esr.tcs.calls import deliver
from include.events.drain import drain

if TYPE_CHECKING:
    from datetime import date

    from include.esr.context import EsrContext
    from include.esr.exports.ledger import Export
    from include.esr.outbound import Kind
    from include.esr.tcs import Tcs


def export_file(ctx: EsrContext, kind: Kind, deanery: str, *, today: date, tcs: Tcs) -> dict[str, int]:
    """Make and send a day's file of a deanery, after those of earlier runs that were not sent.

    Run again for the same day it sends nothing more, and goes on with what was left: the file that was
    made, calls to TCS, events.

    Args:
        ctx: What the stage works with.
        kind: Of the file.
        deanery: Whose records.
        today: The run's logical date in London.
        tcs: TCS, to be told of applicants that were sent; of notifications it is not told.

    Returns:
        ``files`` and ``records`` sent now; ``carried_over`` to a later file and ``invalid`` of what was due;
        for applicants ``told``, ``read_back`` and ``refused`` of the calls to TCS; ``published`` events.

    Raises:
        DataQualityError: A finished file is not sound; it was not sent, its records wait in it.
        NotYetError: TCS is left alone for a while; the files are sent and the calls wait.
        IntegrationError: SFTP, landing zone, store, TCS or event stream failed; run it again.
    """
    file_type = FileType(kind)
    counts = Counter(dict.fromkeys(("files", "records", "carried_over", "invalid"), 0))
    for export in ledger.unfinished(ctx.store, deanery, file_type):
        if export.day <= today:
            _add(counts, finish(ctx, export))
    allocation = allocate(ctx, file_type, deanery, today=today)
    counts.update(invalid=allocation.invalid, carried_over=allocation.carried_over)
    if allocation.export and allocation.export.state in ledger.UNFINISHED:
        _add(counts, finish(ctx, allocation.export))
    return dict(counts) | _tell(ctx, deanery, tcs if file_type is FileType.APP else None)


def _add(counts: Counter[str], sent: Export) -> None:
    counts.update(files=1, records=sent.records, carried_over=0)


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

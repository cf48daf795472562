"""Applying an answer file: to records, line by line, and to the file of ours it answers.

Each slice of lines commits in one transaction with the line ledger, the calls to TCS and the mark to go on
from, under the deanery's fence, so that a crash resumes at the slice and no line is applied twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from include.esr.confirmations.ending import end_file
from include.esr.confirmations.reading import require_whole, slices
from include.esr.confirmations.sent import sent_file, taken_up
from include.esr.confirmations.slices import plan_slice
from include.esr.documents import FileState
from include.esr.errors import FileRejectedError
from include.esr.files import ledger
from include.quality.gate import Reason
from include.storage.mongo import store_errors

if TYPE_CHECKING:
    from pymongo.client_session import ClientSession

    from include.esr.confirmations.reading import Slice
    from include.esr.context import EsrContext
    from include.esr.files.entry import Entry
    from include.esr.tally import Tally
    from include.storage.mongo import Write


def apply_answers(ctx: EsrContext, file_id: str) -> dict[str, int]:
    """Apply what ESR answered; does nothing to a file that is applied already.

    Bad lines are set aside one by one. Answers to something we did not send are kept on the line ledger,
    counted and told as an alert of the answer file; they change nothing.

    Args:
        ctx: The stage's context.
        file_id: A landed APC or DCC.

    Returns:
        ``answers``: good lines, ``quarantined``: bad ones; how many came to each outcome (``applied``,
        ``repeated`` ...); and of those applied how many ``confirmed``, ``warnings`` and ``rejected``.

    Raises:
        NotYetError: The file of ours it answers is not marked as sent yet, so nothing was applied; or
            another run has taken the answers up.
        FileRejectedError: It cannot be believed as a whole: rejected on the ledger, now or before.
        TransientError: Store or landing zone did not answer; what was applied so far stays.
    """
    with store_errors(file_id):
        entry = ledger.read(ctx.store, file_id)
        if entry.state is FileState.REJECTED and entry.reason is not None:
            raise FileRejectedError(entry.reason.message, code=entry.reason.code, subject=entry.name)
        if entry.state is not FileState.LANDED:
            return dict(entry.counts)
        tally = _require_whole(ctx, entry)
        reached = entry.saved.line if entry.saved else 1
        for part in slices(ctx, entry, start_line=reached):
            reached = part.next_line
            counts = _commit(ctx, file_id, part)
            told = ", ".join(f"{number:,} {outcome}" for outcome, number in sorted(counts.items()))
            ctx.progress(f"lines {part.first_line:,} to {part.next_line - 1:,}: {told or 'no answers'}")
        return end_file(ctx, file_id, tally, reached=reached)


def _require_whole(ctx: EsrContext, entry: Entry) -> Tally:
    try:
        return require_whole(ctx, entry)
    except FileRejectedError as error:
        asked = f"{error.message}: ask ESR for it again"
        reason = Reason(error.code, asked)

        def write(session: ClientSession, _order: int) -> None:
            ledger.reject(ctx.store, session, entry.file_id, reason, at=ctx.now())

        ctx.store.commit_plan(entry.source.owner, lambda: (None, write))
        raise FileRejectedError(asked, code=error.code, subject=entry.name) from error


def _commit(ctx: EsrContext, file_id: str, part: Slice) -> dict[str, int]:
    """Commit a slice, planned anew for as long as others of the deanery commit first."""

    def prepare() -> tuple[dict[str, int], Write | None]:
        entry = ledger.read(ctx.store, file_id)
        line = entry.saved.line if entry.saved else 1
        if entry.state is not FileState.LANDED or line != part.first_line:
            raise taken_up(file_id)
        # Looked up in each plan: the file it answers may have been given up a moment ago. And each slice has
        # its own time, by which TCS tells two calls of one record apart.
        at = ctx.now()
        return plan_slice(ctx, entry, sent_file(ctx, entry, now=at), part, at=at)

    return ctx.store.commit_plan(ledger.read(ctx.store, file_id).source.owner, prepare)

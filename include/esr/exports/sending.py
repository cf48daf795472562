"""Sending a file: archived in S3, written under a passing name, read back, and only then given its name.

Each step is committed before the next, so that a run that was killed is taken up where it was: before
``uploaded`` is committed nobody has renamed the file, and afterwards only we do. So if neither name is there
any more, ESR has taken it.

Each try has a passing name of its own, which the ledger has before a byte is written: two runs at once cannot
write into one file, and only the file that was read back by the run that committed it gets its name.
"""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from include.errors import ConfigurationError, FatalError, IntegrationError, TransientError
from include.esr.exports import ledger
from include.esr.exports.checking import require_sound
from include.esr.exports.committing import commit_sent, commit_step
from include.esr.exports.writing import body_of, row_of
from include.esr.files.sftp_out import open_outbound
from include.esr.outbound import ExportState

if TYPE_CHECKING:
    from include.esr.context import EsrContext
    from include.esr.exports.ledger import Export
    from include.esr.files.sftp_out import OutboundFolder

STAGE = "send"
PASSING = ".part"
"""ESR takes files by their whole name; one that is still being written has this after it."""
MOST_PARTS = 20
"""Passing names of earlier tries that are kept, to be taken away."""


@dataclass(frozen=True, slots=True)
class _Named:
    """How a file came to be ESR's: whether it is gone already, and whether nobody saw it there."""

    taken: bool
    presumed: bool = False


def finish(ctx: EsrContext, export: Export) -> Export:
    """Take a file that has its number to where it is sent.

    Raises:
        DataQualityError: It is not sound; nothing was sent.
        ConfigurationError: A person must look: a right is missing, or another file has its name already.
        TransientError: The server, the landing zone or the store did not answer; it is tried again.
        FatalError: Its records were changed since it was made first.
    """
    try:
        if export.abandoning:
            raise ConfigurationError(
                "this file is being given up; finish that first ('spotlight esr abandon')", subject=export.id
            )
        return _finish(ctx, export)
    except IntegrationError as error:
        error.located(subject=export.id, stage=STAGE)
        ledger.note_failure(
            ctx.store, export.id, code=type(error).__name__, message=error.message, at=ctx.now()
        )
        raise


def _finish(ctx: EsrContext, export: Export) -> Export:
    # Of one that is uploaded no body is made: what lies there, or with ESR, was judged and read back.
    body = None if export.state is ExportState.UPLOADED else _archived(ctx, export)
    with open_outbound(ctx.settings) as folder:
        if body is not None:
            export = _upload(ctx, folder, export, body)
        named = _give_name(folder, export)
        _clear(folder, export)  # once more: a run that was overtaken may have begun to write after the first
    sent = commit_sent(ctx, export, taken=named.taken)
    if named.presumed:  # another run that had given it its name would have committed that first
        _tell_presumed(export)
    ctx.progress(f"{export.id}: {export.records:,} records sent{', taken by ESR' if named.taken else ''}")
    return sent


def _archived(ctx: EsrContext, export: Export) -> bytes:
    """Return the bytes of a file, the same as ever, which the landing zone has by then.

    Raises:
        FatalError: They are others than the first time.
    """
    body, key = make_body(ctx, export), object_key(export)
    if export.sha256 not in {None, hashlib.sha256(body).hexdigest()}:
        raise FatalError(
            "its records give other bytes than when it was made first; nothing was sent now. Compare the "
            f"records of the file with the landing zone ({key}), or give the file up "
            "('spotlight esr abandon'), which makes them due again"
        )
    if export.state is ExportState.ALLOCATED:
        ctx.landing.put(key, body, compress=True)
    return body


def make_body(ctx: EsrContext, export: Export) -> bytes:
    """Return the bytes of a file, made of its records and judged.

    Raises:
        DataQualityError: It is not sound.
        RecordError: A record cannot be written at all.
    """
    records = [] if export.about else list(ledger.records_of(ctx.store, export))
    rows = export.rows if export.about else [row_of(record["fields"], export.type) for record in records]
    body = body_of(export.name, rows, made_at=export.made_at)
    require_sound(export, body, records, ctx.settings)
    return body


def object_key(export: Export) -> str:
    """Return where a file is archived; the same bytes every time."""
    return f"esr/outbound/{export.deanery}/{export.day.isoformat()}/{export.id}.gz"


def _upload(ctx: EsrContext, folder: OutboundFolder, export: Export, body: bytes) -> Export:
    """Write a file under a passing name of this try, read it back and commit that it lies there.

    Raises:
        TransientError: What is there then is something else, or another run has the file.
        ConfigurationError: Another file has its name.
    """
    passing = f"{export.id}.{uuid.uuid4().hex[:12]}{PASSING}"
    fields = {
        "sha256": hashlib.sha256(body).hexdigest(),
        "size": len(body),
        "object_key": object_key(export),
        "parts": (*export.parts, passing)[-MOST_PARTS:],
    }
    begun = commit_step(ctx, export, ExportState.UPLOADING, fields)
    _clear(folder, begun)
    _is_there(folder, begun)
    folder.write(passing, body)
    try:
        _require_same(folder.digest(passing, size=len(body)), begun)
        return commit_step(ctx, begun, ExportState.UPLOADED)
    except TransientError:
        _remove_if_lost(ctx, folder, begun)
        raise


def _require_same(digest: str | None, export: Export) -> None:
    if digest != export.sha256:
        raise TransientError("what was written was read back as something else; it is written again")


def _clear(folder: OutboundFolder, export: Export) -> None:
    """Take away what earlier tries left: no run can commit any more that it is right, and so rename it."""
    for part in export.parts[:-1]:
        folder.remove(part)


def _remove_if_lost(ctx: EsrContext, folder: OutboundFolder, export: Export) -> None:
    """Take away what this try has written if the file is another run's by now, which may not look for it."""
    now = ledger.read(ctx.store, export.id)
    if now.parts[-1:] != export.parts[-1:] or now.abandoning or now.state is ExportState.FAILED:
        folder.remove(export.parts[-1])


def _give_name(folder: OutboundFolder, export: Export) -> _Named:
    """Give the file its name; it may have it already, and ESR may have taken it before we looked again."""
    passing = export.parts[-1]
    if _is_there(folder, export):
        folder.remove(passing)
        return _Named(taken=False)
    was_there = folder.rename(passing, export.id)
    is_taken = not _is_there(folder, export)
    return _Named(taken=is_taken, presumed=is_taken and not was_there)


def _tell_presumed(export: Export) -> None:
    structlog.get_logger("spotlight.alerts").warning(
        "esr_export_presumed_taken",
        file=export.id,
        deanery=export.deanery,
        message="it was uploaded and lies there under neither name any more: ESR has taken it, if nobody "
        "else takes files away there. It is noted as sent; ask ESR if no answer comes",
    )


def _is_there(folder: OutboundFolder, export: Export) -> bool:
    """Tell whether the file has its name already: an earlier try was killed before it could note it.

    Raises:
        ConfigurationError: What has this name is another file.
    """
    found = folder.digest(export.id, size=export.size or 0)
    if found in {None, export.sha256}:
        return found is not None
    raise ConfigurationError(
        "another file has this name in the outbound folder; it was left as it is and ours was not sent. Find "
        "out whose it is, then take it away and run the export again, or give ours up"
    )

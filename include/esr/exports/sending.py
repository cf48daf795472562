"""Sending a file: archived in S3, written under a passing name, read back, and only then given its name.

Each step is committed before the next, so that a run that was killed is taken up where it was: before
``uploaded`` is committed nobody has renamed the file, and afterwards only we do. So if neither name is there
any more, ESR has taken it.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

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
    body = make_body(ctx, export)
    digest, key = hashlib.sha256(body).hexdigest(), object_key(export)
    if export.sha256 not in {None, digest}:
        raise FatalError(
            "its records give other bytes than when it was made first; nothing was sent now. Compare the "
            f"records of the file with the landing zone ({key})"
        )
    if export.state is ExportState.ALLOCATED:
        ctx.landing.put(key, body, compress=True)
    with open_outbound(ctx.settings) as folder:
        if export.state is not ExportState.UPLOADED:
            fields = {"sha256": digest, "size": len(body), "object_key": key}
            export = commit_step(ctx, export, ExportState.UPLOADING, fields)
            _upload(folder, export, body)
            export = commit_step(ctx, export, ExportState.UPLOADED)
        taken = _give_name(folder, export)
    sent = commit_sent(ctx, export, taken=taken)
    ctx.progress(f"{export.id}: {export.records:,} records sent{', taken by ESR at once' if taken else ''}")
    return sent


def make_body(ctx: EsrContext, export: Export) -> bytes:
    """Return the bytes of a file, made of its records and judged.

    Raises:
        DataQualityError: It is not sound.
        RecordError: A record cannot be written at all.
    """
    records = [] if export.about else list(ledger.records_of(ctx.store, export))
    rows = export.rows if export.about else [row_of(record["fields"], export.type) for record in records]
    body = body_of(export.name, rows, made_at=export.made_at)
    if export.state is not ExportState.UPLOADED:  # that was judged, and may be with ESR already
        require_sound(export, body, records, ctx.settings)
    return body


def object_key(export: Export) -> str:
    """Return where a file is archived; the same bytes every time."""
    return f"esr/outbound/{export.deanery}/{export.day.isoformat()}/{export.id}.gz"


def _upload(folder: OutboundFolder, export: Export, body: bytes) -> None:
    """Write a file under its passing name and read it back.

    Raises:
        TransientError: What is there then is something else.
        ConfigurationError: Another file has its name.
    """
    _is_there(folder, export)
    passing = export.id + PASSING
    folder.write(passing, body)
    if folder.digest(passing, size=len(body)) != export.sha256:
        raise TransientError("what was written was read back as something else; it is written again")


def _give_name(folder: OutboundFolder, export: Export) -> bool:
    """Give the file its name and return whether ESR had taken it before we looked again."""
    passing = export.id + PASSING
    if _is_there(folder, export):
        folder.remove(passing)
        return False
    folder.rename(passing, export.id)
    return not _is_there(folder, export)


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

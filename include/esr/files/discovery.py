"""Discovery: new files on the SFTP server go into the landing zone and onto the ledger.

The order of the side effects makes each of them repeatable: fetch, object (its key is its content), ledger
(one transaction), and only then the partner's copy is moved. Killed in between, the next look finishes it.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, BinaryIO

from include.errors import ConfigurationError
from include.esr.documents import FileState
from include.esr.files import ledger
from include.esr.files.admission import Arrival, admit
from include.esr.files.entry import Remote
from include.esr.files.landing import END_BYTES, inspect, object_key, read_name, refusal, too_large
from include.esr.files.sftp import DONE, REJECTED, RemoteFile, open_folder
from include.esr.files.sightings import forget_others, has_settled
from include.esr.formats.frame import tail_is_footer

if TYPE_CHECKING:
    from include.esr.context import EsrContext
    from include.esr.files.entry import Entry
    from include.esr.files.sftp import EsrFolder

STAGE = "discover"
GONE = "gone"
LABEL_DIGITS = 12


@dataclass(frozen=True, slots=True)
class Discovered:
    """What a look at the server found.

    Attributes:
        landed: Ids of the new files on the ledger that can be split.
        rejected: Ids of the new files on the ledger that cannot be used at all.
        unsettled: Files that may still be on their way: look again.
    """

    landed: tuple[str, ...] = ()
    rejected: tuple[str, ...] = ()
    unsettled: int = 0


def discover(ctx: EsrContext) -> Discovered:
    """Land every file that is completely there, and put the partner's copy away.

    Raises:
        ConfigurationError: The server refuses us, or one file cannot be read: the others were landed.
        TransientError: Server, landing zone or store did not answer; what was landed so far is on the ledger.
    """
    found, failure = Discovered(), None
    with open_folder(ctx.settings) as folder:
        for entry in ledger.misplaced(ctx.store):
            _put_away(ctx, folder, entry)
        listing = folder.files()
        if listing.impossible:
            ctx.progress(f"{listing.impossible} entries whose name no file can have are left alone")
        forget_others(ctx.store, [file.name for file in listing.files])
        for file in listing.files:
            try:
                found = _take(ctx, folder, file, found)
            except ConfigurationError as error:  # of this file: the others are not to blame
                failure = error.located(subject=file.name, stage=STAGE)
                ctx.progress(f"{file.name}: {error.message}")
    if failure:
        raise failure
    return found


def settle_remote(ctx: EsrContext, file_id: str) -> None:
    """Move the partner's copy of a file to where the ledger's verdict says; harmless when repeated.

    Raises:
        IntegrationError: As ``discover``; the next look moves it.
    """
    entry = ledger.read(ctx.store, file_id)
    if _is_put_away(entry):
        return
    with open_folder(ctx.settings) as folder:
        _put_away(ctx, folder, entry)


def _take(ctx: EsrContext, folder: EsrFolder, file: RemoteFile, found: Discovered) -> Discovered:
    if read_name(file.name).is_for_later:
        return found
    settled = has_settled(ctx.store, file, now=ctx.now(), seconds=ctx.settings.esr_settle_seconds)
    if not settled and not tail_is_footer(folder.tail(file.name, END_BYTES) or b""):
        return replace(found, unsettled=found.unsettled + 1)
    arrival = _fetch(ctx, folder, file, settled=settled)
    if arrival is None:
        return replace(found, unsettled=found.unsettled + 1)
    entry, is_new = admit(ctx.store, arrival, at=ctx.now())
    _put_away(ctx, folder, entry, file)
    if not is_new:
        ctx.progress(f"{file.name} came again, it is on the ledger as {entry.file_id}")
        return found
    if entry.reason:
        ctx.progress(f"{entry.file_id} rejected: {entry.reason.message}")
        return replace(found, rejected=(*found.rejected, entry.file_id))
    ctx.progress(f"{entry.file_id} landed: {entry.lines:,} lines")
    return replace(found, landed=(*found.landed, entry.file_id))


def _fetch(ctx: EsrContext, folder: EsrFolder, file: RemoteFile, *, settled: bool) -> Arrival | None:
    """Bring a file into the landing zone; ``None`` when it turns out to be still on its way."""
    called, most = read_name(file.name), ctx.settings.esr_max_file_bytes
    if file.size > most:
        return Arrival(file, called.name, called.reason or too_large(file, most)) if settled else None
    with tempfile.TemporaryFile() as local:  # has no name: a killed process leaves nothing behind
        if not _fetched_whole(folder, file, local, most):
            return None
        inspection = inspect(local)
        if not settled and not inspection.is_whole:
            return None  # something that looks like a footer in a file that still grows
        key = object_key(file, called.name, inspection.sha256)
        local.seek(0)
        ctx.landing.put_file(key, local)
    return Arrival(file, called.name, called.reason or refusal(inspection), inspection, key)


def _fetched_whole(folder: EsrFolder, file: RemoteFile, local: BinaryIO, most: int) -> bool:
    """Fetch a file; false when it changed since it was listed."""
    received = folder.fetch(file.name, local, most)
    return received == file.size and file.is_same(folder.look(file.name))


def _is_put_away(entry: Entry) -> bool:
    return entry.remote is not None and entry.remote.folder in {_wanted(entry), GONE}


def _wanted(entry: Entry) -> str:
    return REJECTED if entry.state is FileState.REJECTED else DONE


def _put_away(ctx: EsrContext, folder: EsrFolder, entry: Entry, copy: RemoteFile | None = None) -> None:
    """Move the partner's copy of a file on the ledger out of the inbound folder.

    Args:
        ctx: The stage's context.
        folder: ESR's folder.
        entry: The file.
        copy: Another copy of it that has come since.
    """
    label = (entry.sha256 or f"version{entry.version}")[:LABEL_DIGITS]
    if not _is_put_away(entry):
        origin = (entry.remote.folder, entry.remote.name) if entry.remote else None
        seen = RemoteFile(entry.name, entry.seen.size, entry.seen.modified)
        moved = folder.move(seen, _wanted(entry), origin=origin, label=label)
        remote = Remote(_wanted(entry), moved) if moved else Remote(GONE, entry.name)
        ledger.note_remote(ctx.store, entry.file_id, remote, at=ctx.now())
        if seen == copy:
            return
    if copy is not None:
        folder.move(copy, _wanted(entry), label=label)

"""Discovery: new files on the SFTP server go into the landing zone and onto the ledger.

The order of the side effects makes each of them repeatable: fetch, object (its key is its content), ledger
(one transaction), and only then the partner's copy is moved. Killed in between, the next look finishes it.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, BinaryIO

from include.errors import IntegrationError, TransientError
from include.esr.documents import FileState
from include.esr.files import ledger
from include.esr.files.admission import Arrival, admit
from include.esr.files.entry import Remote
from include.esr.files.landing import (
    END_BYTES,
    concerns,
    inspect,
    object_key,
    read_name,
    refusal,
    too_early,
    too_large,
)
from include.esr.files.sftp import DONE, REJECTED, RemoteFile, open_folder
from include.esr.files.sightings import forget_others, has_settled
from include.esr.formats.frame import tail_is_footer
from include.esr.names import RMT

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from include.esr.context import EsrContext
    from include.esr.files.entry import Entry
    from include.esr.files.sftp import EsrFolder
    from include.esr.names import FileType

STAGE = "discover"
GONE = "gone"
LABEL_DIGITS = 12
MAX_IN_A_ROW = 5
"""So many files that fail one after the other are not to blame: server, store or landing zone is unwell."""


@dataclass(frozen=True, slots=True)
class Discovered:
    """What a look at the server found.

    Attributes:
        landed: Ids of the new files on the ledger that can be split.
        rejected: Ids of the new files on the ledger that cannot be used at all.
        unsettled: Files that may still be on their way: look again.
        failed: Names of files on the server that could not be read or put away, each with why; the next
            look tries again.
    """

    landed: tuple[str, ...] = ()
    rejected: tuple[str, ...] = ()
    unsettled: int = 0
    failed: tuple[tuple[str, str], ...] = ()


class _OwnSideError(Exception):
    """Store or landing zone failed: neither the file nor the server is to blame."""

    def __init__(self, cause: IntegrationError) -> None:
        super().__init__(cause.message)
        self.cause = cause


@dataclass(slots=True)
class _Look:
    """One look at the server.

    Attributes:
        stuck: Files on the ledger that could not be put away just now: they need not be fetched again.
        failure: Why the store or the landing zone failed, the last time.
        in_a_row: Files since the last one that went well, or failed by a fault of its own.
        is_cut: Whether the connection must be opened anew.
    """

    ctx: EsrContext
    found: Discovered = field(default_factory=Discovered)
    stuck: set[RemoteFile] = field(default_factory=set)
    failure: IntegrationError | None = None
    in_a_row: int = 0
    is_cut: bool = False

    @contextmanager
    def one(self, name: str) -> Iterator[None]:
        """Keep what fails inside to one file.

        Raises:
            IntegrationError: It is the last of ``MAX_IN_A_ROW``: not this file's fault, whatever it is.
        """
        try:
            yield
        except _OwnSideError as error:
            self.failure = error.cause.located(subject=name, stage=STAGE)
            self._failed(name, error.cause, in_a_row=self.in_a_row + 1)
        except TransientError as error:
            self.is_cut = True
            self._failed(name, error, in_a_row=self.in_a_row + 1)
        except IntegrationError as error:  # the server is there, and answers
            self._failed(name, error, in_a_row=0)
        else:
            self.in_a_row = 0

    def _failed(self, name: str, error: IntegrationError, *, in_a_row: int) -> None:
        self.found = replace(self.found, failed=(*self.found.failed, (name, error.message)))
        self.ctx.progress(f"{name}: {error.message}")
        self.in_a_row = in_a_row
        if in_a_row == MAX_IN_A_ROW:
            raise error.located(subject=name, stage=STAGE)


def discover(ctx: EsrContext, types: Collection[FileType] = RMT) -> Discovered:
    """Land every file that is completely there, and put the partner's copy away.

    A file that cannot be read or put away is told in ``failed`` and does not hold up the others.

    Args:
        ctx: The stage's context.
        types: What to look for; others stay where they are. Files with a name that makes no sense are
            taken, and rejected, by who looks for RMF and RMC.

    Raises:
        ConfigurationError: The server refuses us, or the landing zone or store does.
        TransientError: Server, landing zone or store did not answer; all other files were tried, unless it
            was so for ``MAX_IN_A_ROW`` of them. What was landed so far is on the ledger.
    """
    look = _Look(ctx)
    waiting = [entry for entry in ledger.misplaced(ctx.store) if concerns(entry.type, types)]
    with _Connection(look) as connection:
        for entry in waiting:
            folder, copy = connection.folder(), _copy_of(entry)
            look.stuck.add(copy)
            with look.one(copy.name):
                _put_away(ctx, folder, entry)
                look.stuck.discard(copy)
        listing = connection.folder().files()
        if listing.impossible:
            ctx.progress(f"{listing.impossible} entries whose name no file can have are left alone")
        forget_others(ctx.store, [file.name for file in listing.files])
        for file in listing.files:
            folder = connection.folder()
            if file not in look.stuck and read_name(file.name).concerns(types):
                with look.one(file.name):
                    _take(look, folder, file)
    if look.failure:
        raise look.failure
    return look.found


class _Connection(ExitStack):
    """The folder on a connection that is opened anew when one file has cut or clogged it."""

    def __init__(self, look: _Look) -> None:
        super().__init__()
        self._look = look
        self._folder: EsrFolder | None = None

    def folder(self) -> EsrFolder:
        """Return the folder on a sound connection.

        Raises:
            IntegrationError: As ``open_folder``.
        """
        if self._folder is None or self._look.is_cut:
            self.close()
            self._folder = self.enter_context(open_folder(self._look.ctx.settings))
            self._look.is_cut = False
        return self._folder


def settle_remote(ctx: EsrContext, file_id: str) -> None:
    """Move the partner's copy of a file to where the ledger's verdict says; harmless when repeated.

    When the server does not let us, that is told, and the next look moves it: the verdict stands.

    Raises:
        IntegrationError: The store failed.
    """
    entry = ledger.read(ctx.store, file_id)
    if _is_put_away(entry):
        return
    try:
        with open_folder(ctx.settings) as folder:
            _put_away(ctx, folder, entry)
    except _OwnSideError as error:
        raise error.cause from None
    except IntegrationError as error:
        ctx.progress(f"{file_id}: {error.message}; the next look at the server moves it")


@contextmanager
def _own_side() -> Iterator[None]:
    """Mark what fails inside as our own side's."""
    try:
        yield
    except IntegrationError as error:
        raise _OwnSideError(error) from error


def _take(look: _Look, folder: EsrFolder, file: RemoteFile) -> None:
    ctx = look.ctx
    with _own_side():
        settled = has_settled(ctx.store, file, now=ctx.now(), seconds=ctx.settings.esr_settle_seconds)
    arrival = None
    if settled or tail_is_footer(folder.tail(file.name, END_BYTES) or b""):
        arrival = _fetch(ctx, folder, file, settled=settled)
    if arrival is None:
        look.found = replace(look.found, unsettled=look.found.unsettled + 1)
        return
    with _own_side():
        entry, is_new = admit(ctx.store, arrival, at=ctx.now())
    if not is_new:
        ctx.progress(f"{file.name} came again, it is on the ledger as {entry.file_id}")
    elif entry.reason:
        ctx.progress(f"{entry.file_id} rejected: {entry.reason.message}")
        look.found = replace(look.found, rejected=(*look.found.rejected, entry.file_id))
    else:
        ctx.progress(f"{entry.file_id} landed: {entry.lines:,} lines")
        look.found = replace(look.found, landed=(*look.found.landed, entry.file_id))
    _put_away(ctx, folder, entry, file)


def _fetch(ctx: EsrContext, folder: EsrFolder, file: RemoteFile, *, settled: bool) -> Arrival | None:
    """Bring a file into the landing zone; ``None`` when it turns out to be still on its way."""
    name, most = read_name(file.name).name, ctx.settings.esr_max_file_bytes
    refused = read_name(file.name).reason or too_early(name, ctx.now().date())
    if file.size > most:
        return Arrival(file, name, refused or too_large(file, most)) if settled else None
    with tempfile.TemporaryFile() as local:  # has no name: a killed process leaves nothing behind
        if not _fetched_whole(folder, file, local, most):
            return None
        inspection = inspect(local)
        if not settled and not inspection.is_whole:
            return None  # something that looks like a footer in a file that still grows
        key = object_key(file, name, inspection.sha256)
        local.seek(0)
        with _own_side():
            ctx.landing.put_file(key, local)
    return Arrival(file, name, refused or refusal(inspection), inspection, key)


def _fetched_whole(folder: EsrFolder, file: RemoteFile, local: BinaryIO, most: int) -> bool:
    """Fetch a file; false when it changed since it was listed."""
    received = folder.fetch(file.name, local, most)
    return received == file.size and file.is_same(folder.look(file.name))


def _copy_of(entry: Entry) -> RemoteFile:
    """Return the partner's copy of a file as it was fetched."""
    return RemoteFile(entry.seen.name or entry.name, entry.seen.size, entry.seen.modified)


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
    if copy is None and entry.remote and _is_put_away(entry):  # a verdict was changed back
        with _own_side():
            ledger.note_remote(ctx.store, entry.file_id, entry.remote, at=ctx.now())
    label = (entry.sha256 or f"version{entry.version}")[:LABEL_DIGITS]
    if not _is_put_away(entry):
        origin = (entry.remote.folder, entry.remote.name) if entry.remote else None
        seen = _copy_of(entry)
        moved = folder.move(seen, _wanted(entry), origin=origin, label=label)
        remote = Remote(_wanted(entry), moved) if moved else Remote(GONE, seen.name)
        with _own_side():
            ledger.note_remote(ctx.store, entry.file_id, remote, at=ctx.now())
        if seen == copy:
            return
    if copy is not None:
        folder.move(copy, _wanted(entry), label=label)

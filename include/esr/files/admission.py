"""Admission: what came becomes an entry on the ledger, which knows it again when it comes a second time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from include.esr.documents import FileState, file_id
from include.esr.files import ledger
from include.esr.files.entry import Alert, Entry, Seen, named
from include.esr.files.receipts import prepare_receipt
from include.esr.files.sequence import repeated_number
from include.esr.names import RMT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from pymongo.client_session import ClientSession

    from include.esr.files.landing import Inspection
    from include.esr.files.sftp import RemoteFile
    from include.esr.names import FileName
    from include.quality.gate import Reason
    from include.storage.mongo import IntegrationStore, Write

OWNER = "esr/inbound"
"""Whose fence guards admissions: one for all deaneries, and none that holds up their other stages."""
MAX_NAMED = 5


@dataclass(frozen=True, slots=True)
class Arrival:
    """A file of the partner, in the landing zone, not yet on the ledger.

    Attributes:
        name: ``None`` when it cannot be read.
        refused: Why it cannot be used, ``None`` when it can.
        inspection: ``None`` for a file too large to fetch.
        key: Of its object, ``None`` for a file too large to fetch.
    """

    remote: RemoteFile
    name: FileName | None
    refused: Reason | None
    inspection: Inspection | None = None
    key: str | None = None

    @property
    def ledger_name(self) -> str:
        """Return its name on the ledger: one name, however many digits its sequence was given."""
        return str(self.name) if self.name else self.remote.name

    @property
    def sha256(self) -> str | None:
        """Return the digest of its content."""
        return self.inspection.sha256 if self.inspection else None


def admit(store: IntegrationStore, arrival: Arrival, *, at: datetime) -> tuple[Entry, bool]:
    """Put a file on the ledger, unless it is there.

    The same content under the same name is one file, however often it comes. Other content under a name
    that is there is a new version; the same content under another name is a file of its own; both with an
    alert. A file that cannot be used is rejected, with a receipt when its sender is known.

    Returns:
        The file's entry, and whether it is new.

    Raises:
        IntegrationError: As ``store_errors`` says; nothing was committed.
    """

    def prepare() -> tuple[tuple[Entry, bool], Write | None]:
        versions = ledger.versions(store, arrival.ledger_name)
        for known in versions:
            if _is_same(known, arrival):
                return (known, False), _came_again(store, known, arrival, versions, at)
        entry = _entry(store, arrival, versions, at)
        return (entry, True), _write(store, entry, at)

    return store.commit_plan(OWNER, prepare)


def _is_same(known: Entry, arrival: Arrival) -> bool:
    if arrival.sha256 is not None:
        return known.sha256 == arrival.sha256
    return known.sha256 is None and known.seen == _seen(arrival)


def _seen(arrival: Arrival) -> Seen:
    return Seen(arrival.remote.size, arrival.remote.modified, arrival.remote.name)


def _came_again(
    store: IntegrationStore, known: Entry, arrival: Arrival, versions: Sequence[Entry], at: datetime
) -> Write | None:
    newest = versions[-1]
    is_older = known.version < newest.version
    is_other_copy = known.remote is None and known.seen != _seen(arrival)
    if not is_older and not is_other_copy:
        return None

    def write(session: ClientSession, _order: int) -> None:
        if is_other_copy:
            ledger.note_seen(store, session, known.file_id, _seen(arrival))
        if is_older:
            message = f"came again after version {newest.version}, which still counts: ask which one is right"
            ledger.add_alert(store, session, known.file_id, "came_again", message, at=at)

    return write


def _entry(store: IntegrationStore, arrival: Arrival, versions: Sequence[Entry], at: datetime) -> Entry:
    version = versions[-1].version + 1 if versions else 1
    state = FileState.REJECTED if arrival.refused else FileState.LANDED
    found = arrival.inspection
    came_into = (FileState.DISCOVERED, *([FileState.LANDED] if found else []), state)
    entry = Entry(
        file_id=file_id(arrival.ledger_name, version),
        name=arrival.ledger_name,
        version=version,
        state=state,
        states={each.value: at for each in came_into},
        size=found.size if found else arrival.remote.size,
        reason=arrival.refused,
        refused_on_arrival=arrival.refused is not None,
        seen=_seen(arrival),
    )
    if found:
        entry = replace(
            entry, sha256=found.sha256, key=arrival.key, encoding=found.encoding, lines=found.lines
        )
    if arrival.name:
        entry = replace(entry, **named(entry, arrival.name))
    charset = _charset_alerts(found, at) if found and not arrival.refused else ()
    return replace(entry, alerts=(*_alerts(store, entry, at), *charset))


def _charset_alerts(found: Inspection, at: datetime) -> Iterator[Alert]:
    if found.is_broken:
        message = "some bytes are not UTF-8 as the others are; their lines are set aside: ask ESR for them"
        yield Alert("charset_broken", message, at)
    if found.encoding == "cp1252":
        yield Alert("charset_fallback", "is not UTF-8; it is read as Windows-1252: check a few names", at)


def _alerts(store: IntegrationStore, entry: Entry, at: datetime) -> Iterator[Alert]:
    """Yield what a person should know about a file that was admitted."""
    if entry.version > 1:
        yield Alert("new_version", f"other content than version {entry.version - 1}; both are kept", at)
    if entry.size and entry.sha256 and (names := ledger.names_of(store, entry.sha256, other_than=entry.name)):
        told = ", ".join(names[:MAX_NAMED])
        yield Alert("repeated_content", f"has the same content as {told}", at)
    if entry.deanery and entry.type in RMT:
        yield from repeated_number(entry, ledger.siblings(store, entry), at=at)


def _write(store: IntegrationStore, entry: Entry, at: datetime) -> Write:
    def write(session: ClientSession, _order: int) -> None:
        ledger.add(store, session, entry)
        store["esr_sighting"].delete_one({"_id": entry.seen.name}, session=session)
        if entry.reason and entry.deanery and entry.type in RMT:
            prepare_receipt(store, session, entry, lines=(), counts={}, at=at)

    return write

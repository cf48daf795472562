"""One version of a file as the ledger knows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any

from include.errors import FatalError
from include.esr.documents import FileState, LandedFile, Source
from include.esr.names import Deanery, FileName, FileType
from include.quality.gate import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from include.storage.mongo import Document


@dataclass(frozen=True, slots=True)
class SplitMark:
    """How far a file has been split: chunks committed, and where in the file the next one starts."""

    chunk: int
    line: int
    offset: int


@dataclass(frozen=True, slots=True)
class SavedMark:
    """How far a file's records have been saved: the chunk and the line the next slice starts at."""

    chunk: int
    line: int


@dataclass(frozen=True, slots=True)
class Remote:
    """Where the partner's own copy of a file is on the SFTP server.

    Attributes:
        folder: ``done`` or ``rejected``; ``gone`` when the partner took it away or overwrote it.
    """

    folder: str
    name: str


@dataclass(frozen=True, slots=True)
class Seen:
    """The partner's copy as it was when it was fetched, to tell it from another one of the same name.

    Attributes:
        name: As the partner spells it: with 7 digits perhaps, where the ledger has 8.
    """

    size: int
    modified: int
    name: str = ""


@dataclass(frozen=True, slots=True)
class Alert:
    """Something a person should know about a file that was taken all the same."""

    code: str
    message: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Entry:
    """One version of a file on the ledger.

    Attributes:
        name: With 8 digits; one that cannot be read is as the partner has it, percent-encoded where it
            holds other than plain characters.
        deanery: ``None``, with type, day, sequence and order, when the name cannot be read.
        order: Place in time among all files of the deanery; compares as text.
        sha256: Of the bytes as they came; ``None`` for a file too large to fetch.
        key: In the landing zone; ``None`` for a file too large to fetch.
        states: When it came into each state it was in.
        reason: Why it was rejected.
        refused_on_arrival: Whether its name, size or bytes were the reason: a replay would not help.
        split: Where splitting goes on after a crash.
        saved: Where saving goes on after a crash.
        seen: The partner's copy as fetched.
        remote: Where the partner's copy was moved, ``None`` before it was.
    """

    file_id: str
    name: str
    version: int
    state: FileState
    states: Mapping[str, datetime]
    deanery: Deanery | None = None
    type: FileType | None = None
    day: date | None = None
    sequence: int | None = None
    order: str | None = None
    sha256: str | None = None
    size: int = 0
    key: str | None = None
    encoding: str | None = None
    lines: int = 0
    reason: Reason | None = None
    refused_on_arrival: bool = False
    alerts: tuple[Alert, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    split: SplitMark | None = None
    saved: SavedMark | None = None
    seen: Seen = Seen(0, 0)
    remote: Remote | None = None
    remote_moved_at: datetime | None = None

    @property
    def source(self) -> Source:
        """Return the file as the source of records.

        Raises:
            FileRejectedError: The name cannot be read.
        """
        return Source.of(self.file_id)

    @property
    def landed(self) -> LandedFile:
        """Return what is known of the bytes in the landing zone.

        Raises:
            FileRejectedError: The name cannot be read.
            FatalError: Nothing of this file was landed.
        """
        if self.key is None or self.sha256 is None:
            raise FatalError("nothing of this file is in the landing zone", subject=self.name)
        return LandedFile(
            source=self.source,
            key=self.key,
            sha256=self.sha256,
            size=self.size,
            encoding=self.encoding,
            lines=self.lines,
            landed_at=self.states[FileState.LANDED],
        )


def entry_of(document: Document) -> Entry:
    """Return the entry of a ledger document."""
    reason, split, saved = (document.get(name) for name in ("reason", "split", "saved"))
    seen, remote, day = document["seen"], document.get("remote"), document["day"]
    return Entry(
        file_id=document["_id"],
        name=document["name"],
        version=document["version"],
        state=FileState(document["state"]),
        states=document["states"],
        deanery=Deanery(document["deanery"]) if document["deanery"] else None,
        type=FileType(document["type"]) if document["type"] else None,
        day=date.fromisoformat(day) if day else None,
        sequence=document["sequence"],
        order=document["order"],
        sha256=document["sha256"],
        size=document["size"],
        key=document["key"],
        encoding=document["encoding"],
        lines=document["lines"],
        reason=Reason(**reason) if reason else None,
        refused_on_arrival=document.get("refused_on_arrival", False),
        alerts=tuple(Alert(**alert) for alert in document.get("alerts", ())),
        counts=document.get("counts", {}),
        split=SplitMark(**split) if split else None,
        saved=SavedMark(**saved) if saved else None,
        seen=Seen(**seen),
        remote=Remote(**remote) if remote else None,
        remote_moved_at=document.get("remote_moved_at"),
    )


def named(entry: Entry, name: FileName) -> dict[str, Any]:
    """Return the fields of an entry that its name gives, for ``dataclasses.replace``."""
    return {
        "deanery": name.deanery,
        "type": name.type,
        "day": name.day,
        "sequence": name.sequence,
        "order": Source(entry.file_id, name, entry.version).order,
    }


def document_of(entry: Entry) -> Document:
    """Return the ledger document of an entry."""
    return {
        "_id": entry.file_id,
        "name": entry.name,
        "deanery": entry.deanery.value if entry.deanery else None,
        "type": entry.type.value if entry.type else None,
        "day": entry.day.isoformat() if entry.day else None,
        "sequence": entry.sequence,
        "version": entry.version,
        "order": entry.order,
        "sha256": entry.sha256,
        "size": entry.size,
        "key": entry.key,
        "encoding": entry.encoding,
        "lines": entry.lines,
        "state": entry.state.value,
        "states": dict(entry.states),
        "reason": plain(entry.reason),
        "refused_on_arrival": entry.refused_on_arrival,
        "alerts": [plain(alert) for alert in entry.alerts],
        "counts": dict(entry.counts),
        "split": plain(entry.split),
        "saved": plain(entry.saved),
        "seen": plain(entry.seen),
        "remote": plain(entry.remote),
        "remote_moved_at": entry.remote_moved_at,
    }


def plain(value: Any) -> dict[str, Any] | None:
    """Return a dataclass of this module as the store keeps it; ``None`` stays."""
    return None if value is None else {name: getattr(value, name) for name in value.__dataclass_fields__}

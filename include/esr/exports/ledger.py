"""The ledger of our files: one document each, from the moment it has a number."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any, Self

from include.errors import ConfigurationError, FatalError, TransientError
from include.esr.names import FileName, FileType
from include.esr.outbound import COLLECTIONS, ExportState
from include.storage.mongo import store_errors

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from pymongo.client_session import ClientSession

    from include.storage.mongo import IntegrationStore

EXPORTS = "esr_export"
MAX_ALERTS = 50
FINISHED_WITH: Mapping[FileType, tuple[FileType, ...]] = {
    FileType.APP: (FileType.APP,),
    FileType.DNC: (FileType.DNC, FileType.DNF),
}
"""What a day's export finishes of earlier runs: a snapshot that was not sent has no other run of its own."""
UNFINISHED = (ExportState.ALLOCATED, ExportState.UPLOADING, ExportState.UPLOADED)
_BEFORE: Mapping[ExportState, tuple[ExportState, ...]] = {
    ExportState.UPLOADING: (ExportState.ALLOCATED, ExportState.UPLOADING),
    ExportState.UPLOADED: (ExportState.UPLOADING,),
    ExportState.SENT: (ExportState.UPLOADED,),
    ExportState.FAILED: UNFINISHED,
}


@dataclass(frozen=True, slots=True)
class Export:
    """A file of ours, as the ledger has it.

    Attributes:
        key: What it is for, which no other file has: ``<type>/<deanery>/<day>``, ``RTC/<file_id>/<n>``.
        day: The logical day it was made for, in London; the day in its name.
        records: Data lines.
        carried_over: Records that were due and must wait for a later file.
        made_at: When its number was given, UTC; its header tells it in London's time.
        sha256, size: Of its bytes; ``None`` until they were written for the first time.
        parts: Passing names it was written under, a name a try, newest last: only the newest is renamed.
        abandoning: Who is giving it up and why, while that is under way.
        rows: Lines of a receipt; other files have records, which the store keeps by file and ordinal.
        about: What a receipt is for: ``file_id`` and ``prepared_at``.
    """

    name: FileName
    key: str
    state: ExportState
    day: date
    records: int
    carried_over: int
    made_at: datetime
    sha256: str | None = None
    size: int | None = None
    object_key: str | None = None
    taken: bool = False
    failures: int = 0
    parts: tuple[str, ...] = ()
    abandoning: Mapping[str, str] | None = None
    rows: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    about: Mapping[str, Any] | None = None

    @property
    def id(self) -> str:
        """Return its name as text."""
        return str(self.name)

    @property
    def type(self) -> FileType:
        """Return what kind of file it is."""
        return self.name.type

    @property
    def deanery(self) -> str:
        """Return whose it is."""
        return self.name.deanery.value

    @property
    def collection(self) -> str:
        """Return where its records are."""
        return collection_of(self.type)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """Return the export of its document."""
        return cls(
            name=FileName.parse(document["_id"]),
            state=ExportState(document["state"]),
            day=date.fromisoformat(document["day"]),
            key=document["key"],
            records=document["records"],
            carried_over=document["carried_over"],
            made_at=document["made_at"],
            sha256=document["sha256"],
            size=document["size"],
            object_key=document["object_key"],
            taken=document["taken"],
            failures=document["failures"],
            parts=tuple(document.get("parts") or ()),
            abandoning=document.get("abandoning"),
            rows=tuple(document.get("rows") or ()),
            about=document.get("about"),
        )

    def to_document(self) -> dict[str, Any]:
        """Return the document of a file that has just been given its number."""
        return {
            "_id": self.id,
            "key": self.key,
            "type": self.type.value,
            "deanery": self.deanery,
            "day": self.day.isoformat(),
            "sequence": self.name.sequence,
            "state": self.state.value,
            "states": {self.state.value: self.made_at},
            "records": self.records,
            "carried_over": self.carried_over,
            "made_at": self.made_at,
            "sha256": self.sha256,
            "size": self.size,
            "object_key": self.object_key,
            "taken": self.taken,
            "failures": self.failures,
            "parts": list(self.parts),
            "alerts": [],
            "answers": {},
            "answered_by": None,
        } | ({"rows": [dict(row) for row in self.rows], "about": self.about} if self.about else {})


def collection_of(file_type: str) -> str:
    """Return where the records of a type of file are kept."""
    return COLLECTIONS["APP" if file_type == FileType.APP else "DNC"]


def read(store: IntegrationStore, name: str) -> Export:
    """Return a file of the ledger.

    Raises:
        ConfigurationError: There is none of that name.
    """
    with store_errors(name):
        document = store[EXPORTS].find_one({"_id": name})
    if document is None:
        raise ConfigurationError("there is no file of this name on the ledger of exports", subject=name)
    return Export.of(document)


def find(store: IntegrationStore, key: str) -> Export | None:
    """Return the file for a key, if there is one."""
    with store_errors(key):
        document = store[EXPORTS].find_one({"key": key})
    return Export.of(document) if document else None


def unfinished(store: IntegrationStore, deanery: str, *types: FileType) -> list[Export]:
    """Return the files of a deanery and of some types that are not sent yet, oldest first."""
    query = {
        "deanery": deanery,
        "state": {"$in": [state.value for state in UNFINISHED]},
        "type": {"$in": [each.value for each in types]},
    }
    with store_errors(deanery):
        return [Export.of(document) for document in store[EXPORTS].find(query).sort("sequence", 1)]


def records_of(store: IntegrationStore, export: Export) -> Iterator[dict[str, Any]]:
    """Yield the records of a file in the order of their lines."""
    with store_errors(export.id):
        yield from store[export.collection].find({"file": export.id}).sort("ordinal", 1)


def advance(
    store: IntegrationStore,
    session: ClientSession,
    export: Export,
    state: ExportState,
    *,
    at: datetime,
    fields: Mapping[str, Any] | None = None,
) -> None:
    """Bring a file one state further, in the transaction of what comes with that.

    Raises:
        TransientError: It is not in the state before any more, another run writes it under a name of its
            own, or it is being given up: look again.
        FatalError: It is not on the ledger.
    """
    query: dict[str, Any] = {
        "_id": export.id,
        "state": {"$in": [before.value for before in _BEFORE[state]]},
    }
    if state is not ExportState.FAILED:
        query |= {"abandoning": None, "parts": list(export.parts)}
    moved = store[EXPORTS].update_one(
        query,
        {"$set": {"state": state.value, f"states.{state.value}": at, **(fields or {})}},
        session=session,
    )
    if moved.matched_count:
        return
    if store[EXPORTS].find_one({"_id": export.id}, {"_id": 1}, session=session) is None:
        raise FatalError("this file is not on the ledger of exports", subject=export.id)
    raise TransientError(
        f"another run took the file further, or is giving it up, before it became {state.value} here; "
        "nothing of this step was committed, it is looked at again",
        subject=export.id,
    )


def note_failure(store: IntegrationStore, name: str, *, code: str, message: str, at: datetime) -> None:
    """Count a failed try and keep why, once for each reason in a row."""
    with store_errors(name):
        store[EXPORTS].update_one({"_id": name}, {"$inc": {"failures": 1}})
        store[EXPORTS].update_one(
            {
                "_id": name,
                "alerts": {"$not": {"$elemMatch": {"code": code, "message": message}}},
                f"alerts.{MAX_ALERTS - 1}": {"$exists": False},
            },
            {"$push": {"alerts": {"code": code, "message": message, "at": at}}},
        )

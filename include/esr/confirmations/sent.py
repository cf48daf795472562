"""Which file of ours an answer file answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from include.errors import FatalError, NotYetError
from include.esr.names import FileType
from include.esr.outbound import COLLECTIONS, ExportState, Kind

if TYPE_CHECKING:
    from datetime import datetime

    from include.esr.context import EsrContext
    from include.esr.files.entry import Entry

SHORTEST_WAIT = 60.0
LATER = 3_600.0
"""Seconds; longer than a run waits: a later one goes on."""
SHARE_OF_REST = 0.25
"""The longer a file has waited for ours to be marked as sent, the later the next look."""

_ANSWERS: dict[FileType, tuple[FileType, ...]] = {
    FileType.APC: (FileType.APP,),
    FileType.DCC: (FileType.DNC, FileType.DNF),
}
_ARRIVED = (ExportState.SENT, ExportState.ANSWERED)


@dataclass(frozen=True, slots=True)
class SentFile:
    """A file of ours that ESR has, as far as applying its answers needs to know.

    Attributes:
        records: How many are in it.
        kind: Of its records: where they are kept, and whether TCS is told of them.
    """

    name: str
    records: int
    kind: Kind

    @property
    def collection(self) -> str:
        """Return where its records are kept."""
        return COLLECTIONS[self.kind]


def sent_file(ctx: EsrContext, answer: Entry, *, now: datetime) -> SentFile | None:
    """Return the file that is answered: of the same deanery and number (domain page, section 1).

    ``None`` when there is none, or it was given up, so that what was in it is due again.

    Raises:
        NotYetError: It is not marked as sent yet; ESR was faster than we, or sending it was interrupted.
        FatalError: The entry is no answer file's.
    """
    if answer.type not in _ANSWERS:
        raise FatalError(f"{answer.type} is not an answer of ESR", subject=answer.file_id)
    types = [kind.value for kind in _ANSWERS[answer.type]]
    query = {"deanery": answer.deanery, "sequence": answer.sequence, "type": {"$in": types}}
    found = ctx.store["esr_export"].find_one(query, sort=[("made_at", -1)])
    if found is None or found["state"] == ExportState.FAILED:
        return None
    if found["state"] not in _ARRIVED:
        waited = (now - max(answer.states.values())).total_seconds()
        raise NotYetError(
            f"answers {found['_id']}, which is {found['state']} and not sent yet; nothing of it is applied "
            "until that is finished by the next run of esr_outbound",
            retry_after=max(SHORTEST_WAIT, waited * SHARE_OF_REST),
            subject=answer.file_id,
        )
    return SentFile(found["_id"], found["records"], "APP" if found["type"] == FileType.APP else "DNC")


def taken_up(file_id: str) -> NotYetError:
    """Return that an answer file is somebody else's by now."""
    return NotYetError(
        "another run has taken the file up since, or it was replayed; a later run goes on with it",
        retry_after=LATER,
        subject=file_id,
    )

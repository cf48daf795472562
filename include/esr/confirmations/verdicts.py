"""What one line of ESR's answer means for the record it is about. Pure: values in, values out.

Source: domain page, section 3, Confirmations. A file may be answered again, and one answer may contradict
another; what came last by the files' order counts, whatever order they are read in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from include.esr.documents import Source
from include.esr.outbound import ANSWERED, RecordState, entry

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

MAX_TEXT = 1_000
"""Characters kept of ESR's own words."""
NEWER, OLDER = "newer", "older"
_ANSWERABLE = ANSWERED | {RecordState.EXPORTED}


class AnswerOutcome(StrEnum):
    """What became of a line."""

    APPLIED = "applied"
    AMENDED = "amended"
    """The same verdict in other words."""
    REPEATED = "repeated"
    """The record was answered so before; only which line said so last is kept, to know a newer answer by."""
    CONTRADICTS = "contradicts"
    """Another verdict than before; both are in the record's history, and the newer one counts."""
    SUPERSEDED = "superseded"
    """The record was sent again since, or is to be: what ESR says of the older file counts no more."""
    UNKNOWN_FILE = "unknown_file"
    UNKNOWN_ORDINAL = "unknown_ordinal"
    POSITION_MISMATCH = "position_mismatch"


@dataclass(frozen=True, slots=True)
class AnswerLine:
    """One good line of an APC or DCC.

    Attributes:
        line: 1-based line in the answer file.
        ordinal: Of the record in the file that is answered, from 1.
        post_number: As ESR has it; of an APC it counts only where the position is missing.
        text: ESR's own words; may repeat personal data.
    """

    line: int
    ordinal: int
    position_id: int | None
    post_number: str | None
    status: str
    type: str | None
    text: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Given:
    """The answer a record has; ``text`` may repeat personal data.

    Attributes:
        file: Id of the answer file.
        line: In it.
    """

    status: str
    type: str | None
    text: str | None = field(repr=False)
    file: str
    line: int
    at: datetime

    @property
    def state(self) -> RecordState:
        """Return the state a record is in by this answer."""
        return state_by(self.status, self.type)

    @property
    def order(self) -> tuple[str, int]:
        """Return its place in time among all answers of the deanery."""
        return Source.of(self.file).order, self.line

    def to_document(self) -> dict[str, Any]:
        """Return the form a record keeps."""
        return {
            "status": self.status,
            "type": self.type,
            "text": self.text,
            "file": self.file,
            "line": self.line,
            "at": self.at,
        }


@dataclass(frozen=True, slots=True)
class SentRecord:
    """A record that stands in a file of ours, as far as an answer to it needs to know."""

    id: str
    state: RecordState
    position_id: int
    post_number: str | None
    answer: Given | None

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> SentRecord:
        """Return the record of a document of ``esr_app_record`` or ``esr_notification``."""
        answer = document.get("answer")
        return cls(
            id=document["_id"],
            state=RecordState(document["state"]),
            position_id=document["position_id"],
            post_number=document.get("post_number"),
            answer=Given(**answer) if answer else None,
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a line does to its record.

    Attributes:
        code: Details for the line ledger: why not, or ``newer`` or ``older`` of a contradiction.
        answer: What counts from now on, ``None`` when nothing changes.
        history: Entry for the record's history, ``None`` when there is nothing to remember.
    """

    outcome: AnswerOutcome
    code: str | None = None
    answer: Given | None = None
    history: dict[str, Any] | None = None


def state_by(status: str, kind: str | None) -> RecordState:
    """Return the state of a record that was answered so.

    A message of type ERROR is a refusal, also with SUCCESS (our decision: what ESR calls an error must be
    looked at).
    """
    if status == "FAIL" or kind == "ERROR":
        return RecordState.REJECTED
    return RecordState.CONFIRMED_WITH_WARNINGS if kind == "WARNING" else RecordState.CONFIRMED


def judge(
    line: AnswerLine, record: SentRecord | None, *, records: int, file_id: str, at: datetime
) -> Verdict:
    """Return what a line means for the record that stands at its ordinal now.

    Args:
        line: The line.
        record: The record whose newest place is that of the line, ``None`` when there is none.
        records: How many records the answered file has.
        file_id: The answer file.
        at: Now, UTC.
    """
    if not 1 <= line.ordinal <= records:
        return Verdict(AnswerOutcome.UNKNOWN_ORDINAL, f"the file has {records} records")
    if record is None or record.state not in _ANSWERABLE:
        return Verdict(AnswerOutcome.SUPERSEDED)
    if line.position_id not in {None, record.position_id}:
        return Verdict(AnswerOutcome.POSITION_MISMATCH, "position_id")
    if line.position_id is None and line.post_number is None:
        # The ordinal alone would take an answer to another file of that number for ours.
        return Verdict(AnswerOutcome.POSITION_MISMATCH, "no_position")
    if line.post_number is not None and line.post_number.strip() != (record.post_number or "").strip():
        return Verdict(AnswerOutcome.POSITION_MISMATCH, "deanery_post_number")
    text = line.text[:MAX_TEXT] if line.text else None
    return _answered(Given(line.status, line.type, text, file_id, line.line, at), record)


def _answered(given: Given, record: SentRecord) -> Verdict:
    before = record.answer
    if before is None or record.state not in ANSWERED:
        return _counts(given, AnswerOutcome.APPLIED)
    if (before.status, before.type, before.text) == (given.status, given.type, given.text):
        newest = given if given.order > before.order else None
        return Verdict(AnswerOutcome.REPEATED, answer=newest)
    same_verdict = before.state is given.state
    outcome = AnswerOutcome.AMENDED if same_verdict else AnswerOutcome.CONTRADICTS
    if given.order > before.order:
        return _counts(given, outcome, None if same_verdict else NEWER)
    remembered = entry(record.state, given.at, why="older_answer") | {"answer": given.to_document()}
    return Verdict(outcome, OLDER, history=remembered)


def _counts(given: Given, outcome: AnswerOutcome, code: str | None = None) -> Verdict:
    remembered = entry(given.state, given.at, why="answered") | {"answer": given.to_document()}
    return Verdict(outcome, code, given, remembered)

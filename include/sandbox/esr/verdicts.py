"""ESR's answers: the verdict on each line of a file, drawn for ever from what the line says, and APC and DCC.

``messageText`` of the real ESR echoes what it refuses without quotes, commas and all: so does ours.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from include.sandbox.esr.records import text
from include.sandbox.esr.strict import Name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from include.sandbox.esr.strict import Row

ANSWER_KIND = {"APP": "APC", "DNC": "DCC", "DNF": "DCC"}
FIRST_APPLICANT = 400_001
NOBODYS_POSITION = 999_999_999
FAILURES = (
    "Place of birth Doha, Qatar is not in the list of values",
    'Employee, Applicant or Contact "already exists", check the date of birth',
    "Position is not vacant on the effective date",
    "Title ,, is not known",
)
WARNINGS = ("Email address was cut to 60 characters, check it", "National Insurance number is missing")
INFORMATION = ("Applicant was matched to an employee on leave, no new record",)


@dataclass(frozen=True, slots=True)
class Rules:
    """How ESR judges; the shares are per cent of the lines, the rest succeeds without a word.

    Attributes:
        positions: Position by post number and host or lead status, where ESR has just one: a DNC does
            not name its positions, ESR's answer does.
    """

    fail: int = 4
    warn: int = 4
    inform: int = 4
    most_of_a_post: int = 40
    positions: Mapping[tuple[str, str], int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """One line of an answer.

    Attributes:
        type: ``ERROR``, ``WARNING``, ``INFO`` or empty.
        text: ESR's own words.
        quoted: Whether the words stand in quotes.
        position: ``None`` when ESR does not say.
    """

    ordinal: int
    post_number: str
    status: str = "SUCCESS"
    type: str = ""
    text: str = ""
    quoted: bool = True
    position: int | None = None
    position_number: str = ""

    def line(self, kind: str) -> str:
        """Return it as ESR writes it in an APC or a DCC, without the line end."""
        said = text(self.text) if self.quoted else self.text
        position = str(self.position) if self.position is not None else ""
        verdict = [text(self.status), text(self.type) if self.type else "", said]
        if kind == "DCC":
            return ",".join(["DCC", str(self.ordinal), text(self.post_number), position, *verdict])
        applicant = str(FIRST_APPLICANT + self.ordinal) if self.status == "SUCCESS" else ""
        ids = [text(applicant), "", position, text(self.position_number)]
        return ",".join(["APC", str(self.ordinal), text(self.post_number), *verdict, *ids])


class MadeAnswer(NamedTuple):
    """One answer as ESR would send it."""

    name: str
    body: bytes


class Awkward(StrEnum):
    """What can be wrong with an answer, line by line."""

    WRONG_ORDINAL = "wrong_ordinal"
    WRONG_POSITION = "wrong_position"
    DOUBLED = "doubled"
    MALFORMED = "malformed"
    BAD_QUOTES = "bad_quotes"
    CONTRADICTION = "contradiction"


def judge(row: Row, name: Name, rules: Rules) -> Verdict:
    """Return ESR's verdict on a line; the same line sent again under another number may fare better."""
    values = row.values
    post = values.get("deaneryNumber") or values.get("deaneryPostNumber", "")
    verdict = Verdict(row.ordinal, post)
    if name.kind == "APP":
        number = values["positionNumber"]
        verdict = replace(verdict, position=int(values["positionId"]), position_number=number)
    else:
        verdict = replace(verdict, position=rules.positions.get((post, values["hostLeadEmployerStatus"])))
    drawn = zlib.crc32("\x1f".join([str(name.sequence), *values.values()]).encode())
    share, pick = drawn % 100, drawn // 100
    if share < rules.fail:
        said = FAILURES[pick % len(FAILURES)]
        # In quotes every second time, so that both ways are met.
        quoted = '"' in said or bool(pick % 2)
        return replace(verdict, status="FAIL", type="ERROR", text=said, quoted=quoted)
    if share < rules.fail + rules.warn:
        return replace(verdict, type="WARNING", text=WARNINGS[pick % len(WARNINGS)], quoted=False)
    if share < rules.fail + rules.warn + rules.inform:
        return replace(verdict, type="INFO", text=INFORMATION[0], quoted=False)
    return verdict


def answer_name(asked: Name, day: date) -> Name:
    """Return the name of the answer to a file: an APC comes the morning after, a DCC the same day."""
    kind = ANSWER_KIND[asked.kind]
    return Name(asked.deanery, kind, day + timedelta(days=kind == "APC"), asked.sequence)


def make_answer(name: Name, lines: Sequence[Verdict | str], *, time: str = "063000") -> MadeAnswer:
    """Return an APC or DCC with these lines; a text is a line as it is.

    Args:
        name: What it is called; its sequence says which file it answers.
        lines: In order.
        time: ``HHMMSS`` of the header.
    """
    said = [line if isinstance(line, str) else line.line(name.kind) for line in lines]
    count = sum(line.count("\n") + 1 for line in said)
    head = f'HDR,"{name.stem}",{name.day:%Y%m%d},{time},"{name.deanery}",{name.sequence}'
    return MadeAnswer(f"{name.stem}.DAT", "\n".join([head, *said, f"FTR,{count}", ""]).encode())


def spoilt(lines: Sequence[Verdict], how: Awkward, *, at: int, kind: str) -> list[Verdict | str]:
    """Return the lines of an answer with one thing wrong.

    Args:
        lines: Sound ones.
        how: What goes wrong; ``DOUBLED`` and ``CONTRADICTION`` add a line at the end.
        at: Which line it concerns, from 0.
        kind: ``APC`` or ``DCC``, for lines that are broken as text.
    """
    spoilt: list[Verdict | str] = list(lines)
    one = lines[at]
    match how:
        case Awkward.WRONG_ORDINAL:
            spoilt[at] = replace(one, ordinal=1_000_000 + one.ordinal)
        case Awkward.WRONG_POSITION:
            spoilt[at] = replace(one, position=NOBODYS_POSITION)
        case Awkward.DOUBLED:
            spoilt.append(one)
        case Awkward.MALFORMED:
            spoilt[at] = ",".join(one.line(kind).split(",")[:3])
        case Awkward.BAD_QUOTES:
            spoilt[at] = f'{kind},{one.ordinal},"{one.post_number},"SUCCESS",,,'
        case Awkward.CONTRADICTION:
            spoilt.append(contradiction(one))
    return spoilt


def contradiction(verdict: Verdict) -> Verdict:
    """Return the opposite verdict on the same line."""
    if verdict.status == "FAIL":
        return replace(verdict, status="SUCCESS", type="", text="", quoted=True)
    return replace(verdict, status="FAIL", type="ERROR", text=FAILURES[0], quoted=False)

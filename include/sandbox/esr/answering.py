"""Plays ESR at the other end of the outbound folder: takes our files, judges and answers them.

What it takes lies in ``taken`` below the folder, what it sets aside in ``quarantine`` with the reasons
beside it; both are read again at the start, so that ESR remembers over its own restarts.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from include.sandbox.esr.layouts import VPDS
from include.sandbox.esr.strict import read
from include.sandbox.esr.verdicts import ANSWER_KIND, Rules, answer_name, judge, make_answer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date

    from include.sandbox.esr.folders import Folder
    from include.sandbox.esr.strict import Name, Reading, Row
    from include.sandbox.esr.verdicts import MadeAnswer, Verdict

TAKEN, QUARANTINE = "taken", "quarantine"
REASONS = ".reasons.txt"
_COUNTER = {"APP": "APP", "DNC": "DNC", "DNF": "DNC", "RTC": "RTC"}
"""Which kinds share a sequence: one number is one file, whatever the deanery."""


class Applicant(NamedTuple):
    """Who an APP line is about, as far as ESR can tell: never to be seen twice."""

    position: int
    start: str
    registration: str
    dob: str


@dataclass(frozen=True, slots=True)
class TakenFile:
    """A file ESR has accepted."""

    name: Name
    rows: Sequence[Row]

    @property
    def file_name(self) -> str:
        """Return its name as it lay there."""
        return f"{self.name.stem}.DAT"


@dataclass(frozen=True, slots=True)
class SetAside:
    """A file ESR has not accepted; nothing of it counts."""

    file_name: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer ESR has sent.

    Attributes:
        to: Name of the file it answers.
        verdicts: In order of that file's lines.
    """

    made: MadeAnswer
    to: str
    verdicts: Sequence[Verdict]


@dataclass(frozen=True, slots=True)
class Played:
    """What ESR did on a day."""

    taken: list[TakenFile] = field(default_factory=list)
    set_aside: list[SetAside] = field(default_factory=list)
    answers: list[Answered] = field(default_factory=list)

    @property
    def verdicts(self) -> Counter[str]:
        """Return how many verdicts there were of each kind: ``confirmed``, ``warnings``, ``rejected``."""
        return Counter(outcome(one) for answer in self.answers for one in answer.verdicts)


class EsrSide:
    """ESR with its two folders.

    Args:
        folder_out: Where our files appear.
        folder_in: Where its answers go.
        rules: How it judges.

    Attributes:
        rules: The same; they may change from day to day.
        taken: Every file it ever accepted, in the order of the names' days and sequences at a restart.
        set_aside: Every file it ever set aside.
    """

    def __init__(self, folder_out: Folder, folder_in: Folder, rules: Rules | None = None) -> None:
        self._out = folder_out
        self._in = folder_in
        self.rules = rules or Rules()
        self.taken: list[TakenFile] = []
        self.set_aside: list[SetAside] = []
        self._remember()

    def play(self, day: date) -> Played:
        """Take what lies there and answer it at once; parts of files (``.part``) are left alone.

        Args:
            day: ESR's today: a DCC is of this day, an APC of the next.
        """
        played = Played()
        for file_name in _dat(self._out.names()):
            reading = read(file_name, self._out.read(file_name))
            self._judge_whole(file_name, reading)
            if reading.name is None or reading.reasons:
                played.set_aside.append(self._put_aside(file_name, reading))
                continue
            file = TakenFile(reading.name, reading.rows)
            # The answer goes first: after a kill in between it is made again, the same to the byte.
            if reading.name.kind in ANSWER_KIND:
                played.answers.append(self.answer(file, day))
            self._out.move(file_name, TAKEN)
            self.taken.append(file)
            played.taken.append(file)
        return played

    def answer(self, file: TakenFile, day: date) -> Answered:
        """Send the answer to a file, also once more."""
        verdicts = self.verdicts(file)
        made = make_answer(answer_name(file.name, day), verdicts)
        self._in.put(made.name, made.body)
        return Answered(made, file.file_name, verdicts)

    def verdicts(self, file: TakenFile) -> list[Verdict]:
        """Return the verdicts on a file, for an answer of one's own: see ``verdicts.spoilt``."""
        return [judge(row, file.name, self.rules) for row in file.rows]

    def applicants(self) -> dict[Applicant, list[tuple[str, int]]]:
        """Return every applicant ever received, with file and ordinal of each time."""
        seen: dict[Applicant, list[tuple[str, int]]] = defaultdict(list)
        for file, row in self.rows("APP"):
            seen[applicant(row)].append((file.file_name, row.ordinal))
        return dict(seen)

    def rows(self, *kinds: str) -> Iterator[tuple[TakenFile, Row]]:
        """Yield every line ever received in files of these kinds."""
        for file in self.taken:
            if file.name.kind in kinds:
                for row in file.rows:
                    yield file, row

    def sequences(self, kind: str) -> list[int]:
        """Return the numbers of the files of a counter (``APP``, ``DNC`` with DNF, ``RTC``), rising."""
        return sorted(file.name.sequence for file in self.taken if _COUNTER[file.name.kind] == kind)

    def _judge_whole(self, file_name: str, reading: Reading) -> None:
        """Object to what single lines cannot show."""
        name = reading.name
        if name is None or name.kind not in _COUNTER:
            return
        if any(known.file_name == file_name for known in self.taken):
            reading.object("sent_twice", "a file of this name was taken before")
        elif name.sequence in self.sequences(_COUNTER[name.kind]):
            reading.object("sequence_reused", str(name.sequence))
        if name.kind == "APP":
            self._judge_applicants(reading)
        elif name.kind == "RTC":
            _judge_receipt(name, reading)
        else:
            _judge_vpds(reading)

    def _judge_applicants(self, reading: Reading) -> None:
        most = self.rules.most_of_a_post
        of_posts = Counter(row.values["deaneryNumber"] for row in reading.rows)
        for post, count in of_posts.items():
            if count > most:
                reading.object("too_many_of_post", f"{count} applicants of {post}, {most} at most")
        for count in Counter(applicant(row) for row in reading.rows).values():
            if count > 1:
                reading.object("doubled_applicant", f"{count} lines are of one applicant")

    def _put_aside(self, file_name: str, reading: Reading) -> SetAside:
        aside = SetAside(file_name, tuple(reading.reasons))
        note = f"{file_name}{REASONS}"
        self._out.put(note, "".join(f"{reason}\n" for reason in aside.reasons).encode())
        self._out.move(note, QUARANTINE)
        self._out.move(file_name, QUARANTINE)
        self.set_aside.append(aside)
        return aside

    def _remember(self) -> None:
        for file_name in _dat(self._out.names(TAKEN)):
            reading = read(file_name, self._out.read(f"{TAKEN}/{file_name}"))
            if reading.name is not None:
                self.taken.append(TakenFile(reading.name, reading.rows))
        self.taken.sort(key=lambda file: (file.name.day, file.name.kind, file.name.sequence))
        for file_name in _dat(self._out.names(QUARANTINE)):
            note = self._out.read(f"{QUARANTINE}/{file_name}{REASONS}").decode()
            self.set_aside.append(SetAside(file_name, tuple(note.splitlines())))


def applicant(row: Row) -> Applicant:
    """Return who an APP line is about."""
    values = row.values
    position = values["positionId"]
    return Applicant(
        int(position) if position.isdecimal() else 0,
        values["effectiveDate"],
        values["regNumber"],
        values["dob"],
    )


def outcome(verdict: Verdict) -> str:
    """Return what a verdict must come to with us: ``confirmed``, ``warnings`` or ``rejected``."""
    if verdict.status == "FAIL" or verdict.type == "ERROR":
        return "rejected"
    return "warnings" if verdict.type == "WARNING" else "confirmed"


def _dat(names: Sequence[str]) -> list[str]:
    return [name for name in names if name.endswith(".DAT")]


def _judge_vpds(reading: Reading) -> None:
    for row in reading.rows:
        for column in VPDS:
            vpd = row.values[column]
            if vpd and not (len(vpd) == 3 and vpd.isascii() and vpd.isdigit()):  # noqa: PLR2004 - the rule
                reading.object("bad_vpd", f"line {row.ordinal + 1} {column} is {vpd!r}, not three digits")


def _judge_receipt(name: Name, reading: Reading) -> None:
    """A receipt is one FIL first, then counts and errors; it names a file of the same deanery."""
    heads = [row for row in reading.rows if row.code == "FIL"]
    if len(heads) != 1 or reading.rows[0].code != "FIL":
        reading.object("bad_receipt", "not exactly one FIL, first")
    elif f"DE_{name.deanery}_RM" not in heads[0].values["fileName"]:
        reading.object("bad_receipt", "it does not name an RMF or RMC of its deanery")

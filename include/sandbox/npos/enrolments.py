"""What a partner knows of those who were enrolled over its API: a file of its own, counts by reference."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from include.sandbox.npos.world import DAY, SLOTS, UNIT_TOTALS, Learning

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from include.sandbox.npos.faults import Fault

FIRST_INDEX = 5_000_000
"""Above the index of any assignment of the world, below the odd records' places."""
POLLS = 2
DECLINED_OF = 6
GOOD_SCORE = 60
State = Literal["applied", "enrolled", "declined", "withdrawn", "cancelled"]
Place = Literal["open", "full", "closed"]


@dataclass(frozen=True, slots=True)
class Enrolled:
    """One enrolment as the partner keeps it. Moments are minutes from the first day.

    Attributes:
        number: Its place in the order they came, from 0.
        key: What the partner tells a repeated request by.
        reference: The sender's.
        offering: Index of the offering in the world.
        person: Number of the person; the same one for the same address.
        polls: How often it was asked after while it waited.
        stuck: Whether it is never decided.
        decided_at: When it was accepted or declined; ``None`` while it waits.
    """

    number: int
    key: str
    reference: str
    offering: int
    person: int
    at: int
    state: State
    polls: int = 0
    stuck: bool = False
    reason: str | None = None
    decided_at: int | None = None
    ended_at: int | None = None

    def learning(self, day: int) -> Learning:
        """Return it as an assignment that stands as it does on a day: a unit is done each day."""
        index = FIRST_INDEX + self.number
        total = UNIT_TOTALS[self.number % len(UNIT_TOTALS)]
        found = Learning(
            index=index,
            offering=self.offering,
            person=FIRST_INDEX + self.person,
            units_total=total,
            requested_at=self.at,
            modified=self.at,
        )
        if self.decided_at is not None and self.state != "declined":
            until = day if self.ended_at is None else self.ended_at // DAY
            _study(found, self.decided_at, until)
        if self.state == "declined":
            found.state, found.reason = "rejected", self.reason
        elif self.state in {"withdrawn", "cancelled"}:
            found.state, found.score, found.completed_at = self.state, None, None
        if (ended := self.ended_at) is not None:
            found.modified = found.ended_at = ended
        return found


def _study(learning: Learning, joined: int, day: int) -> None:
    learning.state = "enrolled"
    learning.accepted_at = learning.enrolled_at = learning.modified = joined
    learning.due_at = joined - joined % DAY + (30 + 9 * learning.units_total) * DAY
    done = min(learning.units_total, max(0, day - joined // DAY))
    if not done:
        return
    slot = SLOTS[learning.index % len(SLOTS)]
    first, last = (max(joined, (joined // DAY + step) * DAY + slot) for step in (0, done - 1))
    learning.state, learning.units_done, learning.modified = "in_progress", done, last
    learning.started_at, learning.last_activity_at = first, last
    if done == learning.units_total:
        learning.state, learning.completed_at, learning.ended_at = "completed", last, last
        learning.score = GOOD_SCORE + learning.index % 40


@dataclass(frozen=True, slots=True)
class Application:
    """What one request asks for.

    Attributes:
        key: Its idempotency key; empty when it has none.
        offering: Index in the world, ``None`` when there is no such offering.
        person: What tells people apart, such as an e-mail address; never kept.
        fields: Names of the body's fields, dotted.
    """

    key: str
    reference: str
    offering: int | None
    place: Place | None
    person: str
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a request: ``new``, ``known`` (a repeated key), ``duplicate`` or ``refused``."""

    kind: Literal["new", "known", "duplicate", "refused"]
    entry: Enrolled | None = None
    reason: str = ""


@dataclass(slots=True)
class _Reference:
    received: int = 0
    refused: int = 0
    fields: set[str] = field(default_factory=set)
    numbers: list[int] = field(default_factory=list)


class Enrolments:
    """Takes applications; every change is a line of its file, so a kill loses nothing that was answered.

    Args:
        path: The file; it is read at the start.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.version = 0
        self.newest = 0
        self._entries: list[Enrolled] = []
        self._by_key: dict[str, int] = {}
        self._waiting: set[int] = set()
        self._references: dict[str, _Reference] = {}
        self._people: dict[str, int] = {}
        self._read()

    def take(
        self, asked: Application, *, moment: int, first: State = "enrolled", fault: Fault | None = None
    ) -> Verdict:
        """Enrol, or say why not.

        Args:
            asked: The request.
            moment: Now, in minutes from the first day.
            first: The state a new one starts in.
            fault: What shall go wrong this time.
        """
        kind = fault.kind if fault else ""
        self._note({"received": asked.reference, "fields": asked.fields})
        if kind != "forget_key":
            if known := self.with_key(asked.key):
                return Verdict("duplicate" if kind == "duplicate" else "known", known)
            if same := self.of(asked.reference):
                return Verdict("duplicate", same[0])
        reason = fault.reason if fault and kind == "refuse" else _obstacle(asked)
        if reason or asked.offering is None:
            self._note({"refused": asked.reference})
            return Verdict("refused", reason=reason or "unknown")
        entry = self._add(asked, asked.offering, moment, first, stuck=kind == "stay_pending")
        return Verdict("duplicate" if kind == "duplicate" else "new", entry)

    def _add(self, asked: Application, offering: int, moment: int, first: State, *, stuck: bool) -> Enrolled:
        moment = max(moment, self.newest)
        entry = Enrolled(
            number=len(self._entries),
            key=asked.key,
            reference=asked.reference,
            offering=offering,
            person=self._people.setdefault(asked.person, len(self._people)),
            at=moment,
            state=first,
            stuck=stuck,
            decided_at=None if first == "applied" else moment,
        )
        self._keep(entry)
        return entry

    def with_key(self, key: str) -> Enrolled | None:
        """Return the first enrolment that came with this key."""
        return self._entries[self._by_key[key]] if key in self._by_key else None

    def of(self, reference: str) -> list[Enrolled]:
        """Return the enrolments of a reference; more than one were doubled."""
        known = self._references.get(reference)
        return [self._entries[number] for number in known.numbers] if known else []

    def number(self, number: int) -> Enrolled | None:
        """Return the enrolment of a number."""
        return self._entries[number] if 0 <= number < len(self._entries) else None

    def asked_after(self, entry: Enrolled, *, moment: int) -> Enrolled:
        """Count a question after one that waits; decide it when it was asked for often enough."""
        if entry.state != "applied":
            return entry
        entry = replace(entry, polls=entry.polls + 1)
        if entry.polls >= POLLS and not entry.stuck:
            entry = _decided(entry, max(moment, self.newest))
        self._keep(entry)
        return entry

    def settle(self, day: int) -> None:
        """Decide what has waited since an earlier day."""
        for entry in [self._entries[number] for number in sorted(self._waiting)]:
            if not entry.stuck and entry.at < day * DAY:
                self._keep(_decided(entry, max(day * DAY - 1, entry.at)))

    def withdraw(self, entry: Enrolled, *, moment: int) -> Enrolled:
        """Take an enrolment back; one that has ended stays as it is."""
        if entry.state not in {"applied", "enrolled"}:
            return entry
        state: State = "cancelled" if entry.state == "applied" else "withdrawn"
        entry = replace(entry, state=state, ended_at=max(moment, self.newest))
        self._keep(entry)
        return entry

    def learnings(self, day: int) -> Iterable[tuple[Enrolled, Learning]]:
        """Return all as assignments on a day."""
        self.settle(day)
        return [(entry, entry.learning(day)) for entry in self._entries]

    def counts(self) -> dict[str, Any]:
        """Return what was received and what became of it, in sum and by reference."""
        states = Counter(entry.state for entry in self._entries)
        references = sum(bool(known.numbers) for known in self._references.values())
        return {
            "received": sum(known.received for known in self._references.values()),
            "enrolled": references,
            "doubled": len(self._entries) - references,
            "withdrawn": states["withdrawn"] + states["cancelled"],
            "pending": states["applied"],
            "declined": states["declined"],
            "refused": sum(known.refused > 0 for known in self._references.values()),
        }

    def by_reference(self, ident: Mapping[int, str]) -> dict[str, Any]:
        """Return by reference how often it came, its ids, its state and which fields came with it.

        Args:
            ident: The partner's id by the enrolment's number.
        """
        found = {
            name: {
                "received": known.received,
                "refused": known.refused,
                "ids": [],
                "state": None,
                "fields": sorted(known.fields),
            }
            for name, known in self._references.items()
        }
        for entry in self._entries:
            shown: dict[str, Any] = found[entry.reference]
            shown["ids"].append(ident[entry.number])
            shown["state"] = entry.state
        return found

    def numbers(self) -> range:
        """Return the numbers of all enrolments."""
        return range(len(self._entries))

    def forget(self) -> None:
        """Drop everything."""
        self._path.unlink(missing_ok=True)
        self.newest = 0
        self.version += 1
        for known in (self._entries, self._by_key, self._waiting, self._references, self._people):
            known.clear()

    def _keep(self, entry: Enrolled) -> None:
        self._note({"entry": asdict(entry)})

    def _note(self, line: dict[str, Any]) -> None:
        """Write a line, then follow it: what is not in the file has not happened."""
        with self._path.open("ab") as file:
            file.write(json.dumps(line).encode() + b"\n")
        self._follow(line)

    def _follow(self, line: dict[str, Any]) -> None:
        if "received" in line:
            known = self._references.setdefault(line["received"], _Reference())
            known.received += 1
            known.fields.update(line["fields"])
        elif "refused" in line:
            self._references[line["refused"]].refused += 1
        else:
            entry = Enrolled(**line["entry"])
            if entry.number == len(self._entries):
                self._references[entry.reference].numbers.append(entry.number)
            self._entries[entry.number : entry.number + 1] = [entry]
            (self._waiting.add if entry.state == "applied" else self._waiting.discard)(entry.number)
            if entry.key:
                self._by_key.setdefault(entry.key, entry.number)
            self.newest = max(self.newest, entry.at, entry.decided_at or 0, entry.ended_at or 0)
            self.version += 1

    def _read(self) -> None:
        if not self._path.exists():
            return
        whole, _, torn = self._path.read_bytes().rpartition(b"\n")
        if torn:
            self._path.write_bytes(whole + b"\n" if whole else b"")
        for line in whole.splitlines():
            self._follow(json.loads(line))
        # People are told apart by what is never written; who comes after a restart is a new person.
        self._people = {f"before the restart {entry.person}": entry.person for entry in self._entries}


def _obstacle(asked: Application) -> str:
    if asked.place is None:
        return "unknown"
    return "" if asked.place == "open" else asked.place


def _decided(entry: Enrolled, moment: int) -> Enrolled:
    if declines(entry.reference):
        return replace(
            entry, state="declined", reason="no suitable place", decided_at=moment, ended_at=moment
        )
    return replace(entry, state="enrolled", decided_at=moment)


def declines(reference: str) -> bool:
    """Tell whether a partner that thinks about it says no: a sixth of the references, always the same."""
    return sum(reference.encode()) % DECLINED_OF == 0


def leaves(body: Any, prefix: str = "") -> list[str]:
    """Return the dotted names of a body's values."""
    if not isinstance(body, dict):
        return [prefix] if prefix else []
    return [
        name for key, value in body.items() for name in leaves(value, f"{prefix}.{key}" if prefix else key)
    ]

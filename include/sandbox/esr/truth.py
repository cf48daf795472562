"""What a correct reader must make of a file, computed beside the lines and not from them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from include.sandbox.esr.world import FIRST_PERSON, FIRST_POST

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from include.sandbox.esr.records import EsrPerson, Position
    from include.sandbox.esr.world import World


@dataclass(frozen=True, slots=True)
class BadLine:
    """One line that must be set aside.

    Attributes:
        line: Its number in the file, the header is 1.
        dirt: What was done to it.
        code: The reason a reader is expected to give.
    """

    line: int
    dirt: str
    code: str


@dataclass
class Truth:
    """What a file holds and what must come of it when it is the first TCS hears of its people.

    Attributes:
        records: Good records by type.
        bad: Lines to be set aside.
        lines: Lines of the file, frame included.
        matched: TCS post id by position id.
        unmatched: Positions whose number TCS does not know.
        deleted: Positions ESR has deleted; they are not looked up.
        fields: By TCS person id, ``contact`` and ``personal``: every value ESR has for TCS.
        changed: The same, without the values TCS has from the start.
        absences: By absence id, what TCS must have of it.
        left_alone: By ESR person id, why TCS is told nothing: ``unknown``, ``ambiguous``, ``no placement``.
        rejected: Reason for which the file as a whole is condemned; nothing of it may be applied then.
    """

    records: Counter[str] = field(default_factory=Counter)
    bad: list[BadLine] = field(default_factory=list)
    lines: int = 0
    matched: dict[int, int] = field(default_factory=dict)
    unmatched: set[int] = field(default_factory=set)
    deleted: set[int] = field(default_factory=set)
    fields: dict[int, dict[str, dict[str, str]]] = field(default_factory=dict)
    changed: dict[int, dict[str, dict[str, str]]] = field(default_factory=dict)
    absences: dict[str, dict[str, Any]] = field(default_factory=dict)
    left_alone: dict[int, str] = field(default_factory=dict)
    rejected: str | None = None

    def condemn(self, reason: str) -> None:
        """Note that the file is rejected as a whole: what it says of posts and people does not count."""
        self.rejected = reason
        for part in (self.matched, self.unmatched, self.deleted, self.fields, self.changed, self.absences):
            part.clear()
        self.left_alone.clear()

    def note(self, world: World, positions: Sequence[Position], person: EsrPerson | None) -> None:
        """Note what must become of a post's positions and of the person in the first of them."""
        for position in positions:
            self._note_position(world, position)
        if person is not None:
            self._note_person(world, positions[0], person)

    def _note_position(self, world: World, position: Position) -> None:
        if position.deleted:
            self.deleted.add(position.id)
        elif position.post is not None and position.post < world.people:
            self.matched[position.id] = FIRST_POST + position.post
        else:
            self.unmatched.add(position.id)

    def _note_person(self, world: World, position: Position, person: EsrPerson) -> None:
        reason = reason_to_leave_alone(world, position, person)
        if reason is not None:
            self.left_alone[person.id] = reason
            return
        key = FIRST_PERSON + person.index
        known = {"contact": world.contact(person.index), "personal": world.personal(person.index)}
        given = {"contact": person.contact, "personal": person.personal}
        self.fields[key] = given
        self.changed[key] = {
            kind: {name: value for name, value in values.items() if known[kind][name] != value}
            for kind, values in given.items()
        }
        for absence in person.absences:
            self.absences[str(absence.id)] = {
                "personId": key,
                "startDate": absence.start,
                "endDate": absence.end,
                "durationInDays": absence.days,
            }


def reason_to_leave_alone(world: World, position: Position, person: EsrPerson) -> str | None:
    """Return why TCS is told nothing of a person, ``None`` when it is."""
    holders = [
        index
        for index in range(max(0, person.index - 1), min(world.people, person.index + 2))
        if person.registration in {world.gmc_number(index), world.gdc_number(index)}
    ]
    if not holders:
        return "unknown"
    if len(holders) > 1:
        return "ambiguous"
    numbers = {world.post_number(one.post) for one in world.placements_of_person(holders[0])}
    if position.deleted or position.number not in numbers:
        return "no placement"
    return None


def post_events(truths: Iterable[Truth]) -> dict[int, list[tuple[int, str]]]:
    """Return what TCS is to be told of its posts by files applied one after the other, each reconciled.

    Returns:
        By post id, ``(position id, status)``; of one position in order.
    """
    told: dict[int, int] = {}
    events: dict[int, list[tuple[int, str]]] = {}
    for truth in truths:
        now: dict[int, int | None] = {**dict.fromkeys(truth.unmatched | truth.deleted), **truth.matched}
        for position, post in sorted(now.items()):
            before = told.get(position)
            if before == post:
                continue
            if before is not None:
                events.setdefault(before, []).append((position, "DELETED"))
                del told[position]
            if post is not None:
                events.setdefault(post, []).append((position, "RECONCILED"))
                told[position] = post
    return events


def final_fields(truths: Iterable[Truth]) -> dict[int, dict[str, dict[str, str]]]:
    """Return, by TCS person id, the values TCS must end with after files applied one after the other."""
    final: dict[int, dict[str, dict[str, str]]] = {}
    for truth in truths:
        for key, given in truth.fields.items():
            known = final.setdefault(key, {"contact": {}, "personal": {}})
            for kind, values in given.items():
                known[kind].update(values)
    return final

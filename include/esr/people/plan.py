"""What TCS is still to be told of a person: only what differs, and never an empty value. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from include.esr.people.mapping import Composite, composite_of
from include.storage.documents import content_hash

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from include.esr.people.mapping import Fields
    from include.esr.tcs.answers import Absence, Person, Placement
    from include.quality.gate import Reason


class PersonStatus(StrEnum):
    """What became of a person's latest revision."""

    UPDATED = "updated"
    UP_TO_DATE = "up_to_date"
    NOTHING_TO_TELL = "nothing_to_tell"
    NO_REGISTRATION = "no_registration"
    NOT_FOUND = "not_found"
    AMBIGUOUS = "ambiguous"
    NO_PLACEMENT = "no_placement"
    REFUSED = "refused"
    UNSETTLED = "unsettled"


WAITING = "waiting"
"""Stands for a status once somebody has released a refused person, until TCS is told again."""

MAX_ATTEMPTS = 5
"""Times in a row TCS fails at one person before the person is set aside: the others must not wait for it."""

LOOK_AGAIN = frozenset({PersonStatus.NOT_FOUND, PersonStatus.AMBIGUOUS, PersonStatus.NO_PLACEMENT})
"""Outcomes that something in TCS may change, so that the person is looked up again after a while."""


@dataclass(frozen=True, slots=True)
class Told:
    """What TCS was told of a person, or was seen to have: by hash.

    Attributes:
        tcs_id: TCS's id of the person.
        registrations: Hash of the registrations the person was found by.
        fields: Contact and personal details, by TCS's field name.
        absences: By ESR's absence id.
    """

    tcs_id: int
    registrations: str
    fields: Mapping[str, str] = field(default_factory=dict)
    absences: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the form kept in the store."""
        return {
            "tcs_id": self.tcs_id,
            "registrations": self.registrations,
            "fields": dict(self.fields),
            "absences": dict(self.absences),
        }


@dataclass(frozen=True, slots=True)
class PendingPerson:
    """A person whose content changed since TCS was last looked at.

    Attributes:
        id: ESR's person id.
        told: What TCS was told; ``None`` when nothing was or it is in doubt, because whoever told it last
            did not come to note it: TCS is then read and compared in full.
        was_refused: Whether an earlier revision stands in quarantine.
        attempts: How often in a row TCS failed at telling of this revision.
        withdrawn: Absences that TCS was given and ESR has deleted since, by ESR's absence id.
        newly_withdrawn: How many of these were not noted before.
    """

    id: int
    revision: int
    file_id: str
    composite: Composite
    told: Told | None
    was_refused: bool = False
    attempts: int = 0
    withdrawn: tuple[str, ...] = ()
    newly_withdrawn: int = 0

    @classmethod
    def of(cls, document: Mapping[str, Any], *, in_doubt: bool) -> PendingPerson:
        """Return the person of a document of the store."""
        told, composite = document.get("told"), composite_of(document["parts"])
        noted = frozenset(document.get("absences_withdrawn", ()))
        withdrawn = composite.withdrawn & (noted | frozenset(told["absences"] if told else ()))
        return cls(
            id=document["_id"],
            revision=document["revision"],
            file_id=document["file_id"],
            composite=composite,
            told=Told(**told) if told and not in_doubt else None,
            was_refused=bool(document.get("refused")),
            attempts=document.get("attempts", 0),
            withdrawn=tuple(sorted(withdrawn)),
            newly_withdrawn=len(withdrawn - noted),
        )

    @property
    def registrations_hash(self) -> str:
        """Return the hash of the registrations the person is found by."""
        return content_hash(dict(self.composite.registrations))

    def told_as(self, tcs_id: int) -> Told | None:
        """Return what this person of TCS was told; nothing when another one was meant before."""
        return self.told if self.told and self.told.tcs_id == tcs_id else None


@dataclass(frozen=True, slots=True, repr=False)
class Due:
    """What is still to be told: fields of the two details, and absences by ESR's absence id."""

    contact: Fields = field(default_factory=dict)
    personal: Fields = field(default_factory=dict)
    absences: Mapping[str, Fields] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Tell whether there is anything."""
        return bool(self.contact or self.personal or self.absences)


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one person.

    Attributes:
        told: What TCS has now, ``None`` when nothing was told or looked at.
        sent: Names of the fields and absences TCS took.
        reasons: Why TCS refused a part.
        not_taken: Names of the fields and absences it refused.
        updates: Calls that changed something.
        attempts: How often in a row TCS failed at this person now.
        in_doubt: Whether a call for the person may still be under way, or have gone through.
    """

    person: PendingPerson
    status: PersonStatus
    told: Told | None = None
    sent: tuple[str, ...] = ()
    reasons: tuple[Reason, ...] = ()
    not_taken: tuple[str, ...] = ()
    updates: int = 0
    attempts: int = 0
    in_doubt: bool = False

    @property
    def settles(self) -> bool:
        """Tell whether TCS now has all that the files say."""
        return self.status in (PersonStatus.UPDATED, PersonStatus.UP_TO_DATE)


def settled_without_tcs(person: PendingPerson) -> Result | None:
    """Return the result of a person for whom nothing has to be asked or told, else ``None``."""
    if person.composite.is_empty:
        return Result(person, PersonStatus.NOTHING_TO_TELL)
    if not person.composite.registrations:
        return Result(person, PersonStatus.NO_REGISTRATION)
    told = person.told
    if told and told.registrations == person.registrations_hash and not due_since(person, told):
        return Result(person, PersonStatus.UP_TO_DATE)
    return None


def found_by_registration(
    person: PendingPerson, registered: Mapping[tuple[str, str], tuple[int, ...]]
) -> tuple[int, ...]:
    """Return the ids of the people of TCS who bear one of the person's registrations: one is meant.

    Args:
        person: Who is looked for.
        registered: Person ids by body and number, for every number asked.
    """
    return tuple(
        sorted(
            {
                tcs_id
                for known in person.composite.registrations.items()
                for tcs_id in registered.get(known, ())
            }
        )
    )


def due_since(person: PendingPerson, told: Told) -> Due:
    """Return what has changed since TCS was told."""
    composite = person.composite
    return Due(
        _changed(composite.contact, told.fields),
        _changed(composite.personal, told.fields),
        {
            absence_id: fields
            for absence_id, fields in composite.absences.items()
            if told.absences.get(absence_id) != content_hash(fields)
        },
    )


def due_against(person: PendingPerson, known: Person) -> Due:
    """Return where TCS differs from what the files say; absences are looked up one by one later."""
    composite = person.composite
    return Due(
        differing(composite.contact, known.contact),
        differing(composite.personal, known.personal),
        composite.absences,
    )


def fits(person: PendingPerson, placements: Iterable[Placement]) -> bool:
    """Tell whether one of the placements is in a post of the person's current assignments."""
    return any(placement.post_number in person.composite.post_numbers for placement in placements)


def differing(fields: Fields, known: Mapping[str, Any]) -> Fields:
    """Return the fields whose value is not what TCS has."""
    return {name: value for name, value in fields.items() if not _same(value, known.get(name))}


def absence_change(fields: Fields, known: Absence) -> Fields:
    """Return the fields of an absence that TCS has otherwise.

    ``amendedDate`` is never among them: TCS takes it for a lock and would refuse a stale one.
    """
    return differing(fields, known.fields)


def new_absence(absence_id: str, fields: Fields, tcs_id: int) -> Fields:
    """Return the absence to create."""
    return {"id": None, "personId": tcs_id, "absenceAttendanceId": absence_id, **fields}


def told_now(person: PendingPerson, tcs_id: int, not_taken: Iterable[str] = ()) -> Told:
    """Return what TCS has after it took everything due but ``not_taken`` (names of fields and absences)."""
    without = frozenset(not_taken)
    before = person.told_as(tcs_id)
    composite = person.composite
    fields = {
        name: content_hash(value)
        for name, value in {**composite.contact, **composite.personal}.items()
        if name not in without
    }
    absences = {
        absence_id: content_hash(values)
        for absence_id, values in composite.absences.items()
        if absence_name(absence_id) not in without
    }
    if before:
        fields, absences = {**before.fields, **fields}, {**before.absences, **absences}
    return Told(tcs_id, person.registrations_hash, fields, absences)


def absence_name(absence_id: str) -> str:
    """Return how an absence is named among fields."""
    return f"absence {absence_id}"


def _changed(fields: Fields, told: Mapping[str, str]) -> Fields:
    return {name: value for name, value in fields.items() if told.get(name) != content_hash(value)}


def _same(value: Any, known: Any) -> bool:
    return bool(value == known) or (known is not None and str(value) == str(known))

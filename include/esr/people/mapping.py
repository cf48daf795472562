"""What TCS is to know of a person: ESR's columns under TCS's names, by the rules of the exchange. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from include.storage.documents import content_hash

if TYPE_CHECKING:
    from collections.abc import Mapping

    Fields = dict[str, Any]

CONTACT: Mapping[str, str] = {
    "last_name": "legalSurname",
    "first_name": "legalForenames",
    "title": "title",
    "home_tel": "telephoneNumber",
    "mobile_tel": "mobileNumber",
    # ESR knows the work address; the private one in TCS is the person's own.
    "email_address": "workEmail",
}
"""PER columns that are contact details."""

PERSONAL: Mapping[str, str] = {
    "uk_nino": "nationalInsuranceNumber",
    "dob": "dateOfBirth",
    "gender": "gender",
    "ethnic_origin_code": "ethnicOrigin",
    "religious_belief": "religiousBelief",
    "sexual_orientation": "sexualOrientation",
    "disability": "disabilityDetails",
}
"""PER columns that are personal details."""

ADDRESS: Mapping[str, str] = {
    "address1": "address1",
    "address2": "address2",
    "address3": "address3",
    "town": "address4",
    "postcode": "postCode",
    "country": "country",
}
"""ADD columns, of the primary address; TCS has no field for the county."""

ABSENCE: Mapping[str, str] = {
    "absence_start": "startDate",
    "absence_end": "endDate",
    "absence_duration": "durationInDays",
}
"""ABS columns; the absence id is TCS's ``absenceAttendanceId``."""

PER_FIELDS = (*CONTACT, *PERSONAL)
BODIES = ("GMC", "GDC")


@dataclass(frozen=True, slots=True, repr=False)
class Composite:
    """One person as the files have it, in TCS's words; empty values are left out. Its repr shows none.

    Attributes:
        registrations: The current number by body (GMC, GDC).
        post_numbers: The deanery numbers of the current assignments.
        contact: Contact details by TCS's field names.
        personal: Personal details by TCS's field names.
        absences: By ESR's absence id, the fields of ``ABSENCE`` by TCS's names.
        withdrawn: Ids of the absences ESR has deleted; TCS has no call to delete one.
    """

    registrations: Mapping[str, str] = field(default_factory=dict)
    post_numbers: frozenset[str] = frozenset()
    contact: Fields = field(default_factory=dict)
    personal: Fields = field(default_factory=dict)
    absences: Mapping[str, Fields] = field(default_factory=dict)
    withdrawn: frozenset[str] = frozenset()

    @property
    def is_empty(self) -> bool:
        """Tell whether there is nothing TCS could be told."""
        return not (self.contact or self.personal or self.absences)


def composite_of(parts: Mapping[str, Any]) -> Composite:
    """Return what a person's parts say, as they are kept in the store.

    What ESR deleted is not mapped; of a person it deleted nothing is. Of several registrations with one
    body the newest counts.
    """
    details = parts.get("PER") or {}
    if details.get("gone"):
        return Composite()
    values = details.get("values", {})
    return Composite(
        registrations=_registrations(parts.get("PBD", {})),
        post_numbers=frozenset(
            entry["values"]["deanery_number"]
            for entry in _current(parts.get("ASG", {})).values()
            if entry["values"].get("deanery_number")
        ),
        contact=_renamed(values, CONTACT) | _address(parts.get("ADD")),
        personal=_renamed(values, PERSONAL),
        absences={
            key: _whole_days(_renamed(entry["values"], ABSENCE))
            for key, entry in sorted(_current(parts.get("ABS", {})).items())
        },
        withdrawn=frozenset(key for key, entry in parts.get("ABS", {}).items() if entry["gone"]),
    )


def revision_hash(composite: Composite) -> str:
    """Return the content hash of all that decides what TCS is told."""
    return content_hash(
        [
            dict(composite.registrations),
            sorted(composite.post_numbers),
            composite.contact,
            composite.personal,
            dict(composite.absences),
        ]
    )


def _current(entries: Mapping[str, Any]) -> dict[str, Any]:
    return {key: entry for key, entry in entries.items() if not entry["gone"]}


def _renamed(values: Mapping[str, Any], names: Mapping[str, str]) -> Fields:
    return {names[name]: value for name, value in values.items() if name in names and value not in (None, "")}


def _address(entry: Mapping[str, Any] | None) -> Fields:
    return {} if entry is None or entry["gone"] else _renamed(entry["values"], ADDRESS)


def _registrations(entries: Mapping[str, Any]) -> dict[str, str]:
    newest: dict[str, tuple[str, str]] = {}
    for entry in _current(entries).values():
        body, number = entry["values"]["body"], entry["values"]["reg_number"]
        if body in BODIES:
            newest[body] = max(newest.get(body, ("", "")), (entry["at"], number))
    return {body: newest[body][1] for body in BODIES if body in newest}


def _whole_days(fields: Fields) -> Fields:
    """TCS counts days in whole numbers; ESR's decimal column has 5 as 5.0."""
    days = fields.get("durationInDays")
    return fields | {"durationInDays": int(days)} if isinstance(days, float) and days.is_integer() else fields

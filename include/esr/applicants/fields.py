"""What ESR is told of an applicant: TCS's person and placement under the names of APP's columns. Pure.

Some columns stay empty, because TCS has nothing of the kind: middle_names, county, reg_expiry_date,
national_training_number, previous_last_name, country_of_birth.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import TYPE_CHECKING, Any

from include.esr.formats.layout import ColumnType, load_format
from include.esr.formats.writer import check_record
from include.esr.names import FileType
from include.quality.gate import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from include.esr.placements.facts import PlacementFacts, PositionFacts, PostView
    from include.esr.tcs.answers import Person

    Fields = dict[str, Any]

CODE = FileType.APP.value
"""Record code of an applicant's line."""

CONTACT: Mapping[str, tuple[str, ...]] = {
    "applicant_email_address": ("email",),
    "last_name": ("legalSurname", "surname"),
    "first_name": ("legalForenames", "forenames"),
    "title": ("title",),
    "address1": ("address1",),
    "address2": ("address2",),
    "address3": ("address3",),
    "town": ("address4",),
    "postcode": ("postCode",),
    "country": ("country",),
    "home_tel": ("telephoneNumber",),
    "mobile_tel": ("mobileNumber",),
}
"""Columns filled from contact details: the first of TCS's fields that is not blank counts."""

PERSONAL: Mapping[str, tuple[str, ...]] = {
    "gender": ("gender",),
    "ethnic_origin_code": ("ethnicOrigin",),
    "sexual_orientation": ("sexualOrientation",),
    "religious_belief": ("religiousBelief",),
    "nationality": ("nationality",),
    "uk_nino": ("nationalInsuranceNumber",),
    # Whether there is one; disabilityDetails, in the person's own words, is not for an applicant's file.
    "disability": ("disability",),
    "marital_status": ("maritalStatus",),
}
"""Columns filled from personal details."""

# Everything some reader ends a line at, and the tab: in an address typed into several lines they part
# words, which a space does too. Other control characters are no text at all: the record is not sound.
_BREAKS = re.compile(r"[\t\n\r\v\f\x85\u2028\u2029]+")
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True, repr=False)
class Applicant:
    """One placement in one position, as it would stand in a file. Its repr shows none of it.

    Attributes:
        fields: Values by column of format APP; days as ISO text, empty ones left out.
        reason: Why ESR could not read or use it; ``None`` when it is sound.
    """

    fields: Fields
    reason: Reason | None


def applicant_of(
    view: PostView, position: PositionFacts, placement: PlacementFacts, person: Person | None
) -> Applicant:
    """Return what ESR is told of a placement in a position of its post.

    Args:
        view: The post.
        position: One of its positions.
        placement: One of its placements.
        person: The placement's trainee; ``None`` if TCS does not say who, or does not know him.
    """
    fields, unreadable = _person(person, placement) if person else ({}, None)
    fields |= _placement(placement)
    fields |= {"position_id": position.id, "deanery_number": view.number}
    if position.number:
        fields["position_number"] = position.number
    reason = check_days(placement) or _known(placement, person) or unreadable or check_fields(fields)
    return Applicant(fields, reason)


def check_fields(fields: Mapping[str, Any]) -> Reason | None:
    """Return why a stored applicant cannot stand in a file; ``None`` if it can."""
    layout = load_format(FileType.APP)
    columns = layout.records[CODE].by_name
    days = {
        name: date.fromisoformat(value)
        for name, value in fields.items()
        if name in columns and columns[name].type is ColumnType.DATE and value
    }
    return check_record(layout, {"type": CODE, **fields, **days})


def check_days(placement: PlacementFacts) -> Reason | None:
    """Return why a placement's days cannot be told to ESR; ``None`` if they can."""
    if placement.start is None:
        return Reason("start_missing", "TCS gives no first day of the placement, or none that is a date")
    if placement.end is None:
        return Reason("end_missing", "TCS gives no last day of the placement, or none that is a date")
    if placement.end < placement.start:
        return Reason("end_before_start", "the placement's last day is before its first")
    return None


def moved(fields: Mapping[str, Any], placement: PlacementFacts) -> Fields:
    """Return stored fields with the placement's days as they are now, all else as it was."""
    days = ("effective_date", "projected_hire_date", "projected_end_date")
    return {name: value for name, value in fields.items() if name not in days} | _placement(placement)


def _placement(placement: PlacementFacts) -> Fields:
    start = placement.start.isoformat() if placement.start else None
    end = placement.end.isoformat() if placement.end else None
    days = {"effective_date": start, "projected_hire_date": start, "projected_end_date": end}
    return {name: day for name, day in days.items() if day}


def _known(placement: PlacementFacts, person: Person | None) -> Reason | None:
    if placement.trainee_id is None:
        return Reason("trainee_missing", "TCS does not say whose placement it is")
    if person is None:
        return Reason("person_unknown", "TCS does not know the placement's trainee")
    return None


def _person(person: Person, placement: PlacementFacts) -> tuple[Fields, Reason | None]:
    """Return the columns a person fills, and why one of them cannot be read."""
    fields: Fields = {}
    reason: Reason | None = None
    for column, value in _values(person, placement):
        text, wrong = _text(value, column)
        reason = reason or wrong
        if text:
            fields[column] = text
    born, wrong = _birthday(person.personal.get("dateOfBirth"))
    if born:
        fields["dob"] = born
    return fields, reason or wrong


def _values(person: Person, placement: PlacementFacts) -> Iterator[tuple[str, Any]]:
    """Yield the columns TCS has something for."""
    for names, details in ((CONTACT, person.contact), (PERSONAL, person.personal)):
        for column, sources in names.items():
            for source in sources:
                value = details.get(source)
                if not _is_blank(value):
                    yield column, value
                    break
    numbers = (("GMC", person.gmc_number), ("GDC", person.gdc_number), ("GMC", placement.gmc))
    registered = next((each for each in numbers if not _is_blank(each[1])), None)
    if registered:
        yield from zip(("professional_body", "reg_number"), registered, strict=True)


def _is_blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _text(value: Any, column: str) -> tuple[str, Reason | None]:
    """Return a value as text in one line, never longer than what shows that it is too long."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value) if abs(value) < 10**18 else None
    if not isinstance(value, str):
        return "", Reason("bad_text", f"TCS gives something else than text for {column}")
    if not value.isprintable():
        value = _BREAKS.sub(" ", value)
    # One more than allowed, for the rule to see; a page of text costs neither store nor transaction.
    text = value.strip()[: _limit(column) + 1]
    if not text.isascii() and _HALF_CHARACTER.search(text):
        wrong = Reason("bad_encoding", f"TCS gives half a character in {column}")
        return _HALF_CHARACTER.sub("\ufffd", text), wrong
    return text, None


@cache
def _limit(column: str) -> int:
    layout = load_format(FileType.APP)
    return layout.records[CODE].by_name[column].max_length or layout.dialect.max_length


def _birthday(value: Any) -> tuple[str | None, Reason | None]:
    """Return the day of birth as ISO text; TCS writes some dates with a time."""
    if _is_blank(value):
        return None, None
    try:
        return date.fromisoformat(value[:10]).isoformat(), None
    except (TypeError, ValueError):
        return None, Reason("bad_date", "TCS gives a dateOfBirth that is no date")

"""Posts, people and placements as TCS has them: pure functions of seed and index, nothing is stored.

Post ``j`` exists in TCS when ``j < people``; the functions know more, for files that tell of posts TCS
has never heard of. Ids of posts, people and placements come from ranges that do not meet, so that a
mixed-up id finds nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, NamedTuple

from include.sandbox.esr import words

FIRST_PERSON = 200_001
FIRST_POST = 5_000_001
FIRST_PLACEMENT = 90_000_001
STAMP = "2025-12-01T09:00:00Z"
"""When everything was last changed before anybody told TCS anything."""
TURNOVER = date(2026, 8, 5)
"""The usual first day of the year of training: a Wednesday in August."""
_MASK = (1 << 64) - 1


class Placement(NamedTuple):
    """Who is in which post; ``current`` or from the turnover on."""

    id: int
    person: int
    post: int
    current: bool


@dataclass(frozen=True)
class World:
    """Everything TCS knows at its start.

    Attributes:
        people: How many people there are, and posts as well.
        turnover: The day current placements have ended and future ones start.
    """

    seed: int = 7
    people: int = 3_000
    turnover: date = TURNOVER

    def draw(self, index: int, salt: int, sides: int) -> int:
        """Return a number in [0, sides) that belongs to index and salt for ever (splitmix64)."""
        z = (index * 0x9E3779B97F4A7C15 + (salt + 1) * 0xD1B54A32D192ED03 + self.seed) & _MASK
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
        return (z ^ (z >> 31)) % sides

    def post_number(self, post: int) -> str:
        """Return the national post number of post ``post``, such as ``NTH/RTD01/080/STR/005/S``."""
        deanery = words.DEANERIES[post % len(words.DEANERIES)]
        rest, trust = divmod(post // len(words.DEANERIES), len(words.TRUSTS))
        rest, specialty = divmod(rest, len(words.SPECIALTIES))
        serial, grade = divmod(rest, len(words.GRADES))
        suffix = ("/S", "/M", "/A")[post % 3] if self.draw(post, 1, 10) == 0 else ""
        return (
            f"{deanery}/{words.TRUSTS[trust]}/{words.SPECIALTIES[specialty][0]}"
            f"/{words.GRADES[grade][0]}/{serial + 1:03d}{suffix}"
        )

    def post(self, post: int) -> dict[str, Any]:
        """Return a post as a bulk lookup gives it."""
        return {
            "id": FIRST_POST + post,
            "nationalPostNumber": self.post_number(post),
            "status": "CURRENT" if self.draw(post, 2, 50) else "INACTIVE",
            "owner": words.OWNERS[words.DEANERIES[post % len(words.DEANERIES)]],
        }

    def gmc_number(self, person: int) -> str | None:
        """Return the GMC number; dentists have none, and some people share one by mistake."""
        if self.is_dentist(person):
            return None
        shared = person % 97 == 5  # noqa: PLR2004 - any remainder would do
        return f"{6_000_000 + person - (1 if shared else 0):07d}"

    def gdc_number(self, person: int) -> str | None:
        """Return the GDC number of a dentist."""
        return f"{100_000 + person}" if self.is_dentist(person) else None

    def is_dentist(self, person: int) -> bool:
        """Return whether the person is registered with the GDC."""
        return person % 20 == 13  # noqa: PLR2004 - one in twenty

    def contact(self, person: int) -> dict[str, Any]:
        """Return contact details; their id is the person's."""
        draw = self.draw
        forename = words.FORENAMES[draw(person, 10, len(words.FORENAMES))]
        surname = words.SURNAMES[draw(person, 11, len(words.SURNAMES))]
        town, _, area = self.town(person)
        house = 1 + draw(person, 13, 199)
        return {
            "id": FIRST_PERSON + person,
            "title": words.TITLES[draw(person, 14, len(words.TITLES))],
            "surname": surname,
            "forenames": forename,
            "legalSurname": surname,
            "legalForenames": forename,
            "telephoneNumber": f"01632 {960000 + person % 1000}" if draw(person, 15, 3) else None,
            "mobileNumber": f"07700 {900000 + draw(person, 16, 1000)}",
            "email": f"person{person}@home.example",
            "workEmail": f"person{person}@nhs.example" if draw(person, 17, 4) else None,
            "address1": f"{house} {words.STREETS[draw(person, 18, len(words.STREETS))]}",
            "address2": None if draw(person, 19, 3) else f"Flat {1 + house % 9}",
            "address3": None,
            "address4": town,
            "postCode": f"{area} {1 + person % 9}AB",
            "country": "United Kingdom",
            "amendedDate": STAMP,
        }

    def town(self, person: int) -> tuple[str, str, str]:
        """Return a person's town, its county (which TCS has no field for) and its postcode area."""
        return words.TOWNS[self.draw(person, 12, len(words.TOWNS))]

    def personal(self, person: int) -> dict[str, Any]:
        """Return personal details; their id is the person's."""
        draw = self.draw
        return {
            "id": FIRST_PERSON + person,
            "dateOfBirth": (date(1975, 1, 1) + timedelta(days=draw(person, 20, 9_000))).isoformat(),
            "gender": words.GENDERS[draw(person, 21, 2)],
            "nationalInsuranceNumber": f"QQ{person % 1_000_000:06d}C" if draw(person, 22, 5) else None,
            "ethnicOrigin": words.ETHNICITIES[draw(person, 23, len(words.ETHNICITIES))],
            "religiousBelief": words.BELIEFS[draw(person, 24, len(words.BELIEFS))],
            "sexualOrientation": words.ORIENTATIONS[draw(person, 25, len(words.ORIENTATIONS))],
            "disability": "NO",
            "disabilityDetails": None,
            "nationality": "British",
            "maritalStatus": "Single",
            "amendedDate": STAMP,
        }

    def current(self, person: int) -> Placement | None:
        """Return where the person is now; one in ten is nowhere."""
        if person % 10 == 7:  # noqa: PLR2004 - any remainder would do
            return None
        return Placement(FIRST_PLACEMENT + 2 * person, person, person, current=True)

    def future(self, person: int) -> Placement | None:
        """Return where the person goes next: another post of the same deanery."""
        post = person + len(words.DEANERIES)
        if person % 3 or post >= self.people:
            return None
        return Placement(FIRST_PLACEMENT + 2 * person + 1, person, post, current=False)

    def placements_of_person(self, person: int) -> list[Placement]:
        """Return a person's placements, the current one first."""
        return [one for one in (self.current(person), self.future(person)) if one is not None]

    def placements_of_post(self, post: int) -> list[Placement]:
        """Return a post's placements, the current one first."""
        before = post - len(words.DEANERIES)
        coming = self.future(before) if before >= 0 else None
        return [one for one in (self.current(post), coming) if one is not None]

    def placement_details(self, placement: Placement) -> dict[str, Any]:
        """Return what a placement says about itself, without person and post."""
        draw, key = self.draw, placement.id
        start = self.turnover - timedelta(days=364) if placement.current else self.turnover
        end = start + timedelta(days=363)
        trust = words.TRUSTS[placement.post // len(words.DEANERIES) % len(words.TRUSTS)]
        grade = placement.post // len(words.DEANERIES) // len(words.TRUSTS) // len(words.SPECIALTIES)
        return {
            "dateFrom": start.isoformat(),
            "dateTo": end.isoformat(),
            "placementType": words.PLACEMENT_TYPES[draw(key, 30, len(words.PLACEMENT_TYPES))],
            "status": "CURRENT" if placement.current else "FUTURE",
            "placementStatus": "CURRENT" if placement.current else "FUTURE",
            "siteId": 10 + placement.post % 400,
            "siteCode": trust,
            "gradeAbbreviation": words.GRADES[grade % len(words.GRADES)][4],
            "placementWholeTimeEquivalent": (1.0, 1.0, 1.0, 0.8, 0.6)[draw(key, 31, 5)],
            "lifecycleState": "APPROVED" if draw(key, 32, 12) else "DRAFT",
        }

"""What ESR knows of one deanery on a day, and the lines that say so.

ESR's positions and people are those of the world, with ESR's own view of them: a tenth of the
positions and their people change every day, some numbers are unknown to TCS, some positions are
deleted and come back, some people have moved house, and fields ESR does not know are empty.
Written from the description of the format, not with the product's writer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from include.sandbox.esr import words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from include.sandbox.esr.world import World

EPOCH = date(2026, 1, 1)
"""Before it nothing has ever changed."""
PERIOD = 10
"""Days between two changes of one position and its person."""
FIRST_POSITION = 20_000_000
FIRST_ESR_PERSON = 1_500_000
FIRST_ASSIGNMENT = 60_000_000
FIRST_ABSENCE = 90_000_000
UNKNOWN_GMC = 8_000_000
"""GMC numbers from here on are nobody's."""
Line = tuple[str, ...]


def text(value: str | None) -> str:
    """Return a value as text of the dialect: quoted, a quote doubled, a backslash as it is."""
    return '"' + value.replace('"', '""') + '"' if value else '""'


def day_text(iso: str | None) -> str:
    """Return an ISO date as the files have it."""
    return iso.replace("-", "") if iso else ""


@dataclass(frozen=True, slots=True)
class Position:
    """One position as ESR sees it.

    Attributes:
        index: Index of the post it was made for.
        post: Index of the post whose number it has, ``None`` when no such post is anywhere.
        person: Index of the person in it, if any.
    """

    id: int
    index: int
    host: bool
    number: str
    post: int | None
    deleted: bool
    person: int | None
    revision: int


class Absence(NamedTuple):
    """One absence as ESR sees it; days are ISO dates."""

    id: int
    start: str
    end: str
    days: int


@dataclass(frozen=True)
class EsrPerson:
    """One person as ESR sees them: the fields TCS is to know under TCS's names, empty ones left out."""

    id: int
    index: int
    contact: dict[str, str]
    personal: dict[str, str]
    body: str
    registration: str
    absences: tuple[Absence, ...]


@dataclass(frozen=True)
class DeaneryView:
    """ESR's view of one deanery on a day."""

    world: World
    deanery: str
    day: date

    @cached_property
    def _at(self) -> int:
        return words.DEANERIES.index(self.deanery)

    @property
    def _version(self) -> int:
        return max(0, (self.day - EPOCH).days)

    def revision(self, place: int, version: int) -> int:
        """Return how often the ``place``-th post of the deanery has changed by day ``version``."""
        return (version + self.world.draw(self._post(place), 40, PERIOD)) // PERIOD

    def changed_today(self, place: int) -> bool:
        """Return whether the day's RMC tells of this post's positions and person."""
        return self.revision(place, self._version) != self.revision(place, self._version - 1)

    def _post(self, place: int) -> int:
        return place * len(words.DEANERIES) + self._at

    def positions(self, place: int) -> Iterator[Position]:
        """Yield the host position of the ``place``-th post, and the lead position a few have."""
        draw, post = self.world.draw, self._post(place)
        revision = self.revision(place, self._version)
        # Some move to the next post, and back.
        target = post + len(words.DEANERIES) if draw(post, 44, 40) == 0 and revision % 2 else post
        number = self.world.post_number(target)
        unknown = draw(post, 43, 50) == 0
        if unknown:
            number = f"{number}/X9"
        deleted = draw(post, 41, 20) == 0 and (revision + draw(post, 42, 2)) % 2 == 1
        host = Position(
            id=FIRST_POSITION + 2 * post,
            index=post,
            host=True,
            number=number,
            post=None if unknown else target,
            deleted=deleted,
            person=post if draw(post, 45, 4) else None,
            revision=revision,
        )
        yield host
        if draw(post, 47, 12) == 0:
            yield replace(host, id=host.id + 1, host=False, person=None)

    def person(self, index: int, revision: int) -> EsrPerson:
        """Return the person of a post as ESR sees them after so many changes."""
        draw = self.world.draw
        contact, personal = self.world.contact(index), self.world.personal(index)
        surname = contact["legalSurname"]
        new_mobile = revision > 0 or draw(index, 52, 2)
        house = 200 + draw(index, 57, 99) + revision
        moved = revision > 0 and draw(index, 54, 3) == 0
        fields = {
            "legalSurname": f"{surname}-Hill" if draw(index, 50, 30) == 0 else surname,
            "legalForenames": contact["legalForenames"],
            "title": contact["title"],
            "telephoneNumber": contact["telephoneNumber"],
            "mobileNumber": f"07700 {900_000 + draw(index * 64 + revision, 51, 1000)}"
            if new_mobile
            else contact["mobileNumber"],
            "workEmail": f"person{index}@nhs.example",
            "address1": f'{house} "The Elms", Mill Lane' if moved else contact["address1"],
            "address2": contact["address2"],
            "address4": contact["address4"],
            "postCode": contact["postCode"],
            "country": contact["country"],
        }
        own = {
            "nationalInsuranceNumber": f"QQ{index % 1_000_000:06d}C",
            "dateOfBirth": personal["dateOfBirth"],
            "gender": personal["gender"],
            "ethnicOrigin": personal["ethnicOrigin"],
            "religiousBelief": personal["religiousBelief"] if draw(index, 58, 3) else None,
            "sexualOrientation": personal["sexualOrientation"] if draw(index, 59, 3) else None,
            "disabilityDetails": words.DISABILITIES[index % 3] if draw(index, 53, 20) == 0 else None,
        }
        dentist = self.world.gdc_number(index)
        return EsrPerson(
            id=FIRST_ESR_PERSON + index,
            index=index,
            contact={name: value for name, value in fields.items() if value},
            personal={name: value for name, value in own.items() if value},
            body="GDC" if dentist else "GMC",
            registration=dentist or self._gmc(index),
            absences=self._absences(index, revision),
        )

    def _gmc(self, index: int) -> str:
        if self.world.draw(index, 46, 60) == 0:
            return f"{UNKNOWN_GMC + index}"
        return self.world.gmc_number(index) or ""

    def _absences(self, index: int, revision: int) -> tuple[Absence, ...]:
        if self.world.draw(index, 56, 3):
            return ()
        start = date(2026, 1, 5) + timedelta(days=index % 50)
        days = 3 + revision  # every change makes it a day longer
        return (
            Absence(
                FIRST_ABSENCE + index, start.isoformat(), (start + timedelta(days=days)).isoformat(), days
            ),
        )

    # -- lines

    def position_lines(self, position: Position) -> tuple[Line, Line]:
        """Return the POS and the POR of a position as fields."""
        changed = self._changed(position)
        indicator = text("D" if position.deleted else "C")
        code, specialty = self._specialty(position.index)
        _, title, payscale, description, _ = words.GRADES[position.index % len(words.GRADES)]
        trust = words.TRUSTS[position.index // len(words.DEANERIES) % len(words.TRUSTS)]
        local = text(f"{position.id % 100_000_000:08d}")
        title = text(f"{title} (Cornerways)" if position.index % 5 else f'{title} ("Acute", nights)')
        number, ods, office = text(position.number), text(trust[:3]), text(self.deanery)
        pos = (
            "POS", str(position.id), changed, indicator, local, '"Medical and Dental\\"', title,
            text(code), text(specialty), number, office, ods, '"NHS"', text(payscale), text(description),
            '""',
        )  # fmt: skip
        por = (
            "POR", str(position.id), changed, indicator, local, title, number, office,
            '"Host Employer"' if position.host else '"Lead Employer"', ods,
            text(f"{position.index % 1000:03d}"), text(f"{trust[:3]} NHS Trust"), text(f"Site {trust}\\"),
        )  # fmt: skip
        return pos, por

    def person_lines(self, position: Position, person: EsrPerson) -> list[Line]:
        """Return PER, ADD, PBD, ASG and ABS of the person in a position as fields."""
        changed, key = self._changed(position), str(person.id)
        lines: list[Line] = [self._per(person, changed), *self._add(person, changed)]
        lines.append(("PBD", key, changed, '"C"', text(person.body), text(person.registration), "20291231"))
        assignment = str(FIRST_ASSIGNMENT + position.index)
        turnover = self.world.turnover
        asg = (
            "ASG", assignment, changed, '"D"' if position.deleted else '"C"', key, text(f"{person.id}-2"),
            str(position.id), text(position.number), '"Y"', '"Active Assignment"',
            f"{turnover - timedelta(days=364):%Y%m%d}", f"{turnover - timedelta(days=1):%Y%m%d}",
        )  # fmt: skip
        lines.append(asg)
        lines += [
            ("ABS", key, changed, '"C"', day_text(one.start), day_text(one.end), str(one.days), str(one.id))
            for one in person.absences
        ]
        return lines

    def _per(self, person: EsrPerson, changed: str) -> Line:
        columns = ['""'] * 33
        own, contact = person.personal, person.contact
        columns[:5] = ["PER", str(person.id), changed, '"C"', text(f"E{person.index}")]
        values = {
            7: own.get("nationalInsuranceNumber"),
            8: contact.get("legalSurname"),
            9: contact.get("legalForenames"),
            12: contact.get("title"),
            13: own.get("gender"),
            16: contact.get("telephoneNumber"),
            17: contact.get("mobileNumber"),
            20: contact.get("workEmail"),
            21: own.get("ethnicOrigin"),
            31: own.get("religiousBelief"),
            32: own.get("sexualOrientation"),
            33: own.get("disabilityDetails"),
        }
        for place, value in values.items():
            columns[place - 1] = text(value)
        columns[13] = day_text(own.get("dateOfBirth"))
        return tuple(columns)

    def _add(self, person: EsrPerson, changed: str) -> Iterator[Line]:
        """Yield the primary address, and for some people a second one that is not TCS's business."""
        contact, county = person.contact, self.world.town(person.index)[1]
        start = ("ADD", str(person.id), changed, '"C"')
        given = [contact.get("address1"), contact.get("address2"), None, contact.get("address4"), county]
        given += [contact.get("postCode"), contact.get("country")]
        yield (*start, '"Home"', '"Y"', *map(text, given))
        if self.world.draw(person.index, 55, 10) == 0:
            other = ("1 Pier Head", None, None, "Margate", "Kent", "CT9 1AA", "United Kingdom")
            yield (*start, '"Holiday"', '"N"', *map(text, other))

    def _specialty(self, index: int) -> tuple[str, str]:
        return words.SPECIALTIES[index // 13 // len(words.TRUSTS) % len(words.SPECIALTIES)]

    def _changed(self, position: Position) -> str:
        """Return the last update date; positions that never changed have none, as in ESR's own."""
        return f"{self.day:%Y%m%d}" if position.revision else ""

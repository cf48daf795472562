"""Invented candidates with names, addresses and numbers that nothing else in the sandbox has.

What is found of them outside of the places made for personal data is a leak.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

FAMILY = "Quillfeather"
DOMAIN = "planted.example"
_GIVEN = ("Zebedee", "Ottoline", "Caspian", "Peregrina", "Thelonius", "Araminta", "Barnaby", "Xanthippe")
_NUMBERS = 1000
"""Ofcom keeps 07700 900000 to 900999 free for invented people."""


@dataclass(frozen=True, slots=True)
class Person:
    """A candidate as the platform knows one."""

    number: int
    given_name: str
    family_name: str
    email: str
    phone: str
    date_of_birth: str
    postcode: str

    def as_candidate(self) -> dict[str, Any]:
        """Return what a command says of the candidate: more than any NPO may be told."""
        return {
            "given_name": self.given_name,
            "family_name": self.family_name,
            "email": self.email,
            "phone": self.phone,
            "date_of_birth": self.date_of_birth,
            "postcode": self.postcode,
            "support_needs": f"planted support needs {self.number:05d}",
        }


def person(number: int) -> Person:
    """Return the candidate of a number, always the same one."""
    given, family = _GIVEN[number % len(_GIVEN)], f"{FAMILY}{_letters(number)}"
    return Person(
        number=number,
        given_name=given,
        family_name=family,
        email=f"{given}.{family}@{DOMAIN}".lower(),
        phone=f"07700 900{number % _NUMBERS:03d}",
        date_of_birth=f"{1960 + number % 45}-{1 + number % 12:02d}-{1 + number % 28:02d}",
        postcode=f"ZZ99 {number % 10}VZ",
    )


def needles(people: Iterable[Person]) -> tuple[str, ...]:
    """Return the texts to search for, in lower case; compare with text in lower case."""
    found = {FAMILY.lower(), DOMAIN, "planted support needs", "zz99 "}
    for one in people:
        local = one.phone.replace(" ", "")
        found |= {one.phone, local, f"+44{local[1:]}", f"44{local[1:]}"}
    return tuple(sorted(found))


def _letters(number: int) -> str:
    """Return a number in letters, so that names look like names."""
    text = ""
    for _ in range(3):
        number, rest = divmod(number, 26)
        text = chr(ord("a") + rest) + text
    return text

"""What is known of a person, part by part, as the lines of ESR's files said it. Pure: no store.

Every part carries the stamp of the line it is from, and an older line never overwrites a newer one: files
of a deanery in any order, each as often as it likes, end in the same parts as files in sequence. A line
that is read again, perhaps by a corrected layout, takes back what it said before. What is newer when two
deaneries tell of one person, ``include/esr/precedence.py`` says. None of these values shows itself in a
repr: they are personal data, and tracebacks print reprs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from include.esr.people.mapping import ABSENCE, ADDRESS, PER_FIELDS
from include.esr.precedence import Age, counts_beside
from include.storage.documents import content_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    Row = tuple[Any, ...]

MAX_ENTRIES = 200
"""Absences, assignments or registrations kept of one person; the oldest beyond that go."""

MAX_NUMBER = 30
_DELETED = "D"
_PRIMARY = "Y"


def stamp_of(order: str, deanery: str, line: int, updated: str) -> str:
    """Return the stamp of a line: what decides whether it counts beside another, as text.

    Args:
        order: ``Source.order`` of its file.
        deanery: Whose file.
        line: Its number in the file, which says what is newer within the file.
        updated: Its last update date, ISO text, empty when it has none.
    """
    return f"{order}/{line:010d}/{deanery}/{updated}"


@lru_cache(maxsize=4096)
def _age(stamp: str, *, deleted: bool = False) -> Age:
    order, deanery, updated = stamp.rsplit("/", 2)
    return Age(order, deanery, updated, deleted)


def _counts(stamp: str, held: str, *, gone: bool = False, held_gone: bool = False) -> bool:
    return not held or counts_beside(_age(stamp, deleted=gone), _age(held, deleted=held_gone))


def _same_line(stamp: str, other: str) -> bool:
    """Tell whether two stamps are of one line, whatever update date was read from it."""
    return bool(other) and _age(stamp)[:2] == _age(other)[:2]


@dataclass(slots=True, repr=False)
class Entry:
    """What the newest line said: one address, absence, assignment or registration.

    Attributes:
        at: Stamp of that line.
        gone: Whether it was a D.
        values: Its fields, empty ones left out.
    """

    at: str
    gone: bool
    values: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return the form kept in the store."""
        return {"at": self.at, "gone": self.gone, "values": self.values}


@dataclass(slots=True, repr=False)
class Details:
    """PER, field by field: an empty value in a newer line leaves the older line's value.

    Attributes:
        at: Stamp of the newest line.
        gone: Whether that was a D.
        stamps: By field, the stamp of the line its value is from.
        cleared: Stamp of the newest D: values from before are not the person's any more.
    """

    at: str = ""
    gone: bool = False
    values: dict[str, Any] = field(default_factory=dict)
    stamps: dict[str, str] = field(default_factory=dict)
    cleared: str = ""

    def take(self, stamp: str, values: Mapping[str, Any], *, gone: bool) -> None:
        """Add a line."""
        self._take_back(stamp)
        if gone and self.at and _age(stamp).deanery != _age(self.at).deanery:
            return  # only who holds the person can delete it
        if _counts(stamp, self.at, gone=gone, held_gone=self.gone):
            self.at, self.gone = stamp, gone
        if gone:
            if _counts(stamp, self.cleared):
                self.cleared = stamp
            self._drop([name for name, given in self.stamps.items() if _is_before(given, stamp)])
        elif _counts(stamp, self.cleared, held_gone=True):
            for name, value in values.items():
                if _counts(stamp, self.stamps.get(name, "")):
                    self.values[name], self.stamps[name] = value, stamp

    def _take_back(self, stamp: str) -> None:
        self._drop([name for name, given in self.stamps.items() if _same_line(stamp, given)])
        if _same_line(stamp, self.cleared):
            self.cleared = ""

    def _drop(self, names: Iterable[str]) -> None:
        for name in names:
            del self.values[name], self.stamps[name]

    def to_dict(self) -> dict[str, Any]:
        """Return the form kept in the store: stamps only where they are not the part's own."""
        older = {name: stamp for name, stamp in sorted(self.stamps.items()) if stamp != self.at}
        kept: dict[str, Any] = {"at": self.at, "gone": self.gone, "values": dict(sorted(self.values.items()))}
        return (
            kept | ({"older": older} if older else {}) | ({"cleared": self.cleared} if self.cleared else {})
        )

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any] | None) -> Details:
        """Return the part of its kept form."""
        if not kept:
            return cls()
        older = kept.get("older", {})
        stamps = {name: older.get(name, kept["at"]) for name in kept["values"]}
        return cls(kept["at"], kept["gone"], dict(kept["values"]), stamps, kept.get("cleared", ""))


@dataclass(slots=True, repr=False)
class Parts:
    """All that the files said of one person.

    Attributes:
        address: The primary address, as one value: lines of two addresses are never mixed.
        registrations: By body and number.
        assignments: By assignment id.
        absences: By absence id.
    """

    details: Details = field(default_factory=Details)
    address: Entry | None = None
    registrations: dict[str, Entry] = field(default_factory=dict)
    assignments: dict[str, Entry] = field(default_factory=dict)
    absences: dict[str, Entry] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the form kept in the store."""
        kept: dict[str, Any] = {}
        if self.details.at:
            kept["PER"] = self.details.to_dict()
        if self.address:
            kept["ADD"] = self.address.to_dict()
        for code, entries in self._lists():
            if entries:
                kept[code] = {key: entries[key].to_dict() for key in sorted(entries)}
        return kept

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> Parts:
        """Return the parts of their kept form."""
        parts = cls(Details.from_dict(kept.get("PER")))
        if "ADD" in kept:
            parts.address = Entry(**kept["ADD"])
        for code, entries in parts._lists():
            entries.update({key: Entry(**entry) for key, entry in kept.get(code, {}).items()})
        return parts

    def _lists(self) -> Iterable[tuple[str, dict[str, Entry]]]:
        return ("PBD", self.registrations), ("ASG", self.assignments), ("ABS", self.absences)

    def take(self, code: str, stamp: str, row: Row) -> None:
        """Add a line: its indicator, then the columns of ``COLUMNS``."""
        gone = row[0] == _DELETED
        values = {
            name: value
            for name, value in zip(COLUMNS[code], row[1:], strict=True)
            if value is not None and value != ""
        }
        if code == "PER":
            self.details.take(stamp, values, gone=gone)
        elif code == "ADD":
            if self.address and _same_line(stamp, self.address.at):
                self.address = None
            if values.pop("primary_flag", None) == _PRIMARY:
                self.address = _newer(self.address, stamp, values, gone=gone)
        else:
            key, entries = _KEYS[code](values), getattr(self, _LISTS[code])
            for said in [each for each, entry in entries.items() if _same_line(stamp, entry.at)]:
                del entries[said]
            if key:
                entries[key] = _newer(entries.get(key), stamp, values, gone=gone)

    def bound(self) -> None:
        """Let the oldest entries beyond ``MAX_ENTRIES`` go, so that no file makes a document too large."""
        for _code, entries in self._lists():
            excess = len(entries) - MAX_ENTRIES
            if excess > 0:
                for key in sorted(entries, key=lambda key: (entries[key].at, key))[:excess]:
                    del entries[key]


def _newer(known: Entry | None, stamp: str, values: dict[str, Any], *, gone: bool) -> Entry:
    if known is None or _counts(stamp, known.at, gone=gone, held_gone=known.gone):
        return Entry(stamp, gone, values)
    return known


def _is_before(given: str, deleted: str) -> bool:
    """Tell whether a value is from before a D of who holds the person; of another deanery, by the day."""
    ours, theirs = _age(given), _age(deleted)
    return ours.order <= theirs.order if ours.deanery == theirs.deanery else ours.day <= theirs.day


def _registration_key(values: Mapping[str, Any]) -> str:
    """Return a key that may be a field's name in the store, whatever the file has as number."""
    body, number = values.get("body"), values.get("reg_number")
    if not body or not number:
        return ""
    plain = number.isascii() and number.isalnum() and len(number) <= MAX_NUMBER
    return f"{body} {number if plain else content_hash(number)}"


COLUMNS: Mapping[str, tuple[str, ...]] = {
    "PER": PER_FIELDS,
    "ADD": ("primary_flag", *ADDRESS),
    "PBD": ("body", "reg_number"),
    "ASG": ("assignment_id", "position_id", "deanery_number", "primary_flag"),
    "ABS": ("absence_id", *ABSENCE),
}
"""By record type, the columns that are kept of a person: no more than what is mapped or matched on."""

_KEYS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "PBD": _registration_key,
    "ASG": lambda values: str(values.get("assignment_id", "")),
    "ABS": lambda values: str(values.get("absence_id", "")),
}
_LISTS = {"PBD": "registrations", "ASG": "assignments", "ABS": "absences"}

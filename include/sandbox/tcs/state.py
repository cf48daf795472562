"""What TCS knows: the world by seed, and over it everything it was told since."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Protocol

from include.sandbox.esr.world import FIRST_PERSON, FIRST_PLACEMENT, FIRST_POST

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from include.sandbox.esr.world import World

Json = dict[str, Any]
FIRST_ABSENCE = 700_001
FIRST_EVENT = 800_000_001
LOADED = 50_000_000
"""Posts, people and placements that were loaded have ids from this far above the seeded ones."""


def as_told(world: World, entries: Sequence[Json]) -> TcsState:
    """Return what TCS knows after these changes, for who wants to know without asking it.

    Args:
        world: That of the stand-in.
        entries: Of ``TcsSandbox.told()``, all of them.
    """
    return TcsState(world, _Told(entries))


class _Told:
    """Changes that are kept elsewhere; nothing is added to them."""

    def __init__(self, entries: Sequence[Json]) -> None:
        self._entries = entries

    def entries(self) -> Iterator[Json]:
        """Yield them."""
        yield from self._entries

    def add(self, entry: Json) -> None:
        """Forget it."""

    def clear(self) -> None:
        """Keep them all the same."""


class Changes(Protocol):
    """Where changes are kept: a journal."""

    def entries(self) -> Iterator[Json]:
        """Yield all changes in the order they were made."""

    def add(self, entry: Json) -> None:
        """Keep one more."""

    def clear(self) -> None:
        """Forget all."""


class TcsState:
    """Posts, people, placements, absences and events.

    Every change is a journal entry first and is carried out by :meth:`_apply`, also at a restart.
    """

    def __init__(self, world: World, journal: Changes) -> None:
        self.world = world
        self.journal = journal
        self._numbers = {world.post_number(post): FIRST_POST + post for post in range(world.people)}
        self._gmc: dict[str, list[int]] = defaultdict(list)
        self._gdc: dict[str, list[int]] = defaultdict(list)
        for person in range(world.people):
            if (number := world.gmc_number(person)) is not None:
                self._gmc[number].append(FIRST_PERSON + person)
            elif (number := world.gdc_number(person)) is not None:
                self._gdc[number].append(FIRST_PERSON + person)
        self._forget()
        for entry in journal.entries():
            self._apply(entry)

    def _forget(self) -> None:
        self.changes = 0
        self._next = {"post": LOADED, "placement": LOADED, "person": LOADED, "absence": 0, "event": 0}
        self._posts: dict[int, Json | None] = {}
        self._loaded_numbers: dict[str, int] = {}
        self._placements: dict[int, Json | None] = {}
        self._placements_by: dict[str, dict[int, list[int]]] = {
            "post": defaultdict(list),
            "person": defaultdict(list),
        }
        self._people: dict[int, Json] = {}
        self._loaded_registrations: dict[str, dict[str, list[int]]] = {
            "gmc": defaultdict(list),
            "gdc": defaultdict(list),
        }
        self.details: dict[str, dict[int, Json]] = {"contact": {}, "personal": {}}
        self.absences: dict[int, Json] = {}
        self._absence_ids: dict[str, int] = {}
        self.events: dict[str, dict[int, list[Json]]] = {
            "post": defaultdict(list),
            "placement": defaultdict(list),
        }

    def reset(self) -> None:
        """Go back to the start."""
        self.journal.clear()
        self._forget()

    # -- reading

    def post(self, post_id: int) -> Json | None:
        """Return a post by id."""
        if post_id in self._posts:
            return self._posts[post_id]
        index = post_id - FIRST_POST
        return self.world.post(index) if 0 <= index < self.world.people else None

    def post_by_number(self, number: str) -> Json | None:
        """Return the post of a national post number, compared as it is."""
        post_id = self._loaded_numbers.get(number) or self._numbers.get(number)
        post = self.post(post_id) if post_id is not None else None
        return post if post is not None and post["nationalPostNumber"] == number else None

    def registered(self, body: str, number: str) -> list[int]:
        """Return the people with a GMC or GDC number; more than one when somebody made a mistake."""
        seeded = (self._gmc if body == "gmc" else self._gdc).get(number, [])
        return [*seeded, *self._loaded_registrations[body].get(number, [])]

    def knows_person(self, person_id: int) -> bool:
        """Return whether there is such a person."""
        return 0 <= person_id - FIRST_PERSON < self.world.people or person_id in self._people

    def detail(self, kind: str, person_id: int) -> Json | None:
        """Return ``contact`` or ``personal`` details of a person as they are now."""
        if not self.knows_person(person_id):
            return None
        loaded = self._people.get(person_id)
        if loaded is not None:
            base: Json = loaded[kind]
        elif kind == "contact":
            base = self.world.contact(person_id - FIRST_PERSON)
        else:
            base = self.world.personal(person_id - FIRST_PERSON)
        told = self.details[kind].get(person_id)
        return base | told if told else base

    def registration(self, person_id: int) -> tuple[str | None, str | None]:
        """Return a person's GMC and GDC number."""
        loaded = self._people.get(person_id)
        if loaded is not None:
            return loaded["gmcNumber"], loaded["gdcNumber"]
        index = person_id - FIRST_PERSON
        return self.world.gmc_number(index), self.world.gdc_number(index)

    def placement(self, placement_id: int) -> Json | None:
        """Return a placement by id, with ``traineeId`` and ``postId``."""
        if placement_id in self._placements:
            return self._placements[placement_id]
        person, future = divmod(placement_id - FIRST_PLACEMENT, 2)
        if not 0 <= person < self.world.people:
            return None
        one = self.world.future(person) if future else self.world.current(person)
        if one is None:
            return None
        return {
            "id": one.id,
            "traineeId": FIRST_PERSON + one.person,
            "postId": FIRST_POST + one.post,
            **self.world.placement_details(one),
        }

    def placements_of(self, kind: str, key: int) -> list[Json]:
        """Return the placements of a ``post`` or a ``person`` by its id."""
        world = self.world
        index = key - (FIRST_POST if kind == "post" else FIRST_PERSON)
        seeded = []
        if 0 <= index < world.people:
            seeded = world.placements_of_post(index) if kind == "post" else world.placements_of_person(index)
        ids = [one.id for one in seeded] + self._placements_by[kind].get(key, [])
        at = "postId" if kind == "post" else "traineeId"
        found = (self.placement(one) for one in dict.fromkeys(ids))
        return [one for one in found if one is not None and one[at] == key]

    def absence(self, absence_id: int) -> Json | None:
        """Return an absence by its own id."""
        return self.absences.get(absence_id)

    def absence_by_attendance(self, attendance_id: str) -> Json | None:
        """Return the first absence with this ``absenceAttendanceId``."""
        found = self._absence_ids.get(attendance_id)
        return self.absences[found] if found is not None else None

    # -- changing

    def change(self, entry: Json) -> Json:
        """Note one change, carry it out and return what came of it."""
        self.journal.add(entry)
        return self._apply(entry)

    def _apply(self, entry: Json) -> Json:
        self.changes += 1
        result: Json = getattr(self, f"_on_{entry['kind']}")(entry)
        return result

    def _take(self, kind: str, first: int) -> int:
        number = self._next[kind]
        self._next[kind] = number + 1
        return first + number

    def _on_event(self, entry: Json) -> Json:
        """Append an event to a post or a placement: a repeat is one more event."""
        event = {"id": self._take("event", FIRST_EVENT), **entry["body"]}
        self.events[entry["of"]][entry["key"]].append(event)
        return event

    def _on_patch(self, entry: Json) -> Json:
        """Merge contact or personal details; null never clears."""
        told = self.details[entry["of"]].setdefault(entry["key"], {})
        told.update({name: value for name, value in entry["body"].items() if value is not None})
        told["amendedDate"] = entry["at"]
        return self.detail(entry["of"], entry["key"]) or {}

    def _on_absence(self, entry: Json) -> Json:
        """Create an absence."""
        absence = {**entry["body"], "id": self._take("absence", FIRST_ABSENCE), "amendedDate": entry["at"]}
        self.absences[absence["id"]] = absence
        self._absence_ids.setdefault(absence["absenceAttendanceId"], absence["id"])
        return absence

    def _on_absence_put(self, entry: Json) -> Json:
        """Replace an absence."""
        return self._set_absence(
            entry["key"], {**entry["body"], "id": entry["key"], "amendedDate": entry["at"]}
        )

    def _on_absence_patch(self, entry: Json) -> Json:
        """Merge into an absence; null never clears."""
        given = {name: value for name, value in entry["body"].items() if value is not None}
        return self._set_absence(
            entry["key"], {**self.absences[entry["key"]], **given, "amendedDate": entry["at"]}
        )

    def _set_absence(self, key: int, absence: Json) -> Json:
        before = self.absences[key]["absenceAttendanceId"]
        if self._absence_ids.get(before) == key:
            del self._absence_ids[before]
        self._absence_ids.setdefault(absence["absenceAttendanceId"], key)
        self.absences[key] = absence
        return absence

    def _on_post(self, entry: Json) -> Json:
        """Load a post, or change one that is there by its id."""
        body = dict(entry["body"])
        post_id = body.pop("id", None) or self._take("post", FIRST_POST)
        known = self.post(post_id) or {"id": post_id, "status": "CURRENT", "owner": None}
        post = {**known, **body}
        self._posts[post_id] = post
        self._loaded_numbers[post["nationalPostNumber"]] = post_id
        return post

    def _on_remove_post(self, entry: Json) -> Json:
        self._posts[entry["key"]] = None
        return {}

    def _on_placement(self, entry: Json) -> Json:
        """Load a placement, or change one that is there by its id."""
        body = dict(entry["body"])
        placement_id = body.pop("id", None) or self._take("placement", FIRST_PLACEMENT)
        placement = {**(self.placement(placement_id) or {"id": placement_id, **NEW_PLACEMENT}), **body}
        self._placements[placement_id] = placement
        self._placements_by["post"][placement["postId"]].append(placement_id)
        self._placements_by["person"][placement["traineeId"]].append(placement_id)
        return placement

    def _on_remove_placement(self, entry: Json) -> Json:
        self._placements[entry["key"]] = None
        return {}

    def _on_person(self, entry: Json) -> Json:
        """Load a person with a registration."""
        body, person_id = entry["body"], self._take("person", FIRST_PERSON)
        empty = {"id": person_id, "amendedDate": entry["at"]}
        person = {
            "gmcNumber": body.get("gmcNumber"),
            "gdcNumber": body.get("gdcNumber"),
            "contact": dict.fromkeys(self.world.contact(0)) | body.get("contactDetails", {}) | empty,
            "personal": dict.fromkeys(self.world.personal(0)) | body.get("personalDetails", {}) | empty,
        }
        self._people[person_id] = person
        for body_name in ("gmc", "gdc"):
            if (number := person[f"{body_name}Number"]) is not None:
                self._loaded_registrations[body_name][number].append(person_id)
        return {"id": person_id, **person}

    # -- telling

    def final(self) -> Json:
        """Return all that was told, without what depends on order or clock: what two runs can compare.

        Server-made ids and times are left out, and the events of a post are in the order of each
        position, whatever the order between positions was.
        """
        unstable = {"id", "amendedDate", "eventDateTime", "exportedAt"}

        def stable(values: Json) -> Json:
            return {name: values[name] for name in sorted(values) if name not in unstable}

        def events(of: str) -> Iterator[tuple[str, list[Json]]]:
            for key, some in sorted(self.events[of].items()):
                yield str(key), sorted(map(stable, some), key=lambda event: str(event.get("positionId")))

        return {
            "post_events": dict(events("post")),
            "placement_events": dict(events("placement")),
            "contact": {str(key): stable(told) for key, told in sorted(self.details["contact"].items())},
            "personal": {str(key): stable(told) for key, told in sorted(self.details["personal"].items())},
            "absences": sorted(map(stable, self.absences.values()), key=repr),
        }


NEW_PLACEMENT: Json = {
    "dateFrom": "2025-08-06",
    "dateTo": "2026-08-04",
    "placementType": "In post",
    "status": "CURRENT",
    "placementStatus": "CURRENT",
    "siteId": 10,
    "siteCode": "RTD01",
    "gradeAbbreviation": "ST3",
    "placementWholeTimeEquivalent": 1.0,
    "lifecycleState": "APPROVED",
}
"""A loaded placement where nothing else is said."""

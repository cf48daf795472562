"""What a consumer of our own has received, and what that proves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from include.sandbox.demo.truth import Truth


@dataclass(slots=True)
class Received:
    """The events so far; one that is delivered twice counts once, by its id.

    Attributes:
        events: Event by id.
        conflicts: One line for each entity version told under two ids.
    """

    events: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    conflicts: list[str] = field(default_factory=list)
    _versions: dict[tuple[str, str], str] = field(default_factory=dict)

    def add(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Take in a batch of CloudEvents."""
        for event in events:
            version = (event["subject"], event["sequence"])
            first = self._versions.setdefault(version, event["id"])
            if first != event["id"]:
                self.conflicts.append(f"{version[0]} version {version[1]} has ids {first} and {event['id']}")
            self.events.setdefault(event["id"], event)

    @property
    def subjects(self) -> frozenset[str]:
        """Return the subjects told of."""
        return frozenset(event["subject"] for event in self.events.values())

    def missing(self, truth: Truth) -> dict[tuple[str, str], int]:
        """Return how many expected entities have no event yet, by npo_id and resource."""
        seen = self.subjects
        left = {key: len(expected - seen) for key, expected in truth.subjects.items()}
        return {key: count for key, count in left.items() if count}

    def unexpected(self, truth: Truth) -> list[str]:
        """Return the subjects nobody expected, sorted."""
        return sorted(self.subjects - truth.all_subjects)


def describe_missing(missing: Mapping[tuple[str, str], int], truth: Truth) -> str:
    """Return ``hopeworks 3 of 41 offerings, ...`` for people."""
    parts = [
        f"{npo_id} {count} of {len(truth.subjects[npo_id, resource])} {resource}"
        for (npo_id, resource), count in missing.items()
    ]
    return ", ".join(parts)

"""What the platform asks for: which invented candidate takes up which offering; the same for one seed."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_URL, uuid5

from include.sandbox.platform.people import Person, person

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

CREATED = "org.spotlight.candidateassignment.created.v1"
WITHDRAWN = "org.spotlight.candidateassignment.withdrawn.v1"
SOURCE = "/platform/assignments"
OTHER_OF = 5
"""Every fifth command goes to an offering that takes nobody, where there is one."""


@dataclass(frozen=True, slots=True)
class Choice:
    """An offering a candidate can choose.

    Attributes:
        takes: Whether the partner takes anyone there: ``open``, ``full``, ``closed``.
    """

    offering_id: str
    takes: str = "open"


@dataclass(frozen=True, slots=True)
class Command:
    """One candidate takes up one offering."""

    number: int
    npo_id: str
    assignment_id: str
    candidate_id: str
    choice: Choice
    requested_at: datetime
    person: Person = field(repr=False)


def choose(
    choices: Mapping[str, Sequence[Choice]], count: int, *, seed: int, start: datetime
) -> list[Command]:
    """Return ``count`` commands, the NPOs in turn.

    Args:
        choices: What is offered, by npo_id; none may be empty.
        count: How many.
        seed: Another one: other ids, other choices.
        start: When the first one was asked for; one more each second.
    """
    npos = sorted(choices)
    return [_command(number, npos[number % len(npos)], choices, seed, start) for number in range(count)]


def _command(
    number: int, npo_id: str, choices: Mapping[str, Sequence[Choice]], seed: int, start: datetime
) -> Command:
    rng = Random(f"{seed}/{number}")
    wants_open = (number // len(choices)) % OTHER_OF != OTHER_OF - 1
    fitting = [one for one in choices[npo_id] if (one.takes == "open") == wants_open]
    return Command(
        number=number,
        npo_id=npo_id,
        assignment_id=_ident(seed, "assignment", number),
        candidate_id=_ident(seed, "candidate", number),
        choice=rng.choice(fitting or choices[npo_id]),
        requested_at=start + timedelta(seconds=number),
        person=person(number),
    )


def created(command: Command, *, repeat: int = 0) -> dict[str, Any]:
    """Return the CloudEvent that asks for the enrolment.

    Args:
        command: What is asked for.
        repeat: The same command told again under another event id.
    """
    data = {
        "assignment": {
            "assignment_id": command.assignment_id,
            "candidate_id": command.candidate_id,
            "offering_id": command.choice.offering_id,
            "requested_at": command.requested_at.isoformat(),
        },
        "candidate": command.person.as_candidate(),
    }
    return _event(command, CREATED, f"created {repeat}", data)


def withdrawn(command: Command, *, reason: str = "changed_mind") -> dict[str, Any]:
    """Return the CloudEvent that takes the command back."""
    assignment = {"assignment_id": command.assignment_id, "candidate_id": command.candidate_id}
    return _event(command, WITHDRAWN, "withdrawn", {"assignment": assignment, "reason": reason})


def _event(command: Command, kind: str, name: str, data: dict[str, Any]) -> dict[str, Any]:
    moment = command.requested_at.isoformat()
    return {
        "specversion": "1.0",
        "id": str(uuid5(NAMESPACE_URL, f"{SOURCE}/{command.assignment_id}/{name}")),
        "source": SOURCE,
        "type": kind,
        "subject": f"assignment/{command.assignment_id}",
        "time": moment,
        "datacontenttype": "application/json",
        "npoid": command.npo_id,
        "partitionkey": command.assignment_id,
        "correlationid": command.assignment_id,
        "recordedtime": moment,
        "data": data,
    }


def _ident(seed: int, kind: str, number: int) -> str:
    return str(uuid5(NAMESPACE_URL, f"{SOURCE}/{seed}/{kind}/{number}"))

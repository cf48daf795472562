"""Commands of the platform: a candidate took up an offering, or gave it up.

CloudEvents in JSON; their data is what ``include/events/schemas`` says.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

import orjson

from include.events.envelope import ASSIGNMENT_CREATED, ASSIGNMENT_WITHDRAWN
from include.events.schema import problem
from include.registry.models import NPO_ID_PATTERN

if TYPE_CHECKING:
    from collections.abc import Mapping

Kind = Literal["created", "withdrawn"]
_KINDS: dict[str, Kind] = {ASSIGNMENT_CREATED: "created", ASSIGNMENT_WITHDRAWN: "withdrawn"}
_EVENT_ID = re.compile(r"[\x21-\x7e]{1,255}")
_DEEPEST = 20
_LARGEST_INT = 2**63 - 1
"""What the store can hold as a whole number; JSON knows larger ones."""


class UnreadableError(ValueError):
    """A message is no command; the text says why and holds nothing of its content."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command.

    Attributes:
        event_id: The inbox knows it by this.
        assignment_id: The platform's; commands of one assignment come in order.
        candidate: Personal data, whatever the platform sends; empty for a withdrawal.
        reason: Of a withdrawal: the platform's code or words.
    """

    event_id: str
    kind: Kind
    npo_id: str
    assignment_id: str
    candidate_id: str
    offering_id: str | None
    requested_at: datetime
    correlation_id: str
    candidate: Mapping[str, Any] = field(default_factory=dict, repr=False)
    reason: str = field(default="", repr=False)


def parse(body: str | bytes) -> Command:
    """Return the command a message holds.

    Raises:
        UnreadableError: It is not JSON, no CloudEvent of a known type, names no NPO, its data breaks the
            schema, or the store could not keep it. Nothing else is raised, whatever the message holds: one
            message must not hold up those that came with it.
    """
    event = _event(body)
    kind = _KINDS.get(str(event.get("type")))
    if kind is None:
        raise UnreadableError("the event's type is none this queue is for")
    npo_id, event_id = event.get("npoid"), event.get("id")
    if not isinstance(event_id, str) or not _EVENT_ID.fullmatch(event_id):
        raise UnreadableError("the event has no id of at most 255 plain characters")
    if not isinstance(npo_id, str) or not re.fullmatch(NPO_ID_PATTERN, npo_id):
        raise UnreadableError("the event's npoid is not the id of an NPO")
    data = event.get("data")
    if broken := problem(event["type"], data):
        raise UnreadableError(f"the event's data breaks its schema: {broken}")
    if unstorable := _unstorable(event["data"].get("candidate"), depth=1):
        raise UnreadableError(f"the candidate's data cannot be stored: {unstorable}")
    return _command(event, kind, event["data"])


def _event(body: str | bytes) -> dict[str, Any]:
    try:
        event = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise UnreadableError("the message is not JSON") from None
    if not isinstance(event, dict) or event.get("specversion") != "1.0":
        raise UnreadableError("the message is not a CloudEvent 1.0")
    return event


def _command(event: Mapping[str, Any], kind: Kind, data: Mapping[str, Any]) -> Command:
    assignment = data["assignment"]
    correlation = event.get("correlationid")
    return Command(
        event_id=event["id"],
        kind=kind,
        npo_id=event["npoid"],
        assignment_id=assignment["assignment_id"],
        candidate_id=assignment["candidate_id"],
        offering_id=assignment.get("offering_id"),
        requested_at=_moment(assignment.get("requested_at") or event.get("time")),
        correlation_id=correlation
        if isinstance(correlation, str) and _EVENT_ID.fullmatch(correlation)
        else event["id"],
        candidate=data.get("candidate", {}),
        reason=str(data.get("reason") or ""),
    )


def _moment(text: Any) -> datetime:
    try:
        moment = datetime.fromisoformat(str(text))
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):  # OverflowError: its zone takes it out of the years there are
        raise UnreadableError("the event says at no readable time when it was asked for") from None


def _unstorable(value: Any, *, depth: int) -> str:
    """Return what in a JSON value the store cannot keep, or would give back as something else."""
    if depth > _DEEPEST:
        return f"it is nested more than {_DEEPEST} deep"
    if isinstance(value, dict):
        if any("\0" in name or name.startswith("$") for name in value):
            return "a field's name holds NUL or begins with $"
        value = list(value.values())
    if isinstance(value, list):
        return next(filter(None, (_unstorable(each, depth=depth + 1) for each in value)), "")
    too_large = isinstance(value, int) and abs(value) > _LARGEST_INT
    return "a whole number has more than 64 bits" if too_large else ""

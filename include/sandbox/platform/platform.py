"""The platform at the event stream: publishes its commands, keeps what it hears of each."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from include.events.consumer import Consumer
from include.events.topics import (
    ASSIGNMENT_COMMANDS,
    ENROLMENT_OUTCOMES,
    PLATFORM_CONSUMER,
    connect,
    topic_arns,
)
from include.sandbox.platform.commands import created

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from include.sandbox.platform.commands import Command
    from include.settings import Settings

MESSAGES_A_CALL = 10
ENDS = frozenset({"accepted", "rejected", "failed", "withdrawn"})
OUTCOME_TYPE = "org.spotlight.candidateassignment.enrolment."


class NotTakenError(RuntimeError):
    """The event stream did not take a command."""


@dataclass(frozen=True, slots=True)
class Told:
    """One thing the platform was told of an enrolment.

    Attributes:
        word: ``requested``, ``accepted``, ``rejected``, ``failed`` or ``withdrawn``.
        sequence: Which comes after which.
    """

    event_id: str
    word: str
    sequence: int
    enrolment: Mapping[str, Any]


@dataclass(slots=True)
class Outcomes:
    """What was heard, by assignment; one that is delivered twice counts once, by its id."""

    told: dict[str, dict[str, Told]] = field(default_factory=dict)

    def add(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Take in a batch of CloudEvents."""
        for event in events:
            word = str(event["type"]).removeprefix(OUTCOME_TYPE).partition(".")[0]
            enrolment = event["data"]["enrolment"]
            told = Told(event["id"], word, int(event["sequence"]), enrolment)
            self.told.setdefault(str(enrolment["assignment_id"]), {})[told.event_id] = told

    def last(self, assignment_id: str) -> Told | None:
        """Return what was told last of an assignment."""
        told = self.told.get(assignment_id, {}).values()
        return max(told, key=lambda one: one.sequence, default=None)

    def word(self, assignment_id: str) -> str:
        """Return how an assignment stands; empty when nothing was heard."""
        last = self.last(assignment_id)
        return last.word if last else ""

    def open(self, commands: Iterable[Command]) -> list[Command]:
        """Return the commands that have not come to an end."""
        return [command for command in commands if self.word(command.assignment_id) not in ENDS]

    def counts(self, commands: Iterable[Command]) -> Counter[str]:
        """Return how many commands stand how; ``silent``: nothing was heard."""
        return Counter(self.word(command.assignment_id) or "silent" for command in commands)

    def ended_twice(self) -> list[str]:
        """Return the assignments that were told to be both accepted and refused."""
        words = {name: {one.word for one in told.values()} for name, told in self.told.items()}
        return sorted(
            name for name, said in words.items() if "accepted" in said and said & {"rejected", "failed"}
        )


class Platform:
    """Sends commands, receives outcomes.

    Args:
        settings: Where the event stream is.
        consumer: Whose queue of outcomes is read; the platform's own unless somebody only looks on.
    """

    def __init__(self, settings: Settings, consumer: str = PLATFORM_CONSUMER) -> None:
        self._clients = connect(settings)
        self._arn = topic_arns(self._clients, settings)[ASSIGNMENT_COMMANDS]
        self._consumer = Consumer(settings, consumer, (ENROLMENT_OUTCOMES,))
        self.outcomes = Outcomes()

    def send(self, commands: Iterable[Command]) -> None:
        """Publish the commands.

        Raises:
            NotTakenError: The event stream did not take one.
        """
        self.publish([created(command) for command in commands])

    def publish(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Publish CloudEvents, in order for each assignment.

        Raises:
            NotTakenError: The event stream did not take one.
        """
        for start in range(0, len(events), MESSAGES_A_CALL):
            batch = events[start : start + MESSAGES_A_CALL]
            answer = self._clients.sns.publish_batch(
                TopicArn=self._arn,
                PublishBatchRequestEntries=[
                    {
                        "Id": str(at),
                        "Message": orjson.dumps(event).decode(),
                        "MessageGroupId": event["partitionkey"],
                        "MessageDeduplicationId": event["id"],
                        "MessageAttributes": {"type": {"DataType": "String", "StringValue": event["type"]}},
                    }
                    for at, event in enumerate(batch)
                ],
            )
            if failed := answer.get("Failed", []):
                raise NotTakenError(f"{len(failed)} commands were not taken ({failed[0].get('Code')})")

    def listen(self, *, wait_seconds: int = 0) -> Outcomes:
        """Take in what has been told since, and return everything heard so far."""
        self.outcomes.add(self._consumer.receive(wait_seconds=wait_seconds))
        return self.outcomes

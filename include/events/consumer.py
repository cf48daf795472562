"""A consumer of its own queues: receives, hides nothing, counts a repeated event id once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import orjson

from include.events.topics import (
    ASSIGNMENT_UPDATES,
    OFFERING_EVENTS,
    connect,
    queue_name,
    stream_errors,
    subscribe,
    topic_arns,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from include.settings import Settings

DEFAULT_TOPICS = (OFFERING_EVENTS, ASSIGNMENT_UPDATES)
MESSAGES_A_CALL = 10


@dataclass(slots=True)
class Consumer:
    """Receives every event of some topics through queues named after ``name``.

    The queues are made and subscribed on creation and keep what arrives from then on, also while
    nobody looks. For looking, not a model for a consumer that must lose nothing: messages are deleted
    first and then handed out together, so those in hand are lost when the process dies, or when the
    queue fails, in between. ``seen`` hides an event that SQS delivers twice.
    """

    settings: Settings
    name: str = "tail"
    topics: tuple[str, ...] = DEFAULT_TOPICS
    seen: set[str] = field(default_factory=set)
    repeats: int = 0
    _urls: list[str] = field(default_factory=list, init=False)
    _clients: Any = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self._clients = connect(self.settings)
        arns = topic_arns(self._clients, self.settings)
        self._urls = [
            subscribe(self._clients, self.settings, consumer=self.name, topic=topic, topic_arn=arns[topic])
            for topic in self.topics
        ]

    @property
    def queue_names(self) -> list[str]:
        """Return the names of the queues this consumer reads."""
        return [queue_name(self.settings, self.name, topic) for topic in self.topics]

    def receive(self, *, wait_seconds: int = 0) -> list[dict[str, Any]]:
        """Return the events that wait in the queues, at most a few hundred; empty when there are none.

        They are deleted from the queues already.

        Raises:
            ConfigurationError: A queue is gone, or the key or a right is missing.
            TransientError: SQS did not answer after the client's own retries.
        """
        with stream_errors("receiving events"):
            return [event for url in self._urls for event in self._drain(url, wait_seconds)]

    def follow(self, *, wait_seconds: int = 5) -> Iterator[dict[str, Any]]:
        """Yield events for ever, as they arrive."""
        while True:
            yield from self.receive(wait_seconds=wait_seconds)

    def _drain(self, url: str, wait_seconds: int, calls: int = 50) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = []
        for _ in range(calls):
            answer = self._clients.sqs.receive_message(
                QueueUrl=url, MaxNumberOfMessages=MESSAGES_A_CALL, WaitTimeSeconds=wait_seconds
            )
            messages = answer.get("Messages", [])
            if not messages:
                break
            events += [event for message in messages if (event := self._fresh(message["Body"]))]
            self._clients.sqs.delete_message_batch(
                QueueUrl=url,
                Entries=[
                    {"Id": str(at), "ReceiptHandle": message["ReceiptHandle"]}
                    for at, message in enumerate(messages)
                ],
            )
        return events

    def _fresh(self, body: str) -> dict[str, Any] | None:
        event = cast("dict[str, Any]", orjson.loads(body))
        if event["id"] in self.seen:
            self.repeats += 1
            return None
        self.seen.add(event["id"])
        return event

"""An alarm clock for a queue: tells that messages wait, and leaves them where they are.

A trigger that receives would take messages away before anybody has committed them, and every look
would count towards the dead-letter limit. This one only reads how many there are; the run it wakes
drains the queue.
"""

from __future__ import annotations

import time
from typing import Any

from include.alarm import Alarm

EVERY = 2.0
QUIET = 20.0
"""Seconds until the same messages raise another alarm: a busy scheduler needs that long to begin a run."""


class QueueTrigger(Alarm):
    """Fires when messages wait in a consumer's queue on a topic.

    A queue found empty has been drained: what comes then is news, and raises an alarm at once.

    Args:
        consumer: One of ``include.events.topics.CONSUMERS``.
        topic: One of ``include.events.topics.TOPICS``.
        every: Seconds between two looks.
        quiet: Seconds until messages that still wait raise another alarm.
    """

    def __init__(self, consumer: str, topic: str, every: float = EVERY, quiet: float = QUIET) -> None:
        super().__init__(every)
        self.consumer, self.topic, self.quiet = consumer, topic, quiet
        self._depth = _Depth(consumer, topic)
        self._silent_until = 0.0

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return how the triggerer makes this again."""
        return (
            "include.queue_trigger.QueueTrigger",
            {"consumer": self.consumer, "topic": self.topic, "every": self.every, "quiet": self.quiet},
        )

    def look(self) -> dict[str, Any] | None:
        """Return how many messages wait, where somebody should know."""
        messages, at = self._depth.read(), time.monotonic()
        if not messages:
            self._silent_until = 0.0
        if not messages or at < self._silent_until:
            return None
        self._silent_until = at + self.quiet
        return {"topic": self.topic, "waiting": messages}


class _Depth:
    """Reads how many messages wait; the client and the queue's address are found on first use."""

    def __init__(self, consumer: str, topic: str) -> None:
        self._consumer, self._topic = consumer, topic
        self._sqs: Any = None
        self._url = ""

    def read(self) -> int:
        """Return about how many messages wait, not counting those somebody has in hand."""
        if not self._url:
            from include.events.topics import connect, queue_name
            from include.settings import get_settings

            settings = get_settings()
            self._sqs = connect(settings).sqs
            name = queue_name(settings, self._consumer, self._topic)
            self._url = self._sqs.get_queue_url(QueueName=name)["QueueUrl"]
        wanted = "ApproximateNumberOfMessages"
        answer = self._sqs.get_queue_attributes(QueueUrl=self._url, AttributeNames=[wanted])
        return int(answer["Attributes"][wanted])

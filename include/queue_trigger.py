"""An alarm clock for a queue: tells that messages wait, and leaves them where they are.

A trigger that receives would take messages away before anybody has committed them, and every look
would count towards the dead-letter limit. This one only reads how many there are; the run it wakes
drains the queue.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

log = logging.getLogger(__name__)

EVERY = 2.0
QUIET = 10.0
"""Seconds of silence after an alarm: a run needs that long to begin."""
LONGEST_WAIT = 60.0


class QueueTrigger(BaseEventTrigger):
    """Fires while messages wait in a consumer's queue on a topic. A lost or doubled alarm costs time only.

    Args:
        consumer: One of ``include.events.topics.CONSUMERS``.
        topic: One of ``include.events.topics.TOPICS``.
        every: Seconds between two looks.
        quiet: Seconds without a look after an alarm.
    """

    def __init__(self, consumer: str, topic: str, every: float = EVERY, quiet: float = QUIET) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.consumer, self.topic, self.every, self.quiet = consumer, topic, every, quiet

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return how the triggerer makes this again."""
        return (
            "include.queue_trigger.QueueTrigger",
            {"consumer": self.consumer, "topic": self.topic, "every": self.every, "quiet": self.quiet},
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look for ever; a queue that does not answer is looked at less and less often."""
        depth = _Depth(self.consumer, self.topic)
        wait = self.every
        while True:
            try:
                messages = await asyncio.to_thread(depth.read)
            except Exception as error:  # noqa: BLE001 - an alarm clock that dies is missed by nobody
                wait = min(wait * 2, LONGEST_WAIT)
                log.warning(
                    "queue of %s on %s: %s; looked at again", self.consumer, self.topic, type(error).__name__
                )
                await asyncio.sleep(wait)
                continue
            wait = self.every
            if messages:
                yield TriggerEvent(  # type: ignore[no-untyped-call]
                    {"topic": self.topic, "waiting": messages}
                )
                await asyncio.sleep(self.quiet)
            await asyncio.sleep(self.every)


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

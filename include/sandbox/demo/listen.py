"""A consumer with queues of its own on the event topics, as the platform would have."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from include.events import topics

if TYPE_CHECKING:
    from include.settings import Settings

CONSUMER = "demo"
LISTENED = (topics.OFFERING_EVENTS, topics.ASSIGNMENT_UPDATES)
BATCH = 10  # the most one SQS call gives


class Listener:
    """Queues subscribed before anything is published, so that nothing is missed.

    Args:
        settings: Where SNS and SQS are.
        consumer: Part of the queues' names.
    """

    def __init__(self, settings: Settings, consumer: str = CONSUMER) -> None:
        self._clients = topics.connect(settings)
        arns = topics.topic_arns(self._clients, settings)
        self._urls = [
            topics.subscribe(self._clients, settings, consumer=consumer, topic=topic, topic_arn=arns[topic])
            for topic in LISTENED
        ]

    def receive(self, *, wait_seconds: int = 1) -> list[dict[str, Any]]:
        """Return what is there now, each message deleted once it is read; empty when nothing comes.

        Args:
            wait_seconds: How long an empty queue is waited on.
        """
        events: list[dict[str, Any]] = []
        for url in self._urls:
            while batch := self._receive(url, wait_seconds if not events else 0):
                events += batch
        return events

    def _receive(self, url: str, wait_seconds: int) -> list[dict[str, Any]]:
        messages = self._clients.sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=BATCH, WaitTimeSeconds=wait_seconds
        ).get("Messages", [])
        if messages:
            entries = [
                {"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]}
                for number, message in enumerate(messages)
            ]
            self._clients.sqs.delete_message_batch(QueueUrl=url, Entries=entries)  # type: ignore[arg-type]
        return [json.loads(message["Body"]) for message in messages]

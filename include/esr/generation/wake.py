"""Subscribers of ``position.reconciled``: which posts have to be looked at again.

An event says only *that* something changed; what is made of it depends on the store and TCS alone. So a
lost one costs time until the daily sweep, and one that comes twice costs nothing.
"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import orjson
import structlog

from include.esr.generation.todo import note_todo
from include.esr.names import Deanery
from include.events.topics import (
    APP_RECORDS_CONSUMER,
    NOTIFICATIONS_CONSUMER,
    POSITION_RECONCILED,
    connect,
    queue_name,
    stream_errors,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from include.esr.context import EsrContext
    from include.events.topics import EventClients

SUBSCRIBERS = (APP_RECORDS_CONSUMER, NOTIFICATIONS_CONSUMER)
MESSAGES_A_CALL = 10
RECEIVERS = 4
"""Threads a queue is read by."""
MOST = 200_000
"""Messages taken in one go; the next run takes the rest."""


def receive(ctx: EsrContext) -> dict[str, int]:
    """Read both subscribers' queues empty and note the posts their events tell of.

    A message is deleted once its posts are noted. One that is no such event stays where it is: after some
    looks the queue sets it aside in its dead-letter queue.

    Returns:
        ``received`` events and ``unreadable`` messages.

    Raises:
        ConfigurationError: A queue is not there, or the key or a right is missing.
        TransientError: Queue or store did not answer; nothing is lost.
    """
    clients = connect(ctx.settings)
    counts: Counter[str] = Counter(received=0, unreadable=0)
    for subscriber in SUBSCRIBERS:
        name = queue_name(ctx.settings, subscriber, POSITION_RECONCILED)
        with stream_errors(f"reading queue {name}"):
            url = clients.sqs.get_queue_url(QueueName=name)["QueueUrl"]
            with ThreadPoolExecutor(RECEIVERS, thread_name_prefix="receive") as pool:
                readers = [pool.submit(_read_empty, ctx, clients, url) for _ in range(RECEIVERS)]
                for reader in readers:
                    counts.update(reader.result())
        ctx.progress(f"{name}: {counts['received']:,} events received so far")
    if counts["unreadable"]:
        structlog.get_logger("spotlight.alerts").error(
            "esr_event_unreadable",
            topic=POSITION_RECONCILED,
            messages=counts["unreadable"],
            message="left in the queue, which sets them aside in its dead-letter queue",
        )
    return dict(counts)


def _read_empty(ctx: EsrContext, clients: EventClients, url: str) -> Counter[str]:
    counts: Counter[str] = Counter()
    while counts.total() < MOST // RECEIVERS:
        answer = clients.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=MESSAGES_A_CALL)
        messages = answer.get("Messages", [])
        if not messages:
            break
        told = [(message["ReceiptHandle"], _posts_of(message["Body"])) for message in messages]
        good = [(handle, posts) for handle, posts in told if posts is not None]
        note_todo(ctx.store, [post for _, posts in good for post in posts])
        if good:
            clients.sqs.delete_message_batch(
                QueueUrl=url,
                Entries=[{"Id": str(at), "ReceiptHandle": handle} for at, (handle, _) in enumerate(good)],
            )
        counts.update(received=len(good), unreadable=len(told) - len(good))
    return counts


def _posts_of(body: str) -> list[tuple[str, int]] | None:
    """Return the posts an event tells of, ``None`` for what is no such event."""
    try:
        data: Mapping[str, Any] = orjson.loads(body)["data"]
        position = data["position"]
        deanery = Deanery(position["deanery"]).value
        return [(deanery, post) for post in _numbers(position.get("post_id"), data.get("previous_post_id"))]
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError):
        return None


def _numbers(*posts: object) -> Iterator[int]:
    for post in posts:
        if post is None:
            continue
        if isinstance(post, bool) or not isinstance(post, int):
            raise TypeError("a post id is a number")
        yield post

"""Publishing: the outbox drained to SNS FIFO, in order per entity, at least once with fixed ids."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from include.errors import TransientError
from include.events import envelope
from include.events.topics import ASSIGNMENT_UPDATES, OFFERING_EVENTS, connect, topic_arns

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from include.events.topics import EventClients
    from include.settings import Settings
    from include.storage.outbox import OutboxEntry

MAX_BATCH_EVENTS = 10  # SNS takes no more in one call
MAX_BATCH_BYTES = 256 * 1024 - 4096

TOPIC_OF = {
    envelope.OFFERING_CREATED: OFFERING_EVENTS,
    envelope.OFFERING_UPDATED: OFFERING_EVENTS,
    envelope.OFFERING_WITHDRAWN: OFFERING_EVENTS,
    envelope.ASSIGNMENT_UPDATED: ASSIGNMENT_UPDATES,
}


class Publisher:
    """Sends events. One instance serves one publish stage."""

    def __init__(self, settings: Settings, clients: EventClients | None = None) -> None:
        self._settings = settings
        self._clients = clients or connect(settings)
        self._arns = topic_arns(self._clients, settings)

    def send(self, entries: Sequence[OutboxEntry]) -> list[str]:
        """Send events and return the ids SNS confirmed.

        Events of one entity go out one after the other; a later one waits until the earlier one is
        confirmed. What is not in the answer was not confirmed and must be sent again.
        """
        confirmed: list[str] = []
        for wave in waves(entries):
            sent = self._send_wave(wave)
            confirmed += sent
            if len(sent) < len(wave):
                break  # what follows must not overtake what was not confirmed
        return confirmed

    def _send_wave(self, wave: Sequence[OutboxEntry]) -> list[str]:
        batches = list(batches_of(wave))
        with ThreadPoolExecutor(self._settings.publish_threads, thread_name_prefix="publish") as threads:
            return [entry_id for ids in threads.map(self._send_batch, batches) for entry_id in ids]

    def _send_batch(self, batch: Sequence[OutboxEntry]) -> list[str]:
        from botocore.exceptions import BotoCoreError, ClientError

        topic = TOPIC_OF[batch[0].type]
        try:
            answer = self._clients.sns.publish_batch(
                TopicArn=self._arns[topic],
                PublishBatchRequestEntries=[
                    {
                        "Id": str(at),
                        "Message": entry.body.decode(),
                        "MessageGroupId": entry.partition_key,
                        "MessageDeduplicationId": entry.id,
                        "MessageAttributes": {"type": {"DataType": "String", "StringValue": entry.type}},
                    }
                    for at, entry in enumerate(batch)
                ],
            )
        except (BotoCoreError, ClientError):
            return []
        return [batch[int(entry["Id"])].id for entry in answer.get("Successful", [])]


def require_all_sent(wanted: int, sent: int, *, subject: str) -> None:
    """Raise if some events were not confirmed.

    Raises:
        TransientError: They stay in the outbox and go out with the next try.
    """
    if sent < wanted:
        raise TransientError(
            f"SNS confirmed {sent} of {wanted} events; the others stay in the outbox, in order, and go out "
            "with the next try",
            subject=subject,
            stage="publish",
        )


def waves(entries: Iterable[OutboxEntry]) -> list[list[OutboxEntry]]:
    """Return events in waves of at most one event an entity, keeping each entity's order."""
    found: list[list[OutboxEntry]] = []
    depth: dict[str, int] = {}
    for entry in entries:
        at = depth.get(entry.partition_key, 0)
        depth[entry.partition_key] = at + 1
        if at == len(found):
            found.append([])
        found[at].append(entry)
    return found


def batches_of(entries: Iterable[OutboxEntry]) -> Iterator[list[OutboxEntry]]:
    """Yield batches SNS takes in one call: one topic, at most ten events, bounded bytes."""
    by_topic: dict[str, list[OutboxEntry]] = {}
    for entry in entries:
        by_topic.setdefault(TOPIC_OF[entry.type], []).append(entry)
    for same_topic in by_topic.values():
        yield from _bounded(same_topic)


def _bounded(entries: Iterable[OutboxEntry]) -> Iterator[list[OutboxEntry]]:
    batch: list[OutboxEntry] = []
    size = 0
    for entry in entries:
        if batch and (len(batch) == MAX_BATCH_EVENTS or size + len(entry.body) > MAX_BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(entry)
        size += len(entry.body)
    if batch:
        yield batch

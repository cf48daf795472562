"""Publishing: the outbox drained to SNS FIFO, in order per entity, at least once with fixed ids."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from include.aws import error_code, needs_a_person
from include.errors import ConfigurationError, TransientError
from include.events import envelope
from include.events.topics import (
    ASSIGNMENT_UPDATES,
    ENROLMENT_OUTCOMES,
    ESR_FILES,
    OFFERING_EVENTS,
    POSITION_RECONCILED,
    connect,
    topic_arns,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from mypy_boto3_sns.type_defs import BatchResultErrorEntryTypeDef

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
    envelope.ENROLMENT_REQUESTED: ENROLMENT_OUTCOMES,
    envelope.ENROLMENT_ACCEPTED: ENROLMENT_OUTCOMES,
    envelope.ENROLMENT_REJECTED: ENROLMENT_OUTCOMES,
    envelope.ENROLMENT_FAILED: ENROLMENT_OUTCOMES,
    envelope.ENROLMENT_WITHDRAWN: ENROLMENT_OUTCOMES,
    envelope.POSITION_RECONCILED: POSITION_RECONCILED,
    envelope.FILE_EXPORTED: ESR_FILES,
    envelope.FILE_ANSWERED: ESR_FILES,
}


@dataclass(frozen=True, slots=True)
class Unsent:
    """An event SNS did not take, with the code it gave; ``refused`` when it never will."""

    id: str
    code: str
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Sending:
    """What became of the events of one ``send``.

    Attributes:
        confirmed: Ids SNS has.
        refused: Code by id of those SNS never takes: they would fail again for ever.
        failures: How many others failed with which code; they must be sent again.
    """

    confirmed: list[str]
    refused: Mapping[str, str]
    failures: Mapping[str, int]


class Publisher:
    """Sends events. One instance serves one publish stage."""

    def __init__(self, settings: Settings, clients: EventClients | None = None) -> None:
        self._settings = settings
        self._clients = clients or connect(settings)
        self._arns = topic_arns(self._clients, settings)
        self._unsent: list[Unsent] = []  # appended to by all threads of a wave

    def send(self, entries: Sequence[OutboxEntry]) -> Sending:
        """Send events and return what became of them.

        Events of one entity go out one after the other; a later one waits until the earlier one is
        confirmed or refused for good. What is neither must be sent again.
        """
        confirmed: list[str] = []
        self._unsent = []
        settled = 0
        for wave in waves(entries):
            settled += len(wave)
            confirmed += self._send_wave(wave)
            if len(confirmed) + len(self._refused()) < settled:
                break  # what follows must not overtake what was not confirmed
        failures = Counter(event.code for event in self._unsent if not event.refused)
        return Sending(confirmed, self._refused(), failures)

    def _refused(self) -> dict[str, str]:
        return {event.id: event.code for event in self._unsent if event.refused}

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
        except (BotoCoreError, ClientError) as error:
            self._unsent += [Unsent(entry.id, error_code(error)) for entry in batch]
            return []
        self._unsent += [
            Unsent(batch[int(failed["Id"])].id, failed["Code"], _for_good(failed))
            for failed in answer.get("Failed", [])
        ]
        return [batch[int(entry["Id"])].id for entry in answer.get("Successful", [])]


def _for_good(failed: BatchResultErrorEntryTypeDef) -> bool:
    """Tell whether the event itself is at fault; SNS calls throttling and missing rights our fault too."""
    code = failed["Code"]
    return failed["SenderFault"] and not needs_a_person(code) and "thrott" not in code.lower()


def require_all_sent(wanted: int, sending: Sending, *, subject: str) -> None:
    """Raise if some events were neither confirmed nor refused for good.

    Raises:
        ConfigurationError: A topic, a right or a key is missing; they stay in the outbox.
        TransientError: They stay in the outbox and go out with the next try.
    """
    sent = len(sending.confirmed)
    if sent + len(sending.refused) >= wanted:
        return
    codes = ", ".join(f"{code}: {number}" for code, number in sorted(sending.failures.items()))
    told = f"SNS confirmed {sent} of {wanted} events{f' ({codes})' if codes else ''}"
    if any(map(needs_a_person, sending.failures)):
        raise ConfigurationError(
            f"{told}; the others stay in the outbox, in order; check the topics, the key of the event "
            "stream and its rights, then run again",
            subject=subject,
            stage="publish",
        )
    raise TransientError(
        f"{told}; the others stay in the outbox, in order, and go out with the next try",
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

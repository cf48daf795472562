"""The inbox: the platform's commands from the queue into the store, each once."""

from __future__ import annotations

import hashlib
import hmac
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import orjson
import structlog

from include.errors import FatalError, IntegrationError, TransientError
from include.events.topics import (
    ASSIGNMENT_COMMANDS,
    ENROLMENT_CONSUMER,
    connect,
    queue_name,
    stream_errors,
)
from include.npo.enrolment.commands import Command, UnreadableError, parse
from include.npo.enrolment.record import State
from include.npo.enrolment.records import Changes, by_reference, fence_owner, reference_of
from include.npo.enrolment.states import received
from include.npo.enrolment.tombstones import Tombstone, tombstones
from include.npo.enrolment.withdrawals import (
    reason_of,
    withdrawal_asked,
    withdrawn_after_erasure,
    withdrawn_before,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from pymongo.client_session import ClientSession

    from include.events.topics import EventClients
    from include.npo.enrolment.record import EnrolmentRecord
    from include.settings import Settings
    from include.storage.mongo import IntegrationStore, Write

MESSAGES_A_CALL = 10
CALLS_AT_ONCE = 4
CALLS_A_ROUND = 30
"""Messages in hand at once: few enough to be committed long before they come back."""
COMMITS_AT_ONCE = 4

log = structlog.get_logger("spotlight.alerts")


@dataclass(frozen=True, slots=True)
class _Message:
    handle: str
    command: Command


def receive(
    store: IntegrationStore,
    settings: Settings,
    *,
    now: Callable[[], datetime],
    goes_on: Callable[[], bool],
) -> dict[str, int]:
    """Read the queue empty: commit each command to the inbox with what it asks for, then delete it.

    A message that is no command stays in the queue, which sets it aside in its dead-letter queue. So do the
    commands of an NPO whose commit failed; those of the others are taken on.

    Args:
        store: Where to.
        settings: Whose queue.
        now: The clock.
        goes_on: Asked before each round; the next run takes what is left.

    Returns:
        ``received``, of them ``created``, ``withdrawn`` and ``repeated``; ``unreadable``.

    Raises:
        ConfigurationError: The queue is not there, or the key or a right is missing.
        TransientError: Queue or store did not answer; nothing is lost.
        FatalError: The commands of an NPO cannot be kept; raised when the others have been.
    """
    clients = connect(settings)
    name = queue_name(settings, ENROLMENT_CONSUMER, ASSIGNMENT_COMMANDS)
    give_up = timedelta(hours=settings.enrolment_give_up_hours)
    counts: Counter[str] = Counter(received=0, created=0, withdrawn=0, repeated=0, unreadable=0)
    failures: dict[str, BaseException] = {}
    with stream_errors(f"reading queue {name}"):
        url = clients.sqs.get_queue_url(QueueName=name)["QueueUrl"]
        while goes_on():
            messages, unreadable = _round(clients, url)
            counts["unreadable"] += unreadable
            if not messages and not unreadable:
                break
            done, failed = _commit(store, messages, now=now, give_up=give_up)
            failures |= failed
            taken = [message for message in messages if message.command.npo_id not in failed]
            _delete(clients, url, taken)
            counts.update(done)
            counts["received"] += len(taken)
            if failed and not taken:
                break  # the store, not one NPO: the next try goes on
    if counts["unreadable"]:
        log.error(
            "enrolment_command_unreadable",
            messages=counts["unreadable"],
            message="left in the queue, which sets them aside in its dead-letter queue",
        )
    _require_all_taken(failures)
    return dict(counts)


def _require_all_taken(failures: Mapping[str, BaseException]) -> None:
    """Say whose commands could not be kept; an error that does not pass by itself counts more.

    Raises:
        IntegrationError: As it was for one of them.
    """
    for npo_id, error in sorted(failures.items()):
        log.error("enrolment_commands_not_kept", npo_id=npo_id, failure=type(error).__name__)
    worst = sorted(failures.items(), key=lambda failure: isinstance(failure[1], TransientError))
    for npo_id, error in worst[:1]:
        if isinstance(error, IntegrationError):
            raise error.located(subject=npo_id)
        raise FatalError(  # its own text may hold what was to be stored
            f"{type(error).__name__}: commands cannot be kept; they stay in the queue, which sets them aside "
            "in its dead-letter queue; those of other NPOs were taken on",
            subject=npo_id,
        )


def _round(clients: EventClients, url: str) -> tuple[list[_Message], int]:
    """Return the commands of some receives, and how many messages are none."""
    with ThreadPoolExecutor(CALLS_AT_ONCE, thread_name_prefix="receive") as pool:
        rounds = list(pool.map(lambda _: _calls(clients, url), range(CALLS_AT_ONCE)))
    return [message for some, _ in rounds for message in some], sum(bad for _, bad in rounds)


def _calls(clients: EventClients, url: str) -> tuple[list[_Message], int]:
    found: list[_Message] = []
    unreadable = 0
    for _ in range(CALLS_A_ROUND // CALLS_AT_ONCE):
        answer = clients.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=MESSAGES_A_CALL)
        messages = answer.get("Messages", [])
        for message in messages:
            if command := _parsed(message["MessageId"], message["Body"]):
                found.append(_Message(message["ReceiptHandle"], command))
            else:
                unreadable += 1
        if not messages:
            break
    return found, unreadable


def _parsed(message_id: str, body: str) -> Command | None:
    """Return a message's command; ``None``, and a line that says why, where it holds none."""
    try:
        return parse(body)
    except UnreadableError as error:
        reason = str(error)
    except Exception as error:  # noqa: BLE001 - whatever one message does to us, the others go on
        reason = f"reading it failed ({type(error).__name__})"
    log.warning("enrolment_command_unreadable", message_id=message_id, reason=reason)
    return None


def _commit(
    store: IntegrationStore, messages: Iterable[_Message], *, now: Callable[[], datetime], give_up: timedelta
) -> tuple[Counter[str], dict[str, BaseException]]:
    """Commit each NPO's commands; return what they were, and the errors of the NPOs where that failed."""
    by_npo: dict[str, list[Command]] = defaultdict(list)
    for message in messages:
        by_npo[message.command.npo_id].append(message.command)
    with ThreadPoolExecutor(COMMITS_AT_ONCE, thread_name_prefix="inbox") as pool:
        under_way = {
            npo_id: pool.submit(take_on, store, npo_id, commands, now=now, give_up=give_up)
            for npo_id, commands in by_npo.items()
        }
    counts: Counter[str] = Counter()
    failed: dict[str, BaseException] = {}
    for npo_id, commit in under_way.items():
        if error := commit.exception():
            failed[npo_id] = error
        else:
            counts.update(commit.result())
    return counts, failed


def take_on(
    store: IntegrationStore,
    npo_id: str,
    commands: Sequence[Command],
    *,
    now: Callable[[], datetime],
    give_up: timedelta,
) -> Counter[str]:
    """Commit an NPO's commands to the inbox with what they ask for, in one transaction.

    Raises:
        TransientError: The store did not answer, or others kept committing.
    """

    def plan() -> tuple[Counter[str], Write | None]:
        known = {
            doc["_id"]
            for doc in store["enrolment_inbox"].find(
                {"_id": {"$in": [command.event_id for command in commands]}}, {"_id": 1}
            )
        }
        at = now()
        references = {_reference(command) for command in commands}
        enrolments = by_reference(store, references)
        erased = tombstones(store, references - enrolments.keys())
        changes, inbox, counts = Changes(at), [], Counter[str]()
        for command in commands:
            if command.event_id in known:
                counts["repeated"] += 1
                continue
            known.add(command.event_id)
            result = _apply(command, enrolments, erased, changes, at=at, give_up=give_up)
            counts[result] += 1
            inbox.append(_inbox_document(command, result, at))

        def write(session: ClientSession, order: int) -> None:
            store["enrolment_inbox"].insert_many(inbox, session=session)
            changes.write(store, npo_id, session, order)

        return counts, write if inbox else None

    return store.commit_plan(fence_owner(npo_id), plan)


def _apply(
    command: Command,
    enrolments: dict[str, EnrolmentRecord],
    erased: Mapping[str, Tombstone],
    changes: Changes,
    *,
    at: datetime,
    give_up: timedelta,
) -> str:
    """Take one command on and return what it was: ``created``, ``withdrawn`` or ``repeated``."""
    key = _reference(command)
    before = enrolments.get(key)
    if command.kind == "created":
        if before is not None or key in erased:  # asked for twice, or withdrawn before: the first word stands
            return "repeated"
        print_ = fingerprint(key, command.candidate)
        after = received(command, reference=key, fingerprint=print_, at=at, give_up=give_up)
    elif before is None and key in erased:
        if erased[key].state in {State.REJECTED, State.WITHDRAWN}:
            return "repeated"
        after = withdrawn_after_erasure(command, erased[key], reference=key, at=at, give_up=give_up)
    elif before is None:
        after = withdrawn_before(command, reference=key, at=at)
    else:
        after = withdrawal_asked(before, at=at, why=reason_of(command), give_up=give_up)
    enrolments[key] = changes.add(before, after)
    return command.kind


def fingerprint(reference: str, candidate: Mapping[str, Any]) -> str:
    """Return what tells one candidate's data from other data, and cannot be compared between enrolments."""
    text = orjson.dumps(dict(candidate), option=orjson.OPT_SORT_KEYS)
    return hmac.new(reference.encode(), text, hashlib.sha256).hexdigest()[:16]


def _reference(command: Command) -> str:
    return reference_of(command.npo_id, command.assignment_id)


def _inbox_document(command: Command, result: str, at: datetime) -> dict[str, Any]:
    return {
        "_id": command.event_id,
        "npo_id": command.npo_id,
        "kind": command.kind,
        "assignment_id": command.assignment_id,
        "reference": _reference(command),
        "result": result,
        "received_at": at,
    }


def _delete(clients: EventClients, url: str, messages: Sequence[_Message]) -> None:
    for start in range(0, len(messages), MESSAGES_A_CALL):
        clients.sqs.delete_message_batch(
            QueueUrl=url,
            Entries=[
                {"Id": str(at), "ReceiptHandle": message.handle}
                for at, message in enumerate(messages[start : start + MESSAGES_A_CALL])
            ],
        )

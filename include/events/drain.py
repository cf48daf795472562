"""Draining: an owner's outbox goes to the event stream, then the events are marked as published.

A run that dies between the two sends the same ids again; SNS FIFO and every inbox of ours drop them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from include.errors import FatalError
from include.events.publisher import Publisher, require_all_sent
from include.events.schema import problem
from include.storage import outbox

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from include.settings import Settings
    from include.storage.mongo import IntegrationStore
    from include.storage.outbox import OutboxEntry

STAGE = "publish"
EVENTS_AT_ONCE = 1_000


def drain(
    store: IntegrationStore,
    settings: Settings,
    owner: str,
    *,
    now: Callable[[], datetime],
    progress: Callable[[str], None],
    publisher: Publisher | None = None,
) -> int:
    """Send every event that waits for an owner, whichever run made it, and return how many.

    Args:
        store: Where they wait.
        settings: Where to.
        owner: Whose.
        now: The clock.
        progress: Told now and then.
        publisher: Of a caller that comes here often; made when there is something to send if left out.

    Raises:
        TransientError: SNS did not confirm some; they wait in order.
        ConfigurationError: SNS cannot be used as it is set up; they wait in order.
        FatalError: Events are set aside: they break their schema or SNS refuses them. Said by every run
            that comes here until they are released; the others are sent first.
    """
    published = 0
    while entries := outbox.next_events(store, owner, limit=EVENTS_AT_ONCE):
        good = [entry for entry in entries if not _refused(store, entry, now)]
        publisher = publisher or Publisher(settings)
        sending = publisher.send(good)
        outbox.mark_published(store, sending.confirmed, at=now())
        for event_id, code in sending.refused.items():
            outbox.refuse(store, event_id, f"SNS refused it: {code}", at=now())
        published += len(sending.confirmed)
        progress(f"{published} events published")
        require_all_sent(len(good), sending, subject=owner)
    _require_none_set_aside(store, owner, published)
    return published


def _refused(store: IntegrationStore, entry: OutboxEntry, now: Callable[[], datetime]) -> bool:
    event: dict[str, Any] = orjson.loads(entry.body)
    if "dataref" in event:
        return False
    reason = problem(entry.type, event["data"])
    if reason:
        outbox.refuse(store, entry.id, reason, at=now())
    return reason is not None


def _require_none_set_aside(store: IntegrationStore, owner: str, published: int) -> None:
    if refused := outbox.refused(store, owner):
        raise FatalError(
            f"{refused} events break their schema or are refused by SNS: they are set aside in the outbox "
            f"with the reason; {published} others were published. Mend the cause, then "
            f"'spotlight events release --owner {owner}' lets them wait again",
            subject=owner,
            stage=STAGE,
        )

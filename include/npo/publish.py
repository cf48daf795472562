"""Publish: the NPO's outbox goes to the event stream, then the events are marked as published.

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
    from include.npo.context import RunContext, RunRef
    from include.storage.outbox import OutboxEntry

STAGE = "publish"
EVENTS_AT_ONCE = 1_000


def publish(ctx: RunContext, ref: RunRef) -> RunRef:
    """Send every event that waits for this NPO, whichever run made it.

    Raises:
        TransientError: SNS did not confirm some; they wait in order.
        FatalError: An event breaks its schema: it is kept aside, the others are sent first.
    """
    published, refused = 0, 0
    publisher: Publisher | None = None
    while entries := outbox.next_events(ctx.store, ctx.npo.npo_id, limit=EVENTS_AT_ONCE):
        good = [entry for entry in entries if not _refused(ctx, entry)]
        refused += len(entries) - len(good)
        publisher = publisher or Publisher(ctx.settings)
        sent = publisher.send(good)
        outbox.mark_published(ctx.store, sent, at=ctx.now())
        published += len(sent)
        ctx.progress(f"{published} events published")
        require_all_sent(len(good), len(sent), subject=ctx.npo.npo_id)
    if refused:
        raise FatalError(
            f"{refused} events break their schema and were set aside in the outbox with the reason; "
            f"{published} others were published. The canonical models and the schema files disagree",
            subject=ctx.npo.npo_id,
            stage=STAGE,
        )
    return ref.counted(STAGE, {"published": published})


def _refused(ctx: RunContext, entry: OutboxEntry) -> bool:
    event: dict[str, Any] = orjson.loads(entry.body)
    if "dataref" in event:
        return False
    reason = problem(entry.type, event["data"])
    if reason:
        outbox.refuse(ctx.store, entry.id, reason, at=ctx.now())
    return reason is not None

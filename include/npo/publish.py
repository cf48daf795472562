"""Publish: the NPO's outbox goes to the event stream, then the events are marked as published.

A run that dies between the two sends the same ids again; SNS FIFO and every inbox of ours drop them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from include.errors import DataQualityError, FatalError
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
        ConfigurationError: SNS cannot be used as it is set up; they wait in order.
        FatalError: Events are set aside: they break their schema or SNS refuses them. Said by every run
            that comes here until they are released; the others are sent first.
        DataQualityError: A list of this run was refused as a whole by ``land_raw``.
    """
    published = 0
    publisher: Publisher | None = None
    while entries := outbox.next_events(ctx.store, ctx.npo.npo_id, limit=EVENTS_AT_ONCE):
        good = [entry for entry in entries if not _refused(ctx, entry)]
        publisher = publisher or Publisher(ctx.settings)
        sending = publisher.send(good)
        outbox.mark_published(ctx.store, sending.confirmed, at=ctx.now())
        for event_id, code in sending.refused.items():
            outbox.refuse(ctx.store, event_id, f"SNS refused it: {code}", at=ctx.now())
        published += len(sending.confirmed)
        ctx.progress(f"{published} events published")
        require_all_sent(len(good), sending, subject=ctx.npo.npo_id)
    _require_none_set_aside(ctx, published)
    _require_no_list_refused(ctx, ref)
    return ref.counted(STAGE, {"published": published})


def _require_none_set_aside(ctx: RunContext, published: int) -> None:
    npo_id = ctx.npo.npo_id
    if refused := outbox.refused(ctx.store, npo_id):
        raise FatalError(
            f"{refused} events break their schema or are refused by SNS: they are set aside in the outbox "
            f"with the reason; {published} others were published. Mend the cause, then "
            f"'spotlight events release --npo {npo_id}' lets them wait again",
            subject=npo_id,
            stage=STAGE,
        )


def _require_no_list_refused(ctx: RunContext, ref: RunRef) -> None:
    """Raise what an earlier stage refused, now that everything else has gone its way."""
    if ref.refused:
        raise DataQualityError("; ".join(ref.refused), subject=ctx.npo.npo_id, stage=STAGE)


def _refused(ctx: RunContext, entry: OutboxEntry) -> bool:
    event: dict[str, Any] = orjson.loads(entry.body)
    if "dataref" in event:
        return False
    reason = problem(entry.type, event["data"])
    if reason:
        outbox.refuse(ctx.store, entry.id, reason, at=ctx.now())
    return reason is not None

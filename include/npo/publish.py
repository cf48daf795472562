"""Publish: the NPO's outbox goes to the event stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

from include.errors import DataQualityError
from include.events.drain import STAGE, drain

if TYPE_CHECKING:
    from include.npo.context import RunContext, RunRef


def publish(ctx: RunContext, ref: RunRef) -> RunRef:
    """Send every event that waits for this NPO, whichever run made it.

    Raises:
        TransientError: SNS did not confirm some; they wait in order.
        ConfigurationError: SNS cannot be used as it is set up; they wait in order.
        FatalError: Events are set aside, as ``drain`` says.
        DataQualityError: A list of this run was refused as a whole by ``land_raw``.
    """
    published = drain(ctx.store, ctx.settings, ctx.npo.npo_id, now=ctx.now, progress=ctx.progress)
    _require_no_list_refused(ctx, ref)
    return ref.counted(STAGE, {"published": published})


def _require_no_list_refused(ctx: RunContext, ref: RunRef) -> None:
    """Raise what an earlier stage refused, now that everything else has gone its way."""
    if ref.refused:
        raise DataQualityError("; ".join(ref.refused), subject=ctx.npo.npo_id, stage=STAGE)

"""Pulled assignments that answer an enrolment of ours: they are the platform's, and make no second one.

Source: the domain page "NPO integration", section 4.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from include.npo.enrolment.echo import held_back, platform_ids
from include.npo.entity_plan import Entity, under_id
from include.storage.entities import known_entities

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from include.npo.context import RunContext
    from include.storage.raw import PendingRecord

Pair = tuple["PendingRecord", Entity]
HELD_LONG = timedelta(days=1)
"""After so long somebody is to look at the enrolment that holds a partner's assignments back."""

log = structlog.get_logger("spotlight.alerts")


def enrols(ctx: RunContext) -> bool:
    """Return whether this NPO ever had an enrolment: of nearly all pulls none has to be looked for."""
    return ctx.store["enrolment"].find_one({"npo_id": ctx.npo.npo_id}, {"_id": 1}) is not None


def answered(
    ctx: RunContext, pairs: Sequence[Pair], external_ids: Collection[str]
) -> tuple[list[Pair], list[PendingRecord], Mapping[str, tuple[str, ...]]]:
    """Sort a batch of assignments by whose they are.

    Args:
        ctx: The run.
        pairs: Records with their entity under the id made of the partner's.
        external_ids: Of the whole batch, also of records that have no entity.

    Returns:
        The pairs, those that answer our enrolments under the platform's id (one a platform assignment);
        the records that may answer one whose outcome is not known yet, which wait; the platform's ids by
        the partner's.
    """
    npo_id = ctx.npo.npo_id
    offerings = {str(entity.content["offering_id"]) for _, entity in pairs if "offering_id" in entity.content}
    # In this order: an outcome that is committed in between is then seen.
    waiting = held_back(ctx.store, npo_id, offerings, now=ctx.now())
    ids = platform_ids(ctx.store, npo_id, external_ids)
    doubtful = [
        entity.id
        for _, entity in pairs
        if entity.external_id not in ids and entity.content.get("offering_id") in waiting
    ]
    unknown = set(doubtful) - set(known_entities(ctx.store, "assignments", doubtful)) if doubtful else set()
    ours: list[Pair] = []
    held: list[PendingRecord] = []
    for record, entity in pairs:
        if entity.external_id in ids:
            ours += [(record, under_id(entity, one)) for one in ids[entity.external_id]]
        elif entity.id in unknown:
            held.append(record)
        else:
            ours.append((record, entity))
    if held:
        _tell_of_long_holds(ctx, len(held), waiting)
    return ours, held, ids


def _tell_of_long_holds(ctx: RunContext, held: int, waiting: Mapping[str, datetime]) -> None:
    oldest = min(waiting.values())
    if ctx.now() - oldest > HELD_LONG:
        log.warning(
            "enrolment_holds_assignments",
            npo_id=ctx.npo.npo_id,
            held=held,
            since=oldest.isoformat(),
            offerings=len(waiting),
            message="pulled assignments wait for an enrolment whose outcome is not known; ask the NPO",
        )

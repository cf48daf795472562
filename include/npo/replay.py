"""Replay: later states are rebuilt from what is kept, without a call to the partner.

From the landing zone: the extractions landed in a stretch of time are landed again, and their records go
through all stages. From the store: the records it holds go through validate and what follows. Content
that comes out the same makes no version and no event; an older extraction never overwrites a later one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from include.npo.context import RunRef
from include.npo.run import open_context, run_stage
from include.storage.documents import RawState, raw_key

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from include.connectors.protocol import Resource, Window
    from include.npo.context import RunContext
    from include.settings import Settings

LATER_STAGES = ("land_raw", "validate", "transform", "publish")
KEYS_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Replay:
    """What to replay.

    Attributes:
        window: Of extractions by the time they started; of stored records by the time they were fetched.
        resources: Which; empty for all.
        from_raw: Start from the store's raw records rather than from the landing zone.
    """

    npo_id: str
    window: Window
    resources: tuple[Resource, ...] = ()
    from_raw: bool = False


def replay(asked: Replay, run_id: str, settings: Settings, progress: Callable[[str], None]) -> dict[str, int]:
    """Rebuild what was asked for, here and now, and return the counts.

    Raises:
        IntegrationError: As the stages say; what was done until then stays, and doing it again is harmless.
    """
    with open_context(asked.npo_id, run_id, settings, reads_partner=False, progress=progress) as ctx:
        keys = () if asked.from_raw else _landed(ctx, asked)
        reopened = _reopened(ctx, asked, keys)
    counts = {"replay.extractions": len(keys), "replay.reopened": reopened}
    ref: Any = RunRef(asked.npo_id, run_id, keys).to_dict()
    for stage in LATER_STAGES:
        ref = run_stage(
            stage,
            asked.npo_id,
            ref,
            run_id=run_id,
            data_interval=None,
            backfill=False,
            settings=settings,
            progress=progress,
        )
    return counts | (ref["counts"] if ref else {})


def _resources(ctx: RunContext, asked: Replay) -> tuple[Resource, ...]:
    return asked.resources or ctx.resources


def _landed(ctx: RunContext, asked: Replay) -> tuple[str, ...]:
    """Return the extractions to land again, offerings first, each oldest first."""
    keys: list[str] = []
    for resource in _resources(ctx, asked):
        found = ctx.landing.manifests_between(asked.npo_id, resource, asked.window)
        ctx.progress(f"{resource}: replaying {len(found)} landed extractions")
        keys += found
    return tuple(keys)


def _reopened(ctx: RunContext, asked: Replay, keys: Sequence[str]) -> int:
    """Put stored records back to landed and return how many: those of the extractions, or of the window."""
    count = 0
    for resource in _resources(ctx, asked):
        if asked.from_raw:
            found = _reopened_in_store(ctx, resource, asked.window)
            ctx.progress(f"{resource}: {found} stored records go through the stages again")
            count += found
        else:
            for at in range(0, len(keys), KEYS_AT_ONCE):
                count += _put_back(ctx, resource, {"manifest": {"$in": list(keys[at : at + KEYS_AT_ONCE])}})
    return count


def _reopened_in_store(ctx: RunContext, resource: Resource, window: Window) -> int:
    from include.storage.mongo import store_errors
    from include.storage.raw import reopen

    if fetched := _fetched_in(window):
        return _put_back(ctx, resource, fetched)
    with store_errors(ctx.npo.npo_id):
        return reopen(ctx.store, ctx.npo.npo_id, resource)


def _put_back(ctx: RunContext, resource: Resource, which: dict[str, Any]) -> int:
    """Put the stored records for which ``which`` holds back to landed, one by one; return how many.

    Quarantined ones too: a mended mapping is the usual cure.
    """
    from include.storage.mongo import store_errors

    first = raw_key(ctx.npo.npo_id, resource, "")
    # '}' follows '|' in ASCII: the range holds every key that begins with the prefix.
    query = {"_id": {"$gte": first, "$lt": f"{first[:-1]}}}"}} | which
    change = {"$set": {"state": RawState.LANDED.value, "pending": True}}
    with store_errors(ctx.npo.npo_id):
        return ctx.store["npo_raw"].update_many(query, change).matched_count


def _fetched_in(window: Window) -> dict[str, Any]:
    bounds = {"$gte": window.since, "$lt": window.until}
    given = {word: moment for word, moment in bounds.items() if moment is not None}
    return {"fetched_at": given} if given else {}

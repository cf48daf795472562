"""Reconciliation: positions find their posts in TCS; what comes of it is told to the event stream and to TCS.

Rules (domain page, section 3): ``deaneryNumber`` equals ``nationalPostNumber``, exactly; unmatched positions
are tried again on every run; deleted ones are not looked up; every change of result is told to TCS once.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

from include.esr.documents import MatchStatus, owner
from include.esr.positions.results import FACTS, StoredPosition, decide, to_event
from include.esr.tcs.calls import queue_calls
from include.storage.mongo import FenceMovedError
from include.storage.outbox import OutboxEntry, add_to_outbox, known_events

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from pymongo import UpdateOne
    from pymongo.client_session import ClientSession

    from include.esr.context import EsrContext
    from include.esr.positions.results import Decision
    from include.esr.tcs import Tcs
    from include.storage.mongo import Write

STAGE = "reconcile"
WAITING = "pending"
UNMATCHED = "unmatched"
_READ = dict.fromkeys(
    [
        *("deanery", "number", "deleted", "revision", "hash", "pending", "file_id", "match", "told"),
        *(
            f"{part}.{name}"
            for part in ("pos", "por")
            for name in ("order", "deanery", "last_update_date", *FACTS)
        ),
    ],
    1,
)


def reconcile_positions(ctx: EsrContext, deanery: str, tcs: Tcs) -> dict[str, int]:
    """Look again for the posts of a deanery's unmatched positions, then reconcile every one that waits.

    Nothing is concluded from a lookup that failed: it ends the stage, what was committed before stays and
    the rest waits.

    Returns:
        ``positions``: looked at; of these ``matched``, ``unmatched`` and ``deleted`` now; ``events`` and
        ``calls``: put up to be told.

    Raises:
        NotYetError: TCS is left alone for a while; the rest waits.
        TransientError: TCS or the store did not answer; the rest waits.
        ConfigurationError: TCS refuses the client.
    """
    totals = Counter(dict.fromkeys(("positions", "matched", "unmatched", "deleted", "events", "calls"), 0))
    posts = _Posts(tcs)
    for which in (UNMATCHED, WAITING):  # in this order none is looked at twice
        plans = partial(_plans, ctx, deanery, which, posts)
        for counts in ctx.store.commit_each(owner(deanery), plans):
            totals.update(counts)
            ctx.progress(f"{totals['positions']:,} positions looked at, {totals['matched']:,} with a post")
    return dict(totals)


class _Posts:
    """Posts looked up so far: a batch that must be planned anew does not ask again."""

    def __init__(self, tcs: Tcs) -> None:
        self._tcs = tcs
        self._ids: dict[str, int | None] = {}

    def ids(self, numbers: Iterable[str]) -> Mapping[str, int | None]:
        """Return the post id of each number, ``None`` where TCS says there is no such post."""
        unknown = {number for number in numbers if number not in self._ids}
        if unknown:
            found = self._tcs.posts(unknown)
            self._ids.update({each: found[each].id if each in found else None for each in unknown})
        return self._ids


def _plans(
    ctx: EsrContext, deanery: str, which: str, posts: _Posts
) -> Iterator[tuple[dict[str, int], Write | None]]:
    for batch in _batches(ctx, deanery, which):
        found = posts.ids(position.number for position in batch if not position.deleted)
        now = ctx.now()
        decisions = [decide(position, found.get(position.number), at=now) for position in batch]
        yield _plan(ctx, deanery, decisions, now)


def _batches(ctx: EsrContext, deanery: str, which: str) -> Iterator[list[StoredPosition]]:
    """Yield what waits, in batches and in order of id; each batch is read at once, no cursor stays open."""
    query: dict[str, Any] = {which: True, "deanery": deanery}
    size = ctx.settings.batch_size
    index = {WAITING: "waiting", UNMATCHED: "unmatched"}[which]
    while True:
        found = ctx.store["esr_position"].find(query, _READ).sort("_id", 1).limit(size).hint(index)
        batch = [StoredPosition.of(doc) for doc in found.batch_size(size)]
        if not batch:
            return
        yield batch
        query["_id"] = {"$gt": batch[-1].id}


def _plan(
    ctx: EsrContext, deanery: str, decisions: Sequence[Decision], now: datetime
) -> tuple[dict[str, int], Write | None]:
    changes = [decision for decision in decisions if decision.changes_anything]
    entries = [_entry(ctx, decision, now) for decision in changes if decision.tells_event]
    made = known_events(ctx.store, [entry.id for entry in entries])
    entries = [entry for entry in entries if entry.id not in made]
    calls = [call for decision in changes for call in decision.calls]

    def write(session: ClientSession, order: int) -> None:
        _apply(ctx, session, changes)
        add_to_outbox(ctx.store, session, owner(deanery), entries, order=order, at=now)
        queue_calls(ctx.store, session, owner(deanery), calls, order=order, at=now)

    counts = Counter(_outcome(decision) for decision in decisions)
    counts.update(positions=len(decisions), events=len(entries), calls=len(calls))
    return dict(counts), write if changes else None


def _outcome(decision: Decision) -> str:
    if decision.position.deleted:
        return "deleted"
    matched = decision.match is not None and decision.match.status is MatchStatus.MATCHED
    return "matched" if matched else "unmatched"


def _entry(ctx: EsrContext, decision: Decision, now: datetime) -> OutboxEntry:
    event = to_event(decision, run_id=ctx.run_id, at=now)
    return OutboxEntry(event.id, event.type, event.partition_key, event.sequence, event.to_json())


def _apply(ctx: EsrContext, session: ClientSession, changes: Sequence[Decision]) -> None:
    updates = [_update(decision) for decision in changes]
    written = ctx.store["esr_position"].bulk_write(updates, ordered=False, session=session)
    if written.matched_count < len(updates):
        raise FenceMovedError("another deanery told of the same position first", stage=STAGE)


def _update(decision: Decision) -> UpdateOne:
    from pymongo import UpdateOne

    position = decision.position
    values: dict[str, Any] = {
        "match": decision.match.to_document() if decision.match else None,
        "told": decision.told.to_document() if decision.told else None,
        "revision": decision.revision,
    }
    done = {WAITING: ""}
    if decision.unmatched:
        values[UNMATCHED] = True
    else:
        done[UNMATCHED] = ""
    return UpdateOne(
        {"_id": position.id, "revision": position.revision, "file_id": position.file_id},
        {"$set": values, "$unset": done},
    )

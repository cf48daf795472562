"""Generation: the posts of a deanery are looked at, and AppRecords and notifications made of what is found.

Rules (domain page, section 3) are pure functions in ``include/esr/applicants`` and
``include/esr/notifications``; here is what they are given, and one transaction for what comes of it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import structlog

from include.errors import NotYetError
from include.esr.applicants.plan import plan_applicants, sent_ids
from include.esr.applicants.rules import trainees_wanted
from include.esr.documents import FileState, owner
from include.esr.names import RMT
from include.esr.notifications.plan import plan_notifications
from include.esr.placements.observe import Observer
from include.esr.placements.snapshot import (
    current_positions,
    is_as_seen,
    note_seen,
    posts_of,
    seen_posts,
    view_of,
)
from include.storage.mongo import store_errors

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import date

    from pymongo.client_session import ClientSession

    from include.esr.context import EsrContext
    from include.esr.placements.facts import PostView
    from include.esr.tcs import Tcs
    from include.storage.mongo import IntegrationStore, Write

POSTS_AT_ONCE = 500
"""Looked up, planned and committed together."""
HALF_APPLIED = (FileState.SPLIT, FileState.SAVED)
"""Of a file in these states some positions are saved or reconciled and others are not."""
RETRY_SECONDS = 60.0
_COUNTED = ("posts", "applicants", "notifications", "expired")


@dataclass(frozen=True, slots=True)
class _Batch:
    """Posts to be looked at together.

    Attributes:
        stamps: Of the posts that somebody asked for, how often: only that many askings are answered.
    """

    posts: tuple[int, ...]
    stamps: Mapping[int, int]


def generate(ctx: EsrContext, deanery: str, tcs: Tcs, *, today: date, sweep: bool) -> dict[str, int]:
    """Make AppRecords and notifications of a deanery's posts.

    Nothing is concluded from a lookup that failed: it ends the stage, what was committed before stays and
    the rest is looked at again. Doing it again changes nothing.

    Args:
        ctx: The stage's context.
        deanery: Whose posts.
        tcs: Open connection.
        today: The day it is done for, in London; of the run's logical date, not of the clock.
        sweep: Look at every post, because placements change and time goes on without any event; else only
            at those an event told of.

    Returns:
        ``posts`` looked at, and what the two plans counted, such as ``applicants_new``.

    Raises:
        NotYetError: A file of the deanery is half applied, or TCS is left alone for a while.
        TransientError: TCS or the store did not answer; the rest waits.
        ConfigurationError: TCS refuses the client.
    """
    require_reconciled(ctx.store, deanery)
    observer = Observer(tcs, today)
    totals: Counter[str] = Counter()
    expired = 0
    plans = partial(_plans, ctx, deanery, observer, today, sweep=sweep)
    for counts in ctx.store.commit_each(owner(deanery), plans):
        totals.update(counts)
        expired += counts.get("applicants_expired", 0)
        ctx.progress(f"{totals['posts']:,} posts looked at")
    if expired:
        structlog.get_logger("spotlight.alerts").error(
            "esr_applicants_expired",
            deanery=deanery,
            day=today.isoformat(),
            applicants=expired,
            message="their window closed before they could be sent; ESR does not know of them. "
            "'spotlight esr applicants --state EXPIRED_UNSENT' lists them",
        )
    return dict(totals)


def require_reconciled(store: IntegrationStore, deanery: str) -> None:
    """Refuse to go on while a file of the deanery is half applied (F: this made partial notifications).

    Raises:
        NotYetError: One is.
    """
    query = {
        "deanery": deanery,
        "state": {"$in": [state.value for state in HALF_APPLIED]},
        "type": {"$in": [each.value for each in RMT]},
    }
    with store_errors(owner(deanery)):
        found = store["esr_file"].find_one(query, {"_id": 1})
    if found is not None:
        raise NotYetError(
            f"{found['_id']} is not completely reconciled; nothing is computed on half a file",
            retry_after=RETRY_SECONDS,
            subject=deanery,
        )


def _plans(
    ctx: EsrContext, deanery: str, observer: Observer, today: date, *, sweep: bool
) -> Iterator[tuple[dict[str, int], Write | None]]:
    for batch in _batches(ctx.store, deanery, sweep=sweep):
        yield _plan(ctx, deanery, observer, today, batch)


def _batches(store: IntegrationStore, deanery: str, *, sweep: bool) -> Iterator[_Batch]:
    asked = {doc["post_id"]: doc["stamp"] for doc in store["esr_todo"].find({"deanery": deanery})}
    posts = sorted({*asked, *posts_of(store, deanery)} if sweep else asked)
    for start in range(0, len(posts), POSTS_AT_ONCE):
        part = tuple(posts[start : start + POSTS_AT_ONCE])
        yield _Batch(part, {post: asked[post] for post in part if post in asked})


def _plan(
    ctx: EsrContext, deanery: str, observer: Observer, today: date, batch: _Batch
) -> tuple[dict[str, int], Write | None]:
    """Plan a batch: everything the plan depends on but TCS is guarded by the deanery's fence."""
    seen = seen_posts(ctx.store, deanery, batch.posts)
    current = current_positions(ctx.store, deanery, batch.posts, seen)
    placements = observer.placements(batch.posts)
    views = [view_of(deanery, post, current[post], placements[post], seen.get(post)) for post in batch.posts]
    revisions = {post: current[post].revisions for post in batch.posts}
    news = [view for view in views if not is_as_seen(view, revisions[view.id], seen.get(view.id))]

    people = observer.people(
        trainees_wanted(views, sent_ids(ctx.store, views), today=today, settings=ctx.settings)
    )
    at = ctx.now()
    applicants = plan_applicants(ctx.store, views, people, today=today, settings=ctx.settings, at=at)
    notifications = plan_notifications(ctx.store, views, today=today, settings=ctx.settings, at=at)
    known = [view for view in news if view.positions or view.id in seen]

    def write(session: ClientSession, order: int) -> None:
        for plan in (applicants, notifications):
            if plan.write is not None:
                plan.write(session, order)
        note_seen(ctx.store, session, known, revisions, today)
        _forget_todo(ctx.store, session, deanery, batch.stamps)

    counts = {"posts": len(views)}
    counts |= {f"applicants_{name}": number for name, number in applicants.counts.items()}
    counts |= {f"notifications_{name}": number for name, number in notifications.counts.items()}
    is_news = bool(applicants.write or notifications.write or known or batch.stamps)
    return counts, write if is_news else None


def _forget_todo(
    store: IntegrationStore, session: ClientSession, deanery: str, stamps: Mapping[int, int]
) -> None:
    """Strike off what was asked for; who asked again meanwhile is looked at again."""
    from pymongo import DeleteOne

    if stamps:
        answered = [DeleteOne({"_id": f"{deanery}/{post}", "stamp": stamp}) for post, stamp in stamps.items()]
        store["esr_todo"].bulk_write(answered, ordered=False, session=session)


def views_of_deanery(ctx: EsrContext, deanery: str, tcs: Tcs, *, today: date) -> Iterator[Sequence[PostView]]:
    """Yield every post of a deanery as it is now, in batches: for a full snapshot (DNF).

    Raises:
        NotYetError: A file of the deanery is half applied, or TCS is left alone for a while.
        TransientError: TCS or the store did not answer.
        ConfigurationError: TCS refuses the client.
    """
    require_reconciled(ctx.store, deanery)
    observer = Observer(tcs, today)
    for batch in _batches(ctx.store, deanery, sweep=True):
        current = current_positions(ctx.store, deanery, batch.posts, {})
        placements = observer.placements(batch.posts)
        yield [
            view_of(deanery, post, current[post], placements[post], None)
            for post in batch.posts
            if current[post].positions
        ]

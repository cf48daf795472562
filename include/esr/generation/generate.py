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
from include.esr.notifications.changes import Sight
from include.esr.notifications.plan import plan_notifications
from include.esr.placements.observe import Observer
from include.esr.placements.snapshot import (
    current_positions,
    is_as_seen,
    last_sweep,
    note_seen,
    note_sweep,
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
RETRY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class _Batch:
    """Posts to be looked at together.

    Attributes:
        stamps: Of the posts that somebody asked for, how often: only that many askings are answered.
    """

    posts: tuple[int, ...]
    stamps: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class _Look:
    """Whose posts are looked at, for which day, and what TCS says of them.

    Attributes:
        swept: The last day all of them were looked at for.
    """

    deanery: str
    today: date
    swept: date | None
    observer: Observer

    @property
    def is_past(self) -> bool:
        """Tell whether a later day was swept already: what ESR was told then must not be told as of before.

        Then only applicants are made: who is in a post and what changed is a matter of the latest day, whose
        sweep has made up for this one.
        """
        return self.swept is not None and self.today < self.swept


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
    look = _look(ctx.store, deanery, tcs, today)
    totals: Counter[str] = Counter()
    for counts in ctx.store.commit_each(owner(deanery), partial(_plans, ctx, look, sweep=sweep)):
        totals.update(counts)
        # With each batch: what was committed must have been told of when a later one fails.
        _tell_expired(deanery, today, counts.get("applicants_expired", 0))
        ctx.progress(f"{totals['posts']:,} posts looked at")
    if sweep:
        with store_errors(owner(deanery)):
            note_sweep(ctx.store, deanery, today)
    return dict(totals)


def _look(store: IntegrationStore, deanery: str, tcs: Tcs, today: date) -> _Look:
    with store_errors(owner(deanery)):
        swept = last_sweep(store, deanery)
    first_day = Sight(today, 0, swept).first_day
    return _Look(deanery, today, swept, Observer(tcs, first_day))


def _tell_expired(deanery: str, today: date, applicants: int) -> None:
    if applicants:
        structlog.get_logger("spotlight.alerts").error(
            "esr_applicants_expired",
            deanery=deanery,
            day=today.isoformat(),
            applicants=applicants,
            message="their window closed before they could be sent; ESR does not know of them. "
            "'spotlight esr applicants --state EXPIRED_UNSENT' lists them",
        )


def require_reconciled(store: IntegrationStore, deanery: str) -> None:
    """Refuse to go on while a file of the deanery is half applied (F: this made partial notifications).

    Raises:
        NotYetError: One is.
    """
    query = {
        "deanery": deanery,
        "type": {"$in": [each.value for each in RMT]},
        # One that is split has changed no position until its saving has begun.
        "$or": [
            {"state": FileState.SAVED.value},
            {"state": FileState.SPLIT.value, "saved": {"$ne": None}},
        ],
    }
    with store_errors(owner(deanery)):
        found = store["esr_file"].find_one(query, {"_id": 1})
    if found is not None:
        raise NotYetError(
            f"{found['_id']} is not completely reconciled; nothing is computed on half a file",
            retry_after=RETRY_SECONDS,
            subject=deanery,
        )


def _plans(ctx: EsrContext, look: _Look, *, sweep: bool) -> Iterator[tuple[dict[str, int], Write | None]]:
    for batch in _batches(ctx.store, look.deanery, sweep=sweep):
        yield _plan(ctx, look, batch)


def _batches(store: IntegrationStore, deanery: str, *, sweep: bool) -> Iterator[_Batch]:
    asked = {doc["post_id"]: doc["stamp"] for doc in store["esr_todo"].find({"deanery": deanery})}
    posts = sorted({*asked, *posts_of(store, deanery)} if sweep else asked)
    for start in range(0, len(posts), POSTS_AT_ONCE):
        part = tuple(posts[start : start + POSTS_AT_ONCE])
        yield _Batch(part, {post: asked[post] for post in part if post in asked})


def _plan(ctx: EsrContext, look: _Look, batch: _Batch) -> tuple[dict[str, int], Write | None]:
    """Plan a batch: everything the plan depends on but TCS is guarded by the deanery's fence."""
    deanery, observer, today = look.deanery, look.observer, look.today
    # Again in each plan: who saves a file moves the deanery's fence, so that this still holds at the commit.
    require_reconciled(ctx.store, deanery)
    seen = seen_posts(ctx.store, deanery, batch.posts)
    current = current_positions(ctx.store, deanery, batch.posts, seen)
    placements = observer.placements(batch.posts)
    views = [
        view_of(deanery, post, current[post], placements[post], seen.get(post), swept=look.swept)
        for post in batch.posts
    ]
    revisions = {post: current[post].revisions for post in batch.posts}
    news = [view for view in views if not is_as_seen(view, revisions[view.id], seen.get(view.id))]

    people = observer.people(
        trainees_wanted(views, sent_ids(ctx.store, views), today=today, settings=ctx.settings)
    )
    at = ctx.now()
    applicants = plan_applicants(ctx.store, views, people, today=today, settings=ctx.settings, at=at)
    counts = {"posts": len(views)}
    counts |= {f"applicants_{name}": number for name, number in applicants.counts.items()}
    if look.is_past:
        return counts, applicants.write
    notifications = plan_notifications(ctx.store, views, today=today, settings=ctx.settings, at=at)
    counts |= {f"notifications_{name}": number for name, number in notifications.counts.items()}
    known = [view for view in news if view.positions or view.id in seen]

    def write(session: ClientSession, order: int) -> None:
        for plan in (applicants, notifications):
            if plan.write is not None:
                plan.write(session, order)
        note_seen(ctx.store, session, known, revisions, today)
        _forget_todo(ctx.store, session, deanery, batch.stamps)

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
    observer = Observer(tcs, first_day=today)
    for batch in _batches(ctx.store, deanery, sweep=True):
        current = current_positions(ctx.store, deanery, batch.posts, {})
        placements = observer.placements(batch.posts)
        yield [
            view_of(deanery, post, current[post], placements[post], None)
            for post in batch.posts
            if current[post].positions
        ]

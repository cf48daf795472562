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

from include.errors import NotYetError, TransientError
from include.esr.applicants.plan import plan_applicants, sent_ids
from include.esr.applicants.rules import trainees_wanted
from include.esr.documents import FileState, owner
from include.esr.generation.todo import forget_todo, note_failed, todo_of
from include.esr.names import RMT
from include.esr.notifications.changes import Sight
from include.esr.notifications.plan import plan_notifications
from include.esr.placements.observe import Observer, second_connection
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
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from datetime import date

    from pymongo.client_session import ClientSession

    from include.esr.context import EsrContext
    from include.esr.placements.facts import PostView
    from include.esr.tcs import Tcs
    from include.esr.tcs.answers import Person
    from include.storage.mongo import IntegrationStore, Write

POSTS_AT_ONCE = 500
"""Looked up, planned and committed together."""
RETRY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class _Batch:
    """Posts to be looked at together.

    Attributes:
        stamps: Of the posts that somebody asked for, how often: only that many askings are answered.
        swept: The last day a post was looked at for, of those a later sweep could not look at.
    """

    posts: tuple[int, ...]
    stamps: Mapping[int, int]
    swept: Mapping[int, date | None]


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What came of a batch: counts, and the posts TCS failed on."""

    counts: Mapping[str, int]
    failed: Mapping[int, TransientError]


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

    Nothing is concluded from a lookup that failed. Posts TCS fails on while it answers for others are left
    as they are, told of and noted, so that the next sweep looks at them again. When TCS fails altogether,
    the stage ends, what was committed before stays and the rest is looked at again. Doing it again changes
    nothing.

    Args:
        ctx: The stage's context.
        deanery: Whose posts.
        tcs: Open connection.
        today: The day it is done for, in London; of the run's logical date, not of the clock.
        sweep: Look at every post, because placements change and time goes on without any event; else only
            at those an event told of.

    Returns:
        ``posts`` looked at, ``posts_failed`` if there are any, and what the two plans counted, such as
        ``applicants_new``.

    Raises:
        NotYetError: A file of the deanery is half applied, or TCS is left alone for a while.
        TransientError: TCS or the store did not answer, or not for a single post; the rest waits.
        ConfigurationError: TCS refuses the client.
    """
    require_reconciled(ctx.store, deanery)
    totals: Counter[str] = Counter()
    failed: dict[int, TransientError] = {}
    with second_connection(ctx.settings, ctx.progress) as second:
        look = _look(ctx.store, deanery, (tcs, second), today)
        for outcome in ctx.store.commit_each(owner(deanery), partial(_plans, ctx, look, sweep=sweep)):
            totals.update(outcome.counts)
            failed |= outcome.failed
            # With each batch: what was committed must have been told of when a later one fails.
            _tell_expired(deanery, today, outcome.counts.get("applicants_expired", 0))
            ctx.progress(f"{totals['posts']:,} posts looked at")
    if failed:
        if not totals["posts"]:
            raise next(iter(failed.values()))
        totals["posts_failed"] = len(failed)
        _tell_failed(deanery, today, failed, note_failed(ctx.store, deanery, failed, today, look.swept))
    if sweep:
        with store_errors(owner(deanery)):
            note_sweep(ctx.store, deanery, today)
    return dict(totals)


def _look(store: IntegrationStore, deanery: str, connections: tuple[Tcs, Tcs], today: date) -> _Look:
    with store_errors(owner(deanery)):
        swept = last_sweep(store, deanery)
        passed_over = [each.swept for each in todo_of(store, deanery).values() if each.is_passed_over]
    first_day = min(Sight(today, 0, each).first_day for each in (swept, *passed_over))
    tcs, second = connections
    return _Look(deanery, today, swept, Observer(tcs, first_day, second))


def _tell_failed(
    deanery: str, today: date, failed: Mapping[int, TransientError], news: Collection[int]
) -> None:
    """Tell of posts TCS fails on, once a day."""
    if news:
        post, error = next(iter(failed.items()))
        structlog.get_logger("spotlight.alerts").error(
            "esr_posts_failed",
            deanery=deanery,
            day=today.isoformat(),
            posts=len(failed),
            first_post_id=post,
            message=f"TCS fails on them or on their people, and answers for others: {error.message}. They "
            "are left as they were; the next sweep looks at them again",
        )


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


def _plans(ctx: EsrContext, look: _Look, *, sweep: bool) -> Iterator[tuple[_Outcome, Write | None]]:
    for batch in _batches(ctx.store, look.deanery, sweep=sweep):
        yield _plan(ctx, look, batch)


def _batches(store: IntegrationStore, deanery: str, *, sweep: bool) -> Iterator[_Batch]:
    asked = todo_of(store, deanery)
    # One TCS failed on is asked about again by the sweep, or when it is asked for again: not every time.
    woken = (post for post, todo in asked.items() if not todo.failed_on)
    posts = sorted({*asked, *posts_of(store, deanery)} if sweep else woken)
    for start in range(0, len(posts), POSTS_AT_ONCE):
        part = tuple(posts[start : start + POSTS_AT_ONCE])
        todos = {post: asked[post] for post in part if post in asked}
        yield _Batch(
            part,
            {post: todo.stamp for post, todo in todos.items()},
            {post: todo.swept for post, todo in todos.items() if todo.is_passed_over},
        )


def _plan(ctx: EsrContext, look: _Look, batch: _Batch) -> tuple[_Outcome, Write | None]:
    """Plan a batch: everything the plan depends on but TCS is guarded by the deanery's fence."""
    deanery, observer, today = look.deanery, look.observer, look.today
    # Again in each plan: who saves a file moves the deanery's fence, so that this still holds at the commit.
    require_reconciled(ctx.store, deanery)
    seen = seen_posts(ctx.store, deanery, batch.posts)
    current = current_positions(ctx.store, deanery, batch.posts, seen)
    placements = observer.placements(batch.posts)
    found = [
        view_of(deanery, post, current[post], those, seen.get(post), swept=batch.swept.get(post, look.swept))
        for post, those in placements.found.items()
    ]
    people, unasked = _people(ctx, look, found)
    views = [view for view in found if view.id not in unasked]
    failed = {**placements.failed, **unasked}
    revisions = {post: current[post].revisions for post in batch.posts}
    at = ctx.now()
    applicants = plan_applicants(ctx.store, views, people, today=today, settings=ctx.settings, at=at)
    counts = {"posts": len(views)}
    counts |= {f"applicants_{name}": number for name, number in applicants.counts.items()}
    if look.is_past:
        return _Outcome(counts, failed), applicants.write
    notifications = plan_notifications(ctx.store, views, today=today, settings=ctx.settings, at=at)
    counts |= {f"notifications_{name}": number for name, number in notifications.counts.items()}
    known = [
        view
        for view in views
        if not is_as_seen(view, revisions[view.id], seen.get(view.id))
        or (view.id in notifications.told and not view.is_seen_for(today))
        if view.positions or view.id in seen
    ]
    stamps = {post: stamp for post, stamp in batch.stamps.items() if post not in failed}

    def write(session: ClientSession, order: int) -> None:
        for plan in (applicants, notifications):
            if plan.write is not None:
                plan.write(session, order)
        note_seen(ctx.store, session, known, revisions, today)
        forget_todo(ctx.store, session, deanery, stamps)

    is_news = bool(applicants.write or notifications.write or known or stamps)
    return _Outcome(counts, failed), write if is_news else None


def _people(
    ctx: EsrContext, look: _Look, views: Sequence[PostView]
) -> tuple[Mapping[int, Person], dict[int, TransientError]]:
    """Return the people whose details are needed, and of which posts some could not be asked about."""
    sent = sent_ids(ctx.store, views)
    wanted = partial(trainees_wanted, sent=sent, today=look.today, settings=ctx.settings)
    people = look.observer.people(wanted(views))
    if not people.failed:
        return people.found, {}
    first = {view.id: next(iter(wanted([view]) & people.failed.keys()), None) for view in views}
    return people.found, {post: people.failed[person] for post, person in first.items() if person is not None}


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
            view_of(deanery, post, current[post], placements.found[post], None)
            for post in batch.posts
            if current[post].positions
        ]

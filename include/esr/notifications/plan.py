"""Planning the notifications of a batch of posts: one look at the store, one write."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import TYPE_CHECKING

from include.esr.notifications.decisions import Making, decide, still_invalid
from include.esr.notifications.documents import (
    READ,
    content_of,
    document_of,
    known_of,
    mended,
    placed,
    stated,
)
from include.esr.notifications.rules import notifications_of
from include.esr.outbound import COLLECTIONS, RecordState, entry, pushed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from datetime import datetime

    from pymongo import InsertOne, UpdateOne
    from pymongo.client_session import ClientSession

    from include.esr.notifications.decisions import Decisions, Known, TakingBack
    from include.esr.notifications.documents import Content
    from include.esr.placements.facts import PostView
    from include.settings import Settings
    from include.storage.mongo import Document, IntegrationStore, Write

    Operation = InsertOne[Document] | UpdateOne

COUNTED = ("new", "invalid", "mended", "updated", "said_before", "taken_back")
_UNSENT = [RecordState.TO_EXPORT.value, RecordState.INVALID_DATA.value]


@dataclass(frozen=True, slots=True)
class NotificationPlan:
    """What a batch comes to.

    Attributes:
        counts: ``new``: to be sent; ``invalid``: set aside, new or found so now; ``mended``: can be sent
            now; ``updated``: not sent yet, other details now; ``said_before``: given again and not saved;
            ``taken_back``: not to be sent any more.
        write: Writes it in the caller's transaction; ``None`` when there is nothing to write.
        told: Ids of the posts that give something today, be it new or said before.
    """

    counts: dict[str, int]
    write: Write | None
    told: frozenset[int] = frozenset()


def plan_notifications(
    store: IntegrationStore, views: Sequence[PostView], *, today: date, settings: Settings, at: datetime
) -> NotificationPlan:
    """Plan what ESR is to be told of some posts of one deanery.

    The plan holds as long as nobody else commits for the deanery. Doing it again for the same day and the
    same posts writes nothing.

    Args:
        store: The store; read once for all posts.
        views: The posts, each once.
        today: The day it is done for, in London.
        settings: Settings.
        at: When, UTC.
    """
    told = [
        notification
        for view in views
        for notification in notifications_of(view, today=today, horizon_days=settings.esr_horizon_days)
    ]
    posts = frozenset(notification.post_id for notification in told)
    known = _known(store, views, posts)
    decisions = decide(views, told, known, today=today)
    counts = Counter(dict.fromkeys(COUNTED, 0) | {"said_before": decisions.said_before})
    writes: list[Operation] = []
    for making in _makings(store, views, known, decisions):
        what, write = _made(making, today, at)
        counts[what] += 1
        writes += [write] if write else []
    writes += [_taken_back(taking, at) for taking in decisions.takings_back]
    counts["taken_back"] = len(decisions.takings_back)
    return NotificationPlan(dict(counts), partial(_write, store, writes) if writes else None, posts)


def _known(store: IntegrationStore, views: Sequence[PostView], told: Collection[int]) -> list[Known]:
    """Return what is stored: of posts that give something everything, of others what was not sent yet."""
    found = _read(store, views, [view.id for view in views], unsent_or_of=told)
    unsound = {each.post_id for each in found if each.state is RecordState.INVALID_DATA}.difference(told)
    if unsound:  # whether anything newer was said decides whether it is mended
        found = [each for each in found if each.post_id not in unsound]
        found += _read(store, views, unsound, unsent_or_of=unsound)
    return found


def _read(
    store: IntegrationStore,
    views: Sequence[PostView],
    posts: Collection[int],
    *,
    unsent_or_of: Collection[int],
) -> list[Known]:
    query = {
        "post_id": {"$in": sorted(posts)},
        "deanery": {"$in": sorted({view.deanery for view in views})},
        "kind": "DNC",  # a snapshot (DNF) is no news
        "$or": [{"post_id": {"$in": sorted(unsent_or_of)}}, {"state": {"$in": _UNSENT}}],
    }
    return [known_of(doc) for doc in store[COLLECTIONS["DNC"]].find(query, READ).hint("by_post")]


def _makings(
    store: IntegrationStore, views: Sequence[PostView], known: Sequence[Known], decisions: Decisions
) -> Iterator[Making]:
    """Yield what is to be made, and what is to be made anew of what was invalid."""
    yield from decisions.makings
    by_id = {view.id: view for view in views}
    invalid = list(still_invalid(known, decisions))
    about = _about(store, invalid)
    for each in invalid:
        notification = mended(each, about.get(each.id), by_id[each.post_id])
        if notification is not None:
            yield Making(notification, each.id, each.turn, each)


def _about(store: IntegrationStore, invalid: Sequence[Known]) -> dict[str, Document]:
    """Return what invalid notifications were made of, by id."""
    if not invalid:
        return {}
    query = {"_id": {"$in": [each.id for each in invalid]}}
    return {doc["_id"]: doc["about"] for doc in store[COLLECTIONS["DNC"]].find(query, {"about": 1})}


def _made(making: Making, today: date, at: datetime) -> tuple[str, Operation | None]:
    """Return what a notification counts as, and its write."""
    from pymongo import InsertOne

    notification, known, content = making.notification, making.known, content_of(making.notification)
    if known is None:
        document = document_of(
            notification, content, record_id=making.id, kind="DNC", today=today, turn=making.turn, at=at
        )
        return "invalid" if content.reason else "new", InsertOne(document)
    if (known.state, known.hash) == (content.state, content.hash):
        return "said_before", None
    mends = "updated" if known.state is RecordState.TO_EXPORT else "mended"
    return "invalid" if content.reason else mends, _remade(making, known, content, today, at)


def _remade(making: Making, known: Known, content: Content, today: date, at: datetime) -> UpdateOne:
    """Return the update of a notification that was not sent: with what it says now."""
    from pymongo import UpdateOne

    notification = making.notification
    changes = stated(notification, content) | {
        "position_number": notification.position.number,
        "post_number": notification.post_number,
        "changed_at": at,
    }
    if known.state is not RecordState.TO_EXPORT:
        day = max(today, date.fromisoformat(known.made_on))
        changes |= placed(notification, today=day, turn=making.turn)
    if known.hash != content.hash:
        changes["revision"] = known.revision + 1
    why = content.reason.code if content.reason else "generated"
    return UpdateOne(
        {"_id": known.id, "state": known.state.value},
        {"$set": changes, "$push": pushed(entry(content.state, at, why=why))},
    )


def _taken_back(taking: TakingBack, at: datetime) -> UpdateOne:
    from pymongo import UpdateOne

    state, reason = RecordState.DELETED_BEFORE_EXPORT, taking.reason
    changes = {
        "state": state.value,
        "reason": {"code": reason.code, "message": reason.message},
        "changed_at": at,
    }
    return UpdateOne(
        {"_id": taking.known.id, "state": taking.known.state.value},
        {"$set": changes, "$push": pushed(entry(state, at, why=reason.code))},
    )


def _write(store: IntegrationStore, writes: Sequence[Operation], session: ClientSession, _order: int) -> None:
    store[COLLECTIONS["DNC"]].bulk_write(list(writes), ordered=False, session=session)

"""Which of the notifications a look gives are news, and what becomes of those not sent yet. Pure.

Rule (domain page, section 3): a notification is saved only if the same was not submitted before. It is the
same again only as long as nothing else was said of its placements since: a trainee approved, withdrawn and
approved again is news the second time too, or ESR would stay with what it heard last.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from include.esr.notifications.notification import NotificationType
from include.esr.outbound import RecordState
from include.quality.gate import Reason
from include.storage.documents import content_hash

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import date

    from include.esr.notifications.notification import Notification
    from include.esr.placements.facts import PostView

POSITION_GONE = Reason("position_gone", "the position was deleted, or is of another post now")
OVERTAKEN = Reason("overtaken", "something newer was said of the same before this could be mended")
_NEVER_SAID = frozenset({RecordState.INVALID_DATA, RecordState.DELETED_BEFORE_EXPORT})
_EVER = "9999-12-31"
_NOT_SENT_YET = frozenset({RecordState.INVALID_DATA, RecordState.TO_EXPORT})


@dataclass(frozen=True, slots=True)
class Known:
    """A notification of the store, as far as deciding needs it.

    Attributes:
        turn: Counts the looks at its position that gave something, from 1: what was said when.
        made_on: ISO day it was made for.
        placements: Ids of those it names.
    """

    id: str
    post_id: int
    position_id: int
    type: NotificationType
    key: str
    turn: int
    made_on: str
    placements: frozenset[int]
    state: RecordState
    hash: str
    revision: int


@dataclass(frozen=True, slots=True)
class Making:
    """A notification to be made, or made anew.

    Attributes:
        id: Id of its document.
        known: What is stored of it, ``None`` for a new one.
        turn: When it is said; that of one which is only brought up to date stays.
    """

    notification: Notification
    id: str
    turn: int
    known: Known | None = None

    @property
    def is_new(self) -> bool:
        """Tell whether it is said now, and was not about to be said before."""
        return self.known is None or self.known.turn != self.turn


@dataclass(frozen=True, slots=True)
class TakingBack:
    """A notification that is not to be sent any more."""

    known: Known
    reason: Reason


@dataclass(frozen=True, slots=True)
class Decisions:
    """What a look comes to.

    Attributes:
        said_before: How many it gave that ESR was told, or will be, as they are.
    """

    makings: tuple[Making, ...]
    takings_back: tuple[TakingBack, ...]
    said_before: int


def decide(
    views: Sequence[PostView], told: Iterable[Notification], known: Iterable[Known], *, today: date
) -> Decisions:
    """Return what becomes of what a look at some posts gives, and of what is stored of them.

    Args:
        views: The posts looked at.
        told: What they give today.
        known: What is stored of these posts: everything of those that ``told`` is of or that have an
            invalid one, of the others at least what was not sent yet.
        today: The day it is done for; what was said for later days does not make it news.
    """
    held = {(view.id, position.id) for view in views for position in view.positions}
    stored: dict[tuple[int, int], list[Known]] = defaultdict(list)
    for each in sorted(known, key=lambda each: (each.turn, each.id)):
        stored[each.post_id, each.position_id].append(each)
    by_place: dict[tuple[int, int], list[Notification]] = defaultdict(list)
    for notification in told:
        by_place[notification.post_id, notification.position.id].append(notification)
    makings: list[Making] = []
    back: list[TakingBack] = []
    for place in sorted(by_place.keys() | stored.keys()):
        made = _makings(by_place[place], stored[place], today)
        makings += made
        back += _takings_back(stored[place], made, is_held=place in held)
    said_before = sum(map(len, by_place.values())) - len(makings)
    return Decisions(tuple(makings), tuple(back), said_before)


def still_invalid(known: Iterable[Known], decisions: Decisions) -> Iterator[Known]:
    """Yield those set aside as invalid of which nothing is decided: they may be mended by now."""
    decided = {making.id for making in decisions.makings}
    decided |= {taking.known.id for taking in decisions.takings_back}
    for each in known:
        if each.state is RecordState.INVALID_DATA and each.id not in decided:
            yield each


def _makings(told: Iterable[Notification], stored: Sequence[Known], today: date) -> list[Making]:
    """Return what is to be made of what one position gives."""
    turn = 1 + max((each.turn for each in stored), default=0)
    last = {each.key: each for each in stored}
    given = {notification.key: notification for notification in told}
    news = {key for key in given if key not in last or _is_news(last[key], stored, today)}
    # What is said of the same in one look is said together, else a second look would find it overtaken.
    while touched := {key for key in given.keys() - news if _is_touched(given[key], news, given)}:
        news |= touched
    makings = []
    for key, notification in given.items():
        before = last.get(key)
        if key not in news:
            if before and before.state in _NOT_SENT_YET:
                makings.append(Making(notification, before.id, before.turn, before))
        elif before and before.state in _NEVER_SAID:
            makings.append(Making(notification, before.id, turn, before))
        else:
            makings.append(Making(notification, content_hash([key, turn]) if before else key, turn))
    return makings


def _is_touched(notification: Notification, news: Iterable[str], given: Mapping[str, Notification]) -> bool:
    return any(_are_of_the_same(notification, given[key]) for key in news)


def _is_news(last: Known, stored: Iterable[Known], today: date) -> bool:
    """Tell whether what was stored before is to be said now, or again."""
    is_taken_back = last.state is RecordState.DELETED_BEFORE_EXPORT
    return is_taken_back or _is_overtaken(last, stored, until=today.isoformat())


def _takings_back(stored: Sequence[Known], made: Sequence[Making], *, is_held: bool) -> Iterator[TakingBack]:
    """Yield what was not sent yet of one position and is not to be sent any more."""
    anew = {making.id for making in made}
    newer = [making.notification for making in made if making.is_new]
    for known in stored:
        if known.id in anew or known.state not in _NOT_SENT_YET:
            continue
        if not is_held:
            yield TakingBack(known, POSITION_GONE)
        elif known.state is RecordState.INVALID_DATA and (
            _is_overtaken(known, stored) or any(_are_of_the_same(known, each) for each in newer)
        ):
            yield TakingBack(known, OVERTAKEN)


def _is_overtaken(known: Known, stored: Iterable[Known], *, until: str = _EVER) -> bool:
    """Tell whether anything was said of the same since, for days until this one."""
    return any(
        other.turn > known.turn
        and other.state is not RecordState.DELETED_BEFORE_EXPORT
        and other.made_on <= until
        and _are_of_the_same(known, other)
        for other in stored
    )


def _are_of_the_same(one: Known | Notification, other: Known | Notification) -> bool:
    """Tell whether two of a position speak of the same: of a placement both name, or of a vacancy."""
    if not set(one.placements).isdisjoint(other.placements):
        return True
    is_vacancy = not (one.placements and other.placements)
    return is_vacancy and one.type == other.type == NotificationType.INCUMBENTS

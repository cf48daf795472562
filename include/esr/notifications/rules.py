"""Which notifications a post gives on a day. Pure; ``today`` is a parameter.

Rules (domain page, section 3). What makes ESR be told:

- a position was reconciled: that position's incumbents, and the new post if ESR told of it as new;
- a placement starts today, or as many days from today as ESR is told ahead (13 weeks);
- the last placement ended yesterday and nobody follows;
  (of these, what fell on days no sweep was made for is made up for by the next)
- a placement was approved, moved (its days or its site), withdrawn, or its whole-time equivalent changed.

At a first look at a post nothing is a change, as nothing was known. A change of other details of a
placement (a name, a grade) tells nothing by itself.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import date
from typing import TYPE_CHECKING

from include.esr.notifications.changes import DAY, Sight, by_start, changes_of, is_told, site_of
from include.esr.notifications.notification import Notification, NotificationType

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from include.esr.notifications.changes import Changes, NewDates
    from include.esr.placements.facts import PlacementFacts, PositionFacts, PostView

    Row = tuple[PlacementFacts | None, PlacementFacts | None]


def notifications_of(view: PostView, *, today: date, horizon_days: int) -> list[Notification]:
    """Return what ESR is to be told of a post today, in the order it is to read it.

    Every position of the post gets its own, host and lead alike. What tells of changes stands before the
    incumbents that remain.

    Args:
        view: The post; one without positions gives nothing.
        today: The day it is done for, in London.
        horizon_days: How many days ahead of its start ESR is told of a placement.
    """
    sight = Sight(today, horizon_days, view.swept, view.seen_on)
    changes = changes_of(view, sight)
    rows = incumbents(view.placements, sight)
    is_due = changes.any or _is_due_by_date(view.placements, sight, rows)
    told: list[Notification] = []
    for position in _in_order(view.positions):
        is_reconciled = position.id in view.reconciled
        told += _of_changes(view, position, changes, sight, rows)
        if is_reconciled and position.is_new:
            told.append(
                Notification.about(NotificationType.NEW_POST, view, position, vacant=_is_vacant(rows))
            )
        if is_due or is_reconciled:
            told += _of_incumbents(view, position, rows)
    return told


def snapshot(view: PostView, today: date, *, horizon_days: int) -> list[Notification]:
    """Return who is in a post and who comes, for every position: what a full snapshot (DNF) says of it."""
    rows = incumbents(view.placements, Sight(today, horizon_days))
    return [told for position in _in_order(view.positions) for told in _of_incumbents(view, position, rows)]


def incumbents(placements: Iterable[PlacementFacts], sight: Sight) -> list[Row]:
    """Return who is in a post, each with who comes next at the same site; one row of nobody if it is empty.

    At a site where several are in the post or come on the same day, who leaves first is followed by who
    comes first (D). Only those who come earliest at their site are next.
    """
    there: dict[str, list[PlacementFacts]] = defaultdict(list)
    comes: dict[str, list[PlacementFacts]] = defaultdict(list)
    for placement in by_start(filter(is_told, placements)):
        if sight.is_current(placement):
            there[site_of(placement)].append(placement)
        elif sight.is_next(placement):
            comes[site_of(placement)].append(placement)
    rows: list[Row] = []
    for site in sorted(there.keys() | comes.keys()):
        leaving = sorted(there[site], key=lambda each: (each.end or date.max, each.start, each.id))
        earliest = [each for each in comes[site] if each.start == comes[site][0].start]
        rows += [
            (
                leaving[place] if place < len(leaving) else None,
                earliest[place] if place < len(earliest) else None,
            )
            for place in range(max(len(leaving), len(earliest)))
        ]
    return rows or [(None, None)]


def _is_due_by_date(placements: Iterable[PlacementFacts], sight: Sight, rows: list[Row]) -> bool:
    told = [placement for placement in placements if is_told(placement)]
    first, gap = sight.first_day, sight.today - sight.first_day
    for placement in told:
        start = placement.start or date.max
        if first <= start <= sight.today or sight.last - gap <= start <= sight.last:
            return True
    return rows == [(None, None)] and any(
        placement.end is not None and first - DAY <= placement.end < sight.today for placement in told
    )


def _of_changes(
    view: PostView, position: PositionFacts, changes: Changes, sight: Sight, rows: list[Row]
) -> Iterator[Notification]:
    vacant = _is_vacant(rows)
    for gone in changes.withdrawn:
        yield Notification.about(NotificationType.WITHDRAWAL, view, position, vacant=vacant, withdrawn=gone)
    for gone, instead in changes.replaced:
        yield Notification.about(
            NotificationType.REPLACEMENT, view, position, vacant=vacant, withdrawn=gone, replacement=instead
        )
    for moved in changes.new_dates:
        yield _of_new_dates(view, position, moved, sight, vacant=vacant)


def _of_new_dates(
    view: PostView, position: PositionFacts, moved: NewDates, sight: Sight, *, vacant: bool
) -> Notification:
    comes = moved.placement.start is not None and moved.placement.start > sight.today
    named = {"next" if comes else "current": moved.placement}
    return Notification.about(
        NotificationType.NEW_DATES, view, position, vacant=vacant, changed=(moved.start, moved.end), **named
    )


def _of_incumbents(view: PostView, position: PositionFacts, rows: list[Row]) -> list[Notification]:
    return [
        Notification.about(
            NotificationType.INCUMBENTS, view, position, vacant=comes is None, current=there, next=comes
        )
        for there, comes in rows
    ]


def _is_vacant(rows: list[Row]) -> bool:
    return all(comes is None for _, comes in rows)


def _in_order(positions: Iterable[PositionFacts]) -> list[PositionFacts]:
    return sorted(positions, key=lambda each: each.id)

"""Posts with positions and placements, for tests of notifications: today is a Wednesday in March."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

from include.esr.notifications.notification import Notification
from include.esr.notifications.rules import notifications_of
from include.esr.placements.facts import PlacementFacts, PositionFacts, PostView

TODAY = date(2026, 3, 4)
HORIZON = 91
NUMBER = "KSS/RXC01/800/GPST/003"
HOST = PositionFacts(11, "P11", "Host Employer", "96", "KSS", "RXC")
LEAD = PositionFacts(12, "P12", "Lead Employer", "409", "KSS", "RXC")


def day(offset: int) -> date:
    return TODAY + timedelta(days=offset)


def placement(placement_id: int, start: int, end: int | None, **other: Any) -> PlacementFacts:
    """Return an approved placement by the days it begins and ends from today."""
    values: dict[str, Any] = {
        "trainee_id": 1000 + placement_id,
        "type": "In post",
        "approved": True,
        "site_code": "RXC01",
        "wte": 1.0,
        "gmc": f"700{placement_id}",
        "surname": f"Surname{placement_id}",
        "forenames": f"Forename{placement_id}",
        "email": f"t{placement_id}@example.org",
        "grade": "ST1",
    } | other
    return PlacementFacts(placement_id, start=day(start), end=None if end is None else day(end), **values)


CURRENT = placement(1, -100, 30)
NEXT = placement(2, 31, 200)


def view(*placements: PlacementFacts, **other: Any) -> PostView:
    """Return a post with one position, seen before as it is now unless told otherwise."""
    values: dict[str, Any] = {"positions": (HOST,), "before": placements, "seen_on": day(-1)} | other
    return PostView(7, NUMBER, "KSS", placements=placements, **values)


def changed(facts: PlacementFacts, **values: Any) -> PlacementFacts:
    return replace(facts, **values)


def told(post: PostView, *, today: date = TODAY) -> list[Notification]:
    return notifications_of(post, today=today, horizon_days=HORIZON)


def names(notification: Notification) -> tuple[str, int | None, int | None]:
    """Return the type and the placements who is there and who comes by."""
    return (
        notification.type.value,
        notification.current.id if notification.current else None,
        notification.next.id if notification.next else None,
    )

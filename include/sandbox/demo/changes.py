"""What happens at TCS between the demo's two days: placements are approved, moved, withdrawn and made."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

from include.sandbox.esr.expected import TYPES
from include.sandbox.esr.world import FIRST_PERSON

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from include.sandbox.tcs.process import TcsSandbox
    from include.sandbox.tcs.state import TcsState

OF_EACH = 3
LATER = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Changes:
    """The post id of each placement that was changed, by placement id."""

    approved: dict[int, int]
    withdrawn: dict[int, int]
    moved: dict[int, int]
    added: dict[int, int]


def change_placements(tcs: TcsSandbox, known: TcsState, posts: Iterable[int], day: date) -> Changes:
    """Change a few coming placements of these posts, always the same ones.

    Args:
        tcs: The stand-in.
        known: What it knows.
        posts: Posts with positions.
        day: Today; what starts later is coming.
    """
    posts = sorted(set(posts))
    coming = {
        post: [one for one in known.placements_of("post", post) if one["dateFrom"] > day.isoformat()]
        for post in posts
    }
    eligible = [one for post in posts for one in coming[post] if one["placementType"] in TYPES]
    drafts = [one for one in eligible if one["lifecycleState"] == "DRAFT"][:OF_EACH]
    sent = [one for one in eligible if one["lifecycleState"] == "APPROVED"]
    withdrawn, moved = sent[:OF_EACH], sent[OF_EACH : 2 * OF_EACH]
    free = [post for post in posts if not coming[post]][:OF_EACH]
    for one in drafts:
        tcs.approve_placement(one["id"])
    for one in withdrawn:
        tcs.remove_placement(one["id"])
    for one in moved:
        tcs.move_placement(one["id"], date.fromisoformat(one["dateFrom"]) + LATER)
    start = known.world.turnover
    added = {
        tcs.add_placement(person, post, start, start + timedelta(days=363), siteCode="RTD01"): post
        for post, person in zip(free, _idle(known), strict=False)
    }
    return Changes(_posts(drafts), _posts(withdrawn), _posts(moved), added)


def _posts(placements: Iterable[dict[str, Any]]) -> dict[int, int]:
    return {one["id"]: one["postId"] for one in placements}


def _idle(known: TcsState) -> Iterator[int]:
    """Yield doctors who are in no post and go to none."""
    world = known.world
    idle = (
        FIRST_PERSON + index
        for index in range(world.people)
        if not world.placements_of_person(index) and world.gmc_number(index)
    )
    return islice(idle, OF_EACH)

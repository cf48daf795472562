"""The kinds of calls that must happen exactly once: whom they tell, and how TCS shows that it was told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from include.esr.tcs.answers import PlacementExported, PostChanged

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from include.esr.tcs import Tcs
    from include.esr.tcs.answers import EsrEvent, Outcome
    from include.storage.mongo import Document

KindName = Literal["esr-changed", "esr-exported"]


@dataclass(frozen=True, slots=True)
class CallKind:
    """One kind of call, as its documents in ``esr_call`` are to be read.

    Attributes:
        target: Field with the id of who is told.
        line: Field by which calls queue up: those with the same value go out one after the other.
        lines: What lines are, for messages.
        moment: Of the body, the time by which a call is recognised when TCS is read back.
        tell: Sends calls until a clock reading, and returns what became of each.
        read_back: Returns what these targets were told so far.
    """

    name: KindName
    target: str
    line: str
    lines: str
    moment: str
    tell: Callable[[Tcs, Sequence[Document], float], list[Outcome]]
    read_back: Callable[[Tcs, Collection[int]], Mapping[int, Sequence[EsrEvent]]]


def _tell_posts(tcs: Tcs, calls: Sequence[Document], until: float) -> list[Outcome]:
    return tcs.tell_posts_changed([PostChanged(call["post_id"], call["body"]) for call in calls], until=until)


def _tell_placements(tcs: Tcs, calls: Sequence[Document], until: float) -> list[Outcome]:
    exported = [PlacementExported(call["placement_id"], call["body"]) for call in calls]
    return tcs.tell_placements_exported(exported, until=until)


KINDS: Mapping[KindName, CallKind] = {
    "esr-changed": CallKind(
        name="esr-changed",
        target="post_id",
        line="position_id",
        lines="positions",
        moment="eventDateTime",
        tell=_tell_posts,
        read_back=lambda tcs, ids: tcs.post_events(ids),
    ),
    "esr-exported": CallKind(
        name="esr-exported",
        target="placement_id",
        line="record_id",
        lines="applicants",
        moment="exportedAt",
        tell=_tell_placements,
        read_back=lambda tcs, ids: tcs.placement_events(ids),
    ),
}
"""In the order they are delivered."""

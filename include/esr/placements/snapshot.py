"""Posts as generation saw them last: what a change is told apart by.

One document a (deanery, post), written in the transaction of what generation made of it. It also says up
to which revision of each position that is so: a position with another one was reconciled since.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from include.esr.names import FileType
from include.esr.placements.facts import PlacementFacts, PositionFacts, PostView
from include.esr.positions.results import StoredPosition

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from pymongo.client_session import ClientSession

    from include.storage.mongo import Document, IntegrationStore

_FIRST_REVISION = 1
_POSITION = dict.fromkeys(
    [
        *("deanery", "number", "deleted", "revision", "hash", "file_id", "match"),
        *(
            f"{part}.{name}"
            for part in ("pos", "por")
            for name in (
                *("order", "deanery", "last_update_date", "indicator", "position_number", "managing_office"),
                *("ods_code", "host_lead_indicator", "employing_org_vpd_code"),
            )
        ),
    ],
    1,
)


@dataclass(frozen=True, slots=True, repr=False)
class Seen:
    """A post as it was seen last.

    Attributes:
        positions: Revision of each position by its id.
        on: The latest day that was noted for.
    """

    number: str
    placements: tuple[PlacementFacts, ...]
    positions: Mapping[int, int]
    on: date


@dataclass(frozen=True, slots=True)
class Current:
    """The matched positions of a post as they are now, with the revision of each by its id."""

    number: str | None
    positions: tuple[PositionFacts, ...]
    revisions: Mapping[int, int]


def posts_of(store: IntegrationStore, deanery: str) -> list[int]:
    """Return the ids of every post a sweep looks at: with a position now, or seen before."""
    held = {"deanery": deanery, "deleted": False, "match.status": "MATCHED"}
    seen = store["esr_post"].distinct("post_id", {"deanery": deanery})
    return sorted({*store["esr_position"].distinct("match.post_id", held), *seen})


def seen_posts(store: IntegrationStore, deanery: str, posts: Collection[int]) -> dict[int, Seen]:
    """Return posts as they were seen last; one that never was is missing."""
    found = store["esr_post"].find({"_id": {"$in": [_key(deanery, post) for post in posts]}})
    return {
        doc["post_id"]: Seen(
            doc["number"],
            tuple(map(PlacementFacts.from_document, doc["placements"])),
            {int(position): revision for position, revision in doc["positions"].items()},
            date.fromisoformat(doc["seen_on"]),
        )
        for doc in found
    }


def current_positions(
    store: IntegrationStore, deanery: str, posts: Collection[int], seen: Mapping[int, Seen]
) -> dict[int, Current]:
    """Return the matched positions of posts that this deanery holds; every post is in the answer."""
    query = {
        "match.post_id": {"$in": list(posts)},
        "deanery": deanery,
        "deleted": False,
        "match.status": "MATCHED",
    }
    by_post: dict[int, list[Document]] = {post: [] for post in posts}
    for doc in store["esr_position"].find(query, _POSITION).sort("_id", 1):
        by_post[doc["match"]["post_id"]].append(doc)
    return {
        post: Current(
            docs[0]["number"] if docs else None,
            tuple(_facts(doc, seen.get(post)) for doc in docs),
            {doc["_id"]: doc["revision"] for doc in docs},
        )
        for post, docs in by_post.items()
    }


def last_sweep(store: IntegrationStore, deanery: str) -> date | None:
    """Return the last day every post of a deanery was looked at for, ``None`` if it never was."""
    found = store["esr_sweep"].find_one({"_id": deanery})
    return date.fromisoformat(found["through"]) if found else None


def note_sweep(store: IntegrationStore, deanery: str, today: date) -> None:
    """Note that every post of a deanery was looked at for a day; an older day than before changes nothing."""
    store["esr_sweep"].update_one({"_id": deanery}, {"$max": {"through": today.isoformat()}}, upsert=True)


def view_of(
    deanery: str,
    post: int,
    now: Current,
    placements: Sequence[PlacementFacts],
    before: Seen | None,
    *,
    swept: date | None = None,
) -> PostView:
    """Return what generation knows of a post."""
    known = before.positions if before else {}
    return PostView(
        id=post,
        number=now.number or (before.number if before else ""),
        deanery=deanery,
        positions=now.positions,
        placements=tuple(sorted(placements, key=lambda each: each.id)),
        before=before.placements if before else None,
        reconciled=frozenset(
            position for position, revision in now.revisions.items() if known.get(position) != revision
        ),
        swept=swept,
        seen_on=before.on if before else None,
    )


def note_seen(
    store: IntegrationStore,
    session: ClientSession,
    views: Iterable[PostView],
    revisions: Mapping[int, Mapping[int, int]],
    today: date,
) -> None:
    """Note posts as seen, in the transaction of what was made of them; one without a position is forgotten.

    Args:
        store: The store.
        session: Of the caller's transaction.
        views: What was seen.
        revisions: By post, the revision of each of its positions.
        today: The day it was seen for; a later one that stands there stays.
    """
    from pymongo import DeleteOne, ReplaceOne

    writes: list[DeleteOne | ReplaceOne[Document]] = []
    for view in views:
        key = {"_id": _key(view.deanery, view.id)}
        if not view.positions:
            writes.append(DeleteOne(key))
            continue
        document: Document = {
            "deanery": view.deanery,
            "post_id": view.id,
            "number": view.number,
            "placements": [placement.to_document() for placement in view.placements],
            "positions": {str(position): revision for position, revision in revisions[view.id].items()},
            "seen_on": max(today, view.seen_on or today).isoformat(),
        }
        writes.append(ReplaceOne(key, document, upsert=True))
    if writes:
        store["esr_post"].bulk_write(writes, ordered=False, session=session)


def is_as_seen(view: PostView, revisions: Mapping[int, int], before: Seen | None) -> bool:
    """Tell whether a post is in every respect as it was seen last."""
    return (
        before is not None
        and bool(view.positions)
        and before.number == view.number
        and before.positions == revisions
        and before.placements == view.placements
    )


def _facts(doc: Document, before: Seen | None) -> PositionFacts:
    stored = StoredPosition.of(doc)
    is_change = f"_{FileType.RMC}_" in stored.file_name
    known = before is not None and stored.id in before.positions
    facts: dict[str, Any] = dict(stored.facts)
    return PositionFacts(
        id=stored.id,
        number=facts.get("position_number"),
        host_lead=facts.get("host_lead_indicator"),
        vpd=facts.get("employing_org_vpd_code"),
        managing_office=facts.get("managing_office"),
        ods_code=facts.get("ods_code"),
        is_new=is_change and not known and stored.revision == _FIRST_REVISION,
    )


def _key(deanery: str, post: int) -> str:
    return f"{deanery}/{post}"

"""What became of a file, counted from the state of the store: right also after a crash and a second run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from include.esr import records
from include.esr.documents import MatchStatus
from include.esr.people.plan import PersonStatus
from include.esr.positions.merging import POSITION_TYPES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from include.esr.context import EsrContext

PERSON_TYPES = ("PER", "ADD", "ABS", "PBD", "ASG")
IDS_AT_ONCE = 5_000


def file_counts(ctx: EsrContext, file_id: str) -> dict[str, int]:
    """Return how many of a file's positions are matched, unmatched and deleted, and what TCS was told.

    ``tcs_updates`` are the changes of posts told, and the people whose latest data came with this file and
    was sent.
    """
    name = file_id.partition("#")[0]
    counts = dict.fromkeys(("matched", "unmatched", "deleted_positions", "posts_told", "people_updated"), 0)
    for ids in _batches(_ids(ctx, file_id, POSITION_TYPES, "position_id")):
        for found in ctx.store["esr_position"].aggregate(
            [
                {"$match": {"_id": {"$in": ids}}},
                {"$group": {"_id": {"deleted": "$deleted", "status": "$match.status"}, "n": {"$sum": 1}}},
            ]
        ):
            counts[_kind(found["_id"])] += found["n"]
        counts["posts_told"] += ctx.store["esr_call"].count_documents(
            {"position_id": {"$in": ids}, "body.filename": name, "state": "told"}
        )
    for ids in _batches(_ids(ctx, file_id, PERSON_TYPES, "person_id")):
        counts["people_updated"] += ctx.store["esr_person"].count_documents(
            {"_id": {"$in": ids}, "file_id": file_id, "outcome.status": PersonStatus.UPDATED.value}
        )
    return counts | {"tcs_updates": counts["posts_told"] + counts["people_updated"]}


def _kind(found: dict[str, Any]) -> str:
    if found.get("deleted"):
        return "deleted_positions"
    return "matched" if found.get("status") == MatchStatus.MATCHED else "unmatched"


def _ids(ctx: EsrContext, file_id: str, codes: tuple[str, ...], column: str) -> set[int]:
    return {
        each
        for _, tables in records.chunks(ctx.store, file_id, codes=codes)
        for table in tables.values()
        for each in table[column].to_pylist()
        if each is not None
    }


def _batches(ids: set[int]) -> Iterator[list[int]]:
    ordered = sorted(ids)
    for at in range(0, len(ordered), IDS_AT_ONCE):
        yield ordered[at : at + IDS_AT_ONCE]

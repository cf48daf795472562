"""Whose turn it is: a position that moved between deaneries is told of in order, though each tells alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from include.storage.mongo import store_errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from include.storage.mongo import Document, IntegrationStore


def held_back(store: IntegrationStore, owner: str, first: Sequence[Document]) -> set[int]:
    """Return the positions of which another deanery has a call that was queued before ours and still waits.

    Only the first call of each deanery is compared, so that of those for one position always one may go:
    the earliest by ``queued_at``, then ``order``.

    Args:
        store: Where the calls are.
        owner: Whose calls are about to go out.
        first: Its first call of each position, with ``position_id``, ``queued_at`` and ``order``.

    Raises:
        TransientError: The store did not answer.
    """
    ours = {call["position_id"]: _turn(call) for call in first}
    with store_errors(owner):
        found = list(
            store["esr_call"]
            .find(
                {"position_id": {"$in": list(ours)}, "pending": True, "owner": {"$ne": owner}},
                {"owner": 1, "position_id": 1, "queued_at": 1, "order": 1},
            )
            .sort([("order", 1), ("_id", 1)])
        )
    theirs: dict[tuple[str, int], Document] = {}
    for call in found:
        theirs.setdefault((call["owner"], call["position_id"]), call)
    return {position for (_, position), call in theirs.items() if _turn(call) < ours[position]}


def _turn(call: Document) -> tuple[Any, ...]:
    return call["queued_at"], call["order"], call["_id"]

"""Whose turn it is: a position that moved between deaneries is told of in order, though each tells alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from include.storage.mongo import store_errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from include.storage.mongo import Document, IntegrationStore


def held_back(store: IntegrationStore, owner: str, first: Sequence[Document], *, line: str) -> set[int | str]:
    """Return the lines in which another deanery has a call that was queued before ours and still waits.

    Only the first call of each deanery is compared, so that of those in one line always one may go: the
    earliest by ``queued_at``, then ``order``.

    Args:
        store: Where the calls are.
        owner: Whose calls are about to go out.
        first: Its first call of each line, with ``position_id``, ``queued_at`` and ``order``.
        line: Field that says which line a call stands in.

    Raises:
        TransientError: The store did not answer.
    """
    ours = {call[line]: _turn(call) for call in first}
    positions = list({call["position_id"] for call in first})
    with store_errors(owner):
        found = list(
            store["esr_call"]
            .find(
                {
                    "position_id": {"$in": positions},
                    line: {"$in": list(ours)},
                    "pending": True,
                    "owner": {"$ne": owner},
                },
                {"owner": 1, line: 1, "queued_at": 1, "order": 1},
            )
            .sort([("order", 1), ("_id", 1)])
        )
    theirs: dict[tuple[str, int | str], Document] = {}
    for call in found:
        theirs.setdefault((call["owner"], call[line]), call)
    return {stood for (_, stood), call in theirs.items() if _turn(call) < ours[stood]}


def _turn(call: Document) -> tuple[Any, ...]:
    return call["queued_at"], call["order"], call["_id"]

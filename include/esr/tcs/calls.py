"""Calls to TCS that must happen exactly once, though TCS does not deduplicate them.

A call is queued in the transaction of what it tells of. It is marked as being sent *before* it is sent;
what is found so marked is doubtful, and what TCS was told is read back before anything is told again.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from include.errors import ConfigurationError, TransientError
from include.esr.tcs.delivery import Delivery, shown
from include.esr.tcs.kinds import KINDS
from include.esr.tcs.lease import held_lease
from include.storage.mongo import store_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from pymongo.client_session import ClientSession

    from include.esr.tcs import Tcs
    from include.esr.tcs.kinds import KindName
    from include.settings import Settings
    from include.storage.mongo import Document, IntegrationStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One thing TCS must be told once.

    Calls of one position (``esr-changed``), or of one placement and position (``esr-exported``), go out in
    the order they were queued, one after the other, also where several deaneries queued them. The two
    kinds do not wait for each other.

    Attributes:
        id: The same whenever the same change is planned again.
        post_id, placement_id: Who is told: a post with ``esr-changed``, a placement with ``esr-exported``.
        body: JSON as TCS wants it, with its time (``eventDateTime``, ``exportedAt``) fixed now
            (``answers.written``): it is told with this time however late, and recognised by it when read
            back. Two calls that go out one after the other and have one status have different times.
    """

    id: str
    post_id: int | None = None
    placement_id: int | None = None
    position_id: int
    body: Mapping[str, Any]
    kind: KindName = "esr-changed"

    def to_document(self) -> Document:
        """Return what is stored of it, besides its state."""
        told: Document = {
            "_id": self.id,
            "kind": self.kind,
            "position_id": self.position_id,
            "body": dict(self.body),
        }
        if self.kind == "esr-changed":
            return told | {"post_id": self.post_id}
        record_id = f"{self.placement_id}-{self.position_id}"
        return told | {"placement_id": self.placement_id, "record_id": record_id}


def queue_calls(
    store: IntegrationStore,
    session: ClientSession,
    owner: str,
    calls: Sequence[Call],
    *,
    order: int,
    at: datetime,
) -> int:
    """Queue calls inside the transaction of what they tell of, and return how many were new.

    Use it once in a commit: ``order``, the commit's place in time, and the place in ``calls`` say what is
    sent first. A call that was queued before, told or not, is left as it is.
    """
    known = {
        found["_id"]
        for found in store["esr_call"].find(
            {"_id": {"$in": [call.id for call in calls]}}, {"_id": 1}, session=session
        )
    }
    fresh = [
        call.to_document()
        | {
            "owner": owner,
            "order": f"{order:012d}-{place:06d}",
            "pending": True,
            "state": "pending",
            "attempts": 0,
            "queued_at": at,
        }
        for place, call in enumerate(calls)
        if call.id not in known
    ]
    if fresh:
        store["esr_call"].insert_many(fresh, session=session)
    return len(fresh)


def deliver(
    store: IntegrationStore,
    owner: str,
    tcs: Tcs,
    settings: Settings,
    *,
    now: Callable[[], datetime],
    progress: Callable[[str], None] = lambda _line: None,
) -> dict[str, int]:
    """Tell TCS everything that waits for this owner, each call exactly once.

    Returns:
        ``told``, of these ``read_back`` (told before, as TCS itself says), and ``refused``: set aside with
        the reason, each told of as an alert. One that TCS keeps failing on, and as its answers show does
        not have, is set aside as well.

    Raises:
        NotYetError: Somebody else is at it; TCS is left alone; it is not certain yet what became of some
            calls; or another deanery's come first. Everything else was told, and they wait where they are.
        TransientError: TCS or the store did not answer; nothing is lost.
        ConfigurationError: TCS refuses the client, or the lease is too short.
    """
    if settings.tcs_lease_seconds <= settings.tcs_timeout:
        raise ConfigurationError(
            "SPOTLIGHT_TCS_LEASE_SECONDS must be longer than SPOTLIGHT_TCS_TIMEOUT: a call that is still "
            "under way when its lease runs out could be told twice",
            subject=owner,
        )
    counts: Counter[str] = Counter()
    if not waiting_calls(store, owner):
        return shown(counts)
    failures: list[TransientError] = []
    with held_lease(store, owner, seconds=settings.tcs_lease_seconds) as lease:
        for kind in KINDS.values():
            try:
                Delivery(store, lease, kind, tcs, settings, counts, now, progress).run()
            except TransientError as failure:  # one kind does not wait for the other
                failures.append(failure)
    if failures:
        raise failures[0]
    return shown(counts)


def waiting_calls(store: IntegrationStore, owner: str) -> int:
    """Return how many calls of an owner wait or are in doubt."""
    with store_errors(owner):
        return store["esr_call"].count_documents({"pending": True, "owner": owner})


def release_calls(store: IntegrationStore, owner: str) -> int:
    """Let the refused calls of an owner wait again, and return how many."""
    with store_errors(owner):
        return (
            store["esr_call"]
            .update_many(
                {"owner": owner, "refused": {"$exists": True}},
                {
                    "$set": {"pending": True, "state": "pending"},
                    "$unset": {"refused": "", "refused_at": "", "failures": ""},
                },
            )
            .modified_count
        )

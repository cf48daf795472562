"""Calls to TCS that must happen exactly once, though TCS does not deduplicate them.

A call is queued in the transaction of what it tells of. It is marked as being sent *before* it is sent;
what is found so marked is doubtful, and what TCS was told is read back before anything is told again.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import structlog

from include.errors import ConfigurationError, NotYetError, TransientError
from include.esr.tcs.answers import PostChanged, Verdict, moment
from include.esr.tcs.lease import held_lease
from include.esr.tcs.turns import held_back
from include.storage.mongo import store_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from pymongo.client_session import ClientSession

    from include.esr.tcs import Tcs
    from include.esr.tcs.answers import Outcome, PostEvent
    from include.esr.tcs.lease import Lease
    from include.settings import Settings
    from include.storage.mongo import Document, IntegrationStore

CALLS_AT_ONCE = 500
"""Marked, sent and noted together; what a killed process leaves in doubt."""
MOST_FAILURES = 5
"""After so many the call itself is taken to be what TCS fails on: it must not hold up a file for ever."""
KEEPS_FAILING = "tcs_keeps_failing"
_MOST_HELD_BACK = 20 * CALLS_AT_ONCE


@dataclass(frozen=True, slots=True)
class Call:
    """One thing TCS must be told once.

    Attributes:
        id: The same whenever the same change is planned again.
        position_id: Calls of one position go out in the order they were queued, one after the other, also
            where several deaneries queued them.
        body: JSON as TCS wants it, with ``eventDateTime`` fixed now (``answers.written``): it is told with
            this time however late, and recognised by it when read back. Two calls of one position and status
            have different times.
    """

    id: str
    post_id: int
    position_id: int
    body: Mapping[str, Any]
    kind: Literal["esr-changed"] = "esr-changed"


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
        {
            "_id": call.id,
            "owner": owner,
            "kind": call.kind,
            "post_id": call.post_id,
            "position_id": call.position_id,
            "body": dict(call.body),
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
    if not waiting_calls(store, owner):
        return _shown(Counter())
    with held_lease(store, owner, seconds=settings.tcs_lease_seconds) as lease:
        return _Delivery(store, lease, tcs, settings, now, progress).run()


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


@dataclass(frozen=True, slots=True)
class _Delivery:
    """One holder of the lease at work."""

    store: IntegrationStore
    lease: Lease
    tcs: Tcs
    settings: Settings
    now: Callable[[], datetime]
    progress: Callable[[str], None]

    def run(self) -> dict[str, int]:
        counts: Counter[str] = Counter()
        held: set[int] = set()
        blocked = self._settle(counts)
        while first := self._next(blocked | held):
            behind = held_back(self.store, self.lease.owner, first)
            held |= behind
            if wave := [call for call in first if call["position_id"] not in behind]:
                unknown = self._send(wave, counts)
                self.progress(f"{_shown(counts)['told']} changes told to TCS")
                if unknown:
                    blocked = self._settle(counts)
            if len(blocked) >= CALLS_AT_ONCE or len(held) >= _MOST_HELD_BACK:
                break
        self._require_all_told(blocked, held)
        return _shown(counts)

    def _require_all_told(self, blocked: set[int], held: set[int]) -> None:
        reasons = []
        if blocked:
            reasons.append(
                f"it is not certain yet whether TCS got the changes of {len(blocked)} positions; they are "
                "looked up again before anything more is told of them"
            )
        if held:
            reasons.append(
                f"{len(held)} positions wait until another deanery has told what it queued of them before"
            )
        if reasons:
            raise NotYetError(
                "; ".join(reasons), retry_after=self.settings.tcs_lease_seconds, subject=self.lease.owner
            )

    def _settle(self, counts: Counter[str]) -> set[int]:
        """Find out what became of doubtful calls; return the positions of those that stay in doubt.

        What TCS does not show may still be on its way there, from a process that was killed or a call that
        timed out: only when it has been quiet for as long as a lease is it sent again, or given up if TCS
        has failed on it too often.
        """
        blocked: set[int] = set()
        doubtful = self._doubtful()
        for start in range(0, len(doubtful), CALLS_AT_ONCE):
            part = doubtful[start : start + CALLS_AT_ONCE]
            events = self.tcs.post_events({call["post_id"] for call in part})
            told = [call for call in part if _is_told(call, events.get(call["post_id"], ()))]
            lost = [call for call in part if call["quiet"] and call not in told]
            self._note(told, self._told(), {"state": "sending"})
            counts["read_back"] += len(told)
            hopeless = [call for call in lost if call.get("failures", 0) >= MOST_FAILURES]
            self._note_lost(hopeless, self._refused(KEEPS_FAILING, hopeless))
            counts[Verdict.REFUSED] += len(hopeless)
            self._note_lost([call for call in lost if call not in hopeless], _WAITS)
            settled = {call["_id"] for call in (*told, *lost)}
            blocked |= {call["position_id"] for call in part if call["_id"] not in settled}
        return blocked

    def _note_lost(self, lost: Sequence[Document], change: Mapping[str, Any]) -> None:
        for token in {call["lease"] for call in lost}:
            theirs = [call for call in lost if call["lease"] == token]
            self._note(theirs, change, {"state": "sending", "lease": token})

    def _doubtful(self) -> list[Document]:
        quiet = {"$lte": ["$sent_at", {"$subtract": ["$$NOW", round(self.lease.seconds * 1000)]}]}
        with store_errors(self.lease.owner):
            return list(
                self.store["esr_call"]
                .find(
                    {"pending": True, "owner": self.lease.owner, "state": "sending"},
                    {"post_id": 1, "position_id": 1, "body": 1, "lease": 1, "failures": 1, "quiet": quiet},
                )
                .sort([("order", 1), ("_id", 1)])
            )

    def _next(self, blocked: Iterable[int]) -> list[Document]:
        """Return the next calls, one a position; what is behind one of ours waits for the next turn."""
        with store_errors(self.lease.owner):
            found = (
                self.store["esr_call"]
                .find(
                    {
                        "pending": True,
                        "owner": self.lease.owner,
                        "state": "pending",
                        "position_id": {"$nin": list(blocked)},
                    },
                    {"post_id": 1, "position_id": 1, "body": 1, "order": 1, "queued_at": 1},
                )
                .sort([("order", 1), ("_id", 1)])
                .limit(CALLS_AT_ONCE)
            )
            first: dict[int, Document] = {}
            for call in found:
                first.setdefault(call["position_id"], call)
        return list(first.values())

    def _send(self, wave: Sequence[Document], counts: Counter[str]) -> int:
        """Mark calls, send them and note what became of them; return how many are in doubt."""
        ours = {"state": "sending", "lease": self.lease.token}
        until = self._mark_sending([call["_id"] for call in wave]) - self.settings.tcs_timeout
        changes = [PostChanged(call["post_id"], call["body"]) for call in wave]
        try:
            outcomes = self.tcs.tell_posts_changed(changes, until=until)
        except TransientError:  # nothing was sent at all
            self._note(wave, _WAITS, ours)
            raise
        alike: dict[Outcome, list[Document]] = {}
        for call, outcome in zip(wave, outcomes, strict=True):
            alike.setdefault(outcome, []).append(call)
        for outcome, calls in alike.items():
            self._note(calls, self._change_of(outcome, calls), ours)
            counts[outcome.verdict] += len(calls)
        if unsent := sum(not outcome.sent for outcome in outcomes):
            raise NotYetError(
                f"{unsent} of {len(wave)} changes could not be sent to TCS in time; they wait, in order",
                retry_after=self.settings.tcs_breaker_seconds,
                subject=self.lease.owner,
            )
        return sum(outcome.verdict is Verdict.UNKNOWN for outcome in outcomes)

    def _mark_sending(self, ids: Sequence[str]) -> float:
        """Commit that these calls are about to be sent by the holder of the lease; return until when."""

        def body(session: ClientSession) -> float:
            until = self.lease.renew(self.store, session)
            self.store["esr_call"].update_many(
                {"_id": {"$in": list(ids)}, "state": "pending"},
                [
                    {
                        "$set": {
                            "state": "sending",
                            "lease": self.lease.token,
                            "sent_at": "$$NOW",
                            "attempts": {"$add": ["$attempts", 1]},
                        }
                    }
                ],
                session=session,
            )
            return until

        with store_errors(self.lease.owner), self.store.client.start_session() as session:
            return float(session.with_transaction(body))

    def _change_of(self, outcome: Outcome, calls: Sequence[Document]) -> Mapping[str, Any]:
        if outcome.verdict is Verdict.APPLIED:
            return self._told()
        if outcome.verdict is Verdict.REFUSED:
            return self._refused(outcome.reason, calls)
        return {"$inc": {"failures": 1}} if outcome.sent else _WAITS

    def _refused(self, reason: str, calls: Sequence[Document]) -> Mapping[str, Any]:
        """Tell of refused calls, and return how they are set aside.

        The alert comes before the note: who is killed in between tells of them twice, not never.
        """
        alerts = structlog.get_logger("spotlight.alerts")
        for call in calls:
            alerts.error(
                "esr_call_refused",
                owner=self.lease.owner,
                position_id=call["position_id"],
                post_id=call["post_id"],
                status=call["body"]["status"],
                reason=reason,
            )
        return {
            "$set": {"state": "refused", "refused": reason, "refused_at": self.now()},
            "$unset": {"pending": ""},
        }

    def _told(self) -> Mapping[str, Any]:
        return {"$set": {"state": "told", "told_at": self.now()}, "$unset": {"pending": ""}}

    def _note(self, calls: Sequence[Document], change: Mapping[str, Any], only: Mapping[str, Any]) -> None:
        """Write what became of calls that are still in the state they were seen in."""
        if calls:
            with store_errors(self.lease.owner):
                self.store["esr_call"].update_many(
                    {"_id": {"$in": [call["_id"] for call in calls]}, **only}, change
                )


_WAITS: Mapping[str, Any] = {"$set": {"state": "pending"}}


def _is_told(call: Document, events: Iterable[PostEvent]) -> bool:
    """Tell whether a post's events show this call."""
    body = call["body"]
    wanted = (moment(body["eventDateTime"]), body["positionId"], body["status"])
    return any((event.at, event.position_id, event.status) == wanted for event in events)


def _shown(counts: Counter[str]) -> dict[str, int]:
    read_back = counts["read_back"]
    return {
        "told": counts[Verdict.APPLIED] + read_back,
        "read_back": read_back,
        "refused": counts[Verdict.REFUSED],
    }

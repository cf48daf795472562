"""Delivering one kind of calls: mark, send, note, and read back what is doubtful."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import structlog

from include.errors import NotYetError, TransientError
from include.esr.tcs.answers import Verdict, moment
from include.esr.tcs.turns import held_back
from include.storage.mongo import store_errors

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from pymongo.client_session import ClientSession

    from include.esr.tcs import Tcs
    from include.esr.tcs.answers import Outcome
    from include.esr.tcs.kinds import CallKind
    from include.esr.tcs.lease import Lease
    from include.settings import Settings
    from include.storage.mongo import Document, IntegrationStore

Line: TypeAlias = "int | str"
"""What calls queue up by: a position's id, or an applicant's (``kinds.CallKind.line``)."""
CALLS_AT_ONCE = 2_000
"""Marked, sent and noted together; what a killed process leaves in doubt."""
MOST_FAILURES = 5
"""After so many the call itself is taken to be what TCS fails on: it must not hold up a file for ever."""
KEEPS_FAILING = "tcs_keeps_failing"
_MOST_HELD_BACK = 10_000


@dataclass(frozen=True, slots=True)
class Delivery:
    """One holder of the lease at work on one kind of calls; ``counts`` are for ``shown``."""

    store: IntegrationStore
    lease: Lease
    kind: CallKind
    tcs: Tcs
    settings: Settings
    counts: Counter[str]
    now: Callable[[], datetime]
    progress: Callable[[str], None]

    def run(self) -> None:
        """Tell TCS every call of this kind that waits, each exactly once.

        Raises:
            IntegrationError: As ``deliver`` says.
        """
        held: set[Line] = set()
        blocked = self._settle()
        while first := self._next(blocked | held):
            behind = held_back(self.store, self.lease.owner, first, line=self.kind.line)
            held |= behind
            if wave := [call for call in first if call[self.kind.line] not in behind]:
                unknown = self._send(wave)
                self.progress(f"{shown(self.counts)['told']} changes told to TCS")
                if unknown:
                    blocked = self._settle()
            if len(blocked) >= CALLS_AT_ONCE or len(held) >= _MOST_HELD_BACK:
                break
        self._require_all_told(blocked, held)

    def _require_all_told(self, blocked: set[Line], held: set[Line]) -> None:
        reasons = []
        if blocked:
            reasons.append(
                f"it is not certain yet whether TCS got what was told of {len(blocked)} {self.kind.lines}; "
                "they are looked up again before anything more is told of them"
            )
        if held:
            reasons.append(
                f"{len(held)} {self.kind.lines} wait until another deanery has told what it queued of them "
                "before"
            )
        if reasons:
            raise NotYetError(
                "; ".join(reasons), retry_after=self.settings.tcs_lease_seconds, subject=self.lease.owner
            )

    def _settle(self) -> set[Line]:
        """Find out what became of doubtful calls; return the lines of those that stay in doubt.

        What TCS does not show may still be on its way there, from a process that was killed or a call that
        timed out: only when it has been quiet for as long as a lease is it sent again, or given up if TCS
        has failed on it too often.
        """
        blocked: set[Line] = set()
        doubtful = self._doubtful()
        for start in range(0, len(doubtful), CALLS_AT_ONCE):
            part = doubtful[start : start + CALLS_AT_ONCE]
            told = self._told_of(part)
            known = {call["_id"] for call in told}
            lost = [call for call in part if call["quiet"] and call["_id"] not in known]
            self._note(told, self._told(), {"state": "sending"})
            self.counts["read_back"] += len(told)
            hopeless = [call for call in lost if _is_hopeless(call)]
            self._note_lost(hopeless, self._refused(KEEPS_FAILING, hopeless))
            self.counts[Verdict.REFUSED] += len(hopeless)
            self._note_lost([call for call in lost if not _is_hopeless(call)], _WAITS)
            settled = {call["_id"] for call in (*told, *lost)}
            blocked |= {call[self.kind.line] for call in part if call["_id"] not in settled}
        return blocked

    def _told_of(self, calls: Sequence[Document]) -> list[Document]:
        """Return which of these calls TCS shows that it got."""
        targets = {call[self.kind.target] for call in calls}
        shown_by = {
            target: {(event.at, event.position_id, event.status) for event in events}
            for target, events in self.kind.read_back(self.tcs, targets).items()
        }
        return [
            call for call in calls if self._mark_of(call) in shown_by.get(call[self.kind.target], frozenset())
        ]

    def _mark_of(self, call: Document) -> tuple[datetime, int, str]:
        """Return what a call is recognised by in what TCS shows."""
        body = call["body"]
        return moment(body[self.kind.moment]), body["positionId"], body["status"]

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
                    self._ours("sending"),
                    self._shape("position_id", "lease", "failures") | {"quiet": quiet},
                )
                .sort([("order", 1), ("_id", 1)])
            )

    def _next(self, blocked: Iterable[Line]) -> list[Document]:
        """Return the next calls, one a line; what is behind one of ours waits for the next turn."""
        with store_errors(self.lease.owner):
            found = (
                self.store["esr_call"]
                .find(
                    self._ours("pending") | {self.kind.line: {"$nin": list(blocked)}},
                    self._shape("position_id", "order", "queued_at"),
                )
                .sort([("order", 1), ("_id", 1)])
                .limit(CALLS_AT_ONCE)
            )
            first: dict[Line, Document] = {}
            for call in found:
                first.setdefault(call[self.kind.line], call)
        return list(first.values())

    def _ours(self, state: str) -> dict[str, Any]:
        return {"pending": True, "owner": self.lease.owner, "kind": self.kind.name, "state": state}

    def _shape(self, *more: str) -> dict[str, Any]:
        return dict.fromkeys((self.kind.target, self.kind.line, "body", *more), 1)

    def _send(self, wave: Sequence[Document]) -> int:
        """Mark calls, send them and note what became of them; return how many are in doubt.

        Those for which the lease was too short wait for the next wave, under a lease renewed.
        """
        ours = {"state": "sending", "lease": self.lease.token}
        until = self._mark_sending([call["_id"] for call in wave]) - self.settings.tcs_timeout
        try:
            outcomes = self.kind.tell(self.tcs, wave, until)
        except TransientError:  # nothing was sent at all
            self._note(wave, _WAITS, ours)
            raise
        alike: dict[Outcome, list[Document]] = {}
        for call, outcome in zip(wave, outcomes, strict=True):
            alike.setdefault(outcome, []).append(call)
        for outcome, calls in alike.items():
            self._note(calls, self._change_of(outcome, calls), ours)
            self.counts[outcome.verdict] += len(calls)
        return sum(outcome.verdict is Verdict.UNKNOWN and outcome.sent for outcome in outcomes)

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
                kind=self.kind.name,
                position_id=call["position_id"],
                **{self.kind.target: call[self.kind.target]},
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


def _is_hopeless(call: Document) -> bool:
    return int(call.get("failures", 0)) >= MOST_FAILURES


def shown(counts: Counter[str]) -> dict[str, int]:
    """Return what became of calls, as ``deliver`` tells it."""
    read_back = counts["read_back"]
    return {
        "told": counts[Verdict.APPLIED] + read_back,
        "read_back": read_back,
        "refused": counts[Verdict.REFUSED],
    }

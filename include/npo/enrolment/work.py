"""Works off one NPO's enrolments: claims what is due, asks the partner, commits as answers come."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import structlog

from include.npo.enrolment import states
from include.npo.enrolment.decisions import Step, Terms, check, decide, next_action, visible_body
from include.npo.enrolment.record import ASLEEP, EnrolmentRecord, Reason, State
from include.npo.enrolment.records import (
    Changes,
    awaiting_references,
    by_reference,
    due_references,
    fence_owner,
)
from include.npo.enrolment.verdict import Kind, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from pymongo.client_session import ClientSession

    from include.connectors.manifest_enrolment import Enrolment
    from include.npo.enrolment.lease import Lease
    from include.npo.enrolment.partner import Partner
    from include.storage.mongo import IntegrationStore, Write

CLAIMED_AT_ONCE = 32
MOST_THREADS = 16
GATHERED = 0.05
"""Seconds in which answers are gathered for one commit: a commit costs more than most answers."""
FAILURES_IN_A_ROW = 5
"""After so many posts without a usable answer this NPO is left alone for a while."""
LEFT_ALONE = timedelta(minutes=1)
_TROUBLE = frozenset({Kind.UNKNOWN, Kind.LATER})
_HALTED = Verdict(Kind.LATER, why="not sent: this run ends")

log = structlog.get_logger("spotlight.alerts")


@dataclass(slots=True)
class Worker:
    """One run's work for one NPO, under its lease.

    Args:
        goes_on: Asked before more is claimed.
        publish: Called now and then, to tell what is known so far.
    """

    store: IntegrationStore
    npo_id: str
    lease: Lease
    partner: Partner
    enrolment: Enrolment
    threads: int
    terms: Terms
    now: Callable[[], datetime]
    goes_on: Callable[[int], bool]
    publish: Callable[[], None]
    counts: Counter[str] = field(default_factory=Counter)
    stopped: str = ""
    _halt: threading.Event = field(default_factory=threading.Event)
    _failures: int = 0
    _not_before: datetime | None = None

    def run(self) -> None:
        """Work until nothing is due, time is up, or the partner or its set-up does not allow more.

        Raises:
            LeaseLostError: Another process has taken over.
            TransientError: The store did not answer; what was under way is looked up by the next run.
        """
        flying: dict[Future[Verdict], Step] = {}
        threads = min(self.threads, MOST_THREADS)
        pool = ThreadPoolExecutor(threads, thread_name_prefix="enrol")
        try:
            while True:
                if len(flying) < threads and self._may_claim():
                    steps, looked = self._claim([step.record.reference for step in flying.values()])
                    flying |= {pool.submit(self._ask, step): step for step in steps}
                    if looked and not steps:
                        continue  # all of it failed or waits for people: there may be more
                if not flying:
                    return
                wait(flying, return_when=FIRST_COMPLETED)
                done, _ = wait(flying, timeout=GATHERED, return_when=ALL_COMPLETED)
                self._commit([(flying.pop(future), future.result()) for future in done])
                self.publish()
        finally:
            self._halt.set()
            pool.shutdown(wait=True, cancel_futures=True)

    def _may_claim(self) -> bool:
        return not self._halt.is_set() and self.lease.sure() and self.goes_on(self.counts.total())

    def _ask(self, step: Step) -> Verdict:
        if self._halt.is_set() or not self.lease.sure():
            return _HALTED
        verdict = self._asked(step)
        if verdict.whole_npo or verdict.stops:
            self._halt.set()  # at once: what the other threads would take up next need not be sent
        return verdict

    def _asked(self, step: Step) -> Verdict:
        record = step.record
        if step.action == "post":
            return self.partner.post(record, step.body, step.offering)
        if step.action == "lookup":
            return self.partner.lookup(record, step.body, step.offering)
        return self.partner.poll(record) if step.action == "poll" else self.partner.withdraw(record)

    def _claim(self, but: Sequence[str]) -> tuple[list[Step], int]:
        """Return requests to be made, and how many enrolments were looked at.

        Those that enrol are marked in the store first.
        """

        def plan() -> tuple[tuple[list[Step], Changes, int], Write | None]:
            at = self.now()
            references = due_references(self.store, self.npo_id, now=at, limit=CLAIMED_AT_ONCE, but=but)
            records = by_reference(self.store, references)
            offerings = self._offerings(records)
            changes, steps = Changes(at), []
            for reference in references:
                record = records[reference]
                offering = offerings.get(record.offering_id or "")
                if step := self._prepared(record, offering, changes, at):
                    steps.append(step)

            def write(session: ClientSession, order: int) -> None:
                changes.write(self.store, self.npo_id, session, order, lease=self.lease)

            return (steps, changes, len(references)), write if changes else None

        steps, changes, looked = self.store.commit_plan(fence_owner(self.npo_id), plan)
        for record in changes.records.values():
            if record.state in ASLEEP:
                self._note(record)
        return steps, looked

    def _prepared(
        self, record: EnrolmentRecord, offering: Mapping[str, Any] | None, changes: Changes, at: datetime
    ) -> Step | None:
        """Return the request one enrolment needs, taking its moves on the way there on."""
        body: Mapping[str, Any] = {}
        if record.state in {State.RECEIVED, State.READY}:
            after, body = check(record, self.enrolment, offering, at=at, terms=self.terms)
            if after is not record:
                record = changes.add(record, after)
            if record.state is not State.READY:
                return None
        if record.state is State.AWAITING_APPROVAL:
            changes.add(record, replace(record, due_at=at + states.APPROVAL_LOOKED_AT))
            return None
        if record.state is State.PENDING and record.withdrawal and self.partner.tells_withdrawals(record):
            why = "withdrawn while pending"
            after = states.withdrawing(record, at=at, why=why, give_up=self.terms.give_up)
            record = changes.add(record, after)
        action = next_action(record, self.enrolment)
        if action is None:
            return None
        if action == "post":
            body = body or visible_body(record, self.enrolment, offering)
            record = changes.add(record, states.posting(record, at=at))
        elif action == "lookup":
            body = visible_body(record, self.enrolment, offering)
        return Step(action, record, body, str((offering or {}).get("external_id", "")))

    def _offerings(self, records: Mapping[str, EnrolmentRecord]) -> dict[str, Mapping[str, Any]]:
        wanted = {record.offering_id for record in records.values() if record.offering_id}
        found = self.store["npo_offering"].find({"_id": {"$in": sorted(wanted)}, "npo_id": self.npo_id})
        return {offering["_id"]: offering for offering in found}

    def _commit(self, answered: Sequence[tuple[Step, Verdict]]) -> None:
        """Commit what answers came to, with the events that tell of it."""
        for step, verdict in answered:
            self._mind(step, verdict)

        def plan() -> tuple[list[EnrolmentRecord], Write]:
            at = self.now()
            records = by_reference(self.store, [step.record.reference for step, _ in answered])
            changes = Changes(at, npo=self._npo_state(at))
            for step, verdict in answered:
                record = records.get(step.record.reference)
                if record is not None and record.state is step.record.state:
                    after = _decided(record, step, verdict, self.enrolment, at, self.terms)
                    changes.add(record, after)

            def write(session: ClientSession, order: int) -> None:
                changes.write(self.store, self.npo_id, session, order, lease=self.lease)

            return list(changes.records.values()), write

        for record in self.store.commit_plan(fence_owner(self.npo_id), plan):
            self._note(record)

    def _note(self, record: EnrolmentRecord) -> None:
        self.counts[record.state.value] += 1
        tell(record)

    def _mind(self, step: Step, verdict: Verdict) -> None:
        """Draw the consequences of a verdict for everything of this NPO."""
        if verdict is _HALTED:
            return
        trouble = verdict.kind in _TROUBLE and step.action in {"post", "lookup"}
        self._failures = self._failures + 1 if trouble else 0
        if verdict.stops and not self.stopped:
            self.stopped = verdict.why
        if verdict.whole_npo or self._failures >= FAILURES_IN_A_ROW:
            told = timedelta(seconds=verdict.wait) if verdict.wait else LEFT_ALONE
            self._not_before = self.now() + min(told, timedelta(hours=6))
        if self.stopped or self._not_before:
            self._halt.set()

    def _npo_state(self, at: datetime) -> dict[str, Any]:
        state: dict[str, Any] = {}
        if self.stopped:
            state["stopped"] = {"at": at, "why": self.stopped}
        if self._not_before:
            state["not_before"] = self._not_before
        return state


def _decided(
    record: EnrolmentRecord,
    step: Step,
    verdict: Verdict,
    enrolment: Enrolment,
    at: datetime,
    terms: Terms,
) -> EnrolmentRecord:
    if verdict is not _HALTED:
        return decide(record, step.action, verdict, enrolment, at=at, terms=terms)
    if step.action == "post":
        # An attempt that was not made: what was in doubt before is so still.
        before = State.UNKNOWN if record.tries or record.attempts > 1 else State.READY
        return states.move(record, before, at=at, why=verdict.why, due_at=at, attempts=record.attempts - 1)
    return record


def tell(record: EnrolmentRecord) -> None:
    """Write a line for the person on call where an enrolment needs one; no personal data."""
    known = {"npo_id": record.npo_id, "reference": record.reference}
    if record.state is State.FAILED and record.reason is not None:
        log.error("enrolment_failed", **known, code=record.reason.code)
    elif record.state is State.WITHDRAWN and record.partner_informed is False:
        message = "tell the NPO, which has or may have the candidate: its API could not be used for it"
        log.error("enrolment_withdrawal_by_hand", **known, message=message)
    elif record.state is State.ACCEPTED and record.reason is not None:
        log.error("enrolment_withdrawal_failed", **known, code=record.reason.code)


def fail_waiting(
    store: IntegrationStore,
    npo_id: str,
    code: str,
    *,
    lease: Lease,
    now: Callable[[], datetime],
    terms: Terms,
) -> int:
    """Fail what cannot be sent at all (no such NPO, no enrolment section), and return how many.

    What waits for a person's approval is failed too: there is nothing left to approve.

    What the partner may have acted on is left until it is given up.
    """
    failed = 0

    def plan() -> tuple[list[EnrolmentRecord], Write | None]:
        at = now()
        due = due_references(store, npo_id, now=at, limit=CLAIMED_AT_ONCE, but=())
        waiting = awaiting_references(store, npo_id, limit=CLAIMED_AT_ONCE)
        records = by_reference(store, {*due, *waiting})
        changes = Changes(at)
        for record in records.values():
            changes.add(record, _unsendable(record, code, at, terms))

        def write(session: ClientSession, order: int) -> None:
            changes.write(store, npo_id, session, order, lease=lease)

        return list(changes.records.values()), write if changes else None

    while records := store.commit_plan(fence_owner(npo_id), plan):
        failed += len(records)
        for record in records:
            tell(record)
    return failed


def _unsendable(record: EnrolmentRecord, code: str, at: datetime, terms: Terms) -> EnrolmentRecord:
    if record.state in {State.RECEIVED, State.AWAITING_APPROVAL, State.READY}:
        return states.failed(record, at=at, reason=Reason(code), keep=terms.keep)
    if record.state is State.WITHDRAWING:
        return states.withdrawn(record, at=at, why=f"{code}: a person has to tell it", informed=False)
    if record.state is State.POSTING:
        return states.in_doubt(record, at=at, why=code, wait=timedelta(hours=1))
    return states.later(record, at=at, why=code, wait=timedelta(hours=1))

"""What a person does with enrolments: look, approve, refuse, try again, let a stopped NPO go on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from include.errors import ConfigurationError
from include.npo.enrolment import states
from include.npo.enrolment.records import COLLECTION, NPOS, Changes, by_reference, fence_owner, from_document
from include.storage.mongo import store_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime, timedelta

    from pymongo.client_session import ClientSession

    from include.npo.enrolment.record import EnrolmentRecord
    from include.storage.mongo import IntegrationStore, Write

MOST_LISTED = 1_000


@dataclass(frozen=True, slots=True)
class Person:
    """Who does it, and why: kept in the enrolment's history."""

    by: str
    why: str


@dataclass(frozen=True, slots=True)
class NpoState:
    """What holds up an NPO's enrolments as a whole.

    Attributes:
        stopped: Why they are stopped; empty when they are not.
        not_before: Until when the NPO is left alone.
    """

    npo_id: str
    stopped: str = ""
    stopped_at: datetime | None = None
    not_before: datetime | None = None


def listed(
    store: IntegrationStore, *, npo_id: str | None = None, state: str | None = None, limit: int = 100
) -> list[EnrolmentRecord]:
    """Return enrolments, oldest first, at most ``limit``.

    Raises:
        IntegrationError: As ``store_errors`` says.
    """
    wanted = {"npo_id": npo_id, "state": state}
    query = {name: value for name, value in wanted.items() if value is not None}
    with store_errors(npo_id or "enrolment"):
        found = store[COLLECTION].find(query, {"candidate": 0}).sort("received_at", 1)
        return [from_document(document) for document in found.limit(min(limit, MOST_LISTED))]


def found(store: IntegrationStore, name: str) -> EnrolmentRecord:
    """Return the enrolment with a reference or an assignment id.

    Raises:
        ConfigurationError: There is none, or several NPOs have such an assignment.
    """
    with store_errors("enrolment"):
        documents = list(store[COLLECTION].find({"$or": [{"_id": name}, {"assignment_id": name}]}).limit(2))
    if len(documents) != 1:
        said = "several enrolments have" if documents else "no enrolment has"
        raise ConfigurationError(
            f"{said} this reference or assignment id; 'spotlight enrolment list' shows the references",
            subject="enrolment",
        )
    return from_document(documents[0])


def approve(
    store: IntegrationStore,
    names: Sequence[str],
    who: Person,
    *,
    now: Callable[[], datetime],
    give_up: timedelta,
) -> list[EnrolmentRecord]:
    """Let enrolments that wait for approval go to the NPO.

    Raises:
        ConfigurationError: One is not there, or does not wait for approval.
    """
    return _each(
        store,
        names,
        now,
        lambda record, at: states.approved(record, at=at, by=who.by, why=who.why, give_up=give_up),
    )


def refuse(
    store: IntegrationStore, names: Sequence[str], who: Person, *, now: Callable[[], datetime]
) -> list[EnrolmentRecord]:
    """Reject enrolments that wait for approval; the platform is told with the next run.

    Raises:
        ConfigurationError: One is not there, or does not wait for approval.
    """
    return _each(store, names, now, lambda record, at: states.refused(record, at=at, by=who.by, why=who.why))


def retry(
    store: IntegrationStore,
    names: Sequence[str],
    who: Person,
    *,
    now: Callable[[], datetime],
    give_up: timedelta,
) -> list[EnrolmentRecord]:
    """Try enrolments again with the next run: failed ones anew, waiting ones at once.

    Raises:
        ConfigurationError: One is not there, has ended otherwise, or its data are gone.
    """
    return _each(
        store,
        names,
        now,
        lambda record, at: states.retried(record, at=at, by=who.by, why=who.why, give_up=give_up),
    )


def resume(store: IntegrationStore, npo_id: str) -> bool:
    """Let an NPO's enrolments go on, and return whether they were stopped or left alone.

    Raises:
        IntegrationError: As ``store_errors`` says.
    """
    with store_errors(npo_id):
        held = {"$or": [{"stopped": {"$exists": True}}, {"not_before": {"$exists": True}}]}
        done = store[NPOS].update_one({"_id": npo_id} | held, {"$unset": {"stopped": "", "not_before": ""}})
    return bool(done.modified_count)


def npo_states(store: IntegrationStore, *, now: datetime) -> list[NpoState]:
    """Return the NPOs whose enrolments are stopped or left alone for a while.

    Raises:
        IntegrationError: As ``store_errors`` says.
    """
    held = {"$or": [{"stopped": {"$exists": True}}, {"not_before": {"$gt": now}}]}
    with store_errors("enrolment"):
        return [_npo_state(document) for document in store[NPOS].find(held).sort("_id", 1)]


def _npo_state(document: dict[str, Any]) -> NpoState:
    stopped = document.get("stopped", {})
    return NpoState(document["_id"], stopped.get("why", ""), stopped.get("at"), document.get("not_before"))


def _each(
    store: IntegrationStore,
    names: Sequence[str],
    now: Callable[[], datetime],
    decide: Callable[[EnrolmentRecord, datetime], EnrolmentRecord],
) -> list[EnrolmentRecord]:
    return [_one(store, found(store, name), now, decide) for name in names]


def _one(
    store: IntegrationStore,
    record: EnrolmentRecord,
    now: Callable[[], datetime],
    decide: Callable[[EnrolmentRecord, datetime], EnrolmentRecord],
) -> EnrolmentRecord:
    """Commit one person's decision on an enrolment as it is by then."""

    def plan() -> tuple[EnrolmentRecord, Write]:
        at = now()
        present = by_reference(store, [record.reference])[record.reference]
        changes = Changes(at)
        after = changes.add(present, decide(present, at))

        def write(session: ClientSession, order: int) -> None:
            changes.write(store, record.npo_id, session, order)

        return after, write

    return store.commit_plan(fence_owner(record.npo_id), plan)

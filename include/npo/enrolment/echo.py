"""The echo of our own enrolments in what is pulled: it updates the platform's assignment.

Source: the domain page "NPO integration", section 4.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from typing import TYPE_CHECKING

from include.npo.enrolment.record import State
from include.npo.enrolment.records import COLLECTION

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime

    from include.storage.mongo import IntegrationStore

_UNDER_WAY = (State.POSTING, State.UNKNOWN, State.PENDING, State.WITHDRAWING)
FAILED_HOLDS = timedelta(days=3)
"""So long after an enrolment of unknown outcome failed it may still turn out to have been made: a retry."""


def platform_ids(
    store: IntegrationStore, npo_id: str, external_ids: Collection[str]
) -> Mapping[str, tuple[str, ...]]:
    """Return the platform's ``assignment_id``s by the partner's id, of what answers our enrolments.

    Usually one; several where the partner gave one answer to several enrolments, such as a second one of the
    same candidate. Ids that answer none of ours are left out. Read it after ``held_back``: an outcome
    that is committed in between is then seen.
    """
    found = store[COLLECTION].find(
        {"npo_id": npo_id, "external_id": {"$in": list(external_ids)}},
        {"external_id": 1, "assignment_id": 1},
    )
    ids: dict[str, set[str]] = defaultdict(set)
    for document in found:
        ids[document["external_id"]].add(document["assignment_id"])
    return {external_id: tuple(sorted(known)) for external_id, known in ids.items()}


def held_back(
    store: IntegrationStore, npo_id: str, offering_ids: Collection[str], *, now: datetime
) -> Mapping[str, datetime]:
    """Return the offerings with an enrolment the partner may have under an id that is not known yet.

    ``offering_ids`` are the platform's; with each goes since when the first such enrolment is waited for.
    An assignment of such an offering that is known neither as an entity nor as an enrolment may be the
    answer to it: it is left for the next run, which comes after the outcome. An enrolment that was sent and
    failed is waited for too, for ``FAILED_HOLDS``: tried again, it may be found to have arrived.
    """
    under_way = {"state": {"$in": [state.value for state in _UNDER_WAY]}}
    failed = {
        "state": State.FAILED.value,
        "attempts": {"$gt": 0},
        "decided_at": {"$gt": now - FAILED_HOLDS},
    }
    found = store[COLLECTION].find(
        {"npo_id": npo_id, "external_id": {"$exists": False}, "$or": [under_way, failed]},
        {"offering_id": 1, "received_at": 1},
    )
    since: dict[str, datetime] = {}
    for document in found:
        offering = str(document.get("offering_id"))
        if offering in offering_ids:
            since[offering] = min(since.get(offering, document["received_at"]), document["received_at"])
    return since

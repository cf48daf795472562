"""The echo of our own enrolments in what is pulled: it updates the platform's assignment.

Source: the domain page "NPO integration", section 4.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from include.npo.enrolment.record import State
from include.npo.enrolment.records import COLLECTION

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from include.storage.mongo import IntegrationStore

_UNDER_WAY = (State.POSTING, State.UNKNOWN, State.PENDING, State.WITHDRAWING)


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


def held_back(store: IntegrationStore, npo_id: str, offering_ids: Collection[str]) -> frozenset[str]:
    """Return the offerings with an enrolment under way whose id at the partner is not known yet.

    ``offering_ids`` are the platform's. An assignment of such an
    offering that is known neither as an entity nor as an enrolment may be the answer to it: it is left for
    the next run, which comes after the outcome.
    """
    found = store[COLLECTION].find(
        {
            "npo_id": npo_id,
            "state": {"$in": [state.value for state in _UNDER_WAY]},
            "external_id": {"$exists": False},
        },
        {"offering_id": 1},
    )
    return frozenset(document["offering_id"] for document in found if "offering_id" in document) & set(
        offering_ids
    )

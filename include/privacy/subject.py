"""Whose data: every record the integration store can tell to be of one candidate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from include.errors import ConfigurationError
from include.registry.models import NPO_ID_PATTERN

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from include.storage.mongo import IntegrationStore


@dataclass(frozen=True, slots=True, order=True)
class Held:
    """One assignment that is the candidate's.

    Attributes:
        external_id: The partner's id, empty for an enrolment the partner never answered.
        assignment_id: The platform's id.
    """

    npo_id: str
    external_id: str
    assignment_id: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """Who is meant.

    Attributes:
        reference: The platform's candidate id; or, with ``npo_id``, the NPO's own reference.
        npo_id: Whose reference it is, ``None`` for the platform's.
    """

    reference: str
    npo_id: str | None = None

    @classmethod
    def of(cls, text: str) -> Candidate:
        """Return who ``<candidate_id>`` or ``<npo_id>:<reference>`` means.

        Raises:
            ConfigurationError: It is neither.
        """
        import re

        npo_id, colon, reference = text.strip().partition(":")
        if colon and reference and re.fullmatch(NPO_ID_PATTERN, npo_id):
            return cls(reference, npo_id)
        if colon or not npo_id:
            raise ConfigurationError(
                "expected the platform's candidate id, or <npo_id>:<the NPO's reference of the candidate>"
            )
        return cls(npo_id)


def held_about(store: IntegrationStore, candidate: Candidate) -> list[Held]:
    """Return every assignment known to be of a candidate, sorted.

    A platform id is known from enrolments; the NPO's references of those lead on to all that NPO's
    assignments of the same candidate.
    """
    found = set(_enrolled(store, candidate))
    for npo_id, reference in references_of(store, candidate):
        found |= set(_assigned(store, npo_id, reference))
    return sorted(found)


def references_of(store: IntegrationStore, candidate: Candidate) -> list[tuple[str, str]]:
    """Return each NPO's own references of a candidate, with the NPO, sorted."""
    if candidate.npo_id:
        return [(candidate.npo_id, candidate.reference)]
    ids = [one.assignment_id for one in _enrolled(store, candidate)]
    fields = {"npo_id": 1, "external_candidate_ref": 1}
    found = store["npo_assignment"].find({"_id": {"$in": ids}}, fields)
    return sorted({(doc["npo_id"], told) for doc in found if (told := doc.get("external_candidate_ref"))})


def enrolled_as(store: IntegrationStore, npo_id: str, external_ids: Iterable[str]) -> set[Held]:
    """Return the enrolments that these assignments of the partner answer: they have the platform's id."""
    answers = {"npo_id": npo_id, "external_id": {"$in": sorted(external_ids)}}
    found = store["enrolment"].find(answers, {"external_id": 1, "assignment_id": 1})
    return {Held(npo_id, doc["external_id"], doc["assignment_id"]) for doc in found}


def _enrolled(store: IntegrationStore, candidate: Candidate) -> Iterator[Held]:
    if candidate.npo_id:
        return
    fields = {"npo_id": 1, "external_id": 1, "assignment_id": 1}
    for doc in store["enrolment"].find({"candidate_id": candidate.reference}, fields):
        yield Held(doc["npo_id"], doc.get("external_id") or "", doc["assignment_id"])


def _assigned(store: IntegrationStore, npo_id: str, reference: str) -> Iterator[Held]:
    query = {"npo_id": npo_id, "external_candidate_ref": reference}
    for doc in store["npo_assignment"].find(query, {"external_id": 1}):
        yield Held(npo_id, doc["external_id"], doc["_id"])

"""What the partners themselves say a correct reader must end with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import requests

from include.connectors.protocol import RESOURCES
from include.npo.identity import entity_id
from include.sandbox.stack.errors import StackError

if TYPE_CHECKING:
    from collections.abc import Mapping

SUBJECTS = {"offerings": "offering", "assignments": "assignment"}


@dataclass(frozen=True, slots=True)
class Truth:
    """The expected end state.

    Attributes:
        subjects: By npo_id and resource: the event subjects (``offering/<id>``) that must appear.
        bad: Records of all partners that must end in quarantine.
    """

    subjects: Mapping[tuple[str, str], frozenset[str]]
    bad: int

    @property
    def all_subjects(self) -> frozenset[str]:
        """Return every expected subject."""
        return frozenset().union(*self.subjects.values())

    def count(self, resource: str) -> int:
        """Return how many entities of one kind are expected."""
        return sum(len(found) for (_npo, kind), found in self.subjects.items() if kind == resource)


def read_truth(urls: Mapping[str, str], admin_token: str) -> Truth:
    """Ask every partner.

    Args:
        urls: Base URL by npo_id.
        admin_token: The sandbox's own, never a partner credential.

    Raises:
        StackError: A partner does not answer.
    """
    subjects: dict[tuple[str, str], frozenset[str]] = {}
    bad = 0
    for npo_id, url in urls.items():
        answer = ask_partner(npo_id, url, admin_token, "truth")
        for resource in RESOURCES:
            ids = [str(external_id) for external_id in answer[resource]]
            subjects[npo_id, resource] = frozenset(
                f"{SUBJECTS[resource]}/{entity_id(npo_id, resource, external_id)}" for external_id in ids
            )
            bad += len(answer["bad"][resource])
    return Truth(subjects, bad)


def ask_partner(npo_id: str, url: str, admin_token: str, what: str) -> Any:
    """Return what a partner's admin endpoint ``/_admin/<what>`` says.

    Raises:
        StackError: It does not answer.
    """
    try:
        with requests.Session() as session:
            session.trust_env = False
            answer = session.get(f"{url}/_admin/{what}", headers={"X-Admin-Token": admin_token}, timeout=30)
        answer.raise_for_status()
        return answer.json()
    except (requests.RequestException, ValueError) as error:
        raise StackError(f"sandbox partner {npo_id} at {url} does not tell its {what}: {error}") from error

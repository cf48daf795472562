"""Deterministic ids: the same partner record has the same platform id in every run and store."""

from __future__ import annotations

from functools import lru_cache
from uuid import NAMESPACE_URL, UUID, uuid5

PLATFORM_NAMESPACE: UUID = uuid5(NAMESPACE_URL, "https://spotlight.org/npo-integration")


def entity_id(npo_id: str, resource: str, external_id: str) -> str:
    """Return the platform's id of a partner record: ``offering_id`` or ``assignment_id``."""
    return str(uuid5(PLATFORM_NAMESPACE, f"{npo_id}\n{resource}\n{external_id}"))


@lru_cache(maxsize=65_536)
def offering_id(npo_id: str, external_id: str) -> str:
    """Return the platform's id of an offering; assignments ask for the same few again and again."""
    return entity_id(npo_id, "offerings", external_id)


def event_id(npo_id: str, resource: str, external_id: str, version: int, content_hash: str) -> str:
    """Return the id of the event that tells of one version of one record.

    The hash stands beside the version so that a rebuilt store, which counts from 1 again, does not
    reuse the id of other content; the version stands beside the hash so that content which comes
    back (A, B, A) is told again.
    """
    return str(uuid5(PLATFORM_NAMESPACE, f"{npo_id}\n{resource}\n{external_id}\n{version}\n{content_hash}"))

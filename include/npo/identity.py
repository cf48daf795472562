"""Deterministic ids: the same partner record has the same platform id in every run and store."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from uuid import NAMESPACE_URL, UUID, uuid5

PLATFORM_NAMESPACE: UUID = uuid5(NAMESPACE_URL, "https://spotlight.org/npo-integration")
_NAMESPACE = hashlib.sha1(PLATFORM_NAMESPACE.bytes, usedforsecurity=False)
# RFC 9562: the two highest bits of this digit are 10.
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


def uuid5_text(name: str) -> str:
    """Return ``str(uuid5(PLATFORM_NAMESPACE, name))``.

    Computed here because the standard library's objects on the way took a twelfth of the transform stage.
    """
    state = _NAMESPACE.copy()
    state.update(name.encode())
    digest = state.hexdigest()
    variant = _VARIANT[digest[16]]
    return f"{digest[:8]}-{digest[8:12]}-5{digest[13:16]}-{variant}{digest[17:20]}-{digest[20:32]}"


def entity_id(npo_id: str, resource: str, external_id: str) -> str:
    """Return the platform's id of a partner record: ``offering_id`` or ``assignment_id``."""
    return uuid5_text(f"{npo_id}\n{resource}\n{external_id}")


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
    return uuid5_text(f"{npo_id}\n{resource}\n{external_id}\n{version}\n{content_hash}")

"""The integration store's documents and states, as words shared by every stage."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime


class RawState(StrEnum):
    """Life of a landed record: landed > valid > transformed, or quarantined."""

    LANDED = "landed"
    VALID = "valid"
    TRANSFORMED = "transformed"
    QUARANTINED = "quarantined"


class QuarantineState(StrEnum):
    """Life of a record set aside."""

    OPEN = "open"
    RELEASED = "released"
    DISCARDED = "discarded"


def raw_key(npo_id: str, resource: str, external_id: str) -> str:
    """Return the key of a raw record: one per NPO, resource and partner id."""
    return f"{npo_id}|{resource}|{external_id}"


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """What the store holds of a raw record, as far as landing needs to know."""

    content_hash: str
    cursor: datetime | None
    fetched_at: datetime
    deleted: bool
    manifest: str


@dataclass(frozen=True, slots=True)
class KnownEntity:
    """What the store holds of an entity, as far as its next version needs to know."""

    version: int
    content_hash: str
    status: str
    percent: float | None


def canonical_json(value: Any) -> bytes:
    """Return JSON bytes that are equal for equal content, whatever the key order."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_NAIVE_UTC)
    except TypeError:  # it reads deeper nesting than it writes (254 levels)
        return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def load_json(text: str) -> Any:
    """Return the value of JSON text that ``canonical_json`` wrote."""
    return orjson.loads(text)


_DIGEST_MODULUS: int = 1 << 128


def content_digest(value: Any) -> int:
    """Return the content hash of a JSON-able value as a number, to be merged."""
    return int.from_bytes(digest_of(canonical_json(value)), "big")


def merge_digests(digest: int, others: Iterable[int]) -> int:
    """Return the digest of a bag of records: their order does not count, their number does."""
    return (digest + sum(others)) % _DIGEST_MODULUS


def digest_of(body: bytes) -> bytes:
    """Return the 128 bit BLAKE2b digest of canonical JSON bytes."""
    return hashlib.blake2b(body, digest_size=16).digest()


def content_hash(value: Any) -> str:
    """Return the content hash (hex) of a JSON-able value."""
    return digest_of(canonical_json(value)).hex()

"""What landing a batch of records changes: pure rules, no store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from include.storage.documents import StoredVersion


@dataclass(frozen=True, slots=True)
class Incoming:
    """One record of a landed page.

    Attributes:
        key: Store key (NPO, resource, partner id).
        payload: The record as JSON text.
        content_hash: Hash of the record's content, key order left out.
        cursor: When the partner last changed it, ``None`` if it does not say.
        fetched_at: When its page was complete.
        deleted: Whether the partner marks it as deleted.
        raw_ref: ``<object key>#<position>``.
        parent: Of a nested resource: the key of the parent it was read for.
    """

    key: str
    external_id: str
    payload: str
    content_hash: str
    cursor: datetime | None
    fetched_at: datetime
    deleted: bool
    raw_ref: str
    parent: str | None = None


@dataclass(frozen=True, slots=True)
class LandingPlan:
    """What to do with a batch.

    Attributes:
        new: Records the store does not have.
        changed: Records whose content is newer than the store's.
        unchanged: Keys of records the store has as they are.
        stale: Keys of records read earlier than what the store has (replay).
        ambiguous: Second versions of a record in one extraction that nothing tells apart in time.
    """

    new: tuple[Incoming, ...]
    changed: tuple[Incoming, ...]
    unchanged: tuple[str, ...]
    stale: tuple[str, ...]
    ambiguous: tuple[Incoming, ...]


def plan_landing(
    batch: Iterable[Incoming], stored: Mapping[str, StoredVersion], *, manifest: str
) -> LandingPlan:
    """Decide for each record of a batch whether it is new, changed, unchanged, stale or ambiguous.

    The same content twice is one record. Of two versions in one extraction the one the partner
    changed later counts; where the partner's times do not decide, the first read counts and the
    other is set aside. An older fetch never overwrites a newer one.
    """
    chosen: dict[str, Incoming] = {}
    ambiguous: list[Incoming] = []
    for record in batch:
        first = chosen.get(record.key)
        if first is None or _changed_later(record, first):
            chosen[record.key] = record
        elif _other_version(record, first) and not _changed_later(first, record):
            ambiguous.append(record)

    new: list[Incoming] = []
    changed: list[Incoming] = []
    unchanged: list[str] = []
    stale: list[str] = []
    for key, record in chosen.items():
        known = stored.get(key)
        if known is None:
            new.append(record)
        elif known.content_hash == record.content_hash and known.deleted == record.deleted:
            unchanged.append(key)
        elif _is_stale(record, known, manifest):
            stale.append(key)
        elif known.manifest == manifest and known.cursor == record.cursor:
            ambiguous.append(record)
        else:
            changed.append(record)
    return LandingPlan(tuple(new), tuple(changed), tuple(unchanged), tuple(stale), tuple(ambiguous))


def _other_version(record: Incoming, other: Incoming) -> bool:
    return record.content_hash != other.content_hash or record.deleted != other.deleted


def _changed_later(record: Incoming, other: Incoming) -> bool:
    return record.cursor is not None and other.cursor is not None and record.cursor > other.cursor


def _is_stale(record: Incoming, known: StoredVersion, manifest: str) -> bool:
    """Tell whether the store's version is the later one.

    Between extractions the later fetch counts, whatever the partner's clock says: it shows what is
    true now. Inside one extraction a record may be met twice, and the partner's clock decides.
    """
    if known.manifest != manifest:
        return record.fetched_at < known.fetched_at
    return record.cursor is not None and known.cursor is not None and record.cursor < known.cursor

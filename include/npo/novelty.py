"""Whether a page holds anything the store does not know: what decides if the other stages run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from include.errors import RecordError
from include.quality.quarantine import quarantine_key
from include.storage.documents import canonical_json, digest_of, raw_key
from include.storage.raw import stored_versions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from include.connectors.protocol import Resource
    from include.npo.context import RunContext


def holds_news(ctx: RunContext, resource: Resource, records: Sequence[Any]) -> bool:
    """Return whether a record is neither stored with this content nor set aside with it.

    Two queries a page at most: the lookback makes most pages of a quiet source hold only what is known.
    """
    npo_id = ctx.npo.npo_id
    found: list[tuple[str | None, str, bool, str]] = []
    for record in records:
        payload = canonical_json(record)
        external_id = external_id_of(ctx, resource, record)
        deleted = external_id is not None and ctx.connector.is_deleted(resource, record)
        found.append((external_id, digest_of(payload).hex(), deleted, payload.decode()))

    keys = {external_id: raw_key(npo_id, resource, external_id) for external_id, *_ in found if external_id}
    stored = stored_versions(ctx.store, list(keys.values()))
    aside: set[str] = set()
    for external_id, content, deleted, text in found:
        known = stored.get(keys[external_id]) if external_id else None
        if known is None:
            aside.add(quarantine_key(npo_id, resource, external_id, text))
        elif known.content_hash != content or known.deleted != deleted:
            return True
    if not aside:
        return False
    return ctx.store["quarantine"].count_documents({"_id": {"$in": list(aside)}}) < len(aside)


def external_id_of(ctx: RunContext, resource: Resource, record: Any) -> str | None:
    """Return a record's partner id, ``None`` where it has none that can be used."""
    try:
        return ctx.connector.external_id(resource, record)
    except RecordError:
        return None

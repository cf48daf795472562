"""Canonical entities in the store: the current version, and the superseded ones beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from include.storage.documents import KnownEntity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from pymongo.client_session import ClientSession

    from include.npo.entity_plan import Entity
    from include.storage.mongo import IntegrationStore

COLLECTION = {"offerings": "npo_offering", "assignments": "npo_assignment"}
_KNOWN_FIELDS = {"version": 1, "content_hash": 1, "status": 1, "progress.percent": 1}


def known_entities(store: IntegrationStore, resource: str, ids: Sequence[str]) -> dict[str, KnownEntity]:
    """Return what the store knows of these entities, one query."""
    found = store[COLLECTION[resource]].find({"_id": {"$in": list(ids)}}, _KNOWN_FIELDS)
    return {
        doc["_id"]: KnownEntity(
            doc["version"], doc["content_hash"], doc["status"], doc.get("progress", {}).get("percent")
        )
        for doc in found
    }


def stored_contents(store: IntegrationStore, resource: str, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the canonical content of these entities, as far as they are stored, one query."""
    ours = {"source": 0, "version": 0, "content_hash": 0, "recorded_at": 0}
    found = store[COLLECTION[resource]].find({"_id": {"$in": list(ids)}}, ours)
    return {doc.pop("_id"): doc for doc in found}


def write_entities(
    store: IntegrationStore,
    session: ClientSession,
    resource: str,
    entities: Sequence[Entity],
    known: Mapping[str, KnownEntity],
    *,
    at: datetime,
) -> None:
    """Write new versions; a version that is replaced is kept in ``npo_version``."""
    collection = store[COLLECTION[resource]]
    new = [entity for entity in entities if entity.id not in known]
    changed = [entity for entity in entities if entity.id in known]
    if new:
        collection.insert_many([_document(entity, 1, at) for entity in new], ordered=False, session=session)
    if changed:
        _supersede(store, session, resource, [entity.id for entity in changed])
        _replace(store, session, resource, changed, known, at)


def _supersede(store: IntegrationStore, session: ClientSession, resource: str, ids: list[str]) -> None:
    current = store[COLLECTION[resource]].find({"_id": {"$in": ids}}, session=session)
    store["npo_version"].insert_many(
        [
            doc
            | {
                "_id": f"{doc['_id']}|{doc['version']}",
                "entity_id": doc["_id"],
                "resource": resource,
            }
            for doc in current
        ],
        ordered=False,
        session=session,
    )


def _replace(
    store: IntegrationStore,
    session: ClientSession,
    resource: str,
    entities: Sequence[Entity],
    known: Mapping[str, KnownEntity],
    at: datetime,
) -> None:
    from pymongo import ReplaceOne

    store[COLLECTION[resource]].bulk_write(
        [
            ReplaceOne({"_id": entity.id}, _document(entity, known[entity.id].version + 1, at))
            for entity in entities
        ],
        ordered=False,
        session=session,
    )


def _document(entity: Entity, version: int, at: datetime) -> dict[str, Any]:
    return {
        "_id": entity.id,
        **entity.content,
        "source": entity.source,
        "version": version,
        "content_hash": entity.content_hash,
        "recorded_at": at,
    }

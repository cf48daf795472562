"""What was erased and must stay away: records a partner may send again are dropped when they are landed.

Only digests are kept: enough to know a record when it comes again, not to tell whose it was.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

from include.storage.documents import canonical_json, content_hash

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from pymongo.client_session import ClientSession

    from include.storage.mongo import IntegrationStore

COLLECTION = "erased"


def digests(store: IntegrationStore, *told: str) -> list[str]:
    """Return every digest these words may be kept under: the one to write first, the plain one last.

    Ids are few, so a plain digest is found out by trying them all; a key of the deployment prevents that.
    """
    text = canonical_json(list(told))
    keyed = [hmac.new(key, text, hashlib.sha256).hexdigest()[:32] for key in store.erasure_keys]
    return [*keyed, content_hash(list(told))]


def remember(
    store: IntegrationStore,
    session: ClientSession,
    npo_id: str,
    resource: str,
    external_ids: Iterable[str],
    *,
    at: datetime,
) -> None:
    """Note records as erased, inside the transaction that asks for their erasure."""
    from pymongo import UpdateOne

    noted = [
        UpdateOne(
            {"_id": digests(store, npo_id, resource, external_id)[0]},
            {"$setOnInsert": {"npo_id": npo_id, "resource": resource, "at": at}},
            upsert=True,
        )
        for external_id in external_ids
    ]
    if noted:
        store[COLLECTION].bulk_write(noted, ordered=False, session=session)


def erased_among(
    store: IntegrationStore, npo_id: str, resource: str, external_ids: Sequence[str]
) -> frozenset[str]:
    """Return which of these records were erased; one cheap query where nothing ever was."""
    if store[COLLECTION].find_one({"npo_id": npo_id, "resource": resource}, {"_id": 1}) is None:
        return frozenset()
    by_digest = {each: one for one in external_ids for each in digests(store, npo_id, resource, one)}
    found = store[COLLECTION].find({"_id": {"$in": list(by_digest)}}, {"_id": 1})
    return frozenset(by_digest[doc["_id"]] for doc in found)

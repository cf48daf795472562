"""A mapping with a new version: what is stored goes through it again, without calling the partner."""

from __future__ import annotations

from typing import TYPE_CHECKING

from include.storage.raw import reopen

if TYPE_CHECKING:
    from include.connectors.protocol import Resource
    from include.npo.context import RunContext


def reopen_if_mapping_changed(ctx: RunContext, resource: Resource) -> int:
    """Put every stored record back to landed if the mapping's version is not the one last used.

    Quarantined records come along: a mended mapping is the usual cure. Content that comes out the same
    makes no new version and no event.

    Returns:
        How many records wait again.
    """
    npo_id = ctx.npo.npo_id
    version = ctx.connector.manifest.resource(resource).mapping.version
    key = {"_id": f"{npo_id}|{resource}|mapping"}
    used = ctx.store["npo_checkpoint"].find_one(key)
    if used is not None and used["version"] == version:
        return 0
    # The note comes last: a run that dies in between opens the same records again, which is harmless.
    reopened = reopen(ctx.store, npo_id, resource) if used else 0
    ctx.store["npo_checkpoint"].replace_one(key, {"version": version, "updated_at": ctx.now()}, upsert=True)
    return reopened

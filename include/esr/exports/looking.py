"""Having posts looked at again before what is due of them goes out: TCS may have changed since."""

from __future__ import annotations

from typing import TYPE_CHECKING

from include.esr.generation.todo import note_todo
from include.storage.mongo import store_errors

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pymongo.client_session import ClientSession

    from include.storage.mongo import IntegrationStore

TODO = "esr_todo"


def look_again(store: IntegrationStore, session: ClientSession, deanery: str, posts: Iterable[int]) -> None:
    """Have generation look at posts of a deanery, in the caller's transaction."""
    note_todo(store, [(deanery, post) for post in posts], session=session)


def to_be_looked_at(store: IntegrationStore, deanery: str) -> frozenset[int]:
    """Return the posts of a deanery that wait to be looked at."""
    with store_errors(deanery):
        return frozenset(each["post_id"] for each in store[TODO].find({"deanery": deanery}, {"post_id": 1}))

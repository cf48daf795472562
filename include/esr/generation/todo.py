"""Posts to be looked at: those an event or a person asked for, and those TCS could not be asked about."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from include.esr.documents import owner
from include.storage.mongo import store_errors

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from pymongo.client_session import ClientSession

    from include.storage.mongo import IntegrationStore


@dataclass(frozen=True, slots=True)
class Todo:
    """A post to be looked at.

    Attributes:
        stamp: How often it was asked for.
        failed_on: The day TCS failed on it; ``None``: it was not looked at since it was asked for.
        is_passed_over: Whether TCS failed on it ever since ``swept``, whatever was asked for since.
        swept: The last day it was looked at for, as far as it was passed over; ``None``: it never was.
    """

    stamp: int
    failed_on: date | None = None
    is_passed_over: bool = False
    swept: date | None = None


def waiting_deaneries(store: IntegrationStore) -> list[str]:
    """Return the deaneries with posts to be looked at; for those TCS failed on, the sweep is soon enough."""
    with store_errors("esr"):
        return sorted(store["esr_todo"].distinct("deanery", {"failed_on": None}))


def todo_of(store: IntegrationStore, deanery: str) -> dict[int, Todo]:
    """Return the posts of a deanery to be looked at, by id."""
    return {
        doc["post_id"]: Todo(doc["stamp"], _day(doc.get("failed_on")), "swept" in doc, _day(doc.get("swept")))
        for doc in store["esr_todo"].find({"deanery": deanery})
    }


def note_todo(
    store: IntegrationStore, posts: Sequence[tuple[str, int]], *, session: ClientSession | None = None
) -> None:
    """Note posts, as deanery and post id, to be looked at; harmless when repeated.

    A sweep would not do for all: a post that lost its last position meanwhile is swept no more.

    Args:
        store: The store.
        posts: Which.
        session: Of the caller's transaction, if it is part of one.

    Raises:
        IntegrationError: As ``store_errors`` says; inside a transaction the driver's own error.
    """
    from pymongo import UpdateOne

    if not posts:
        return
    updates = [
        UpdateOne(
            {"_id": _key(deanery, post)},
            {
                "$set": {"deanery": deanery, "post_id": post},
                "$inc": {"stamp": 1},
                "$unset": {"failed_on": ""},
            },
            upsert=True,
        )
        for deanery, post in sorted(set(posts))
    ]
    if session is not None:  # the transaction's own retries must see the driver's error
        store["esr_todo"].bulk_write(updates, ordered=False, session=session)
        return
    with store_errors("esr"):
        store["esr_todo"].bulk_write(updates, ordered=False)


def note_failed(
    store: IntegrationStore, deanery: str, posts: Collection[int], today: date, swept: date | None
) -> set[int]:
    """Note posts TCS failed on, so that the next sweep looks at them for all days since the last one.

    Args:
        store: The store.
        deanery: Whose posts.
        posts: Their ids.
        today: The day they were to be looked at for.
        swept: The last day all posts were looked at for.

    Returns:
        Those it was not known of today.

    Raises:
        IntegrationError: As ``store_errors`` says.
    """
    from pymongo import UpdateOne

    with store_errors(owner(deanery)):
        known = todo_of(store, deanery)
        updates = [
            UpdateOne(
                {"_id": _key(deanery, post)},
                {
                    "$set": {"deanery": deanery, "post_id": post, "failed_on": today.isoformat()}
                    | ({} if post in known and known[post].is_passed_over else {"swept": _text(swept)}),
                    "$setOnInsert": {"stamp": 1},
                },
                upsert=True,
            )
            for post in posts
        ]
        store["esr_todo"].bulk_write(updates, ordered=False)
    return {post for post in posts if post not in known or known[post].failed_on != today}


def to_be_looked_at(store: IntegrationStore, deanery: str) -> frozenset[int]:
    """Return the posts of a deanery that wait to be looked at: what is due of them waits too.

    Raises:
        IntegrationError: As ``store_errors`` says.
    """
    with store_errors(owner(deanery)):
        return frozenset(
            each["post_id"] for each in store["esr_todo"].find({"deanery": deanery}, {"post_id": 1})
        )


def forget_todo(
    store: IntegrationStore, session: ClientSession, deanery: str, stamps: Mapping[int, int]
) -> None:
    """Strike off what was asked for; who asked again meanwhile is looked at again.

    Args:
        store: The store.
        session: Of the caller's transaction.
        deanery: Whose posts.
        stamps: By post, how often it had been asked for.
    """
    from pymongo import DeleteOne

    if stamps:
        answered = [DeleteOne({"_id": _key(deanery, post), "stamp": stamp}) for post, stamp in stamps.items()]
        store["esr_todo"].bulk_write(answered, ordered=False, session=session)


def _key(deanery: str, post: int) -> str:
    return f"{deanery}/{post}"


def _day(text: str | None) -> date | None:
    return date.fromisoformat(text) if text else None


def _text(day: date | None) -> str | None:
    return day.isoformat() if day else None

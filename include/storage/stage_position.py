"""How far the stages have come through what was landed for an NPO.

Every commit for an NPO takes the next number of its fence, and a landed record carries the number of
its landing. Behind a stage's position everything was looked at, so a batch is moved on by moving the
position: one field instead of a write for each record, which was a third of the store's work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from include.storage.documents import RawState

if TYPE_CHECKING:
    from pymongo.client_session import ClientSession

    from include.storage.mongo import IntegrationStore


class Position(NamedTuple):
    """A place in the order of landing: the number of the commit, and the record's key inside it."""

    order: int
    key: str


START = Position(0, "")
LINE = [("npo_id", 1), ("resource", 1), ("order", 1), ("_id", 1)]  # the index of that name


def landing_order(store: IntegrationStore, session: ClientSession, npo_id: str) -> int:
    """Return the number of the commit this transaction makes."""
    found = store["fence"].find_one({"_id": npo_id}, {"value": 1}, session=session)
    return int(found["value"]) if found else 0


def position(store: IntegrationStore, npo_id: str, resource: str, state: RawState) -> Position:
    """Return up to where the records that waited in ``state`` have left it."""
    field = _field(resource, state)
    found: Any = store["fence"].find_one({"_id": npo_id}, {field: 1})
    for part in field.split("."):
        found = (found or {}).get(part)
    return Position(found["order"], found["key"]) if found else START


def move_position(
    store: IntegrationStore,
    session: ClientSession,
    npo_id: str,
    resource: str,
    state: RawState,
    to: Position,
) -> None:
    """Note, inside the transaction of their writes, that the records up to ``to`` have left ``state``."""
    # In the fence's own document: positions count its numbers, so neither may outlive the other.
    store["fence"].update_one(
        {"_id": npo_id}, {"$set": {_field(resource, state): to._asdict()}}, session=session
    )


def back_to_start(store: IntegrationStore, session: ClientSession, npo_id: str, resource: str) -> None:
    """Let every landed record of a resource wait for every stage again."""
    fields = {_field(resource, state): "" for state in (RawState.LANDED, RawState.VALID)}
    store["fence"].update_one({"_id": npo_id}, {"$unset": fields}, session=session)


def bound(npo_id: str, resource: str, at: Position | None) -> list[tuple[str, Any]]:
    """Return the place in the index just behind a position, or behind the last one."""
    from bson.max_key import MaxKey

    # No text lies between a key and the key with a NUL behind it.
    order, key = (at.order, f"{at.key}\0") if at else (MaxKey(), "")
    return [("npo_id", npo_id), ("resource", resource), ("order", order), ("_id", key)]


def _field(resource: str, state: RawState) -> str:
    return f"left.{resource}.{state.value}"

"""A candidate's records that never became an entity: set aside, or landed and not yet transformed."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from include.connectors.mapping import compile_mapping
from include.errors import RecordError
from include.npo.identity import entity_id
from include.privacy.landed_ids import WantedIds
from include.privacy.subject import Held
from include.storage.documents import RawState, load_json
from include.storage.raw import next_in_line
from include.storage.stage_position import Position, position

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from include.connectors.protocol import Connector, Resource
    from include.storage.mongo import IntegrationStore

RESOURCE: Resource = "assignments"
REFERENCE = "external_candidate_ref"
RECORDS_AT_ONCE = 1_000
_WAITING = (RawState.LANDED, RawState.VALID, RawState.QUARANTINED)


@dataclass(frozen=True, slots=True)
class Unmapped:
    """What was found of a candidate.

    Attributes:
        held: The records that have an id.
        entries: Keys of the quarantine's entries, also of records without an id.
    """

    held: set[Held] = field(default_factory=set)
    entries: set[str] = field(default_factory=set)

    def __bool__(self) -> bool:
        """Tell whether anything was found."""
        return bool(self.held or self.entries)


def anything_unmapped(store: IntegrationStore, npo_id: str) -> bool:
    """Return whether an NPO has records to look through: nearly always there are a few."""
    aside = {"owner": npo_id, "resource": RESOURCE}
    return store["quarantine"].find_one(aside, {"_id": 1}) is not None or any(_waiting(store, npo_id))


def unmapped(
    store: IntegrationStore,
    connector: Connector,
    npo_id: str,
    references: Collection[str],
    *,
    landed_after: int = 0,
) -> Unmapped:
    """Return what is the candidate's among the records that are no entity.

    Every entry of the quarantine is looked at, also those released or discarded: their evidence is kept.

    Args:
        store: The store.
        connector: Of the NPO.
        npo_id: Where.
        references: The NPO's own of the candidate.
        landed_after: Of the commit after which records were landed; 0 for all.
    """
    theirs, found = _whose(connector, references), Unmapped()

    def add(external_id: str) -> None:
        found.held.add(Held(npo_id, external_id, entity_id(npo_id, RESOURCE, external_id)))

    for external_id, payload in _waiting(store, npo_id, landed_after):
        if theirs(load_json(payload)):
            add(external_id)
    fields = {"payload": 1, "external_id": 1}
    for entry in store["quarantine"].find({"owner": npo_id, "resource": RESOURCE}, fields):
        if entry["payload"] is not None and theirs(load_json(entry["payload"])):
            found.entries.add(entry["_id"])
            if entry["external_id"] is not None:
                add(entry["external_id"])
    return found


def _waiting(store: IntegrationStore, npo_id: str, landed_after: int = 0) -> Iterator[tuple[str, str]]:
    """Yield id and payload of the records that have not been through the last stage."""
    after = max(position(store, npo_id, RESOURCE, RawState.VALID), Position(landed_after + 1, ""))
    while batch := next_in_line(store, npo_id, RESOURCE, limit=RECORDS_AT_ONCE, after=after, upto=None):
        yield from ((record.external_id, record.payload) for record in batch)
        after = batch[-1].position or after
    aside: dict[str, Any] = {"npo_id": npo_id, "resource": RESOURCE}
    aside["state"] = {"$in": [state.value for state in _WAITING]}
    if landed_after:
        aside["order"] = {"$gt": landed_after}
    for doc in store["npo_raw"].find(aside, {"external_id": 1, "payload": 1}):
        yield doc["external_id"], doc["payload"]


def _whose(connector: Connector, references: Collection[str]) -> Callable[[Any], bool]:
    """Return what tells whether a record is the candidate's, also one that cannot be mapped as a whole."""
    mapping = connector.manifest.resource(RESOURCE).mapping
    spec = mapping.fields.get(REFERENCE)
    if spec is None:
        return lambda _record: False  # this NPO never says whose an assignment is
    anywhere = WantedIds(frozenset(references))
    read: Callable[[Any], Mapping[str, Any]] = partial(connector.to_platform, RESOURCE)
    if not spec.transform:  # its functions are the connector's own: all fields, or none
        read = compile_mapping(RESOURCE, mapping.model_copy(update={"fields": {REFERENCE: spec}}))

    def theirs(record: Any) -> bool:
        if not isinstance(record, dict):
            return False
        try:
            return str(read(record).get(REFERENCE) or "") in references
        except RecordError:
            return anywhere.stand_in(record)

    return theirs

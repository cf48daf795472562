"""From a partner's record to an entity version and its event: pure rules, no store.

Sources: the domain page "NPO integration", sections 4 (records, moves) and 5 (events).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry import trace
from pydantic import ValidationError

from include.canonical import AssignmentStatus, OfferingStatus, checkers
from include.errors import RecordError
from include.events import envelope
from include.npo.identity import entity_id, event_id, offering_id
from include.storage.documents import content_hash

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from include.connectors.protocol import Resource
    from include.storage.documents import KnownEntity
    from include.storage.raw import PendingRecord

_ID_FIELD = {"offerings": "offering_id", "assignments": "assignment_id"}
_NOUN = {"offerings": "offering", "assignments": "assignment"}

_ENDED = {
    AssignmentStatus.COMPLETED,
    AssignmentStatus.FAILED,
    AssignmentStatus.REJECTED,
    AssignmentStatus.WITHDRAWN,
    AssignmentStatus.CANCELLED,
    AssignmentStatus.EXPIRED,
}

# How far along each status is. A poll may skip states, so any later one is accepted; going to an
# earlier one is a correction. 'on_hold' and 'in_progress' change places freely.
_RANK = {
    AssignmentStatus.REQUESTED: 0,
    AssignmentStatus.WAITLISTED: 1,
    AssignmentStatus.ACCEPTED: 2,
    AssignmentStatus.ENROLLED: 3,
    AssignmentStatus.IN_PROGRESS: 4,
    AssignmentStatus.ON_HOLD: 4,
    AssignmentStatus.COMPLETED: 5,
    AssignmentStatus.FAILED: 5,
    AssignmentStatus.REJECTED: 5,
    AssignmentStatus.WITHDRAWN: 5,
    AssignmentStatus.CANCELLED: 5,
    AssignmentStatus.EXPIRED: 5,
}


class Entity(NamedTuple):
    """A canonical record ready to be compared: ``content`` is the record without ``source``.

    A tuple, as ``PendingRecord`` is: one is made for every record.
    """

    id: str
    external_id: str
    content: dict[str, Any]
    source: dict[str, Any]
    content_hash: str

    @property
    def status(self) -> str:
        """Return the canonical status."""
        return str(self.content["status"])

    @property
    def percent(self) -> float | None:
        """Return the progress in percent, ``None`` if there is none."""
        progress: dict[str, float] = self.content.get("progress", {})
        return progress.get("percent")


def to_entity(
    npo_id: str, resource: Resource, record: PendingRecord, mapped: Mapping[str, Any], *, mapping_version: int
) -> Entity:
    """Return the canonical entity of a mapped record.

    Raises:
        RecordError: ``invalid_entity``: the mapped fields do not make a canonical record.
    """
    entity = entity_id(npo_id, resource, record.external_id)
    values = {
        **mapped,
        _ID_FIELD[resource]: entity,
        "external_id": record.external_id,
        "npo_id": npo_id,
        "source": {
            **mapped.get("source", {}),
            "fetched_at": record.fetched_at,
            "content_hash": record.content_hash,
            "mapping_version": mapping_version,
            "raw_ref": record.raw_ref,
            "deleted_upstream": record.deleted,
        },
    }
    offering = values.pop("offering_external_id", None)
    if offering is not None:
        values["offering_id"] = offering_id(npo_id, offering)
    if record.deleted:
        values["status"] = _status_when_gone(resource, values.get("status"))
    content = _checked(resource, values)
    source = content.pop("source")
    return Entity(entity, record.external_id, content, source, content_hash(content))


def under_id(entity: Entity, assignment_id: str) -> Entity:
    """Return an assignment under the platform's own id: it answers an enrolment of ours."""
    content = entity.content | {_ID_FIELD["assignments"]: assignment_id}
    return Entity(assignment_id, entity.external_id, content, entity.source, content_hash(content))


def _checked(resource: Resource, values: dict[str, Any]) -> dict[str, Any]:
    try:
        content: dict[str, Any] = checkers()[resource].validator.validate_python(values)
        return content
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
            for problem in error.errors(include_input=False, include_url=False)[:5]
        )
        raise RecordError(
            f"does not make a canonical {_NOUN[resource]}: {problems}", code="invalid_entity"
        ) from None


def _status_when_gone(resource: Resource, status: Any) -> str:
    """Return the status of a record the partner deleted: withdrawn, unless it had ended before."""
    if resource == "offerings":
        return OfferingStatus.WITHDRAWN.value
    return str(status) if status in _ENDED else AssignmentStatus.WITHDRAWN.value


def is_correction(before: KnownEntity, entity: Entity) -> bool:
    """Tell whether a version steps back: to an earlier status, or to a lower percentage."""
    if before.percent is not None and entity.percent is not None and entity.percent < before.percent:
        return True
    try:
        return _RANK[AssignmentStatus(entity.status)] < _RANK[AssignmentStatus(before.status)]
    except KeyError:
        return False  # 'unknown' has no place in the order


def event_type(resource: Resource, before: KnownEntity | None, entity: Entity) -> str:
    """Return which event tells of this version."""
    if resource == "assignments":
        return envelope.ASSIGNMENT_UPDATED
    if before is None:
        return envelope.OFFERING_CREATED
    withdrawn = OfferingStatus.WITHDRAWN.value
    if entity.status == withdrawn and before.status != withdrawn:
        return envelope.OFFERING_WITHDRAWN
    return envelope.OFFERING_UPDATED


def to_event(
    npo_id: str,
    resource: Resource,
    record: PendingRecord,
    entity: Entity,
    *,
    before: KnownEntity | None,
    recorded_at: datetime,
) -> envelope.Event:
    """Return the event that tells of an entity's new version."""
    version = before.version + 1 if before else 1
    noun = _NOUN[resource]
    correction = resource == "assignments" and before is not None and is_correction(before, entity)
    data: dict[str, Any] = {"version": version, noun: entity.content | {"source": entity.source}}
    if resource == "assignments":
        data["correction"] = correction
    return envelope.Event(
        id=event_id(npo_id, resource, record.external_id, version, entity.content_hash),
        type=event_type(resource, before, entity),
        owner=npo_id,
        subject=f"{noun}/{entity.id}",
        time=entity.source.get("external_updated_at") or record.fetched_at,
        recorded_at=recorded_at,
        partition_key=entity.id,
        sequence=version,
        correlation_id=f"{npo_id}/{record.run_id}",
        causation_id=record.content_hash,
        data=data,
        trace_parent=trace_parent(),
    )


def trace_parent() -> str | None:
    """Return the W3C traceparent of the span this runs in, ``None`` where nothing is traced."""
    span = trace.get_current_span().get_span_context()
    if not span.is_valid:
        return None
    return f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}"

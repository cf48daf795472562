"""Event data against its versioned JSON Schema: ``schemas/<type>.json``."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from include.canonical import checkers
from include.errors import FatalError
from include.events import envelope

if TYPE_CHECKING:
    from jsonschema_rs import Validator

SCHEMAS = Path(__file__).parent / "schemas"
_RECORD = {
    envelope.OFFERING_CREATED: ("offering", "offerings"),
    envelope.OFFERING_UPDATED: ("offering", "offerings"),
    envelope.OFFERING_WITHDRAWN: ("offering", "offerings"),
    envelope.ASSIGNMENT_UPDATED: ("assignment", "assignments"),
}
CANONICAL_TYPES = tuple(_RECORD)
"""Whose data is a canonical record: their schema is made from it."""

ENROLMENT_TYPES = (
    envelope.ENROLMENT_REQUESTED,
    envelope.ENROLMENT_ACCEPTED,
    envelope.ENROLMENT_REJECTED,
    envelope.ENROLMENT_FAILED,
    envelope.ENROLMENT_WITHDRAWN,
)
COMMAND_TYPES = (envelope.ASSIGNMENT_CREATED, envelope.ASSIGNMENT_WITHDRAWN)
"""The platform's; we consume them and publish none."""

EVENT_TYPES = (
    *CANONICAL_TYPES,
    *ENROLMENT_TYPES,
    *COMMAND_TYPES,
    envelope.POSITION_RECONCILED,
    envelope.FILE_EXPORTED,
    envelope.FILE_ANSWERED,
)


def problem(event_type: str, data: Any) -> str | None:
    """Return why ``data`` breaks the schema of its event type (no values in it), ``None`` if it does not."""
    validator = _validator(event_type)
    if validator.is_valid(data):
        return None
    error = next(iter(validator.iter_errors(data)))
    path = "/".join(map(str, error.instance_path)) or "data"
    return f"{path} breaks '{'/'.join(map(str, error.schema_path))}'"


@lru_cache(maxsize=16)
def _validator(event_type: str) -> Validator:
    import jsonschema_rs

    path = SCHEMAS / f"{event_type}.json"
    if event_type not in EVENT_TYPES or not path.is_file():
        raise FatalError(f"there is no schema for events of type {event_type}; add {path.name} to schemas/")
    return jsonschema_rs.validator_for(json.loads(path.read_text("utf-8")))


def schema_of(event_type: str) -> dict[str, Any]:
    """Return the schema as the canonical records give it: what the file in ``schemas/`` must hold."""
    name, resource = _RECORD[event_type]
    entity = checkers()[resource].json_schema(mode="serialization")
    definitions = entity.pop("$defs", {})
    properties: dict[str, Any] = {"version": {"type": "integer", "minimum": 1}, name: entity}
    if name == "assignment":
        properties["correction"] = {
            "type": "boolean",
            "description": "True when the partner stepped back: an earlier status or a lower percentage.",
        }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"/schemas/{event_type}.json",
        "title": event_type,
        "type": "object",
        "properties": properties,
        "required": sorted(properties),
        "additionalProperties": False,
        "$defs": definitions,
    }

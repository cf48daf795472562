"""The body of an enrolment: built from what the manifest's allow-list lets out, and from nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from include.connectors.expressions import WRONG_TYPE, getter
from include.errors import RecordError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from include.connectors.manifest_enrolment import Enrolment, RequestField

MISSING, UNREADABLE = "missing_field", "bad_shape"
ASSIGNMENT_FIELDS = ("assignment_id", "offering_id", "requested_at")
"""What an expression sees of the assignment; its ``candidate_id`` counts as the candidate's."""


def build_request(enrolment: Enrolment, document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body to send: nested for JSON, flat texts for a form.

    Args:
        enrolment: The manifest's section.
        document: ``{candidate, assignment, offering, reference}``, JSON-able or with datetimes. It is cut
            down to the allow-list before any expression runs.

    Raises:
        RecordError: ``missing_field`` (names the body's field) or ``bad_shape``; never a value.
    """
    visible = pruned(enrolment, document)
    flat = {
        name: value
        for name, field in enrolment.request.fields.items()
        if (value := _value(name, field, visible)) is not None
    }
    if enrolment.endpoint.encoding == "form":
        return {name: _form_text(name, value) for name, value in flat.items()}
    return _nested(flat)


def pruned(enrolment: Enrolment, document: Mapping[str, Any]) -> dict[str, Any]:
    """Return what expressions may see of a document, as JSON values: the allow-list, enforced."""
    allowed = enrolment.request.candidate
    candidate = document.get("candidate") or {}
    assignment = document.get("assignment") or {}
    visible = {name: candidate[name] for name in allowed if name in candidate}
    if "candidate_id" in allowed and "candidate_id" in assignment:
        visible.setdefault("candidate_id", assignment["candidate_id"])
    seen = {
        "candidate": visible,
        "assignment": {name: assignment[name] for name in ASSIGNMENT_FIELDS if name in assignment},
        "offering": document.get("offering") or {},
        "reference": document.get("reference"),
    }
    plain: dict[str, Any] = orjson.loads(orjson.dumps(seen, option=orjson.OPT_UTC_Z))
    return plain


def _value(name: str, field: RequestField, visible: Mapping[str, Any]) -> Any:
    if field.path is None:
        return field.const
    try:
        value = getter(field.path)(visible)
    except WRONG_TYPE:
        raise RecordError(f"{name}: its expression cannot read what is there", code=UNREADABLE) from None
    empty = value is None or (isinstance(value, str) and not value.strip())
    if empty and field.required:
        raise RecordError(
            f"{name}: no value; the candidate or offering lacks it, or request.candidate does not allow it",
            code=MISSING,
        )
    return None if empty else value


def _form_text(name: str, value: Any) -> str:
    if isinstance(value, dict | list):
        raise RecordError(f"{name}: a form field holds a single value", code=UNREADABLE)
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = {}
    for name, value in flat.items():
        *parents, key = name.split(".")
        place = body
        for parent in parents:
            below = place.setdefault(parent, {})
            if not isinstance(below, dict):
                raise RecordError(f"{name}: '{parent}' is a field itself", code=UNREADABLE)
            place = below
        place[key] = value
    return body

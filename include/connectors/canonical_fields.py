"""The fields a mapping may fill, read off the canonical records: name, type and allowed values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, Required, get_args, get_origin

from pydantic import AwareDatetime
from typing_extensions import get_type_hints, is_typeddict

from include.canonical import Assignment, Offering

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from include.connectors.protocol import Resource

Kind = Literal["text", "html", "url", "datetime", "number", "integer", "percent", "boolean", "object"]

# Ours, not the partner's: the pipeline fills them.
_OWN = frozenset({"offering_id", "assignment_id", "external_id", "npo_id"})
_OWN_SOURCE = frozenset({"fetched_at", "content_hash", "mapping_version", "raw_ref", "deleted_upstream"})
_KIND_BY_NAME: dict[str, Kind] = {
    "description_html": "html",
    "url": "url",
    "website": "url",
    "certificate_url": "url",
    "attachments": "url",
    "percent": "percent",
}
_KIND_BY_TYPE: dict[type, Kind] = {
    str: "text",
    bool: "boolean",
    int: "integer",
    float: "number",
    datetime: "datetime",
    AwareDatetime: "datetime",
}


@dataclass(frozen=True, slots=True)
class CanonicalField:
    """What a canonical field takes.

    Attributes:
        kind: Its type, and so the cast a mapping applies unless it says otherwise.
        many: Whether it holds a list of ``kind``.
        values: The allowed values of an enumeration, empty when free.
    """

    kind: Kind
    many: bool = False
    values: frozenset[str] = frozenset()


@lru_cache(maxsize=2)
def canonical_fields(resource: Resource) -> Mapping[str, CanonicalField]:
    """Return the mappable fields of a resource by dotted name (``progress.percent``)."""
    if resource == "offerings":
        return dict(_fields(Offering))
    # The partner knows its own offering id only; ours is computed from it.
    return {**dict(_fields(Assignment)), "offering_external_id": CanonicalField("text")}


def _fields(record: Any, prefix: str = "") -> Iterator[tuple[str, CanonicalField]]:
    for name, annotation in get_type_hints(record, include_extras=True).items():
        if (not prefix and name in _OWN) or (prefix == "source." and name in _OWN_SOURCE):
            continue
        bare, many = _bare_type(annotation)
        if is_typeddict(bare):
            yield from _fields(bare, f"{prefix}{name}.")
        else:
            yield prefix + name, _field(name, bare, many=many)


def _bare_type(annotation: Any) -> tuple[Any, bool]:
    """Strip ``Required``, ``Annotated`` and ``list[X]``; tell whether there was a list."""
    origin = get_origin(annotation)
    if origin is list:
        return _bare_type(get_args(annotation)[0])[0], True
    if origin in (Required, Annotated):
        return _bare_type(get_args(annotation)[0])
    return annotation, False


def _field(name: str, bare: Any, *, many: bool) -> CanonicalField:
    if get_origin(bare) is Literal:
        return CanonicalField("text", many=many, values=frozenset(get_args(bare)))
    kind = _KIND_BY_NAME.get(name) or _KIND_BY_TYPE.get(bare, "object")
    return CanonicalField(kind, many=many)

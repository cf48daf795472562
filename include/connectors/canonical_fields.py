"""The fields a mapping may fill, read off the canonical models: name, type and allowed values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from functools import lru_cache
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from include.npo.canonical import Assignment, Offering

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


def _fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, CanonicalField]]:
    for name, info in model.model_fields.items():
        if (not prefix and name in _OWN) or (prefix == "source." and name in _OWN_SOURCE):
            continue
        bare, many = _bare_type(info.annotation)
        if isinstance(bare, type) and issubclass(bare, BaseModel):
            yield from _fields(bare, f"{prefix}{name}.")
        else:
            yield prefix + name, _field(name, bare, many=many)


def _bare_type(annotation: Any) -> tuple[Any, bool]:
    """Strip ``| None``, ``Annotated`` and ``tuple[X, ...]``; tell whether there was a tuple."""
    origin = get_origin(annotation)
    if origin in (Union, UnionType):
        inner = next(part for part in get_args(annotation) if part is not type(None))
        return _bare_type(inner)
    if origin is tuple:
        return _bare_type(get_args(annotation)[0])[0], True
    if origin is not None and hasattr(annotation, "__metadata__"):
        return _bare_type(get_args(annotation)[0])
    return annotation, False


def _field(name: str, bare: Any, *, many: bool) -> CanonicalField:
    if isinstance(bare, type) and issubclass(bare, Enum):
        return CanonicalField("text", many=many, values=frozenset(str(member.value) for member in bare))
    kind = _KIND_BY_NAME.get(name) or _KIND_BY_TYPE.get(bare, "object")
    return CanonicalField(kind, many=many)

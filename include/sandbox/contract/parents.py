"""Whom a nested resource is read for, as a scripted partner has them: a few parents, and what each holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from include.connectors.expressions import PLAIN_PATH
from include.connectors.placeholders import with_parent
from include.errors import RecordError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from include.connectors.manifest import ResourceSpec
    from include.connectors.protocol import Connector, Parent, Resource

PARENTS = 3
_MARK = "$parent"
APART = 100
"""Between the numbers made-up ids of one parent and of the next begin with: more than there are copies."""


@dataclass(frozen=True)
class Above:
    """A record of the parent resource, and what is asked for it."""

    record: dict[str, Any]
    parent: Parent


def parents_of(
    connector: Connector, resource: Resource, records: Sequence[dict[str, Any]]
) -> tuple[Above, ...]:
    """Return the first few of these records that different requests can be made for."""
    spec = connector.manifest.resource(resource)
    found: dict[tuple[Any, ...], Above] = {}
    for record in records:
        try:
            parent = connector.parent(resource, record)
        except RecordError:
            continue
        segments, params = _request(spec, parent)
        found.setdefault((tuple(segments), tuple(params.items())), Above(record, parent))
    return tuple(found.values())[:PARENTS]


def parent_asked(
    spec: ResourceSpec, parents: Sequence[Parent], path: str, query: Mapping[str, str]
) -> Parent | None:
    """Return whose list a request asks for, ``None`` for one that names none of the parents.

    A value must have come as one segment of the path, or as one parameter, whatever it holds.
    """
    asked = [unquote(segment) for segment in path.strip("/").split("/")]
    for parent in parents:
        segments, params = _request(spec, parent)
        if asked == segments and all(query.get(name) == value for name, value in params.items()):
            return parent
    return None


def _request(spec: ResourceSpec, parent: Parent) -> tuple[list[str], dict[str, str]]:
    """Return the path's segments and the parameters that a parent's list is asked by, unquoted."""
    endpoint = spec.endpoint
    segments = [
        with_parent(segment, parent.values, quoted=False) for segment in endpoint.path.strip("/").split("/")
    ]
    filled = {
        name: (value, with_parent(value, parent.values, quoted=False))
        for name, value in endpoint.params.items()
        if isinstance(value, str)
    }
    return segments, {name: new for name, (old, new) in filled.items() if new != old}


def own_key(spec: ResourceSpec) -> str | None:
    """Return the first plain path of the primary key that stands in the record itself."""
    included = _included(spec)
    return next((key for key in spec.primary_key if PLAIN_PATH.match(key) and key not in included), None)


def names_the_parent(spec: ResourceSpec) -> bool:
    """Return whether a value of the parent is part of the primary key."""
    return any(name in key for key in spec.primary_key for name in _included(spec))


def _included(spec: ResourceSpec) -> set[str]:
    return set(spec.nested.included(dict.fromkeys(spec.nested.fields, ""))) if spec.nested else set()


def completed(spec: ResourceSpec, record: Any, parent: Parent | None) -> Any:
    """Return a record with what the manifest includes from its parent."""
    if parent is None or spec.nested is None or not isinstance(record, dict):
        return record
    return {**record, **spec.nested.included(parent.values)}


def marked(record: dict[str, Any], parent: Parent) -> dict[str, Any]:
    """Return a record that knows whose it is; the mark is for the script, and never sent."""
    return {**record, _MARK: parent.key}


def key_of(record: Any) -> str | None:
    """Return the key of the parent a record is marked with."""
    return record.get(_MARK) if isinstance(record, dict) else None


def unmarked(record: Any) -> Any:
    """Return a record as it is sent."""
    if key_of(record) is None:
        return record
    return {name: value for name, value in record.items() if name != _MARK}

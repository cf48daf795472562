"""Hides personal values in what is shown to a person who only wants to see whether a mapping is right."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import jmespath

if TYPE_CHECKING:
    from collections.abc import Iterator

    from include.connectors.manifest import ResourceSpec
    from include.connectors.protocol import Resource

HIDDEN = "***"

_PERSONAL_KEY = re.compile(
    r"(first|given|middle|last|family|sur|fore|full|user|display|candidate|student|learner|mentee|mentor|person)"
    r"[_-]?names?$|^names?_?of|e?[_-]?mail|phone|mobile|(?:^|_)tel(?:$|_)|address|street|post[_-]?code|zip|birth|(?:^|_)dob(?:$|_)"
    r"|gender|ethnic|nationalit|nino$|insurance|passport|contact|notes?$|comments?$|message|signature|iban",
    re.IGNORECASE,
)
_PERSONAL_VALUE = re.compile(
    r"[^\s@]+@[^\s@]+\.[^\s@]+|(?:\+|\b0)\d[\d ()/-]{7,}\d"
    r"|\b[A-CEGHJ-PR-TW-Z]{2} ?\d{2} ?\d{2} ?\d{2} ?[A-D]\b"  # a national insurance number
)
_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
# Of an assignment, what cannot hold a person's own words or name. A reference to the candidate may be shown:
# it is by definition no name and no address, and without it nobody sees whether the mapping is right.
_SHOWN_OF_AN_ASSIGNMENT = (
    "assignment_id", "external_id", "npo_id", "offering_id", "offering_external_id", "external_candidate_ref",
    "status", "external_status", "progress", "outcome.passed", "outcome.score", "attempt", "requested_at",
    "accepted_at", "enrolled_at", "started_at", "last_activity_at", "due_at", "completed_at", "withdrawn_at",
    "source",
)  # fmt: skip
_ANY = "*"

Path = tuple[str, ...]
"""Names from the record down to a value; an index of a list counts for nothing, ``*`` stands for any name."""


def shown_paths(resource: Resource, spec: ResourceSpec) -> frozenset[Path] | None:
    """Return the paths of the source whose values may be shown; ``None`` for any that do not sound personal.

    An offering is public. Of an assignment only what the mapping reads is shown, as far as that may be shown
    of the platform's record: the rest is likely to be about the candidate.
    """
    if resource == "offerings":
        return None
    expressions = [*spec.primary_key]
    if spec.incremental:
        expressions.append(spec.incremental.cursor_path)
    for name, field in spec.mapping.fields.items():
        if _may_be_shown(name):
            read = (field.path, *field.concat, field.when.path if field.when else None)
            expressions += [expression for expression in read if expression]
    return frozenset(path for expression in expressions for path in _paths(expression))


def platform_paths(resource: Resource, record: dict[str, Any]) -> frozenset[Path] | None:
    """Return the paths of a platform's record whose values may be shown; ``None`` as for ``shown_paths``."""
    if resource == "offerings":
        return None
    return frozenset(path for path in _leaves(record) if _may_be_shown(".".join(path)))


def _may_be_shown(name: str) -> bool:
    return any(name == one or name.startswith(f"{one}.") for one in _SHOWN_OF_AN_ASSIGNMENT)


def _leaves(value: Any, path: Path = ()) -> Iterator[Path]:
    if isinstance(value, dict):
        for name, entry in value.items():
            yield from _leaves(entry, (*path, name))
    else:
        yield path


def _paths(expression: str) -> set[Path]:
    """Return the paths an expression reads."""
    read: set[Path] = set()
    return _walk(jmespath.compile(expression).parsed, {()}, read) | read


def _walk(node: Any, bases: set[Path], read: set[Path]) -> set[Path]:
    """Return where a node's values stand, seen from ``bases``; add to ``read`` what is read by the way."""
    kind, children = node["type"], node.get("children", [])
    if kind == "field":
        return {(*base, node["value"]) for base in bases}
    if kind in ("current", "identity", "index", "slice"):
        return bases
    if kind in ("subexpression", "pipe", "index_expression", "projection", "flatten", "value_projection"):
        for place, child in enumerate(children):
            bases = _walk(child, bases, read)
            if kind == "value_projection" and place == 0:
                bases = {(*base, _ANY) for base in bases}
        return bases
    if kind == "filter_projection":
        listed, wanted, condition = children
        bases = _walk(listed, bases, read)
        read |= _walk(condition, bases, read)
        return _walk(wanted, bases, read)
    if kind == "function_expression":
        given = [child for child in children if child["type"] != "expref"]
        bases = {path for child in given for path in _walk(child, bases, read)}
        read |= bases
        children = [inner for child in children if child["type"] == "expref" for inner in child["children"]]
        read.update(path for child in children for path in _walk(child, bases, read))
        return bases
    return {path for child in children for path in _walk(child, bases, read)}


def masked(value: Any, shown: frozenset[Path] | None = None, *, path: Path = ()) -> Any:
    """Return a value with what is, or may be, personal replaced by ``***``.

    Args:
        value: JSON.
        shown: Paths whose values may be shown, see ``shown_paths``.
        path: Where the value stands.
    """
    personal = bool(path) and sounds_personal(path[-1])
    if isinstance(value, dict):
        if personal:
            return HIDDEN
        return {name: masked(entry, shown, path=(*path, name)) for name, entry in value.items()}
    if isinstance(value, list):
        return [masked(entry, shown, path=path) for entry in value]
    if value is None or isinstance(value, bool):
        return value
    if personal or (shown is not None and not _is_among(path, shown)):
        return HIDDEN
    return HIDDEN if isinstance(value, str) and _PERSONAL_VALUE.search(value) else value


def _is_among(path: Path, shown: frozenset[Path]) -> bool:
    return path in shown or any(
        len(one) == len(path) and all(name in (_ANY, ours) for name, ours in zip(one, path, strict=True))
        for one in shown
        if _ANY in one
    )


def sounds_personal(key: str) -> bool:
    """Tell whether a name is one under which people are described."""
    return bool(_PERSONAL_KEY.search(_WORDS.sub("_", key)))

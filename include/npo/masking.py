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
# What a person may write into them is anybody's guess.
_FREE_TEXT = frozenset({"status_reason"})


def shown_names(resource: Resource, spec: ResourceSpec) -> frozenset[str] | None:
    """Return the names of the source whose values may be shown; ``None`` for any that do not sound personal.

    An offering is public. Of an assignment only what the mapping reads is shown: the rest is likely to
    be about the candidate.
    """
    if resource == "offerings":
        return None
    expressions = [*spec.primary_key]
    if spec.incremental:
        expressions.append(spec.incremental.cursor_path)
    for name, field in spec.mapping.fields.items():
        if name not in _FREE_TEXT:
            read = (field.path, *field.concat, field.when.path if field.when else None)
            expressions += [expression for expression in read if expression]
    return frozenset(name for expression in expressions for name in _names(expression))


def _names(expression: str) -> Iterator[str]:
    """Yield the names an expression reads."""
    waiting: list[Any] = [jmespath.compile(expression).parsed]
    while waiting:
        node = waiting.pop()
        if node.get("type") == "field":
            yield node["value"]
        waiting += node.get("children", ())


def masked(value: Any, shown: frozenset[str] | None = None, *, key: str = "") -> Any:
    """Return a value with what is, or may be, personal replaced by ``***``.

    Args:
        value: JSON.
        shown: Names whose values may be shown, see ``shown_names``.
        key: The name the value stands under.
    """
    if isinstance(value, dict):
        if sounds_personal(key):
            return HIDDEN
        return {name: masked(entry, shown, key=name) for name, entry in value.items()}
    if isinstance(value, list):
        return [masked(entry, shown, key=key) for entry in value]
    if value is None or isinstance(value, bool):
        return value
    if sounds_personal(key) or (shown is not None and key not in shown):
        return HIDDEN
    return HIDDEN if isinstance(value, str) and _PERSONAL_VALUE.search(value) else value


def sounds_personal(key: str) -> bool:
    """Tell whether a name is one under which people are described."""
    return bool(_PERSONAL_KEY.search(_WORDS.sub("_", key)))

"""What the types of a manifest cannot say: target fields, allowed values, and problems in plain words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from include.connectors.canonical_fields import canonical_fields

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic import ValidationError

    from include.connectors.canonical_fields import CanonicalField
    from include.connectors.manifest import FieldSpec
    from include.connectors.protocol import Resource

_TAGGED = ("auth", "paginator")
_SHOWN = 60


def describe(error: ValidationError) -> list[str]:
    """Return one line per problem: ``path: expected ..., got ...``; values near credentials are not shown."""
    return [
        _line(tuple(map(str, item["loc"])), item["type"], item["msg"], item["input"])
        for item in error.errors(include_url=False)
    ]


def _line(location: tuple[str, ...], kind: str, message: str, given: Any) -> str:
    where = _path(location) or "manifest"
    if kind == "extra_forbidden":
        return f"{where}: expected no such field here, got one (check the spelling)"
    if kind == "missing":
        return f"{where}: expected a value, got none"
    text = message.removeprefix("Value error, ").replace("Input should be ", "expected ", 1)
    if not text.startswith("expected"):
        text = f"expected a valid value ({text})"
    secret = {"auth", "headers"} & set(location)
    return f"{where}: {text}" if secret or ", got " in text else f"{where}: {text}, got {_shown(given)}"


def _path(location: tuple[str, ...]) -> str:
    """Join a location, without the name of the variant that pydantic inserts after a tagged section."""
    return ".".join(
        part.removesuffix("_")
        for index, part in enumerate(location)
        if not (index and location[index - 1] in _TAGGED and index < len(location) - 1)
    )


def _shown(value: Any) -> str:
    text = type(value).__name__ if isinstance(value, (dict, list, tuple)) else repr(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def target_problems(resource: Resource, fields: Mapping[str, FieldSpec]) -> list[str]:
    """Return the problems of a mapping's targets: unknown fields, values an enumeration does not have."""
    known = canonical_fields(resource)
    problems: list[str] = []
    for name, spec in fields.items():
        where = f"resources.{resource}.mapping.fields.{name}"
        target = known.get(name)
        if target is None:
            problems.append(f"{where}: expected a canonical field, got {name!r}{_nearest(name, known)}")
        else:
            problems += (f"{where}.{problem}" for problem in _value_problems(spec, target))
    return problems


def _nearest(name: str, known: Mapping[str, CanonicalField]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _value_problems(spec: FieldSpec, target: CanonicalField) -> Iterator[str]:
    if not target.values:
        return
    allowed = ", ".join(sorted(target.values))
    given = [(f"values.{key}", value) for key, value in spec.values.items()]
    given += [("default", spec.default), ("const", spec.const)]
    for where, value in given:
        for one in value if isinstance(value, (list, tuple)) else (value,):
            if one is not None and one not in target.values:
                yield f"{where}: expected one of {allowed}, got {_shown(one)}"

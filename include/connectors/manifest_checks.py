"""What the types of a manifest cannot say: target fields, allowed values, and problems in plain words."""

from __future__ import annotations

import re
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin

from include.connectors.canonical_fields import canonical_fields
from include.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pydantic import BaseModel, ValidationError

    from include.connectors.canonical_fields import CanonicalField
    from include.connectors.manifest import FieldSpec
    from include.connectors.protocol import Resource

_TAGGED = ("auth", "paginator")
_SHOWN = 60
_DEEPEST, _MOST_VALUES = 40, 50_000
# What a word takes, for a value of the wrong type: by the word's own name, else by the kind of value.
_EXAMPLES = {
    "primary_key": "id",
    "path": "courses",
    "params": "{per_page: 500}",
    "data_selector": "data",
    "cursor_path": "updated_at",
    "lookback": "PT1H",
    "status": "[403, 429]",
    "fields": "{name: title}",
    "values": "{open: active}",
    "headers": "{X-Tenant: acme}",
    "version": "1",
    "limit": "100",
    "include_from_parent": "[id]",
    "every": "PT1M",
    "give_up_after": "P7D",
}
_EXAMPLES_BY_KIND = {
    "string_type": "some text, in quotes if it looks like a number",
    "int_type": "100",
    "int_parsing": "100",
    "float_type": "30",
    "float_parsing": "30",
    "bool_type": "true",
    "bool_parsing": "true",
    "dict_type": "{key: value}",
    "model_type": "{key: value}",
    "model_attributes_type": "{key: value}",
    "tuple_type": "[a, b]",
    "time_delta_type": "PT1H",
    "time_delta_parsing": "PT1H",
}


def require_bounded(data: Any) -> None:
    """Do nothing if a manifest is of a size that can be checked.

    A few lines of YAML can stand for millions of values (anchors in anchors) or hold themselves.

    Raises:
        ConfigurationError: Nested too deep, or too many values.
    """
    level, seen = [data], 0
    for _ in range(_DEEPEST):
        below: list[Any] = []
        for value in level:
            below.extend(_inside(value))
        seen += len(below)
        if not below:
            return
        if seen > _MOST_VALUES:
            break
        level = below
    raise ConfigurationError(
        f"the manifest is not valid:\nmanifest: expected at most {_MOST_VALUES} values in {_DEEPEST} levels, "
        "got more; look for an anchor that holds itself"
    )


def _inside(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value
        yield from value.values()
    elif isinstance(value, (list, tuple)):
        yield from value


def describe(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """Return one line per problem: ``path: expected ..., got ... (hint)``.

    Values near credentials are not shown.

    Args:
        error: Of the validation.
        model: What was validated, for the words it knows.
    """
    return [
        _line(tuple(map(str, item["loc"])), item["type"], item["msg"], item["input"], model)
        for item in error.errors(include_url=False, include_context=False)
    ]


def _line(location: tuple[str, ...], kind: str, message: str, given: Any, model: type[BaseModel]) -> str:
    where = _path(location) or "manifest"
    if kind == "extra_forbidden":
        known = words_at(model, location[:-1])
        return f"{where}: expected no such field here, got one{_meant(location[-1], known)}"
    if kind == "missing":
        return f"{where}: expected a value, got none{_example(location, kind)}"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return _wrong_type(where, message, given)
    text = message.removeprefix("Value error, ").replace("Input should be ", "expected ", 1)
    if not text.startswith("expected"):
        text = f"expected a valid value ({text})"
    secret = {"auth", "headers"} & set(location)
    told = f"{where}: {text}" if secret or ", got " in text else f"{where}: {text}, got {_shown(given)}"
    return told + (_near_word(message, given) if kind == "literal_error" else _example(location, kind))


def _wrong_type(where: str, message: str, given: Any) -> str:
    """Tell which variants a tagged section has; its value is shown only where it is a plain word."""
    known = re.findall(r"'(\w+)'", message.partition("expected tags: ")[2])
    word = given.get("type") if isinstance(given, dict) else None
    got = _shown(word) if isinstance(word, str) and word.isidentifier() else "none"
    expected = (
        f"expected type {', '.join(known[:-1])} or {known[-1]}"
        if len(known) > 1
        else ("expected an object with 'type'")
    )
    return f"{where}: {expected}, got {got}{_meant(word, known)}"


def _near_word(message: str, given: Any) -> str:
    return _meant(given, re.findall(r"'(\w+)'", message), otherwise="")


def _meant(word: Any, known: Iterable[str], otherwise: str = " (check the spelling)") -> str:
    close = _closest(word, known) if isinstance(word, str) else None
    return f" (did you mean {close!r}?)" if close else otherwise


def _closest(word: str, known: Iterable[str]) -> str | None:
    from difflib import get_close_matches

    found = get_close_matches(word[:_SHOWN], list(known), n=1)
    return found[0] if found else None


def _example(location: tuple[str, ...], kind: str) -> str:
    names = [part for part in location if not part.isdigit()]
    word = names[-1].removesuffix("_") if names else ""
    if kind not in _EXAMPLES_BY_KIND and kind != "missing":
        return ""
    example = _EXAMPLES.get(word) or _EXAMPLES_BY_KIND.get(kind)
    return (
        f" (for example {word}: {example})"
        if example and word in _EXAMPLES
        else (f" (for example {example})" if example else "")
    )


def words_at(model: type[BaseModel], location: tuple[str, ...]) -> list[str]:
    """Return the words a manifest may have at a place, in pydantic's notation of places."""
    found: list[Any] = [model]
    for part in location:
        found = [below for kind in found for below in _below(kind, part)]
    return sorted(
        {
            field.alias or name
            for kind in found
            if isinstance(kind, type) and hasattr(kind, "model_fields")
            for name, field in kind.model_fields.items()
        }
    )


def _below(kind: Any, part: str) -> Iterator[Any]:
    """Yield what a type holds under one part of a place: a field, a variant, an entry or an item."""
    if isinstance(kind, type) and hasattr(kind, "model_fields"):
        tag = kind.model_fields.get("type")
        if tag is not None and part in get_args(tag.annotation):
            yield kind
        for name, field in kind.model_fields.items():
            if part in (name, field.alias):
                yield from _plain(field.annotation)
    elif get_origin(kind) in (dict, tuple):
        yield from _plain(get_args(kind)[1 if get_origin(kind) is dict else 0])


def _plain(annotation: Any) -> Iterator[Any]:
    """Yield the types an annotation stands for, without ``Annotated``, ``None`` and unions."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _plain(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for one in get_args(annotation):
            yield from _plain(one)
    elif annotation is not type(None):
        yield annotation


def _path(location: tuple[str, ...]) -> str:
    """Join a location, without the name of the variant that pydantic inserts after a tagged section."""
    return ".".join(
        _shortened(part.removesuffix("_"))
        for index, part in enumerate(location)
        if not (index and location[index - 1] in _TAGGED and index < len(location) - 1)
    )


def _shortened(text: str) -> str:
    text = text if text.isprintable() else ascii(text)[1:-1]
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def _shown(value: Any) -> str:
    if isinstance(value, (bool, float, str)) or value is None:
        return _shortened(repr(value))
    if isinstance(value, int):
        # Python refuses to write a number of more than some thousand digits.
        return str(value) if value.bit_length() < _SHOWN else "a very large number"
    return type(value).__name__


def target_problems(resource: Resource, fields: Mapping[str, FieldSpec]) -> list[str]:
    """Return the problems of a mapping's targets: unknown fields, values an enumeration does not have."""
    known = canonical_fields(resource)
    problems: list[str] = []
    for name, spec in fields.items():
        where = f"resources.{resource}.mapping.fields.{name}"
        target = known.get(name)
        if target is None:
            problems.append(
                f"{where}: expected a canonical field, got {_shown(name)}{_meant(name, known, '')}"
            )
        else:
            problems += (f"{where}.{problem}" for problem in _value_problems(spec, target))
    return problems


def _value_problems(spec: FieldSpec, target: CanonicalField) -> Iterator[str]:
    if not target.values:
        return
    if spec.on_unknown == "keep":
        yield (
            "on_unknown: expected default, null or quarantine where only known words are allowed, got 'keep' "
            "(give the partner's words in 'values')"
        )
    allowed = ", ".join(sorted(target.values))
    given = [(f"values.{key}", value) for key, value in spec.values.items()]
    given += [("default", spec.default), ("const", spec.const)]
    for where, value in given:
        for one in value if isinstance(value, (list, tuple)) else (value,):
            if one is not None and (not isinstance(one, str) or one not in target.values):
                hint = _meant(one, target.values, "")
                yield f"{where}: expected one of {allowed}, got {_shown(one)}{hint}"

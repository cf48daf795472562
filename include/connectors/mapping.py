"""From a partner's record to canonical fields: a mapping compiled once into plain closures."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from include.connectors.canonical_fields import canonical_fields
from include.connectors.casts import LONGEST_KEPT, BadValueError, make_cast
from include.connectors.expressions import PLAIN_PATH, WRONG_TYPE, getter
from include.connectors.manifest_types import value_key
from include.errors import RecordError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from include.connectors.canonical_fields import CanonicalField
    from include.connectors.manifest import FieldMapping, FieldSpec, OneOf
    from include.connectors.protocol import Resource

UNKNOWN = "unknown_value"
WORDS_KEPT = 1_024


def compile_mapping(
    resource: Resource, mapping: FieldMapping, transforms: Mapping[str, Callable[[Any], Any]] | None = None
) -> Callable[[Any], dict[str, Any]]:
    """Return a function from a record (an object) to its canonical fields, nested.

    What is missing, null, blank or listed under ``nulls`` and has no default is left out, unless the
    field's ``on_missing`` says otherwise; ``on_unknown`` and ``on_invalid`` decide about the rest.

    Args:
        resource: Whose canonical fields the targets are.
        mapping: Validated.
        transforms: The functions of the connector's ``transforms.py``.

    Raises (the returned function):
        RecordError: A value cannot be cast; names code, field and origin, never the value.
    """
    known = canonical_fields(resource)
    fields = [_compiled(name, spec, known[name], transforms or {}) for name, spec in mapping.fields.items()]

    def to_platform(record: dict[str, Any]) -> dict[str, Any]:
        out: dict[str, Any] = {}
        get = record.get
        for parents, key, origin, read, absent in fields:
            # The first key of a plain path is looked up here: most fields of most records are null, and
            # two calls less for each of them are a third of the time.
            found = record if origin is None else get(origin)
            value = absent if found is None else read(found)
            if value is None:
                continue
            place = out
            for parent in parents:
                place = place.setdefault(parent, {})
            place[key] = value
        return out

    return to_platform


class _Compiled(NamedTuple):
    """One field of a mapping.

    Attributes:
        parents: The objects the target lies in.
        key: Its name in the innermost.
        origin: The key of the record that decides; ``None`` if more of the record has to be looked at.
        read: From the value under ``origin``, or from the record, to the canonical value.
        absent: What stands for no value under ``origin``.
    """

    parents: tuple[str, ...]
    key: str
    origin: str | None
    read: Callable[[Any], Any]
    absent: Any


def _compiled(
    name: str, spec: FieldSpec, target: CanonicalField, transforms: Mapping[str, Callable[[Any], Any]]
) -> _Compiled:
    *above, key = name.split(".")
    parents = tuple(above)
    if spec.const is not None:
        return _Compiled(parents, key, None, lambda _: spec.const, None)
    path = _plain_path(spec)
    if path is None:
        return _Compiled(parents, key, None, _field(name, spec, target, _origin(spec, transforms)), None)
    origin, _, rest = path.partition(".")
    field = _field(name, spec, target, getter(rest) if rest else None)
    return _Compiled(parents, key, origin, field, _default(spec, target))


def _plain_path(spec: FieldSpec) -> str | None:
    """Return the path whose value alone decides the field, ``None`` if more has to be looked at."""
    alone = not spec.transform and not spec.pattern and spec.when is None and spec.on_missing == "default"
    return spec.path if alone and spec.path and PLAIN_PATH.match(spec.path) else None


def _default(spec: FieldSpec, target: CanonicalField) -> Any:
    return [spec.default] if target.many and isinstance(spec.default, str) else spec.default


def _field(
    name: str, spec: FieldSpec, target: CanonicalField, read: Callable[[Any], Any] | None
) -> Callable[[Any], Any]:
    """Return the closure of one field: read (unless it is given the value), clear nulls, cast, fall back."""
    cast = _forgiving(_one(spec, target), spec)
    cast = _each(cast, spec) if target.many else cast
    origin = spec.path or " + ".join(spec.concat)
    nulls = frozenset(map(value_key, spec.nulls))
    default = _default(spec, target)
    nothing = _nothing(default, refused=spec.on_missing == "quarantine")

    def value_of(found: Any) -> Any:
        try:
            value = found if read is None else read(found)
            if value is None:
                return nothing()
            if value.__class__ is str and (not value or value.isspace()):
                return nothing()
            if nulls and value_key(value) in nulls:
                return nothing()
            return cast(value)
        except BadValueError as error:
            code, expected = error.code, error.expected
        except WRONG_TYPE:
            # An expression or transform met a type it was not made for.
            if spec.on_invalid != "quarantine":
                return default if spec.on_invalid == "default" else None
            code, expected = "bad_shape", "a value the expression can read"
        raise RecordError(f"{name} (from {origin}): expected {expected}", code=code)

    return value_of if spec.when is None else _only_when(spec.when, value_of)


def _nothing(default: Any, *, refused: bool) -> Callable[[], Any]:
    """Return what ``on_missing`` puts in the place of no value."""

    def refuse() -> Any:
        raise BadValueError("missing_value", "a value, because on_missing is quarantine")

    return refuse if refused else lambda: default


def _forgiving(cast: Callable[[Any], Any], spec: FieldSpec) -> Callable[[Any], Any]:
    """Return the cast with what ``on_invalid`` puts in the place of a value that cannot be cast.

    Entry by entry in a list, so that one odd entry does not cost the others.
    """
    if spec.on_invalid == "quarantine":
        return cast
    instead = spec.default if spec.on_invalid == "default" else None

    def forgiving(value: Any) -> Any:
        try:
            return cast(value)
        except BadValueError as error:
            if error.code == UNKNOWN:
                raise  # on_unknown has decided that
            return instead

    return forgiving


def _only_when(when: OneOf, value_of: Callable[[Any], Any]) -> Callable[[Any], Any]:
    holds = one_of(when)
    return lambda record: value_of(record) if holds(record) else None


def one_of(condition: OneOf) -> Callable[[Any], bool]:
    """Return a function that tells whether a record meets a condition."""
    read = getter(condition.path)
    values = frozenset(value_key(value) for value in condition.values)

    def holds(record: Any) -> bool:
        value = read(record)
        return value is not None and not isinstance(value, (dict, list)) and value_key(value) in values

    return holds


def _origin(spec: FieldSpec, transforms: Mapping[str, Callable[[Any], Any]]) -> Callable[[Any], Any]:
    read = getter(spec.path) if spec.path else _joined(spec)
    if spec.pattern:
        read = _matched(read, re.compile(spec.pattern))
    if spec.transform:
        plain, transform = read, transforms[spec.transform]
        return lambda record: transform(plain(record))
    return read


def _joined(spec: FieldSpec) -> Callable[[Any], Any]:
    parts = [getter(expression) for expression in spec.concat]

    def join(record: Any) -> str:
        found = (part(record) for part in parts)
        return spec.separator.join(str(value).strip() for value in found if value is not None and value != "")

    return join


def _matched(read: Callable[[Any], Any], pattern: re.Pattern[str]) -> Callable[[Any], Any]:
    """Return group 1 of the pattern in a text; no match is nothing."""

    def match(record: Any) -> Any:
        value = read(record)
        found = pattern.search(value) if isinstance(value, str) else None
        return found[1] if found else None

    return match


def _one(spec: FieldSpec, target: CanonicalField) -> Callable[[Any], Any]:
    """Return the cast of one value, value table first."""
    cast = make_cast(spec.type or target.kind, formats=spec.formats, timezone=spec.timezone, scale=spec.scale)
    if not spec.values and not target.values:
        return cast
    # Without a table an enumeration's own words are meant.
    table = {**spec.values} or {value: value for value in target.values}
    other = _unknown(spec, target)
    if "*" in table:
        known = table.pop("*")
        other = lambda _: known  # noqa: E731 - a constant, in the form of the policies

    def look_up(value: Any) -> Any:
        if isinstance(value, (dict, list)):
            raise BadValueError("bad_text", "a single value")
        key = value_key(value)
        found = table[key] if key in table else other(value)
        return cast(found) if isinstance(found, str) else found

    # Partners write few words, each many times. Only text: as a key, 1 would be true and 1.0 as well.
    word = lru_cache(maxsize=WORDS_KEPT)(look_up)
    return lambda value: (
        word(value) if value.__class__ is str and len(value) <= LONGEST_KEPT else look_up(value)
    )


def _unknown(spec: FieldSpec, target: CanonicalField) -> Callable[[Any], Any]:
    """Return what ``on_unknown`` puts in the place of a word that the value table lacks."""
    if spec.on_unknown == "null":
        return lambda _: None
    if spec.on_unknown == "keep" and not target.values:
        return lambda value: value
    if spec.on_unknown == "default" and spec.default is not None:
        return lambda _: spec.default

    def refuse(_: Any) -> Any:
        raise BadValueError(UNKNOWN, "a value of the value table; add it, or a default")

    return refuse


def _each(cast: Callable[[Any], Any], spec: FieldSpec) -> Callable[[Any], Any]:
    """Return the cast of a list: of each entry, without nulls and doubles, in order."""

    def cast_all(value: Any) -> Any:
        if isinstance(value, str) and spec.split:
            value = value.split(spec.split)
        entries = value if isinstance(value, list) else [value]
        found: dict[Any, None] = {}
        for entry in entries:
            if entry is None or entry == "":
                continue
            result = cast(entry)
            if result is None:
                continue
            found.update(dict.fromkeys(result if isinstance(result, list) else [result]))
        return list(found)

    return cast_all

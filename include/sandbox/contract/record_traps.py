"""Traps in the records themselves: nulls, unknown words, new and missing fields, odd values."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import orjson

from include.connectors.expressions import PLAIN_PATH
from include.connectors.samples import outcome
from include.errors import RecordError
from include.sandbox.contract.bench import NotApplicableError, TrapSprungError
from include.sandbox.contract.bodies import changed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from include.connectors.rest import RestConnector
    from include.sandbox.contract.bench import Bench

LOOKED_AT = 3
UNHEARD = "A word nobody has heard"
PERSONAL = "Jane Roe, 1 High Street"
ODD_VALUES: tuple[Any, ...] = ("", "odd text", -1, 1e308, True, [], [None], {}, {"x": None}, "\u0000\ud7ff")


def the_samples(bench: Bench) -> None:
    """Each recorded page becomes exactly the records written beside it."""
    connector, parent, none = bench.opened, bench.sample_parent, True
    nested = bench.manifest.resource(bench.resource).nested
    if nested is not None and parent is None:
        raise TrapSprungError(
            f"no sample of {nested.parent} holds a record {bench.resource} can be read for; record one: "
            f"samples/{bench.resource}.page.json is what its first one gives"
        )
    for page, expected in bench.samples():
        none = False
        if not expected.is_file():
            raise TrapSprungError(f"{page.name} has no {expected.name} beside it")
        became = outcome(connector, bench.resource, page.read_bytes(), parent)
        if became != orjson.loads(expected.read_bytes()):
            raise TrapSprungError(
                f"{page.name} no longer becomes {expected.name}; if the new outcome is right, write it with "
                "'spotlight connector test --write-expected'"
            )
    if none:
        raise TrapSprungError(f"no sample of {bench.resource}; record samples/{bench.resource}.page.json")


def nulls(bench: Bench) -> None:
    """Any field may be null: the record is as if the field was not there, or is set aside."""
    for record in _good(bench):
        for name in record:
            _mapped(bench, record | {name: None}, f"{name} is null")


def missing_fields(bench: Bench) -> None:
    """Any field may be missing, which means the same as null."""
    for record in _good(bench):
        for name in record:
            without = {key: value for key, value in record.items() if key != name}
            absent, null = (
                _mapped(bench, without, f"{name} is missing"),
                _mapped(bench, record | {name: None}, name),
            )
            if absent != null:
                raise TrapSprungError(f"{name}: a missing field and a null one become different records")


def new_fields(bench: Bench) -> None:
    """A field that was not there before changes nothing."""
    for record in _good(bench):
        more = record | {"a_new_field": {"deep": [1, 2, 3]}, "": 1}
        if _mapped(bench, more, "a new field") != _mapped(bench, record, "the sample itself"):
            raise TrapSprungError("a new field changes what a record becomes")


def unknown_words(bench: Bench) -> None:
    """A status nobody has heard of becomes unknown, its own word is kept; other tables have their policy."""
    fields = bench.manifest.resource(bench.resource).mapping.fields
    tables = {
        name: spec
        for name, spec in fields.items()
        if spec.values and spec.path and PLAIN_PATH.match(spec.path)
    }
    if not tables:
        raise NotApplicableError("no value table on a plain path")
    connector = bench.opened
    for record in _good(bench):
        if connector.is_deleted(bench.resource, record):
            continue
        for name, spec in tables.items():
            became = _mapped(bench, changed(record, str(spec.path), UNHEARD), name)
            if name == "status":
                _require_unknown(bench, became)


def odd_values(bench: Bench) -> None:
    """A value of another kind, anywhere, costs one record at most, and no message tells a value."""
    for record in _good(bench):
        for path in _paths(record):
            for odd in (*ODD_VALUES, PERSONAL):
                _mapped(bench, _replaced(record, path, odd), ".".join(map(str, path)))


RECORD_TRAPS: tuple[Callable[[Bench], None], ...] = (
    the_samples,
    nulls,
    missing_fields,
    new_fields,
    unknown_words,
    odd_values,
)


def _good(bench: Bench) -> list[dict[str, Any]]:
    connector, resource, parent = bench.opened, bench.resource, bench.sample_parent
    every = [
        record
        for page, _ in bench.samples()
        for record in connector.records(resource, page.read_bytes(), parent=parent)
    ]
    found = [record for record in every if _quietly(connector, bench, record) is not None]
    if not found:
        raise NotApplicableError("no good record in the samples")
    return found[:LOOKED_AT]


def _quietly(connector: RestConnector, bench: Bench, record: Any) -> dict[str, Any] | None:
    try:
        connector.external_id(bench.resource, record)
        return connector.to_platform(bench.resource, record)
    except RecordError:
        return None


def _mapped(bench: Bench, record: dict[str, Any], what: str) -> dict[str, Any] | None:
    """Return what a record becomes, ``None`` if it is set aside.

    Raises:
        TrapSprungError: Anything but a RecordError came of it, or its message tells a value.
    """
    connector, resource = bench.opened, bench.resource
    try:
        connector.external_id(resource, record)
        connector.cursor(resource, record)
        connector.is_deleted(resource, record)
        return connector.to_platform(resource, record)
    except RecordError as error:
        if "Jane" in str(error):
            raise TrapSprungError(f"{what}: the message about a bad record tells its value") from error
        return None
    except Exception as error:
        raise TrapSprungError(f"{what}: {type(error).__name__} instead of a record set aside") from error


def _require_unknown(bench: Bench, became: dict[str, Any] | None) -> None:
    if became is None or became.get("status") != "unknown":
        raise TrapSprungError("an unheard-of status is not 'unknown'; give the field 'default: unknown'")
    if bench.resource == "assignments" and became.get("external_status") != UNHEARD:
        raise TrapSprungError(
            "external_status does not keep the partner's own word; map it from the same path"
        )


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    entries = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, entry in entries:
        yield (*path, key)
        yield from _paths(entry, (*path, key))


def _replaced(record: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    copied: Any = copy.deepcopy(record)
    place = copied
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return dict(copied)

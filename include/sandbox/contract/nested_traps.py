"""Traps in a list that is read once for each record of another, such as the progress of each course."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from include.connectors.expressions import PLAIN_PATH
from include.connectors.protocol import Window, status_told
from include.connectors.windows import window_params
from include.errors import IntegrationError, RecordError, TransientError
from include.sandbox.contract.bench import NotApplicableError, TrapSprungError
from include.sandbox.contract.bodies import changed
from include.sandbox.contract.parents import Above, key_of, marked, names_the_parent, unmarked
from include.sandbox.contract.reading_traps import CHECKPOINT, at, timed
from include.sandbox.contract.server import Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from include.connectors.manifest_nested import Nested
    from include.connectors.protocol import Parent
    from include.sandbox.contract.bench import Bench
    from include.sandbox.contract.bodies import Script

GONE = (404, 410)
ODD_IDS = ("a/../../b", "c?d=e&f=g#h", "50%2F50", "..;/i", "naïve + 1", "{id}", "//elsewhere.example/j")
PERSONAL = "Jane Roe\n1 High Street"
USELESS_IDS: tuple[Any, ...] = (None, "", "  ", ".", "..", "x" * 256, PERSONAL, True, 1.5, [], {"x": 1})

Found = list[Any] | IntegrationError


def records_of_several_parents(bench: Bench) -> None:
    """Parents hold records of one id where the key tells them apart: each is read once, and as landed."""
    script, _ = _nested(bench)
    if len(script.parents) == 1:
        raise NotApplicableError("only one parent can be made up: nested.fields of the samples are all alike")
    found = bench.read()
    ids = bench.ids(found)
    if names_the_parent(script.spec) and len(set(ids)) < len(script.records):
        raise TrapSprungError(
            "records of different parents get the same id; include in primary_key what tells parents apart"
        )
    bench.require_all(script.records, found)
    _require_the_same_as_landed(bench)


def a_cursor_for_each_parent(bench: Bench) -> None:
    """Each parent was read up to another time: each is asked for by its own, and nothing of it is lost."""
    script, nested = _nested(bench)
    _, incremental = timed(bench)
    if nested.cursors == "one":
        raise NotApplicableError("nested.cursors is 'one': all parents share the resource's checkpoint")
    if incremental.param is None:
        raise NotApplicableError("no incremental.param: the partner is asked for everything")
    read_until = {
        parent.key: CHECKPOINT + timedelta(days=30 * place) for place, parent in enumerate(script.parents)
    }
    records = [at(record, incremental, read_until[str(key_of(record))]) for record in script.records]
    windows = {key: Window(since=moment - incremental.lookback) for key, moment in read_until.items()}
    bench.partner.behave(records=records)
    found = _read_each(bench, windows)
    for parent in script.parents:
        _require_read(bench, records, parent, found)
        wanted = window_params(incremental, windows[parent.key])[incremental.param]
        asked = next(seen.asked.query for seen in bench.partner.seen if seen.parent == parent)
        if asked.get(incremental.param) != wanted:
            raise TrapSprungError(
                f"a parent was asked for with {asked.get(incremental.param)!r}, not {wanted!r}"
            )


def a_parent_that_is_gone(bench: Bench) -> None:
    """404 for one parent: told as such, not asked for again and again, and the others are read."""
    script, _ = _nested(bench)
    gone = script.parents[0]
    bench.waits.clear()
    bench.partner.behave(instead=lambda seen, _page: Reply(404) if seen.parent == gone else None)
    found = _read_each(bench)
    for other in script.parents[1:]:
        _require_read(bench, script.records, other, found)
    got = found[gone.key]
    if isinstance(got, IntegrationError) and status_told(got) not in GONE:
        raise TrapSprungError(f"a parent that is gone ended with {type(got).__name__}: {got}")
    if isinstance(got, TransientError) or bench.waits:
        raise TrapSprungError("a parent that is gone is tried again; no errors rule may retry on 404")


def a_parent_that_does_not_answer(bench: Bench) -> None:
    """503 for one parent, whatever is tried: left for the next run, and the others are read."""
    script, _ = _nested(bench)
    broken = script.parents[0]
    bench.partner.behave(instead=lambda seen, _page: Reply(503) if seen.parent == broken else None)
    found = _read_each(bench)
    for other in script.parents[1:]:
        _require_read(bench, script.records, other, found)
    got = found[broken.key]
    if not isinstance(got, TransientError):
        told = f"{type(got).__name__}: {got}" if isinstance(got, IntegrationError) else f"{len(got)} records"
        raise TrapSprungError(f"a parent that does not answer ended with {told}; it is to be read next time")


def an_odd_id_of_a_parent(bench: Bench) -> None:
    """A parent's id holds what means something in an address: it is asked for, and nothing else."""
    script, nested = _nested(bench)
    path = _plain_field(nested)
    for odd in ODD_IDS:
        record = changed(script.above[0].record, path, odd)
        try:
            parent = bench.opened.parent(bench.resource, record)
        except RecordError as error:
            raise TrapSprungError(f"nothing can be asked for a parent called {odd!r}: {error}") from error
        held = [
            marked(unmarked(record), parent)
            for record in script.records
            if key_of(record) == script.parents[0].key
        ]
        told = replace(script, above=(Above(record, parent),), records=tuple(held))
        bench.partner.behave(script=told)
        found = _read_each(bench, parents=(parent,))[parent.key]
        if isinstance(found, IntegrationError):
            raise TrapSprungError(f"a parent called {odd!r} ended with {found}")
        if bench.ids(found) != bench.ids([told.as_read(record) for record in held]):
            raise TrapSprungError(f"a parent called {odd!r} gave {len(found)} of its {len(held)} records")


def a_parent_nothing_can_be_asked_for(bench: Bench) -> None:
    """A parent without a usable id costs itself only, and no message tells its value."""
    script, nested = _nested(bench)
    _plain_field(nested)
    for path in filter(PLAIN_PATH.match, nested.fields.values()):
        for useless in USELESS_IDS:
            _require_refused(bench, changed(script.above[0].record, path, useless), path)


NESTED_TRAPS: tuple[Callable[[Bench], None], ...] = (
    records_of_several_parents,
    a_cursor_for_each_parent,
    a_parent_that_is_gone,
    a_parent_that_does_not_answer,
    an_odd_id_of_a_parent,
    a_parent_nothing_can_be_asked_for,
)


def _nested(bench: Bench) -> tuple[Script, Nested]:
    nested = bench.manifest.resource(bench.resource).nested
    if nested is None:
        raise NotApplicableError("it is not read for each record of another list")
    return bench.scripted(), nested


def _plain_field(nested: Nested) -> str:
    """Return the path in a parent's record of the first value that can be made up."""
    for path in nested.fields.values():
        if PLAIN_PATH.match(path):
            return path
    raise NotApplicableError("what is asked by is an expression over the parent and cannot be made up")


def _read_each(
    bench: Bench, windows: Mapping[str, Window] | None = None, *, parents: tuple[Parent, ...] = ()
) -> dict[str, Found]:
    """Return what each parent gave, one after the other over one connector, as a run reads them."""
    connector = bench.connect()
    found: dict[str, Found] = {}
    for parent in parents or bench.scripted().parents:
        window = (windows or {}).get(parent.key) or Window()
        try:
            pages = connector.pages(bench.resource, window, parent)
            found[parent.key] = [record for page in pages for record in page.records]
        except IntegrationError as error:
            found[parent.key] = error
    return found


def _require_read(
    bench: Bench, records: list[Any] | tuple[Any, ...], parent: Parent, found: Mapping[str, Found]
) -> None:
    """Do nothing if a parent gave exactly the records marked as its own."""
    got = found[parent.key]
    if isinstance(got, IntegrationError):
        raise TrapSprungError(f"another parent ended with {type(got).__name__}: {got}")
    bench.require_all([record for record in records if key_of(record) == parent.key], got)


def _require_the_same_as_landed(bench: Bench) -> None:
    connector = bench.connect()
    for parent in bench.parents:
        for page in connector.pages(bench.resource, Window(), parent):
            if page.parent != parent:
                raise TrapSprungError("a page does not know whose it is")
            if connector.records(bench.resource, page.body, page.content_type, parent) != page.records:
                raise TrapSprungError("a landed page of a parent does not become the same records again")


def _require_refused(bench: Bench, record: dict[str, Any], path: str) -> None:
    try:
        bench.opened.parent(bench.resource, record)
    except RecordError as error:
        if "Jane" in str(error):
            raise TrapSprungError(f"{path}: the message about a parent tells its value") from error
        return
    except Exception as error:
        raise TrapSprungError(f"{path}: {type(error).__name__} instead of a parent left out") from error
    raise TrapSprungError(f"{path}: what is no id, or leads to another path, is asked for")

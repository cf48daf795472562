"""Answers in a connector's own form, made of its samples: the same envelope around any records."""

from __future__ import annotations

import copy
import csv
import gzip
import io
import re
import zipfile
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import orjson

from include.connectors.answer import parse_body
from include.connectors.expressions import PLAIN_PATH, getter
from include.connectors.formats import unpacked
from include.sandbox.contract.parents import (
    APART,
    completed,
    key_of,
    marked,
    names_the_parent,
    own_key,
    parents_of,
    unmarked,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from include.connectors.manifest import Incremental, ResourceSpec
    from include.connectors.protocol import Connector, Parent, Resource
    from include.sandbox.contract.parents import Above

ENOUGH = 8
_MOST = 2**24
_EXPORTED_AT = (2026, 1, 1, 0, 0, 0)
_MEDIA = {"json": "application/json", "jsonl": "application/x-ndjson", "csv": "text/csv"}
_PACKED = {"zip": "application/zip", "gzip": "application/gzip"}


@dataclass(frozen=True)
class Script:
    """What a scripted partner says about one resource.

    Attributes:
        resource: Which one.
        spec: Its section of the manifest.
        records: Good records with different ids, at least ``ENOUGH`` where ids can be made up; of a nested
            resource so many of each parent, each marked with whose it is.
        template: A sample's JSON value; ``None`` where the body is not JSON.
        place: Keys that lead to the list of records in it.
        columns: Of a CSV body.
        member: Name of the file in a ZIP archive.
        above: Of a nested resource: whom it is read for.
    """

    resource: Resource
    spec: ResourceSpec
    records: tuple[dict[str, Any], ...]
    template: Any = None
    place: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    member: str = ""
    above: tuple[Above, ...] = ()

    @property
    def parents(self) -> tuple[Parent, ...]:
        """Return whom the resource is read for; nobody where it is not nested."""
        return tuple(one.parent for one in self.above)

    @property
    def content_type(self) -> str:
        """Return the Content-Type of a good answer."""
        form = self.spec.endpoint.response
        return _PACKED.get(form.archive) or _MEDIA[form.format]

    def value(self, records: Sequence[Any]) -> Any:
        """Return the JSON value of a page, to which paging is then written."""
        sent = [unmarked(record) for record in records]
        if not self.place:
            return sent
        value = copy.deepcopy(self.template)
        set_at(value, self.place, sent)
        return value

    def as_read(self, record: Any) -> Any:
        """Return a record as a connector must hand it on: with what is included from its parent."""
        key = key_of(record)
        parent = next((parent for parent in self.parents if parent.key == key), None)
        return completed(self.spec, unmarked(record), parent)

    def body(self, value: Any) -> bytes:
        """Return the bytes of a page: of the value for JSON, of the list of records else."""
        return self.packed(self.plain(value))

    def plain(self, value: Any) -> bytes:
        """Return a page as it is before it is packed."""
        form = self.spec.endpoint.response
        if form.format == "json":
            return orjson.dumps(value)
        if form.format == "jsonl":
            return b"".join(orjson.dumps(record) + b"\n" for record in value)
        text = io.StringIO(newline="")
        text.write("\r\n" * form.skip_rows)
        writer = csv.DictWriter(
            text,
            self.columns,
            restval="",
            extrasaction="ignore",
            delimiter=form.delimiter,
            quotechar=form.quote,
        )
        if not form.columns:
            writer.writeheader()
        writer.writerows(value)
        return text.getvalue().encode(form.encoding, "replace")

    def packed(self, plain: bytes) -> bytes:
        """Return bytes in the endpoint's archive."""
        form = self.spec.endpoint.response
        if form.archive == "gzip":
            return gzip.compress(plain, mtime=0)
        if form.archive == "none":
            return plain
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            member = zipfile.ZipInfo(self.member, _EXPORTED_AT)
            member.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(member, plain)
        return packed.getvalue()


def script_of(
    connector: Connector, resource: Resource, page: Path, parent_records: Sequence[dict[str, Any]] = ()
) -> Script | None:
    """Return the script of a resource from one of its samples, ``None`` if it cannot be made.

    That is so where the sample holds no good record, where the records' list is made by the
    ``data_selector`` and stands nowhere in the answer, or where a nested resource has no parent among
    ``parent_records``.
    """
    spec = connector.manifest.resource(resource)
    above = parents_of(connector, resource, parent_records) if spec.nested else ()
    if spec.nested and not above:
        return None
    body, form = page.read_bytes(), spec.endpoint.response
    parent = above[0].parent if above else None
    found = connector.records(resource, body)
    good = _multiplied(spec, [record for record in found if _is_good(connector, resource, record, parent)])
    if not good:
        return None
    columns = tuple(good[0]) if form.format == "csv" else ()
    value: Any = None
    place: tuple[str, ...] = ()
    if form.format == "json":
        value = parse_body(unpacked(body, form, limit=_MOST))
        listed = _place_of(getter(spec.endpoint.data_selector)(value), value)
        if listed is None:
            return None
        place = listed
    records = _shared_out(spec, good, above) if above else good
    return Script(resource, spec, records, value, place, columns, _member(body, form.member), above)


def _is_good(connector: Connector, resource: Resource, record: Any, parent: Parent | None) -> bool:
    from include.errors import RecordError

    whole = completed(connector.manifest.resource(resource), record, parent)
    try:
        connector.external_id(resource, whole)
        connector.to_platform(resource, whole)
    except RecordError:
        return False
    return isinstance(record, dict)


def _member(body: bytes, pattern: str) -> str:
    if not body.startswith(b"PK"):
        return ""
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        return next(iter(archive.namelist()), pattern.replace("*", "1"))


def _place_of(found: Any, value: Any, path: tuple[str, ...] = ()) -> tuple[str, ...] | None:
    if value is found:
        return path
    entries = value.items() if isinstance(value, dict) else ()
    places = (_place_of(found, entry, (*path, key)) for key, entry in entries)
    return next((place for place in places if place is not None), None)


def _multiplied(spec: ResourceSpec, good: Sequence[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    """Return the records, and copies under made-up ids until there are enough for some pages."""
    unique = list(
        {orjson.dumps([getter(key)(one) for key in spec.primary_key]): one for one in good}.values()
    )
    if not unique or own_key(spec) is None:
        return tuple(unique)
    copies = -(-ENOUGH // len(unique)) - 1
    return (*unique, *(with_id(spec, one, number) for number in range(1, copies + 1) for one in unique))


def _shared_out(
    spec: ResourceSpec, records: Sequence[dict[str, Any]], above: Sequence[Above]
) -> tuple[dict[str, Any], ...]:
    """Return records for each parent, marked: under the same ids where the key tells parents apart."""
    shared: list[dict[str, Any]] = []
    for place, one in enumerate(above):
        held = list(records)
        if not names_the_parent(spec):
            held = (
                held[place :: len(above)]
                if own_key(spec) is None
                else [with_id(spec, record, APART * place) if place else record for record in held]
            )
        shared += [marked(record, one.parent) for record in held]
    return tuple(shared)


def with_id(spec: ResourceSpec, record: dict[str, Any], number: int) -> dict[str, Any]:
    """Return a copy of a record under an id made of its own and a number, where its key has a plain path.

    Raises:
        ValueError: It has none.
    """
    key = own_key(spec)
    if key is None:
        raise ValueError("no id can be made up: the primary key is an expression, or the parent's alone")
    old = getter(key)(record)
    new = old + 1_000_000 * number if isinstance(old, int) else f"{old}-{number}"
    return changed(record, key, new)


def changed(record: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return a copy of a record with another value at a plain path."""
    copied = copy.deepcopy(record)
    set_at(copied, tuple(path.split(".")), value)
    return copied


def set_at(value: Any, place: Sequence[str], entry: Any) -> None:
    """Write ``entry`` into nested objects, making those that are missing."""
    for key in place[:-1]:
        value = value.setdefault(key, {}) if not isinstance(value.get(key), dict) else value[key]
    value[place[-1]] = entry


def with_cursor(record: dict[str, Any], incremental: Incremental, moment: datetime) -> dict[str, Any] | None:
    """Return a copy that says it changed at ``moment``, ``None`` where that cannot be written."""
    if not PLAIN_PATH.match(incremental.cursor_path):
        return None
    form = incremental.cursor_formats[0]
    if form == "iso8601":
        text: Any = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    elif form in ("epoch_seconds", "epoch_millis"):
        text = int(moment.timestamp() * (1 if form == "epoch_seconds" else 1000))
    else:
        text = moment.astimezone(ZoneInfo(incremental.timezone)).strftime(form)
    return changed(record, incremental.cursor_path, text)


def asked_since(incremental: Incremental, text: str) -> datetime | None:
    """Return the time a request asks for changes since; the opposite of ``window_params``."""
    before, _, after = incremental.template.partition("{value}")
    found = re.match(re.escape(before) + "(.*?)" + re.escape(after) + "$", text)
    if found is None:
        return None
    form = incremental.format
    try:
        if form == "iso8601":
            return datetime.fromisoformat(found[1])
        if form in ("epoch_seconds", "epoch_millis"):
            return datetime.fromtimestamp(float(found[1]) / (1 if form == "epoch_seconds" else 1000), UTC)
        return datetime.strptime(found[1], form).replace(tzinfo=UTC)
    except ValueError:
        return None

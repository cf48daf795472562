"""The reading engine: one partner's API, read as its manifest says."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import orjson

from include.connectors.answer import NotJsonError, parse_body
from include.connectors.casts import BadValueError, make_cast
from include.connectors.expressions import WRONG_TYPE, getter
from include.connectors.formats import MAX_RECORDS, too_many_records
from include.connectors.mapping import compile_mapping, one_of
from include.connectors.placeholders import parent_value, with_parent
from include.connectors.protocol import Page, Parent
from include.connectors.windows import is_past, window_params
from include.errors import ConfigurationError, RecordError
from include.storage.erased_page import rewritten_records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from include.connectors.answer import Answer
    from include.connectors.manifest import Endpoint, Manifest, ResourceSpec
    from include.connectors.paging import PartnerClient
    from include.connectors.protocol import Resource, Window

_SHOWN_KEYS = 5
_LONGEST_ID = 255


class RestConnector:
    """Reads one NPO's API and tells what its records mean. One instance serves one run of one NPO.

    Args:
        name: The connector's name.
        npo_id: For messages.
        manifest: Validated.
        transforms: Functions of the connector's package.
        client: Makes the HTTP client; called when the first page is asked for, because mapping
            landed records needs none.
        max_pages: Of one resource in one run.
    """

    def __init__(
        self,
        *,
        name: str,
        npo_id: str,
        manifest: Manifest,
        transforms: Mapping[str, Callable[[Any], Any]],
        client: Callable[[Callable[[Answer], list[Any]]], PartnerClient],
        max_pages: int,
    ) -> None:
        self.name = name
        self.manifest = manifest
        self._npo_id = npo_id
        self._make_client = client
        self._max_pages = max_pages
        self._resources = {
            resource: _Resource(resource, manifest.resource(resource), transforms)
            for resource in manifest.resource_names
        }

    def pages(self, resource: Resource, window: Window, parent: Parent | None = None) -> Iterator[Page]:
        """Yield the partner's answers in order, each as soon as it is complete.

        Reading ends early with a page that shows, by the order the manifest declares, that all later ones lie
        outside the window.

        Args:
            resource: Which one.
            window: What to ask for.
            parent: For which parent; needed for a nested resource, and only there.

        Raises:
            TransientError: Time-out, connection failure, 5xx or a truncated answer after all retries.
            RateLimitedError: Still throttled after all retries.
            ConfigurationError: Credential refused, unknown path, another host, an answer of the
                wrong shape, a page loop, a size or page limit passed.
        """
        spec = self.manifest.resource(resource)
        endpoint = self._endpoint(resource, spec, parent)
        client = self._make_client(lambda answer: self._select(resource, answer))
        fixed = {name: value for name, value in endpoint.params.items() if value is not None}
        params = {**fixed, **window_params(spec.incremental, window)}
        seen: set[bytes] = set()
        try:
            for number, page in enumerate(client.read(endpoint, self.manifest.client, params), start=1):
                answer: Answer = page.response
                records = list(page)
                if number > self._max_pages:
                    raise self._refused(
                        f"{resource}: more than {self._max_pages} pages; narrow the window, or raise "
                        "SPOTLIGHT_MAX_PAGES if the partner really has so many"
                    )
                self._guard_against_loops(seen, number, answer, records)
                yield Page(
                    number=number,
                    url=answer.shown_url,
                    status=answer.status_code,
                    fetched_at=answer.completed_at,
                    content_type=answer.content_type,
                    body=answer.content,
                    records=self._with_parent(spec, records, parent),
                    parent=parent,
                    window=window,
                )
                if is_past(spec.incremental, window, self._changes(resource, records)):
                    return
        finally:
            if parent is None:  # else the next parent is asked over the same connection
                client.session.close()

    def parent(self, resource: Resource, record: Any) -> Parent:
        """Return what a nested ``resource`` is read by for this record of its parent resource.

        Raises:
            RecordError: The record has no id, or ``bad_id``: a value that cannot stand in an address.
        """
        nested = self.manifest.resource(resource).nested
        if nested is None:
            raise self._refused(f"{resource} is not nested; nothing is read for each parent")
        key = self.external_id(nested.parent, record)
        values: dict[str, str | int] = {}
        for name, read in self._resources[resource].parent_fields.items():
            try:
                values[name] = parent_value(read(record))
            except WRONG_TYPE:
                raise RecordError(
                    f"nested.fields.{name}: expected text of 1 to 255 printable characters or a whole number",
                    code="bad_id",
                ) from None
        return Parent(key, values)

    def _endpoint(self, resource: Resource, spec: ResourceSpec, parent: Parent | None) -> Endpoint:
        """Return the endpoint with a parent's values in it."""
        if (spec.nested is None) != (parent is None):
            needed = "needs a parent" if spec.nested else "takes no parent"
            raise self._refused(f"{resource} {needed}; read it as resources.{resource}.nested says")
        if parent is None:
            return spec.endpoint
        filled = {
            name: with_parent(value, parent.values, quoted=False) if isinstance(value, str) else value
            for name, value in spec.endpoint.params.items()
        }
        path = with_parent(spec.endpoint.path, parent.values, quoted=True)
        return spec.endpoint.model_copy(update={"path": path, "params": filled})

    def _with_parent(self, spec: ResourceSpec, records: list[Any], parent: Parent | None) -> list[Any]:
        """Return the records with what the manifest includes from the parent."""
        added = spec.nested.included(parent.values) if parent is not None and spec.nested else {}
        if not added:
            return records
        return [{**record, **added} if isinstance(record, dict) else record for record in records]

    def _changes(self, resource: Resource, records: list[Any]) -> Iterator[datetime | None]:
        for record in records:
            try:
                yield self.cursor(resource, record)
            except RecordError:
                yield None

    def records(
        self, resource: Resource, body: bytes, content_type: str = "", parent: Parent | None = None
    ) -> list[Any]:
        """Return the records of a landed page body: the same list ``pages`` gave.

        Args:
            resource: Which one.
            body: As landed.
            content_type: As landed; needed only for bodies that are not UTF-8.
            parent: As landed; needed only for a nested resource.

        Raises:
            ConfigurationError: The body holds no list where the manifest says.
            TransientError: The body is cut off.
        """
        if (kept := rewritten_records(body)) is not None:
            return self._with_parent(self.manifest.resource(resource), kept, parent)
        where = f"the landed page of {resource}"
        try:
            value = parse_body(
                body,
                content_type,
                self.manifest.client.charset,
                self.manifest.resource(resource).endpoint.response,
            )
        except NotJsonError as error:
            raise error.as_failure(where, self._npo_id) from None
        return self._with_parent(
            self.manifest.resource(resource), self._list_in(resource, value, where), parent
        )

    def external_id(self, resource: Resource, record: Any) -> str:
        """Return the partner's id as text; the parts of a compound key are joined by a colon.

        Raises:
            RecordError: ``not_an_object``, ``missing_id``, ``bad_shape`` or ``bad_id`` (longer than
                255 characters, or with NUL in it).
        """
        return self._resources[resource].external_id(record)

    def cursor(self, resource: Resource, record: Any) -> datetime | None:
        """Return when the partner last changed the record (UTC), ``None`` if it does not say.

        Raises:
            RecordError: ``bad_shape``: the expression cannot read this record.
        """
        return self._resources[resource].cursor(record)

    def is_deleted(self, resource: Resource, record: Any) -> bool:
        """Return whether the partner marks the record as deleted."""
        return self._resources[resource].is_deleted(record)

    def to_platform(self, resource: Resource, record: Any) -> dict[str, Any]:
        """Return the record's mapped fields, in canonical names and types, nested.

        Raises:
            RecordError: A value cannot be cast (``bad_datetime``, ``bad_number`` ...).
        """
        if not isinstance(record, dict):
            raise _not_an_object(record)
        return self._resources[resource].to_platform(record)

    def _select(self, resource: Resource, answer: Answer) -> list[Any]:
        return self._list_in(resource, answer.json(), f"{answer.status_code} from {answer.where}")

    def _list_in(self, resource: Resource, value: Any, where: str) -> list[Any]:
        try:
            found = self._resources[resource].select(value)
        except WRONG_TYPE:
            found = None
        if isinstance(found, list):
            if len(found) > MAX_RECORDS:
                raise self._refused(f"{where} gave {too_many_records()}")
            return found
        selector = self.manifest.resource(resource).endpoint.data_selector
        raise self._refused(
            f"{where}: expected a list at {selector!r}, got {_kind(found)} in {_outline(value)}; an error "
            "in disguise, or a wrong data_selector; nothing of this page was kept"
        )

    def _guard_against_loops(self, seen: set[bytes], number: int, answer: Answer, records: list[Any]) -> None:
        asked = _digest(answer.method.encode(), answer.url.encode(), _as_bytes(answer.request_body))
        told = _digest(b"records", orjson.dumps(records)) if records else asked
        if asked in seen or told in seen:
            raise self._refused(
                f"page {number} ({answer.where}) repeats a former page of this run: a page loop; the "
                "pages before it stay in the landing zone as evidence, nothing of this attempt reaches the "
                "store; check the paginator's words, or tell the partner"
            )
        seen.update((asked, told))

    def _refused(self, message: str) -> ConfigurationError:
        return ConfigurationError(message, subject=self._npo_id)


class _Resource:
    """What a manifest says about one resource, compiled."""

    def __init__(
        self, name: Resource, spec: ResourceSpec, transforms: Mapping[str, Callable[[Any], Any]]
    ) -> None:
        self.select = getter(spec.endpoint.data_selector)
        self.to_platform = compile_mapping(name, spec.mapping, transforms)
        self.parent_fields = (
            {field: getter(path) for field, path in spec.nested.fields.items()} if spec.nested else {}
        )
        self._keys = [getter(path) for path in spec.primary_key]
        self._key_names = ", ".join(spec.primary_key)
        self._cursor: Callable[[Any], Any] | None = None
        self._deleted: Callable[[Any], bool] | None = None
        if spec.incremental:
            self._cursor_path = spec.incremental.cursor_path
            self._cursor = getter(self._cursor_path)
            self._moment = make_cast(
                "datetime",
                formats=spec.incremental.cursor_formats,
                timezone=spec.incremental.timezone,
                scale=1,
            )
        if spec.deletes.flag:
            self._deleted = one_of(spec.deletes.flag)

    def external_id(self, record: Any) -> str:
        if not isinstance(record, dict):
            raise _not_an_object(record)
        try:
            parts = [_key_text(read(record)) for read in self._keys]
        except WRONG_TYPE:
            raise _bad_shape("primary_key", self._key_names) from None
        if not all(parts):
            raise RecordError(f"expected an id in {self._key_names}, got none", code="missing_id")
        text = ":".join(parts)
        if len(text) > _LONGEST_ID or "\0" in text:
            raise RecordError(
                f"expected an id of at most {_LONGEST_ID} characters without NUL in {self._key_names}",
                code="bad_id",
            )
        return text

    def cursor(self, record: Any) -> datetime | None:
        if self._cursor is None or not isinstance(record, dict):
            return None
        try:
            value = self._cursor(record)
        except WRONG_TYPE:
            raise _bad_shape("incremental.cursor_path", self._cursor_path) from None
        if value is None or value == "":
            return None
        try:
            moment: datetime = self._moment(value)
        except BadValueError:
            return None
        return moment.astimezone(UTC)

    def is_deleted(self, record: Any) -> bool:
        if self._deleted is None or not isinstance(record, dict):
            return False
        try:
            return self._deleted(record)
        except WRONG_TYPE:
            return False


def _key_text(value: Any) -> str:
    if isinstance(value, str):
        return value.strip()
    whole = isinstance(value, int) and not isinstance(value, bool)
    return str(value) if whole else ""


def _bad_shape(word: str, expression: str) -> RecordError:
    return RecordError(
        f"{word} (from {expression}): expected a value the expression can read", code="bad_shape"
    )


def _not_an_object(record: Any) -> RecordError:
    return RecordError(f"expected an object, got {_kind(record)}", code="not_an_object")


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    return {"dict": "an object", "list": "a list", "str": "text", "bool": "true or false"}.get(
        type(value).__name__, "a number"
    )


def _outline(value: Any) -> str:
    """Describe an answer by its top-level names only: values may be personal."""
    if not isinstance(value, dict):
        return _kind(value)
    names = [name[:30] for name in list(value)[:_SHOWN_KEYS]]
    return f"an object with {', '.join(names)}" if names else "an empty object"


def _digest(*parts: bytes) -> bytes:
    return blake2b(b"\n".join(parts), digest_size=16).digest()


def _as_bytes(body: bytes | str | None) -> bytes:
    return body.encode() if isinstance(body, str) else body or b""

"""The contract between the kernel and the stages: what every connector can do."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from include.connectors.manifest import Manifest
    from include.errors import IntegrationError

Resource = Literal["offerings", "assignments"]
RESOURCES: tuple[Resource, ...] = ("offerings", "assignments")
_STATUS = re.compile(r"([1-5]\d\d) from ")


@dataclass(frozen=True, slots=True)
class Window:
    """What to read: changes at or after ``since`` and before ``until``; ``None`` is unbounded."""

    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Parent:
    """A record of another resource for which a nested resource is read.

    Attributes:
        key: The parent's external id.
        values: What the manifest's ``nested.fields`` read from it, by name.
    """

    key: str
    values: Mapping[str, str | int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Page:
    """One answer of a partner, as it came.

    Attributes:
        number: 1-based position in the run.
        url: The address asked, every query value that came from a credential replaced by ``***``.
        status: HTTP status.
        fetched_at: When the answer was complete, UTC.
        content_type: The partner's Content-Type header, verbatim.
        body: The bytes of the answer, transfer and content encoding removed.
        records: What the data selector finds in the body, in order, unchecked; of a nested resource with what
            the manifest includes from the parent.
        parent: Of a nested resource: whose page it is.
        window: What was asked for.
    """

    number: int
    url: str
    status: int
    fetched_at: datetime
    content_type: str
    body: bytes
    records: list[Any]
    parent: Parent | None = None
    window: Window | None = None


class Connector(Protocol):
    """Reads one NPO's API and tells what its records mean. One instance serves one run of one NPO."""

    name: str
    manifest: Manifest

    def pages(self, resource: Resource, window: Window, parent: Parent | None = None) -> Iterator[Page]:
        """Yield the partner's answers in order, each as soon as it is complete.

        Where the manifest says that records come newest first, reading ends with the first page that
        lies wholly before the window.

        Args:
            resource: Which one.
            window: What to ask for.
            parent: For which parent; needed for a nested resource, and only there.

        Raises:
            TransientError: Time-out, connection failure, 5xx or a truncated answer after all retries.
            RateLimitedError: Still throttled after all retries.
            ConfigurationError: Credential refused, unknown path, another host, an answer of the
                wrong shape (HTML, missing list), a page loop, a size or page limit passed.
        """
        ...

    def records(
        self, resource: Resource, body: bytes, content_type: str = "", parent: Parent | None = None
    ) -> list[Any]:
        """Return the records of a landed page body: the same list ``pages`` gave.

        ``content_type`` is needed only where a body is not UTF-8 and its header says what it is, ``parent``
        only for a nested resource.
        """
        ...

    def parent(self, resource: Resource, record: Any) -> Parent:
        """Return what a nested ``resource`` is read by for this record of its parent resource.

        Raises:
            RecordError: The record has no id, or a value that cannot stand in an address.
        """
        ...

    def external_id(self, resource: Resource, record: Any) -> str:
        """Return the partner's id as text.

        Raises:
            RecordError: ``not_an_object``, ``missing_id``, ``bad_shape`` or ``bad_id`` (too long, NUL).
        """
        ...

    def cursor(self, resource: Resource, record: Any) -> datetime | None:
        """Return when the partner last changed the record (UTC), ``None`` if it does not say.

        Raises:
            RecordError: ``bad_shape``.
        """
        ...

    def is_deleted(self, resource: Resource, record: Any) -> bool:
        """Return whether the partner marks the record as deleted."""
        ...

    def to_platform(self, resource: Resource, record: Any) -> Mapping[str, Any]:
        """Return the record's mapped fields, in canonical names and types.

        Nested canonical fields use nested dicts (``progress``: {``percent``: 40.0}). A field the
        mapping does not name is absent. ``references`` to other records stay external ids
        (``offering_external_id``).

        Raises:
            RecordError: A value cannot be cast (``bad_datetime``, ``bad_number`` ...).
        """
        ...


def status_told(error: IntegrationError) -> int | None:
    """Return the HTTP status with which a partner refused a request, ``None`` for any other failure."""
    found = _STATUS.match(error.message)
    return int(found[1]) if found else None

"""The contract between the kernel and the stages: what every connector can do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from include.connectors.manifest import Manifest

Resource = Literal["offerings", "assignments"]
RESOURCES: tuple[Resource, ...] = ("offerings", "assignments")


@dataclass(frozen=True, slots=True)
class Window:
    """What to read: changes at or after ``since`` and before ``until``; ``None`` is unbounded."""

    since: datetime | None = None
    until: datetime | None = None


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
        records: What the data selector finds in the body, in order, unchecked.
    """

    number: int
    url: str
    status: int
    fetched_at: datetime
    content_type: str
    body: bytes
    records: list[Any]


class Connector(Protocol):
    """Reads one NPO's API and tells what its records mean. One instance serves one run of one NPO."""

    name: str
    manifest: Manifest

    def pages(self, resource: Resource, window: Window) -> Iterator[Page]:
        """Yield the partner's answers in order, each as soon as it is complete.

        Raises:
            TransientError: Time-out, connection failure, 5xx or a truncated answer after all retries.
            RateLimitedError: Still throttled after all retries.
            ConfigurationError: Credential refused, unknown path, another host, an answer of the
                wrong shape (HTML, missing list), a page loop, a size or page limit passed.
        """
        ...

    def records(self, resource: Resource, body: bytes, content_type: str = "") -> list[Any]:
        """Return the records of a landed page body: the same list ``pages`` gave.

        ``content_type`` is needed only where a body is not UTF-8 and its header says what it is.
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

"""A connector's samples: recorded pages and what must become of them."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import orjson

from include.connectors.discovery import CONNECTORS, connector_folder
from include.errors import RecordError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from include.connectors.protocol import Connector, Parent, Resource


def sample_pages(name: str, folder: Path = CONNECTORS) -> Iterator[tuple[Resource, Path, Path]]:
    """Yield resource, page and expected outcome of each ``samples/<resource>[.<case>].page.<json, zip ...>``.

    Raises:
        ConfigurationError: There is no such connector.
    """
    for page in sorted((connector_folder(name, folder) / "samples").glob("*.page.*")):
        resource: Any = page.name.split(".", 1)[0]
        yield resource, page, page.with_name(page.name.partition(".page.")[0] + ".expected.json")


def sample_parent(
    connector: Connector, resource: Resource, name: str, folder: Path = CONNECTORS
) -> Parent | None:
    """Return whose page the samples of a nested resource are: of the first usable record in its parent's.

    ``None`` where the resource is not nested, or nothing can be asked for any record of those samples.

    Raises:
        IntegrationError: A sample of the parent resource cannot be read.
    """
    nested = connector.manifest.resource(resource).nested
    if nested is None:
        return None
    for above, page, _ in sample_pages(name, folder):
        for record in connector.records(above, page.read_bytes()) if above == nested.parent else ():
            with suppress(RecordError):
                return connector.parent(resource, record)
    return None


def outcome(
    connector: Connector, resource: Resource, body: bytes, parent: Parent | None = None
) -> list[dict[str, Any]]:
    """Return what a connector makes of a page, in plain JSON: per record its id, cursor, mark and fields.

    A record that cannot be used is told by its error code. ``parent`` is whose page it is, if nested.
    """
    records = connector.records(resource, body, parent=parent)
    described = [_of_record(connector, resource, record) for record in records]
    plain: list[dict[str, Any]] = orjson.loads(orjson.dumps(described))
    return plain


def _of_record(connector: Connector, resource: Resource, record: Any) -> dict[str, Any]:
    try:
        return {
            "external_id": connector.external_id(resource, record),
            "cursor": connector.cursor(resource, record),
            "deleted": connector.is_deleted(resource, record),
            "fields": connector.to_platform(resource, record),
        }
    except RecordError as error:
        return {"error": error.code}

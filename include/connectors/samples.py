"""A connector's samples: recorded pages and what must become of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from include.connectors.discovery import CONNECTORS, connector_folder
from include.errors import RecordError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from include.connectors.protocol import Connector, Resource


def sample_pages(name: str, folder: Path = CONNECTORS) -> Iterator[tuple[Resource, Path, Path]]:
    """Yield resource, page and expected outcome of each ``samples/<resource>[.<case>].page.<json, zip ...>``.

    Raises:
        ConfigurationError: There is no such connector.
    """
    for page in sorted((connector_folder(name, folder) / "samples").glob("*.page.*")):
        resource: Any = page.name.split(".", 1)[0]
        yield resource, page, page.with_name(page.name.partition(".page.")[0] + ".expected.json")


def outcome(connector: Connector, resource: Resource, body: bytes) -> list[dict[str, Any]]:
    """Return what a connector makes of a page, in plain JSON: per record its id, cursor, mark and fields.

    A record that cannot be used is told by its error code.
    """
    records = connector.records(resource, body)
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

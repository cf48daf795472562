"""A running sandbox partner and the connector that reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from include.connectors.manifest import merge
from include.connectors.open import open_connector
from include.registry.models import Credential
from include.sandbox.npos.process import Sandbox
from include.settings import Settings
from tests.conformance.rows import Waits, make_row

if TYPE_CHECKING:
    from include.connectors.protocol import Page, Window
    from include.connectors.rest import RestConnector

CREDENTIALS = {
    "hopeworks": Credential("hopeworks-client", "hopeworks-sandbox-secret"),
    "codebridge": Credential(None, "codebridge-sandbox-token"),
    "mentornet": Credential(None, "mentornet-sandbox-key"),
}
PAGE_SIZE = {"hopeworks": "per_page", "codebridge": "limit", "mentornet": "count"}


@dataclass
class Partner:
    """One running sandbox partner and the connector that reads it."""

    name: str
    sandbox: Sandbox
    waits: Waits

    def connect(
        self, *, page_size: int | None = None, manifest: dict[str, Any] | None = None, **settings: Any
    ) -> RestConnector:
        """Open the connector; ``manifest`` overrides, as a row's would."""
        sized: dict[str, Any] = {}
        if page_size is not None:
            endpoint = {"endpoint": {"params": {PAGE_SIZE[self.name]: page_size}}}
            sized = {"resources": {"offerings": endpoint, "assignments": endpoint}}
        row = make_row(
            self.sandbox.urls[self.name],
            npo_id=self.name,
            connector=self.name,
            manifest=merge(sized, manifest or {}),
        )
        return open_connector(row, CREDENTIALS[self.name], Settings(**settings), retry=self.waits.policy())

    def misbehave(self, kind: str, **rule: Any) -> None:
        """Add a fault to the data endpoints; the token endpoint goes on."""
        self.sandbox.misbehave(self.name, {"path_regex": "^/(?!oauth)", "kind": kind, **rule})

    def requests(self) -> list[dict[str, Any]]:
        """Return the requests the partner logged."""
        found: list[dict[str, Any]] = self.sandbox.admin(self.name, "GET", "requests")
        return found


def only(name: str) -> pytest.MarkDecorator:
    """Run a test for one partner."""
    return pytest.mark.parametrize("partner", [name], indirect=True)


def ids(connector: RestConnector, resource: Any, pages: list[Page]) -> list[str]:
    """Return the ids of all records that have one."""
    from include.errors import RecordError

    found = []
    for page in pages:
        for record in page.records:
            try:
                found.append(connector.external_id(resource, record))
            except RecordError as error:
                assert error.code == "missing_id"  # noqa: PT017 - the other records go on
    return found


def read(connector: RestConnector, resource: Any, window: Window | None = None) -> list[Page]:
    """Return all pages of a window; everything when there is none."""
    from include.connectors.protocol import Window as Whole

    return list(connector.pages(resource, window or Whole()))

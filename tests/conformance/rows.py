"""Rows, credentials and impatient retry policies for connector tests."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from include.connectors.open import open_connector
from include.connectors.protocol import Page, Resource, Window
from include.connectors.retry import RetryPolicy
from include.registry.models import Credential, NpoConfig, NpoStatus
from include.settings import Settings

if TYPE_CHECKING:
    from include.connectors.rest import RestConnector

SECRET = "s3cret-token-value"
CREDENTIAL = Credential(login="client", password=SECRET)


def make_row(base_url: str, **columns: Any) -> NpoConfig:
    """Return a row whose only allowed host is the base URL's."""
    values: dict[str, Any] = {
        "npo_id": "testnpo",
        "name": "Test NPO",
        "owner_email": "owner@example.org",
        "status": NpoStatus.ACTIVE,
        "connector": "rest",
        "base_url": base_url,
        "allowed_hosts": (urlsplit(base_url).netloc,),
        "schedule": "@daily",
        "start_date": date(2026, 1, 1),
        "requests_per_minute": 100_000,
    }
    return NpoConfig(**(values | columns))


def make_manifest(**client: Any) -> dict[str, Any]:
    """Return a small manifest: items under ``items``, next page under ``next``, bearer token."""
    return {
        "client": {
            "auth": {"type": "bearer", "token": "{credential.password}"},
            "paginator": "json_link",
            "timeout": 2,
            **client,
        },
        "resources": {
            "offerings": {
                "endpoint": {"path": "items", "data_selector": "items"},
                "primary_key": "id",
                "incremental": {"cursor_path": "changed", "param": "since"},
                "mapping": {"version": 1, "fields": {"name": "name", "status": {"const": "active"}}},
            }
        },
    }


class Waits(list[float]):
    """A sleep that does not sleep but remembers for how long it should have."""

    def policy(self, **changes: Any) -> RetryPolicy:
        """Return the production policy with this sleep."""
        return RetryPolicy(sleep=self.append, **changes)


def connect(row: NpoConfig, waits: Waits | None = None, **settings: Any) -> RestConnector:
    """Open a connector that waits for nothing."""
    policy = (waits if waits is not None else Waits()).policy()
    return open_connector(row, CREDENTIAL, Settings(**settings), retry=policy)


def read(
    connector: RestConnector, resource: Resource = "offerings", window: Window | None = None
) -> list[Page]:
    """Return all pages."""
    return list(connector.pages(resource, window or Window()))

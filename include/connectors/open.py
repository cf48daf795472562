"""The one way to a connector: a row and its credential become something that can be read."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from include.connectors.discovery import CONNECTORS, load_manifest, load_transforms
from include.connectors.placeholders import PLACEHOLDER, resolve
from include.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from requests.auth import AuthBase

    from include.connectors.answer import Answer
    from include.connectors.host_guard import HostGuard
    from include.connectors.http import PartnerSession
    from include.connectors.manifest import Manifest
    from include.connectors.paging import PartnerClient
    from include.connectors.redaction import Redactor
    from include.connectors.rest import RestConnector
    from include.connectors.retry import RetryPolicy
    from include.registry.models import Credential, NpoConfig
    from include.settings import Settings


def open_connector(
    npo: NpoConfig,
    credential: Credential,
    settings: Settings,
    *,
    retry: RetryPolicy | None = None,
    folder: Path = CONNECTORS,
) -> RestConnector:
    """Return the connector of one run of one NPO; nothing is asked of the partner yet.

    Args:
        npo: The row.
        credential: What its ``credential_ref`` resolves to; an empty one where it has none.
        settings: Size and time limits.
        retry: Waiting inside the run; the defaults in production.
        folder: Where the connectors' folders are.

    Raises:
        ConfigurationError: The manifest is not valid or the connector does not exist.
    """
    from include.connectors.rest import RestConnector
    from include.connectors.retry import RetryPolicy

    manifest = load_manifest(npo, folder)
    api = _Api(npo, manifest, credential, settings, retry or RetryPolicy())
    return RestConnector(
        name=npo.connector,
        npo_id=npo.npo_id,
        manifest=manifest,
        transforms=load_transforms(npo.connector, manifest.transforms(), folder),
        client=api.client,
        max_pages=settings.max_pages,
    )


class _Api:
    """One partner's API during one run: session, budget and token are made once, when first needed."""

    def __init__(
        self,
        npo: NpoConfig,
        manifest: Manifest,
        credential: Credential,
        settings: Settings,
        retry: RetryPolicy,
    ) -> None:
        self._npo, self._manifest, self._credential = npo, manifest, credential
        self._settings, self._retry = settings, retry

    def client(self, select: Callable[[Answer], list[Any]]) -> PartnerClient:
        """Return a client for one reading."""
        from include.connectors.paging import PartnerClient

        try:
            headers = {
                name: resolve(value, self._credential)
                for name, value in self._manifest.client.headers.items()
            }
            return PartnerClient(
                base_url=self._npo.base_url,
                headers=headers,
                auth=self._auth,
                session=self._session,
                guard=self._guard,
                select=select,
            )
        except ConfigurationError as error:
            raise error.located(subject=self._npo.npo_id) from None

    @cached_property
    def _guard(self) -> HostGuard:
        from include.connectors.host_guard import HostGuard

        return HostGuard.of(self._npo.base_url, self._npo.allowed_hosts, self._npo.npo_id)

    @cached_property
    def _redactor(self) -> Redactor:
        from include.connectors.redaction import Redactor

        auth = self._manifest.client.auth
        names = (auth.name,) if auth is not None and auth.type == "api_key" else ()
        return Redactor.of(self._credential, *names)

    @cached_property
    def _session(self) -> PartnerSession:
        from include.connectors.error_rules import ErrorRules
        from include.connectors.http import PartnerSession
        from include.connectors.limits import Limits

        wants = self._manifest.client
        session = PartnerSession(
            guard=self._guard,
            limits=Limits(
                requests_per_minute=self._npo.requests_per_minute,
                max_concurrency=self._npo.max_concurrency,
                timeout=wants.timeout or self._settings.request_timeout,
                total_timeout=wants.total_timeout,
                max_page_bytes=self._settings.max_page_bytes,
            ),
            rules=ErrorRules(self._manifest.errors, self._npo.npo_id),
            redactor=self._redactor,
            retry=self._retry,
            charset=wants.charset,
        )
        session.credential_headers.update(
            name for name, value in wants.headers.items() if PLACEHOLDER.search(value)
        )
        return session

    @cached_property
    def _auth(self) -> AuthBase | None:
        from include.connectors.paging import make_auth

        return make_auth(
            self._manifest.client.auth,
            self._credential,
            self._session,
            self._redactor,
            base_url=self._npo.base_url,
            subject=self._npo.npo_id,
        )

"""The one way to a partner: a row and its credential become something that can be asked."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from include.connectors.discovery import CONNECTORS, load_manifest, load_transforms
from include.connectors.host_guard import host_of
from include.connectors.limits import A_RUNS
from include.connectors.manifest_types import is_credential
from include.connectors.placeholders import resolve
from include.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from requests import PreparedRequest
    from requests.auth import AuthBase

    from include.connectors.answer import Answer
    from include.connectors.host_guard import HostGuard
    from include.connectors.http import PartnerSession
    from include.connectors.limits import Budget, Limits, Patience
    from include.connectors.manifest import Manifest
    from include.connectors.paging import PartnerClient
    from include.connectors.redaction import Redactor
    from include.connectors.rest import RestConnector
    from include.connectors.retry import RetryPolicy
    from include.registry.models import Credential, NpoConfig
    from include.settings import Settings
    from include.storage.mongo import IntegrationStore


def open_connector(
    npo: NpoConfig,
    credential: Credential,
    settings: Settings,
    *,
    store: IntegrationStore | None = None,
    retry: RetryPolicy | None = None,
    patience: Patience = A_RUNS,
    folder: Path = CONNECTORS,
) -> RestConnector:
    """Return the connector of one run of one NPO; nothing is asked of the partner yet.

    Args:
        npo: The row.
        credential: What its ``credential_ref`` resolves to; an empty one where it has none.
        settings: Size and time limits.
        store: Holds the NPO's budget and breaker for all workers; without one they are this process's own.
        retry: Waiting inside the run; the defaults in production.
        patience: Waiting for a turn where the budget is the store's.
        folder: Where the connectors' folders are.

    Raises:
        ConfigurationError: The manifest is not valid or the connector does not exist.
    """
    from include.connectors.rest import RestConnector

    manifest = load_manifest(npo, folder)
    api = Api(npo, manifest, credential, settings, store=store, retry=retry, patience=patience)
    return RestConnector(
        name=npo.connector,
        npo_id=npo.npo_id,
        manifest=manifest,
        transforms=load_transforms(npo.connector, manifest.transforms(), folder),
        client=api.client,
        max_pages=settings.max_pages,
    )


def open_api(
    npo: NpoConfig,
    credential: Credential,
    settings: Settings,
    *,
    store: IntegrationStore | None = None,
    retry: RetryPolicy | None = None,
) -> Api:
    """Return an NPO's API for requests of one's own, such as enrolments; nothing is asked of it yet.

    Same guard, budget, breaker and redaction as for the connector; arguments as ``open_connector``.

    Raises:
        ConfigurationError: The manifest is not valid or the connector does not exist.
    """
    return Api(npo, load_manifest(npo), credential, settings, store=store, retry=retry)


class Api:
    """One partner's API during one run: session, budget and token are made once, when first needed.

    Attributes:
        manifest: The NPO's, completed by its connector's.
    """

    def __init__(
        self,
        npo: NpoConfig,
        manifest: Manifest,
        credential: Credential,
        settings: Settings,
        *,
        store: IntegrationStore | None = None,
        retry: RetryPolicy | None = None,
        patience: Patience = A_RUNS,
    ) -> None:
        from include.connectors.retry import RetryPolicy

        self.manifest = manifest
        self._npo, self._credential = npo, credential
        self._settings, self._store, self._retry = settings, store, retry or RetryPolicy()
        self._patience = patience

    def client(self, select: Callable[[Answer], list[Any]]) -> PartnerClient:
        """Return a client for one reading."""
        from include.connectors.paging import PartnerClient

        try:
            return PartnerClient(
                base_url=self._npo.base_url,
                headers=self._headers(),
                auth=self._auth,
                session=self.session,
                guard=self.guard,
                select=select,
            )
        except ConfigurationError as error:
            raise error.located(subject=self._npo.npo_id) from None

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        data: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> PreparedRequest:
        """Return a signed request, ready for ``session.send`` or ``session.exchange``.

        Args:
            method: HTTP method.
            path: Below ``base_url``; an absolute address, such as one the partner gave, must be on an allowed
                host, and gets the credential only on that of ``base_url``.
            params: Query parameters.
            json: Body, written as JSON.
            data: Body, written as a form.
            headers: Beside the manifest's, and before them.

        Raises:
            IntegrationError: The credential lacks a part, no token can be had, another host.
        """
        import requests

        url = self._url(path)
        own = host_of(url) == host_of(self._npo.base_url)
        try:
            asked = requests.Request(
                method,
                url,
                params=params,
                json=json,
                data=data,
                headers={**(self._headers() if own else self._headers_without_secret()), **(headers or {})},
                auth=self._auth if own else None,
            )
            return self.session.prepare_request(asked)
        except ConfigurationError as error:
            raise error.located(subject=self._npo.npo_id) from None

    def close(self) -> None:
        """Close idle connections."""
        self.session.close()

    @cached_property
    def guard(self) -> HostGuard:
        """Return the guard of this NPO's hosts."""
        from include.connectors.addresses import AddressRules
        from include.connectors.host_guard import HostGuard

        return HostGuard.of(
            self._npo.base_url,
            self._npo.allowed_hosts,
            self._npo.npo_id,
            addresses=AddressRules.of(self._settings),
        )

    @cached_property
    def session(self) -> PartnerSession:
        """Return the session: what ``send`` and ``exchange`` requests of this NPO."""
        from include.connectors.error_rules import ErrorRules
        from include.connectors.http import PartnerSession

        limits = self._limits
        session = PartnerSession(
            guard=self.guard,
            limits=limits,
            budget=self._budget(limits),
            rules=ErrorRules(self.manifest.errors, self._npo.npo_id),
            redactor=self._redactor,
            retry=self._retry,
            charset=self.manifest.client.charset,
        )
        session.credential_headers.update(
            name for name, value in self.manifest.client.headers.items() if is_credential(name, value)
        )
        return session

    @property
    def _limits(self) -> Limits:
        from include.connectors.limits import Limits

        wants = self.manifest.client
        return Limits(
            requests_per_minute=self._npo.requests_per_minute,
            max_concurrency=self._npo.max_concurrency,
            timeout=wants.timeout or self._settings.request_timeout,
            total_timeout=wants.total_timeout,
            max_page_bytes=self._settings.max_page_bytes,
        )

    def _budget(self, limits: Limits) -> Budget:
        if self._store is None:
            return limits.budget()
        from include.connectors.breaker import BreakerRules
        from include.connectors.shared_budget import SharedBudget

        breaker = BreakerRules(self._settings.npo_breaker_failures, self._settings.npo_breaker_seconds)
        return SharedBudget(self._store, self._npo.npo_id, limits, breaker, patience=self._patience)

    @cached_property
    def _redactor(self) -> Redactor:
        from include.connectors.redaction import Redactor

        auth = self.manifest.client.auth
        names = (auth.name,) if auth is not None and auth.type == "api_key" else ()
        redactor = Redactor.of(self._credential, *names)
        if self.manifest.client.login_is_secret:
            redactor.add(self._credential.login)
        return redactor

    @cached_property
    def _auth(self) -> AuthBase | None:
        from include.connectors.auth import make_auth

        return make_auth(
            self.manifest.client.auth,
            self._credential,
            self.session,
            self._redactor,
            base_url=self._npo.base_url,
            subject=self._npo.npo_id,
            settings=self._settings,
        )

    def _headers(self) -> dict[str, str]:
        return {
            name: resolve(value, self._credential) for name, value in self.manifest.client.headers.items()
        }

    def _headers_without_secret(self) -> dict[str, str]:
        given = self.manifest.client.headers
        return {name: value for name, value in given.items() if not is_credential(name, value)}

    def _url(self, path: str) -> str:
        absolute = path.lower().startswith(("http://", "https://"))
        return path if absolute else f"{self._npo.base_url.rstrip('/')}/{path.lstrip('/')}"

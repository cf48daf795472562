"""Where a connector is tested: its samples, a scripted partner, and an opened connector that reads it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING, Any

from include.connectors.discovery import CONNECTORS, connector_data
from include.connectors.manifest import merge
from include.connectors.open import open_connector
from include.connectors.protocol import Window
from include.connectors.retry import RetryPolicy
from include.connectors.samples import sample_pages, sample_parent
from include.errors import IntegrationError, RecordError
from include.registry.models import Credential, NpoConfig, NpoStatus
from include.sandbox.contract.bodies import Script, script_of
from include.sandbox.contract.pagination import small_pages
from include.sandbox.contract.server import TOKEN_PATH, ScriptedPartner
from include.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from include.connectors.manifest import Manifest
    from include.connectors.manifest_client import Paginator
    from include.connectors.protocol import Parent, Resource
    from include.connectors.rest import RestConnector

SECRET = "contract-secret-value"  # noqa: S105 - made up, for a partner that is made up
MAX_PAGE_BYTES = 400_000
MAX_PAGES = 12


class TrapSprungError(AssertionError):
    """The connector fell into the trap; the message says how, and what to mend."""


class NotApplicableError(Exception):
    """The trap cannot be set for this connector; the message says why."""


@dataclass
class Bench:
    """One connector on one resource.

    Attributes:
        name: The connector's.
        folder: Where the connectors' folders are.
        resource: Which one is read.
        script: What the partner says; ``None`` where it cannot be made from the samples.
        partner: The running partner.
        waits: Seconds the connector wanted to wait.
    """

    name: str
    folder: Path
    resource: Resource
    script: Script | None
    partner: ScriptedPartner
    waits: list[float] = field(default_factory=list)

    @property
    def manifest(self) -> Manifest:
        """Return the connector's manifest."""
        return self.partner.manifest

    @property
    def paginator(self) -> Paginator:
        """Return how this resource is paged."""
        return self.manifest.resource(self.resource).endpoint.paginator or self.manifest.client.paginator

    @cached_property
    def opened(self) -> RestConnector:
        """Return a connector that is not asked to read."""
        return self.connect()

    def scripted(self) -> Script:
        """Return the script.

        Raises:
            NotApplicableError: There is none.
        """
        if self.script is None:
            nested = self.manifest.resource(self.resource).nested
            more = f", or nothing can be read for the samples of {nested.parent}" if nested else ""
            raise NotApplicableError(
                f"no good record in the samples, or data_selector makes the list up{more}"
            )
        return self.script

    @property
    def parents(self) -> tuple[Parent | None, ...]:
        """Return whom the resource is read for: some parents of a nested one, nobody for any other."""
        return (self.script.parents if self.script else ()) or (None,)

    @cached_property
    def sample_parent(self) -> Parent | None:
        """Return whose page the samples are, where the resource is nested."""
        return sample_parent(self.opened, self.resource, self.name, self.folder)

    def samples(self) -> Iterator[tuple[Path, Path]]:
        """Yield page and expected outcome of each sample of the resource."""
        for resource, page, expected in sample_pages(self.name, self.folder):
            if resource == self.resource:
                yield page, expected

    def connect(self, **settings: Any) -> RestConnector:
        """Return the connector, opened on the scripted partner."""
        return opened(self.name, self.folder, self.partner.url, self.waits, **settings)

    def read(self, window: Window | None = None, **settings: Any) -> list[Any]:
        """Return the records of a whole reading, parent by parent where the resource is nested."""
        connector = self.connect(**settings)
        return [
            record
            for parent in self.parents
            for page in connector.pages(self.resource, window or Window(), parent)
            for record in page.records
        ]

    def ids(self, records: list[Any]) -> list[str]:
        """Return the ids of records that have one, sorted."""
        found = []
        for record in records:
            try:
                found.append(self.opened.external_id(self.resource, record))
            except RecordError:
                continue
        return sorted(found)

    def require_all(self, wanted: Sequence[Any], found: list[Any]) -> None:
        """Do nothing if exactly the wanted records of the script were read.

        Raises:
            TrapSprungError: Some are lost, or there are others.
        """
        expected, got = self.ids([self.scripted().as_read(record) for record in wanted]), self.ids(found)
        if expected != got:
            lost, extra = len(set(expected) - set(got)), len(got) - len(expected)
            raise TrapSprungError(
                f"{len(expected)} records expected, {len(got)} read: {lost} lost, {extra:+d} in all"
            )

    def refusal(self, what: str, *kinds: type[IntegrationError], **settings: Any) -> IntegrationError:
        """Read, and return the failure that must come of it.

        Raises:
            TrapSprungError: None came, another kind, or one that tells a secret.
        """
        try:
            records = self.read(**settings)
        except IntegrationError as error:
            if not isinstance(error, kinds):
                raise TrapSprungError(f"{what}: ended with {type(error).__name__}: {error}") from error
            if SECRET in str(error):
                raise TrapSprungError(f"{what}: the message tells the credential") from error
            return error
        raise TrapSprungError(f"{what}: read as if nothing was wrong, {len(records)} records")


def opened(name: str, folder: Path, url: str, waits: list[float], **settings: Any) -> RestConnector:
    """Return a connector opened on an address, with a made-up credential, that waits for nothing.

    Raises:
        ConfigurationError: There is no such connector, or its manifest is not valid.
    """
    host = url.partition("://")[2]
    row = NpoConfig(
        npo_id="contract",
        name="Contract",
        owner_email="contract@example.org",
        status=NpoStatus.ACTIVE,
        connector=name,
        base_url=url,
        allowed_hosts=(host,),
        schedule="@daily",
        start_date=date(2026, 1, 1),
        requests_per_minute=100_000,
        manifest=_small(name, folder),
    )
    limits = {"max_page_bytes": MAX_PAGE_BYTES, "max_pages": 1000, "allow_loopback": True, **settings}
    policy = RetryPolicy(sleep=lambda seconds: _wait(waits, seconds))
    return open_connector(row, credential(), Settings(**limits), retry=policy, folder=folder)


def credential() -> Credential:
    """Return a credential with every part a manifest may name."""
    return Credential("contract-login", SECRET, _Extra())


class _Extra(dict[str, str]):
    """Extra parts of a credential: whatever is asked for is there."""

    def get(self, key: str, default: Any = None) -> Any:  # noqa: ARG002 - the signature of dict
        return f"{SECRET}-{key}"


def _wait(waits: list[float], seconds: float) -> None:
    waits.append(seconds)
    time.sleep(min(seconds, 0.01))


def _small(name: str, folder: Path) -> dict[str, Any]:
    """Return what a row's manifest overrides: small pages, and tokens from the scripted partner."""
    data = connector_data(name, folder)
    client = data.get("client") or {}
    override: dict[str, Any] = {}
    auth = client.get("auth") or {}
    if str(auth.get("type", "")).startswith("oauth2"):
        override = {"client": {"auth": {"access_token_url": TOKEN_PATH}}}
    for holder, path in _paginators(data):
        words = _small_words(holder)
        if words:
            override = merge(override, _nested(path, words))
    return override


def _paginators(data: Any) -> Iterator[tuple[Any, tuple[str, ...]]]:
    yield (data.get("client") or {}).get("paginator"), ("client", "paginator")
    for name, spec in (data.get("resources") or {}).items():
        endpoint = (spec or {}).get("endpoint") or {}
        yield endpoint.get("paginator"), ("resources", name, "endpoint", "paginator")


def _small_words(paginator: Any) -> dict[str, Any]:
    from pydantic import TypeAdapter

    from include.connectors.manifest_client import Paginator

    if paginator is None:
        return {}
    return small_pages(TypeAdapter[Any](Paginator).validate_python(paginator))


def _nested(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    return {path[0]: _nested(path[1:], value)} if path else value


def scripts_of(connector: RestConnector, name: str, folder: Path = CONNECTORS) -> dict[Resource, Script]:
    """Return the script of each resource that has one."""
    scripts: dict[Resource, Script] = {}
    for resource in connector.manifest.reading_order:
        nested = connector.manifest.resource(resource).nested
        above = scripts.get(nested.parent) if nested else None
        for of, page, _ in sample_pages(name, folder):
            if of == resource and resource not in scripts:
                script = script_of(connector, resource, page, above.records if above else ())
                scripts.update({resource: script} if script else {})
    return scripts

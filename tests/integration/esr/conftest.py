"""Stages of the ESR exchange on real servers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from include.esr.context import EsrContext
from include.sandbox.tcs.process import TcsSandbox
from include.settings import Settings, get_settings
from include.storage.landing import LandingZone
from include.storage.mongo import IntegrationStore
from tests.integration.esr.inbound import Exchange, exchange


@pytest.fixture
def esr_ctx(empty_database: str, settings: Settings) -> Iterator[EsrContext]:
    """A stage's context with a prepared store and a bucket of the test's own."""
    store = IntegrationStore(settings)
    yield EsrContext(run_id="test__esr", store=store, landing=LandingZone(settings), settings=settings)
    store.client.close()


@pytest.fixture
def esr(
    empty_database: str,
    settings: Settings,
    topics: None,
    tcs_sandbox: TcsSandbox,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Exchange]:
    """The whole exchange, with a folder on the SFTP server of the test's own."""
    folder = f"inbound-{settings.landing_bucket}"
    for name, value in {
        "SPOTLIGHT_ESR_INBOUND_FOLDER": folder,
        "SPOTLIGHT_ESR_OUTBOUND_FOLDER": folder.replace("inbound", "outbound"),
        "SPOTLIGHT_ESR_SETTLE_SECONDS": "0.2",
        "SPOTLIGHT_ESR_RECEIPT_HOUR": "0",
        "SPOTLIGHT_TCS_TIMEOUT": "2",
        "SPOTLIGHT_TCS_LEASE_SECONDS": "3",
    }.items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    with exchange(get_settings(), tcs_sandbox) as opened:
        yield opened

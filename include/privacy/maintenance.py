"""What the DAG ``maintenance`` does each night, one part a task."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import structlog

from include.errors import IntegrationError
from include.failures import located
from include.npo.context import utc_now
from include.settings import get_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from include.connectors.protocol import Connector
    from include.privacy.erase import ErasureContext
    from include.settings import Settings
    from include.storage.landing import LandingZone
    from include.storage.mongo import IntegrationStore

log = logging.getLogger("spotlight.maintenance")
GAPS_BACK = timedelta(days=7)
"""Each night tells of a gap until it is closed or a week old."""


@contextmanager
def open_stores(settings: Settings) -> Iterator[tuple[IntegrationStore, LandingZone]]:
    """Give the integration store and the landing zone, closed at the end."""
    from include.storage.landing import LandingZone
    from include.storage.mongo import IntegrationStore

    store = IntegrationStore(settings)
    try:
        store.prepare()
        yield store, LandingZone(settings)
    finally:
        store.close()


def retention(progress: Callable[[str], None] = log.info) -> dict[str, int]:
    """Delete what is past its time; return how much of what.

    Raises:
        IntegrationError: A store does not answer.
    """
    from include.privacy.retention import apply_retention

    settings = get_settings()
    with located("", "retention"), open_stores(settings) as (store, landing):
        return apply_retention(store, landing, settings, now=utc_now(), progress=progress)


def erasures(progress: Callable[[str], None] = log.info) -> dict[str, int]:
    """End every erasure that was asked for and broken off, and erase what slipped in since one was done.

    Returns:
        How many were ``ended``, and how many records were ``swept`` from pages landed since.

    Raises:
        IntegrationError: Some could not be ended, or some pages not be read; all others were.
    """
    from include.privacy.erase import carry_out, open_requests
    from include.privacy.sweep import sweep_marked

    settings = get_settings()
    failed: list[IntegrationError] = []
    swept = 0
    with located("", "erasures"), open_stores(settings) as (store, landing):
        requests = open_requests(store)
        ctx = erasure_context(store, landing, settings, progress)
        for key in requests:
            try:
                carry_out(ctx, key)
            except IntegrationError as error:
                progress(f"erasure {key} is not done: {error}")
                failed.append(error)
        try:
            swept = sweep_marked(store, landing, ctx.connector_of, now=ctx.now(), progress=progress)
        except IntegrationError as error:
            failed.append(error)
        if failed:
            raise failed[0]
    return {"ended": len(requests), "swept": swept}


def gaps(progress: Callable[[str], None] = log.info) -> dict[str, int]:
    """Tell of the last week's stretches of time that nobody read and no next run catches up.

    Returns:
        ``looked_at`` integrations, ``found`` gaps and rows that are ``broken``, which the registry tells of.

    Raises:
        IntegrationError: Registry, landing zone or store does not answer.
    """
    from include.npo.gaps import Stretch, default_stretch, find_gaps
    from include.npo.sample import stored_context
    from include.registry.catalogue import parse_rows
    from include.registry.queries import active_rows

    settings, now = get_settings(), utc_now()
    alerts = structlog.get_logger("spotlight.alerts")
    found = 0
    with located("", "gaps"), stored_context(settings) as context_of:
        rows = active_rows(settings.registry_dsn.get_secret_value(), settings.registry_timeout)
        npos, broken = parse_rows(rows)
        for npo in npos:
            usual = default_stretch(npo, now=now, kept_days=settings.retention_raw_days)
            within = Stretch(max(usual.start, now - GAPS_BACK), now)
            for gap in find_gaps(context_of(npo), within):
                if not gap.caught_up:
                    found += 1
                    alerts.warning("npo_gap", **gap.to_dict())
    progress(f"{len(npos)} integrations looked at, {found} gaps that need a backfill")
    return {"looked_at": len(npos), "found": found, "broken": len(broken)}


def erasure_context(
    store: IntegrationStore, landing: LandingZone, settings: Settings, progress: Callable[[str], None]
) -> ErasureContext:
    """Return what an erasure works with on the configured servers."""
    from include.privacy.erase import ErasureContext

    return ErasureContext(
        store, landing, lambda npo_id: connector_of_row(npo_id, settings), progress=progress
    )


def connector_of_row(npo_id: str, settings: Settings) -> Connector:
    """Return an NPO's connector whatever its row's status; it asks the partner nothing.

    Raises:
        ConfigurationError: There is no such row, or it is broken: landed pages cannot be read without.
        TransientError: The registry does not answer.
    """
    from include.connectors.open import open_connector
    from include.errors import ConfigurationError
    from include.registry import queries
    from include.registry.catalogue import parse_rows
    from include.registry.models import Credential

    row: dict[str, Any] | None = queries.row(
        settings.registry_dsn.get_secret_value(), npo_id, settings.registry_timeout
    )
    good, broken = parse_rows([row] if row else [])
    if not good:
        problem = broken[0].problem if broken else "it is not there"
        raise ConfigurationError(
            f"its row cannot be used ({problem}), so its landed pages cannot be read; mend it and ask again, "
            "or purge the NPO",
            subject=npo_id,
        )
    return open_connector(good[0], Credential(), settings)

"""Make what the pipelines expect to find in an environment; harmless when it is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from include.events.topics import ensure_topics
from include.registry.migrate import apply_migrations
from include.storage.landing import LandingZone
from include.storage.mongo import IntegrationStore

if TYPE_CHECKING:
    from include.settings import Settings


def prepare(settings: Settings) -> dict[str, list[str]]:
    """Create the registry's schema, the store's indexes, the landing bucket and the topics.

    Returns:
        The migrations applied now and the topics.

    Raises:
        IntegrationError: A server does not answer or refuses; the message says which.
    """
    applied = apply_migrations(settings.registry_dsn.get_secret_value())
    store = IntegrationStore(settings)
    try:
        store.prepare()
    finally:
        store.close()
    LandingZone(settings).prepare()
    return {"migrations": applied, "topics": sorted(ensure_topics(settings))}

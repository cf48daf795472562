"""What a slot of the pool ``npo_extract`` runs, as a process: the extraction of one NPO."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from include.connectors.open import open_connector
from include.connectors.retry import RetryPolicy
from include.errors import IntegrationError
from include.npo.context import RunContext
from include.npo.extract import extract
from include.storage.landing import LandingZone
from include.storage.mongo import IntegrationStore
from tests.conformance.rows import CREDENTIAL

if TYPE_CHECKING:
    from include.registry.models import NpoConfig
    from include.settings import Settings

IMPATIENT = RetryPolicy(attempts=2, first_wait=0.05, longest_told_wait=0.5)


@dataclass(frozen=True, slots=True)
class Tried:
    """How one try of one extraction ended.

    Attributes:
        failure: The error's class, empty when all is well.
        seconds: For how long it held its slot.
    """

    npo_id: str
    failure: str
    records: int
    seconds: float


def run_extract(npo: NpoConfig, settings: Settings, run_id: str) -> Tried:
    """Extract one NPO as a task does, with less patience."""
    start = time.monotonic()
    store = IntegrationStore(settings)
    records, failure = 0, ""
    try:
        connector = open_connector(npo, CREDENTIAL, settings, store=store, retry=IMPATIENT)
        ctx = RunContext(
            npo=npo,
            run_id=run_id,
            connector=connector,
            store=store,
            landing=LandingZone(settings),
            settings=settings,
        )
        ref = extract(ctx)
        records = ref.counts["extract.records"] if ref else 0
    except IntegrationError as error:
        failure = type(error).__name__
    finally:
        store.close()
    return Tried(npo.npo_id, failure, records, time.monotonic() - start)

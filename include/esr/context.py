"""What every stage of the exchange works with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from include.npo.context import utc_now

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from include.settings import Settings
    from include.storage.landing import LandingZone
    from include.storage.mongo import IntegrationStore


@dataclass(frozen=True, slots=True)
class EsrContext:
    """One stage at work on one file or one deanery.

    Attributes:
        run_id: Id of the DAG run; also the correlation id of its events.
        now: The clock, so that tests can hold it.
        progress: Told one line whenever there is something to tell.
    """

    run_id: str
    store: IntegrationStore
    landing: LandingZone
    settings: Settings
    now: Callable[[], datetime] = utc_now
    progress: Callable[[str], None] = field(default=lambda _line: None)

"""What every stage of an NPO run works with, and the reference one stage hands to the next."""

from __future__ import annotations

import gc
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from include.connectors.protocol import Connector, Resource, Window
    from include.registry.models import NpoConfig
    from include.settings import Settings
    from include.storage.landing import LandingZone
    from include.storage.mongo import IntegrationStore


def settle_memory() -> None:
    """Take what is loaded by now out of the garbage collector's sight.

    Great Expectations and pandas bring several hundred thousand objects along; every full collection
    while a batch is worked on would walk over all of them, a fifth of a stage's time. Nothing is collected
    first: in a worker forked from a warm process that would copy every page it looks at.
    """
    gc.freeze()


def utc_now() -> datetime:
    """Return the time, UTC, to the millisecond as the store keeps it."""
    now = datetime.now(tz=UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


@dataclass(frozen=True, slots=True)
class RunContext:
    """One run of one NPO.

    Attributes:
        backfill: The data interval of a backfill run; ``None`` reads on from the checkpoint.
        now: The clock, so that tests can hold it.
        progress: Told one line whenever there is something to tell.
    """

    npo: NpoConfig
    run_id: str
    connector: Connector
    store: IntegrationStore
    landing: LandingZone
    settings: Settings
    backfill: Window | None = None
    now: Callable[[], datetime] = utc_now
    progress: Callable[[str], None] = field(default=lambda _line: None)

    @property
    def resources(self) -> tuple[Resource, ...]:
        """Return the resources this NPO has, offerings first: assignments refer to them."""
        return self.connector.manifest.resource_names


@dataclass(frozen=True, slots=True)
class RunRef:
    """What XCom carries from stage to stage: keys and counts, no data.

    Attributes:
        manifests: Keys of the landed manifests this run must still land.
        counts: What the stages did so far, such as ``{"extract.pages": 3}``.
        refused: Why a list as a whole was refused. The rest goes on, and the last stage raises it.
    """

    npo_id: str
    run_id: str
    manifests: tuple[str, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)
    refused: tuple[str, ...] = ()

    def counted(self, stage: str, counts: dict[str, int]) -> RunRef:
        """Return the reference with a stage's counts added."""
        mine = {f"{stage}.{name}": number for name, number in counts.items()}
        return replace(self, counts=self.counts | mine)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON-able form."""
        return asdict(self) | {"manifests": list(self.manifests), "refused": list(self.refused)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> RunRef:
        """Return the reference of its JSON-able form."""
        return cls(
            data["npo_id"],
            data["run_id"],
            tuple(data["manifests"]),
            dict(data["counts"]),
            tuple(data["refused"]),
        )

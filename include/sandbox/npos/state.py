"""What the sandbox remembers over a restart: seed, scale, first day, today, injected records."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from pathlib import Path

Resource = Literal["offerings", "assignments"]
FILE_NAME = "npos.json"


@dataclass(frozen=True, slots=True)
class Injected:
    """A record put in over the admin endpoint; ``bad`` says what the truth shall call it."""

    resource: Resource
    record: Any
    bad: bool
    day: int


@dataclass
class SandboxState:
    """The simulated clock and the injected records, written to ``folder`` at every change."""

    folder: Path
    seed: int
    scale: float
    first_day: date
    day: int = 0
    injected: dict[str, list[Injected]] = field(default_factory=dict)
    version: int = 0

    @classmethod
    def load(
        cls, folder: Path, *, seed: int | None, scale: float | None, first_day: date | None, real_day: date
    ) -> SandboxState:
        """Return the state kept in ``folder``, or a new one.

        A kept first day wins over ``first_day``, so that a restart with the same command line goes
        on where it was; a given seed or scale wins over the kept one.
        """
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / FILE_NAME
        kept: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
        state = cls(
            folder=folder,
            seed=seed if seed is not None else kept.get("seed", 7),
            scale=scale if scale is not None else kept.get("scale", 1.0),
            first_day=date.fromisoformat(kept["first_day"]) if kept else first_day or real_day,
            day=kept.get("day", 0),
            injected={
                npo: [Injected(**item) for item in items] for npo, items in kept.get("injected", {}).items()
            },
        )
        state.save()
        return state

    @property
    def today(self) -> date:
        """Return the simulated day."""
        return self.first_day + timedelta(days=self.day)

    def advance(self, days: int) -> None:
        """Move the simulated day on."""
        self.day += days
        self.save()

    def rewind(self) -> None:
        """Go back to the first day."""
        self.day = 0
        self.save()

    def inject(self, npo: str, resource: Resource, record: Any, *, bad: bool) -> None:
        """Keep one injected record."""
        self.injected.setdefault(npo, []).append(Injected(resource, record, bad, self.day))
        self.save()

    def forget(self, npo: str) -> None:
        """Drop what was injected into one partner."""
        self.injected.pop(npo, None)
        self.save()

    def save(self) -> None:
        """Write the state file in one step: a kill in between leaves the old one."""
        self.version += 1
        kept = {
            "seed": self.seed,
            "scale": self.scale,
            "first_day": self.first_day.isoformat(),
            "day": self.day,
            "injected": {
                npo: [{"resource": i.resource, "record": i.record, "bad": i.bad, "day": i.day} for i in items]
                for npo, items in self.injected.items()
            },
        }
        fresh = self.folder / (FILE_NAME + ".new")
        fresh.write_text(json.dumps(kept), "utf-8")
        fresh.replace(self.folder / FILE_NAME)

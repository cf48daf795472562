"""Stretches of time no landed extraction covers, and what closes them: pure rules, and one reader.

Only what was landed to its end covers anything, and of a nested resource only what every parent answered.
An extraction started at T that asked for changes since S covers every change from S up to T, or up to
the end it asked for; one that read everything covers all there was before T.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from include.connectors.protocol import Window
from include.npo.page_sources import every_parent_answered

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from include.connectors.manifest import ResourceSpec
    from include.connectors.protocol import Resource
    from include.npo.context import RunContext
    from include.registry.models import NpoConfig
    from include.storage.checkpoint import Checkpoint
    from include.storage.landing import ResourceManifest

_BEGINNING = datetime(1, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Stretch:
    """From ``start`` (inclusive) to ``end`` (exclusive), UTC."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Gap:
    """A stretch nobody read.

    Attributes:
        caught_up: Whether the next run reads it anyway.
        command: What to type where it does not.
    """

    npo_id: str
    resource: str
    stretch: Stretch
    caught_up: bool
    command: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON-able form."""
        return {
            "npo_id": self.npo_id,
            "resource": self.resource,
            "from": self.stretch.start.isoformat(),
            "to": self.stretch.end.isoformat(),
            "caught_up": self.caught_up,
            "command": self.command,
        }


def covered_by(manifest: ResourceManifest) -> Stretch:
    """Return the stretch of changes an extraction has read."""
    started = datetime.fromisoformat(manifest.started_at)
    since = datetime.fromisoformat(manifest.since) if manifest.since else _BEGINNING
    until = datetime.fromisoformat(manifest.until) if manifest.until else started
    return Stretch(since, min(until, started))


def covered_by_landed(manifests: Iterable[ResourceManifest], unlanded: Collection[str]) -> list[Stretch]:
    """Return the stretches of changes that extractions have brought into the store.

    Args:
        manifests: Of the extractions.
        unlanded: Keys of those that were refused, or broken off before all was landed.
    """
    return [
        covered_by(manifest)
        for manifest in manifests
        if manifest.key not in unlanded and every_parent_answered(manifest)
    ]


def uncovered(covered: Iterable[Stretch], within: Stretch) -> list[Stretch]:
    """Return what of ``within`` none of the stretches covers, in order."""
    gaps: list[Stretch] = []
    reached = within.start
    for stretch in sorted(covered, key=lambda one: (one.start, one.end)):
        if stretch.start >= within.end:
            break
        if stretch.start > reached:
            gaps.append(Stretch(reached, stretch.start))
        reached = max(reached, stretch.end)
    if reached < within.end:
        gaps.append(Stretch(reached, within.end))
    return gaps


def next_run_reads_from(spec: ResourceSpec, checkpoint: Checkpoint) -> datetime:
    """Return from when on the next scheduled run reads: the checkpoint less lookback, or the beginning."""
    if spec.incremental is None or not asks_for_a_window(spec) or checkpoint.cursor is None:
        return _BEGINNING
    return checkpoint.cursor - spec.incremental.lookback


def asks_for_a_window(spec: ResourceSpec) -> bool:
    """Return whether a backfill asks the partner: its source, or we, can tell a window from the rest."""
    return spec.filters_since or (spec.incremental is not None and spec.incremental.client_filter)


def explained(
    npo_id: str, resource: str, gaps: Sequence[Stretch], *, reads_from: datetime, windowed: bool
) -> list[Gap]:
    """Return each gap with what closes it; one that the next run reads in part is told as two.

    Args:
        npo_id: Whose.
        resource: Of which resource.
        gaps: In order.
        reads_from: From when on the next run reads.
        windowed: Whether a backfill asks the partner for a window; else only a run from the beginning closes
            a gap, and the next run is one.
    """
    found: list[Gap] = []
    for gap in gaps:
        if not windowed or gap.start >= reads_from:
            found.append(Gap(npo_id, resource, gap, caught_up=True))
            continue
        end = min(gap.end, reads_from)
        found.append(Gap(npo_id, resource, Stretch(gap.start, end), False, _command(npo_id, gap.start, end)))  # noqa: FBT003 - reads as the table does
        if end < gap.end:
            found.append(Gap(npo_id, resource, Stretch(end, gap.end), caught_up=True))
    return found


def _command(npo_id: str, start: datetime, end: datetime) -> str:
    """Return the backfill to type; its times are whole seconds, rounded outwards."""
    whole = end if not end.microsecond else end.replace(microsecond=0) + timedelta(seconds=1)
    return (
        f"spotlight backfill --npo {npo_id} --from {start:%Y-%m-%dT%H:%M:%S} --to {whole:%Y-%m-%dT%H:%M:%S}"
    )


def default_stretch(npo: NpoConfig, *, now: datetime, kept_days: int) -> Stretch:
    """Return from the row's start, or from when landed pages are kept (0: for ever), until now."""
    start = datetime.combine(npo.start_date, time.min, UTC)
    if kept_days:
        start = max(start, now - timedelta(days=kept_days))
    return Stretch(min(start, now), now)


def find_gaps(ctx: RunContext, within: Stretch, *, resource: Resource | None = None) -> list[Gap]:
    """Return the gaps of an NPO's resources, by resource and time.

    Reads the manifests of extractions started after ``within`` began: older ones cover nothing of it.

    Raises:
        TransientError: Landing zone or store did not answer.
    """
    from include.storage.checkpoint import read_checkpoint, unlanded
    from include.storage.mongo import store_errors

    npo_id = ctx.npo.npo_id
    found: list[Gap] = []
    for name in (resource,) if resource else ctx.resources:
        keys = ctx.landing.manifests_between(npo_id, name, Window(since=within.start))
        with store_errors(npo_id):
            checkpoint = read_checkpoint(ctx.store, npo_id, name)
            refused = unlanded(ctx.store, npo_id, name)
        landed = covered_by_landed(map(ctx.landing.manifest, keys), refused)
        spec = ctx.connector.manifest.resource(name)
        found += explained(
            npo_id,
            name,
            uncovered(landed, within),
            reads_from=next_run_reads_from(spec, checkpoint),
            windowed=asks_for_a_window(spec),
        )
    return found

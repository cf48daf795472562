"""Whom landed pages were read for, and which of their records a run takes in."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from include.connectors.protocol import Parent, Window
from include.connectors.windows import lies_inside

if TYPE_CHECKING:
    from include.connectors.protocol import Resource
    from include.storage.landing import LandedPage, ResourceManifest


class PageSources:
    """For whom the pages of a manifest were read, and which window is applied to their records."""

    def __init__(self, manifest: ResourceManifest) -> None:
        self.resource = resource_of(manifest)
        self._parents = {parent.key: Parent(parent.key, parent.values) for parent in manifest.parents}
        # A backfill takes exactly its interval, also where the source has no upper filter.
        cut = manifest.cut or not manifest.moves_checkpoint
        self._window = _window(manifest.since, manifest.until) if cut else Window()
        self._windows = {
            parent.key: _window(parent.since, parent.until) if cut else Window()
            for parent in manifest.parents
        }

    def parent(self, page: LandedPage) -> Parent | None:
        """Return the record a page's records belong to, ``None`` where they are not nested."""
        return self._parents[page.parent] if page.parent is not None else None

    def holds(self, page: LandedPage, changed: datetime | None) -> bool:
        """Tell whether a record of a page, by when it last changed, is taken in."""
        window = self._windows[page.parent] if page.parent is not None else self._window
        return lies_inside(window, changed)


def resource_of(manifest: ResourceManifest) -> Resource:
    """Return which kind of record a manifest is of."""
    return "offerings" if manifest.resource == "offerings" else "assignments"


def every_parent_answered(manifest: ResourceManifest) -> bool:
    """Return whether no parent that could be asked for was left out of a reading; so if it has none."""
    return all(parent.state != "failed" for parent in manifest.parents)


def _window(since: str | None, until: str | None) -> Window:
    return Window(
        datetime.fromisoformat(since) if since else None, datetime.fromisoformat(until) if until else None
    )

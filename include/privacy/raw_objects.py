"""Erasure in the landing zone: the only thing that ever rewrites a landed page.

A page keeps its key and its other records their position, so that replay and ``raw_ref`` stay true.
"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from include.connectors.protocol import Parent
from include.errors import IntegrationError, RecordError
from include.privacy.erased import ERASED_RECORD, rewritten

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from include.connectors.protocol import Connector, Resource
    from include.storage.landing import LandedPage, LandingZone, ResourceManifest

PAGES_AT_ONCE = 4
_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.:")


@dataclass(frozen=True, slots=True)
class PageEraser:
    """Erases records of one resource of one NPO from every landed page.

    Attributes:
        connector: Knows how a page holds its records; asks the partner nothing.
        ids: The partner's ids of the records.
    """

    landing: LandingZone
    connector: Connector
    npo_id: str
    resource: Resource
    ids: frozenset[str]
    progress: Callable[[str], None]

    def run(self) -> dict[str, int]:
        """Rewrite every page that holds one of the records.

        Pages of attempts that never finished are looked at too: nobody reads them, and they hold the data
        all the same. One that cannot be read is deleted if its attempt never finished; of a finished
        one it is an error, which names the page.

        Returns:
            ``pages_looked_at``, ``pages_rewritten``, ``pages_deleted`` and ``raw_records``.

        Raises:
            IntegrationError: The landing zone does not answer, or a page cannot be read.
        """
        counts: Counter[str] = Counter(pages_looked_at=0, pages_rewritten=0, pages_deleted=0, raw_records=0)
        keys = self.landing.keys(f"npo/{self.npo_id}/{self.resource}/")
        with ThreadPoolExecutor(PAGES_AT_ONCE, thread_name_prefix="erase") as pool:
            for attempt, of_attempt in groupby(sorted(keys), key=lambda key: key.rpartition("/")[0]):
                counts.update(self._attempt(attempt, list(of_attempt), pool))
                if counts["pages_looked_at"] % 500 < 1:
                    self.progress(f"{self.npo_id}: {counts['pages_looked_at']:,} landed pages looked at")
        return dict(counts)

    def _attempt(self, attempt: str, keys: list[str], pool: ThreadPoolExecutor) -> Counter[str]:
        manifest_key = f"{attempt}/manifest.json"
        pages = _sources(self.landing.manifest(manifest_key)) if manifest_key in keys else {}
        counts: Counter[str] = Counter()
        wanted = [key for key in keys if key != manifest_key]
        for found in pool.map(lambda key: self._page(key, pages.get(key)), wanted):
            counts.update(found)
        return counts

    def _page(self, key: str, page: tuple[LandedPage, Parent | None] | None) -> dict[str, int]:
        body = self.landing.get(key)
        looked = {"pages_looked_at": 1}
        if not self._may_hold(body):
            return looked
        try:
            records = self._records(body, page)
        except IntegrationError:
            if page is not None:
                raise
            self.landing.delete([key])
            return looked | {"pages_deleted": 1}
        kept = [ERASED_RECORD if self._is_theirs(record) else record for record in records]
        erased = sum(1 for before, after in zip(records, kept, strict=True) if before is not after)
        if not erased:
            return looked
        self.landing.rewrite(key, rewritten(kept))
        return looked | {"pages_rewritten": 1, "raw_records": erased}

    def _may_hold(self, body: bytes) -> bool:
        """Tell without parsing whether a page may hold one of the ids: nearly none of many does."""
        if any(not _PLAIN.issuperset(one) for one in self.ids):
            return True
        parts = {part for one in self.ids for part in one.split(":")}
        return body[:2] in (b"PK", b"\x1f\x8b") or any(part.encode() in body for part in parts)

    def _records(self, body: bytes, page: tuple[LandedPage, Parent | None] | None) -> list[Any]:
        if page is None:
            return self.connector.records(self.resource, body)
        return self.connector.records(self.resource, body, page[0].content_type, page[1])

    def _is_theirs(self, record: Any) -> bool:
        try:
            return self.connector.external_id(self.resource, record) in self.ids
        except RecordError:
            return False


def _sources(manifest: ResourceManifest) -> dict[str, tuple[LandedPage, Parent | None]]:
    """Return each page of a finished attempt by its key, with the parent it was read for."""
    parents = {parent.key: Parent(parent.key, parent.values) for parent in manifest.parents}
    return {
        page.key: (page, parents[page.parent] if page.parent is not None else None) for page in manifest.pages
    }


def event_objects(npo_id: str, event_ids: Iterable[str]) -> list[str]:
    """Return the keys under which the data of events too large to travel may lie."""
    return [f"events/{npo_id}/{event_id}.json.gz" for event_id in event_ids]

"""Erasure in the landing zone: the only thing that ever rewrites a landed page.

A page keeps its key and its other records their position, so that replay and ``raw_ref`` stay true.
"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, TypeVar

from include.errors import ConfigurationError, FatalError, IntegrationError, RecordError
from include.npo.page_sources import PageSources
from include.privacy.landed_ids import records_holding
from include.storage.erased_page import ERASED_RECORD, rewritten

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from include.connectors.protocol import Connector, Parent, Resource
    from include.privacy.landed_ids import WantedIds
    from include.storage.landing import LandedPage, LandingZone, ResourceManifest

    Source = tuple[LandedPage, Parent | None]

PAGES_AT_ONCE = 4
Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class PageEraser:
    """Erases records of one resource of one NPO from landed pages.

    Attributes:
        connector: Knows how a page holds its records; asks the partner nothing.
        among: Tells which of the partner's ids are those of records to erase.
        known: Tells which of the partner's ids the store holds a record of.
        wanted: The ids to erase; ``None`` where only their digests are known, so every page is parsed.
    """

    landing: LandingZone
    connector: Connector
    npo_id: str
    resource: Resource
    among: Callable[[Sequence[str]], Collection[str]]
    known: Callable[[Sequence[str]], Collection[str]]
    wanted: WantedIds | None
    progress: Callable[[str], None]

    def run(self, keys: Iterable[str]) -> dict[str, int]:
        """Rewrite every page of these that holds one of the records.

        Pages of attempts that never finished are looked at too: nobody reads them, and they hold the data
        all the same. One that cannot be read is deleted if its attempt never finished; of a finished
        one it is an error, which names the page. One that retention deletes meanwhile is no error.

        Args:
            keys: Of whole attempts, manifests among them.

        Returns:
            ``pages_looked_at``, ``pages_rewritten``, ``pages_deleted`` and ``raw_records``.

        Raises:
            IntegrationError: The landing zone does not answer, or a page cannot be read.
        """
        counts: Counter[str] = Counter(pages_looked_at=0, pages_rewritten=0, pages_deleted=0, raw_records=0)
        with ThreadPoolExecutor(PAGES_AT_ONCE, thread_name_prefix="erase") as pool:
            for attempt, of_attempt in groupby(sorted(keys), key=lambda key: key.rpartition("/")[0]):
                counts.update(self._attempt(attempt, list(of_attempt), pool))
                if counts["pages_looked_at"] % 500 < 1:
                    self.progress(f"{self.npo_id}: {counts['pages_looked_at']:,} landed pages looked at")
        return dict(counts)

    def _attempt(self, attempt: str, keys: list[str], pool: ThreadPoolExecutor) -> Counter[str]:
        manifest_key = f"{attempt}/manifest.json"
        manifest = self._unless_gone(manifest_key, self.landing.manifest) if manifest_key in keys else None
        pages = _sources(manifest) if manifest else {}
        counts: Counter[str] = Counter()
        wanted = [key for key in keys if key != manifest_key]
        for found in pool.map(lambda key: self._page(key, pages.get(key)), wanted):
            counts.update(found)
        return counts

    def _page(self, key: str, page: Source | None) -> dict[str, int]:
        body = self._unless_gone(key, self.landing.get)
        if body is None:
            return {}
        looked = {"pages_looked_at": 1}
        if self.wanted and not self.wanted.may_be_in(body):
            return looked
        try:
            records = self._records(body, page)
        except IntegrationError:
            if page is not None:
                raise
            self.landing.delete([key])
            return looked | {"pages_deleted": 1}
        gone = self._places(records)
        if not gone:
            return looked
        kept = [ERASED_RECORD if place in gone else record for place, record in enumerate(records)]
        self.landing.rewrite(key, rewritten(kept))
        return looked | {"pages_rewritten": 1, "raw_records": len(gone)}

    def _unless_gone(self, key: str, read: Callable[[str], Found]) -> Found | None:
        try:
            return read(key)
        except FatalError:
            if key in self.landing.keys(key):
                raise
            return None

    def _records(self, body: bytes, page: Source | None) -> list[Any]:
        content_type, parent = (page[0].content_type, page[1]) if page else ("", None)
        try:
            return self.connector.records(self.resource, body, content_type, parent)
        except ConfigurationError as error:
            # Read with an older manifest, which knew the list under another name.
            if self.wanted is None:
                raise
            return records_holding(self.wanted, self._value(body, content_type, error))

    def _value(self, body: bytes, content_type: str, why: IntegrationError) -> Any:
        from include.connectors.answer import NotJsonError, parse_body

        manifest = self.connector.manifest
        expects = manifest.resource(self.resource).endpoint.response
        try:
            return parse_body(body, content_type, manifest.client.charset, expects)
        except NotJsonError:
            raise why from None

    def _places(self, records: Sequence[Any]) -> set[int]:
        """Return the places of the records to erase."""
        ids = [self._id(record) for record in records]
        gone = self.among([one for one in ids if one is not None])
        found = {place for place, one in enumerate(ids) if one in gone}
        if found or self.wanted is None:
            return found
        # The id stood in the page and is nobody's: perhaps it was read with another primary key. Then
        # today's names no record that is known; where it does, that record is somebody else's.
        holding = [place for place, record in enumerate(records) if self.wanted.stand_in(record)]
        known = self.known([one for place in holding if (one := ids[place]) is not None])
        return {place for place in holding if ids[place] not in known}

    def _id(self, record: Any) -> str | None:
        try:
            return self.connector.external_id(self.resource, record)
        except RecordError:
            return None


def _sources(manifest: ResourceManifest) -> dict[str, Source]:
    """Return each page of a finished attempt by its key, with the parent it was read for."""
    sources = PageSources(manifest)
    return {page.key: (page, sources.parent(page)) for page in manifest.pages}


def event_objects(npo_id: str, event_ids: Iterable[str]) -> list[str]:
    """Return the keys under which the data of events too large to travel may lie."""
    return [f"events/{npo_id}/{event_id}.json.gz" for event_id in event_ids]

"""Reads a nested resource: one list for each record of its parent resource."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from include.connectors.protocol import Window, status_told
from include.errors import (
    ConfigurationError,
    IntegrationError,
    NotYetError,
    RateLimitedError,
    RecordError,
    TransientError,
)
from include.storage.checkpoint import parent_cursors
from include.storage.documents import raw_key
from include.storage.landing import LandedParent

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from include.connectors.protocol import Page, Parent, Resource
    from include.npo.context import RunContext
    from include.storage.mongo import IntegrationStore

Item = TypeVar("Item")

CURSORS_AT_ONCE = 1_000
BELIEVED_GONE = 3
FAILED_IN_A_ROW = 3
_GONE = frozenset({404, 410})


class NestedReading:
    """One reading of a nested resource, parent by parent.

    A parent the partner no longer knows (404, 410) is skipped and counted, for parents come and go between
    two readings; not so where none of more than a few is known, which is a wrong path. A parent that does
    not answer is left for the next run and the others are read on; after some in a row the partner itself is
    unwell, and the reading fails. So does it at once where the NPO throttles or refuses us.

    Args:
        ctx: The run.
        resource: The nested one.
        window: For parents read before under one cursor, and for a backfill.
        met: Parents this run has read itself, ``None`` for a deleted one; they count more than the store's.

    Attributes:
        parents: Those asked for so far, and what became of it.
    """

    def __init__(
        self, ctx: RunContext, resource: Resource, window: Window, met: Mapping[str, Parent | None]
    ) -> None:
        self._ctx, self._resource, self._window, self._met = ctx, resource, window, met
        spec = ctx.connector.manifest.resource(resource)
        if spec.nested is None:
            raise ConfigurationError(f"{resource} is not nested", subject=ctx.npo.npo_id)
        self._spec, self._nested = spec, spec.nested
        self.parents: list[LandedParent] = []
        self._unusable = 0
        self._first_failure: IntegrationError | None = None

    def pages(self) -> Iterator[Page]:
        """Yield the pages of every parent.

        Raises:
            IntegrationError: As ``Connector.pages``, where it is not about one parent alone.
            ConfigurationError: Too many parents or pages for one run.
        """
        failed_in_a_row, pages = 0, 0
        last: IntegrationError | None = None
        for parent, window in self._asked():
            state = "read"
            started = pages
            try:
                for page in self._ctx.connector.pages(self._resource, window, parent):
                    pages += 1
                    self._require_bounded(pages)
                    yield page
            except (NotYetError, RateLimitedError):
                raise
            except TransientError as error:
                state, last = "failed", error
                self._first_failure = self._first_failure or error
            except ConfigurationError as error:
                if status_told(error) not in _GONE or pages > started:
                    raise
                state, last = "gone", error
            self._note(parent, window, state)
            failed_in_a_row = failed_in_a_row + 1 if state == "failed" else 0
            if failed_in_a_row >= FAILED_IN_A_ROW and last is not None:
                raise last
        self._require_some_read(last)

    def count(self, counts: dict[str, int]) -> None:
        """Add what became of the parents to a stage's counts."""
        counts["parents"] = counts.get("parents", 0) + len(self.parents)
        counts["parents_unusable"] = counts.get("parents_unusable", 0) + self._unusable
        for state in ("gone", "failed"):
            name = f"parents_{state}"
            counts[name] = counts.get(name, 0) + self._in_state(state)

    def failures(self) -> list[str]:
        """Return one line on the parents that did not answer, if there are any."""
        failed = self._in_state("failed")
        if not failed or self._first_failure is None:
            return []
        told = (
            f"{self._resource}: {failed} of {len(self.parents)} {self._nested.parent} were not read, what "
            "the others hold is kept and the next run asks for these again; the first: "
        )
        return [told + self._first_failure.message]

    def _in_state(self, state: str) -> int:
        return sum(parent.state == state for parent in self.parents)

    def _note(self, parent: Parent, window: Window, state: Any) -> None:
        self.parents.append(
            LandedParent(
                parent.key,
                dict(parent.values),
                window.since.isoformat() if window.since else None,
                window.until.isoformat() if window.until else None,
                state,
            )
        )
        self._require_bounded(len(self.parents))

    def _require_bounded(self, number: int) -> None:
        if number > self._ctx.settings.max_pages:
            raise ConfigurationError(
                f"{self._resource}: more than {self._ctx.settings.max_pages} parents or pages in one run; "
                "raise SPOTLIGHT_MAX_PAGES if the partner really has so many",
                subject=self._ctx.npo.npo_id,
            )

    def _require_some_read(self, last: IntegrationError | None) -> None:
        """Fail where no parent was read and that is not their own doing."""
        if last is None or self._in_state("read"):
            return
        if self._in_state("failed") or len(self.parents) > BELIEVED_GONE:
            raise last

    def _asked(self) -> Iterator[tuple[Parent, Window]]:
        """Yield each parent with the window to ask for, cursors looked up some at a time."""
        for some in _portions(self._live(), CURSORS_AT_ONCE):
            cursors = parent_cursors(
                self._ctx.store, self._ctx.npo.npo_id, self._resource, [parent.key for parent in some]
            )
            for parent in some:
                known = cursors.get(parent.key)
                yield parent, self._window_of(known.cursor if known else None, known=known is not None)

    def _window_of(self, cursor: Any, *, known: bool) -> Window:
        incremental = self._spec.incremental
        if self._ctx.backfill or incremental is None or not self._spec.reads_changes:
            return self._window
        if self._nested.cursors == "one":
            # A parent that was never read has records from before the resource's checkpoint.
            return self._window if known else Window()
        return Window(since=cursor - incremental.lookback) if cursor else Window()

    def _live(self) -> Iterator[Parent]:
        """Yield the parents there are: the store's live records as this run has seen them, then new ones."""
        met = dict(self._met)
        for payload in _live_payloads(self._ctx.store, self._ctx.npo.npo_id, self._nested.parent):
            try:
                stored = self._ctx.connector.parent(self._resource, orjson.loads(payload))
            except RecordError:
                self._unusable += 1
                continue
            parent = met.pop(stored.key, stored)
            if parent is not None:
                yield parent
        yield from (parent for parent in met.values() if parent is not None)


def _live_payloads(store: IntegrationStore, npo_id: str, resource: str) -> Iterator[str]:
    """Yield the payload of every record that the partner has not deleted, in key order."""
    first = raw_key(npo_id, resource, "")
    # '}' follows '|' in ASCII: the range holds every key that begins with the prefix.
    live = {"_id": {"$gte": first, "$lt": f"{first[:-1]}}}"}, "deleted_upstream": False}
    for doc in store["npo_raw"].find(live, {"payload": 1}).sort("_id", 1):
        yield doc["payload"]


def _portions(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    iterator = iter(items)
    while some := list(islice(iterator, size)):
        yield some

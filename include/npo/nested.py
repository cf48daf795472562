"""Reads a nested resource: one list for each record of its parent resource."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

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
from include.storage.checkpoint import forget_parent_cursors, note_asked, parent_cursors
from include.storage.documents import raw_key
from include.storage.landing import LandedParent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from include.connectors.protocol import Page, Parent, Resource
    from include.npo.context import RunContext
    from include.storage.checkpoint import ParentCursor
    from include.storage.mongo import IntegrationStore

BELIEVED_GONE = 3
FAILED_AT_LEAST = 5
"""Parents that must fail before their share says that the partner itself is unwell."""
UNWELL_SHARE = 0.5
_GONE = frozenset({404, 410})
_NEVER = datetime.min.replace(tzinfo=UTC)

State = Literal["read", "gone", "failed"]


class NestedReading:
    """One reading of a nested resource, parent by parent, those asked for longest ago first.

    A parent the partner no longer knows (404, 410) is skipped and counted, for parents come and go between
    two readings; not so where none of more than a few is known, which is a wrong path. A parent that does
    not answer is left for the next run and the others are read on. The reading ends early, and leaves the
    rest to the next run, where the NPO throttles us, its breaker is open, most parents fail, or the time is
    over; what was read until then is landed. It fails where the NPO refuses us, or nothing was read at all.

    Args:
        ctx: The run.
        resource: The nested one.
        window: For parents read before under one cursor, and for a backfill.
        met: Parents this run has read itself, ``None`` for a deleted one; they count more than the store's.
        until: When no further parent is asked for; the first one always is.

    Attributes:
        parents: Those there are, and what became of each.
        unusable: How many more nothing can be asked for.
    """

    def __init__(
        self,
        ctx: RunContext,
        resource: Resource,
        window: Window,
        met: Mapping[str, Parent | None],
        *,
        until: datetime,
    ) -> None:
        self._ctx, self._resource, self._window, self._met = ctx, resource, window, met
        spec = ctx.connector.manifest.resource(resource)
        if spec.nested is None:
            raise ConfigurationError(f"{resource} is not nested", subject=ctx.npo.npo_id)
        self._spec, self._nested, self._until = spec, spec.nested, until
        self.parents: list[LandedParent] = []
        self.unusable = 0
        self._put_off = 0
        self._first_failure: IntegrationError | None = None

    def pages(self) -> Iterator[Page]:
        """Yield the pages of every parent.

        Raises:
            IntegrationError: As ``Connector.pages``: nothing was read, or the NPO refuses us.
            ConfigurationError: Too many parents for one run.
        """
        turns = self._in_turn()
        state: State
        last: IntegrationError | None = None
        pages = 0
        for position, (parent, window) in enumerate(turns):
            if position and (pages >= self._ctx.settings.max_pages or self._ctx.now() >= self._until):
                self._leave(turns[position:])
                break
            started, state, last = pages, "read", None
            try:
                for page in self._ctx.connector.pages(self._resource, window, parent):
                    pages += 1
                    yield page
            except (TransientError, ConfigurationError) as error:
                state, last = self._state_after(error, answered=pages > started), error
            self._note(parent, window, state)
            if isinstance(last, (NotYetError, RateLimitedError)) or self._is_unwell():
                self._leave(turns[position + 1 :])
                break
        self._end(last)

    def count(self, counts: dict[str, int]) -> None:
        """Add what became of the parents to a stage's counts."""
        counts["parents"] = counts.get("parents", 0) + len(self.parents)
        counts["parents_unusable"] = counts.get("parents_unusable", 0) + self.unusable
        for state in ("gone", "failed"):
            name = f"parents_{state}"
            counts[name] = counts.get(name, 0) + self._in_state(state)

    def failures(self) -> list[str]:
        """Return one line on the parents that were not read, if there are any."""
        failed = self._in_state("failed")
        if not failed:
            return []
        told = (
            f"{self._resource}: {failed} of {len(self.parents)} {self._nested.parent} were not read, what "
            "the others hold is kept and the next run asks for these again"
        )
        if self._first_failure is None:
            return [f"{told}: there was no time left for them"]
        return [f"{told}; the first: {self._first_failure.message}"]

    def _in_state(self, state: State) -> int:
        return sum(parent.state == state for parent in self.parents)

    def _state_after(self, error: IntegrationError, *, answered: bool) -> State:
        """Return what an error says of the parent asked for; one that is not about it alone is raised."""
        if isinstance(error, ConfigurationError):
            if status_told(error) in _GONE and not answered:
                return "gone"
            if error.pauses:
                raise error
        self._first_failure = self._first_failure or error
        return "failed"

    def _note(self, parent: Parent, window: Window, state: State) -> None:
        self.parents.append(
            LandedParent(
                parent.key,
                dict(parent.values),
                window.since.isoformat() if window.since else None,
                window.until.isoformat() if window.until else None,
                state,
            )
        )

    def _leave(self, turns: Sequence[tuple[Parent, Window]]) -> None:
        """Leave parents to the next run."""
        self._put_off = len(turns)
        for parent, window in turns:
            self._note(parent, window, "failed")

    def _is_unwell(self) -> bool:
        failed = self._in_state("failed") if self.parents[-1].state == "failed" else 0
        return failed >= FAILED_AT_LEAST and failed > len(self.parents) * UNWELL_SHARE

    def _end(self, last: IntegrationError | None) -> None:
        """Note whose turn it was, and fail where no parent was read and that is not their own doing."""
        failed = self._in_state("failed")
        if failed:
            asked = self.parents[: len(self.parents) - self._put_off]
            note_asked(
                self._ctx.store,
                self._ctx.npo.npo_id,
                self._resource,
                [parent.key for parent in asked],
                at=self._ctx.now(),
            )
        if last is None or self._in_state("read"):
            return
        if failed or len(self.parents) > BELIEVED_GONE:
            # The last one may say when to come back.
            raise last if isinstance(last, TransientError) else self._first_failure or last

    def _in_turn(self) -> list[tuple[Parent, Window]]:
        """Return each parent with the window to ask for, those asked for longest ago first.

        All are known before the first is asked for: reading them takes as long as the partner likes, and no
        cursor of the store stays open for it.

        Raises:
            ConfigurationError: They are too many.
        """
        npo_id, most = self._ctx.npo.npo_id, self._ctx.settings.max_pages
        known = parent_cursors(self._ctx.store, npo_id, self._resource)
        live: dict[str, Parent] = {}
        for parent in self._live():
            live[parent.key] = parent
            if len(live) > most:
                raise ConfigurationError(
                    f"{self._resource}: more than {most} parents; raise SPOTLIGHT_MAX_PAGES if the partner "
                    "really has so many",
                    subject=npo_id,
                )
        if self._ctx.backfill is None:
            # One that comes back is read from its beginning: nobody asked for it in between.
            gone = known.keys() - live.keys()
            forget_parent_cursors(self._ctx.store, npo_id=npo_id, resource=self._resource, parents=gone)
        keys = sorted(live, key=lambda key: (known[key].asked_at if key in known else None) or _NEVER)
        return [(live[key], self._window_of(known.get(key))) for key in keys]

    def _window_of(self, known: ParentCursor | None) -> Window:
        incremental = self._spec.incremental
        if self._ctx.backfill or incremental is None or not self._spec.reads_changes:
            return self._window
        if known is None or not known.landed:
            # Also under one cursor: it has records from before the resource's checkpoint.
            return Window()
        if self._nested.cursors == "one":
            return self._window
        return Window(since=known.cursor - incremental.lookback) if known.cursor else Window()

    def _live(self) -> Iterator[Parent]:
        """Yield the parents there are: the store's live records as this run has seen them, then new ones."""
        met = dict(self._met)
        for external_id, payload in _live_payloads(
            self._ctx.store, self._ctx.npo.npo_id, self._nested.parent
        ):
            key, parent = self._stored(external_id, payload)
            if key in met:
                parent = met.pop(key)
            elif parent is None:
                self.unusable += 1
            if parent is not None:
                yield parent
        yield from (parent for parent in met.values() if parent is not None)

    def _stored(self, external_id: str, payload: str) -> tuple[str, Parent | None]:
        """Return a stored record's key, and what to ask for it; ``None`` if nothing can be asked."""
        try:
            parent = self._ctx.connector.parent(self._resource, orjson.loads(payload))
        except RecordError:
            return external_id, None
        return parent.key, parent


def _live_payloads(store: IntegrationStore, npo_id: str, resource: str) -> Iterator[tuple[str, str]]:
    """Yield id and payload of every record that the partner has not deleted, in key order."""
    first = raw_key(npo_id, resource, "")
    # '}' follows '|' in ASCII: the range holds every key that begins with the prefix.
    live: dict[str, Any] = {"_id": {"$gte": first, "$lt": f"{first[:-1]}}}"}, "deleted_upstream": False}
    for doc in store["npo_raw"].find(live, {"external_id": 1, "payload": 1}).sort("_id", 1):
        yield doc["external_id"], doc["payload"]

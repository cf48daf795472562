"""An NPO's budget, held in the integration store across all workers: pull and enrolment share it.

One document of ``npo_budget`` an NPO, changed by single atomic updates that the server decides by its own
clock; so no worker's clock matters, and a worker that dies leaves nothing but a place that expires.

Rate: the generic cell rate algorithm (ITU-T I.371). ``spent_until`` is when all permits given so far are
used up at the steady rate; a tenth of a minute's requests may be used at once. Spacing and burst are such
that no minute sees more than ``requests_per_minute``, whoever sends them.
"""

from __future__ import annotations

import time
from collections import deque
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from random import uniform
from threading import Lock, get_ident
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from include.connectors.breaker import NOW, after_success, seconds_closed
from include.connectors.limits import A_RUNS, NoTurnError, Place
from include.errors import ConfigurationError, IntegrationError, NotYetError, RateLimitedError
from include.storage.mongo import store_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pymongo.collection import Collection

    from include.connectors.breaker import BreakerRules
    from include.connectors.limits import Limits, Patience
    from include.storage.mongo import IntegrationStore

COLLECTION = "npo_budget"
UNTOLD_REST = 2.0
"""Seconds everybody rests when a partner throttles without saying for how long."""
STORE_WAIT = 15.0
_MOST_AT_ONCE = 20
_BURST_SHARE = 10
_PERMIT_LIFE = 1 / 60
"""Share of the period a reserved permit may be used late; the spacing makes up for it."""
_NEXT_PERMIT = 1.5
"""Spacings within which the next permit comes if nobody else wants one."""
_LEASE_MARGIN = 15.0
_CONNECT_AND_HEADERS = 4
"""Time-outs that pass, at most, before the first byte of a body: connect, handshake, twice for headers."""


class SharedBudget:
    """A budget as :class:`include.connectors.limits.Budget`, one for all workers.

    Args:
        store: Where it is held.
        npo_id: Whose it is.
        limits: What the row allows.
        breaker: When the NPO is left alone.
        patience: How long a request waits for its turn.
        sleep: Waits.
    """

    def __init__(
        self,
        store: IntegrationStore,
        npo_id: str,
        limits: Limits,
        breaker: BreakerRules,
        *,
        patience: Patience = A_RUNS,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._store, self._npo_id, self._limits, self._breaker = store, npo_id, limits, breaker
        self._patience = patience
        self._sleep = sleep
        self._me = uuid4().hex
        self._lock = Lock()
        self._permits: deque[float] = deque()
        self._unwell = False
        burst = max(1, limits.requests_per_minute // _BURST_SHARE)
        self._late = limits.period * _PERMIT_LIFE
        self._spacing = (limits.period + self._late) * 1000 / (limits.requests_per_minute - burst + 1)
        self._tolerance = self._spacing * (burst - 1)
        self._longest_wait = max(patience.permit * 1000, self._spacing * _NEXT_PERMIT)
        self._at_once = min(_MOST_AT_ONCE, max(1, int(limits.requests_per_minute * _PERMIT_LIFE)))
        self._lease = _CONNECT_AND_HEADERS * limits.timeout + _LEASE_MARGIN

    def enter(self) -> Place:
        """Wait for a permit and a place; see the protocol."""
        usable_at = self._permit()
        wait = usable_at - time.monotonic()
        if wait > 0:
            self._sleep(wait)
        return self._place()

    def keep(self, place: Place) -> None:
        """Renew a place that is about to expire."""
        if time.monotonic() < place.renew_at:
            return
        place.renew_at = self._renewal()
        until = {"$add": [NOW, self._lease * 1000]}
        mine = {"$eq": ["$$place.id", place.place_id]}
        renewed = {"$mergeObjects": ["$$place", {"$cond": [mine, {"until": until}, {}]}]}
        with suppress(IntegrationError):  # it expires some time later: one request too many, no harm
            self._update([{"$set": {"places": {"$map": {"input": _places(), "as": "place", "in": renewed}}}}])

    def leave(self, place: Place) -> None:
        """Give a place back; one that cannot be given back expires."""
        kept = {"$ne": ["$$place.id", place.place_id]}
        with suppress(IntegrationError):
            self._update(
                [{"$set": {"places": {"$filter": {"input": _places(), "as": "place", "cond": kept}}}}]
            )

    def throttled(self, seconds: float | None) -> None:
        """Let every worker rest for so long."""
        with self._lock:
            self._permits.clear()
        rest = (UNTOLD_REST if seconds is None else seconds) * 1000
        with suppress(IntegrationError):
            self._update([{"$set": {"not_before": {"$max": ["$not_before", {"$add": [NOW, rest]}]}}}])

    def judged(self, *, well: bool) -> None:
        """Count a failure; a success counts only where something was wrong before."""
        with suppress(IntegrationError):
            if not well:
                self._unwell = True
                self._update(self._breaker.after_failure())
            elif self._unwell:
                self._update(after_success())
                self._unwell = False

    def _permit(self) -> float:
        """Return from when on (monotonic) one request may be sent; several are reserved at a time."""
        with self._lock:
            while self._permits and self._permits[0] + self._late < time.monotonic():
                self._permits.popleft()
            if not self._permits:
                self._permits.extend(self._reserve())
            return self._permits.popleft()

    def _reserve(self) -> list[float]:
        rested = {"$cond": [{"$gt": ["$not_before", NOW]}, {"$add": ["$not_before", self._tolerance]}, None]}
        start = {"$max": ["$spent_until", NOW, rested]}
        near = {"$lte": [{"$subtract": ["$start", NOW]}, self._tolerance + self._longest_wait]}
        rest = {"$subtract": [{"$ifNull": ["$not_before", 0]}, NOW]}
        soon = {"$lte": [rest, self._patience.told * 1000]}
        granted = {"$and": [near, soon, {"$not": self._breaker.refuses(self._who)}]}
        spent = {"$add": ["$start", self._spacing * self._at_once]}
        state = self._ask(
            [
                {"$set": {"asked_at": NOW, "start": start}},
                {"$set": {"granted": granted}},
                {"$set": {"spent_until": {"$cond": ["$granted", spent, "$spent_until"]}}},
            ]
        )
        if not state["granted"]:
            self._refuse(state)
        now = time.monotonic()
        wait = (state["start"] - self._tolerance - state["asked_at"]) / 1000
        return [now + max(0.0, wait + number * self._spacing / 1000) for number in range(self._at_once)]

    def _refuse(self, state: dict[str, Any]) -> None:
        self._refuse_if_open(state)
        self._refuse_if_resting(state)
        wait = (state["start"] - self._tolerance - state["asked_at"]) / 1000
        raise RateLimitedError(
            f"the budget of {self._limits.requests_per_minute} requests a minute is spent for {wait:.0f} s; "
            f"nothing was sent, {self._patience.then}; raise requests_per_minute if the partner agrees",
            retry_after=wait,
            subject=self._npo_id,
        )

    def _place(self) -> Place:
        """Return a place as soon as one is free."""
        place, waited, step = Place(uuid4().hex), 0.0, 0.02
        while True:
            state = self._ask(self._claim(place.place_id))
            if state["granted"]:
                place.renew_at = self._renewal()
                return place
            self._refuse_if_open(state)
            step = self._refuse_if_resting(state) or min(step * 1.5, 0.5)
            if waited > self._patience.place:
                raise NoTurnError(
                    f"all {self._limits.max_concurrency} places for requests stay taken; nothing was sent, "
                    f"{self._patience.then}; raise max_concurrency if the partner agrees",
                    retry_after=self._patience.place / 2,
                    subject=self._npo_id,
                )
            pause = uniform(step / 2, step)  # noqa: S311 - jitter, nothing secret
            self._sleep(pause)
            waited += pause

    def _claim(self, place_id: str) -> list[dict[str, Any]]:
        until = {"$add": [NOW, self._lease * 1000]}
        alive = {"$filter": {"input": _places(), "as": "place", "cond": {"$gt": ["$$place.until", NOW]}}}
        free = {"$lt": [{"$size": "$places"}, self._limits.max_concurrency]}
        rested = {"$lte": [{"$ifNull": ["$not_before", 0]}, NOW]}
        probes = {"$and": ["$granted", self._breaker.tripped]}
        more = {"$concatArrays": ["$places", [{"id": place_id, "until": until}]]}
        return [
            {"$set": {"asked_at": NOW, "places": alive}},
            {"$set": {"granted": {"$and": [free, rested, {"$not": self._breaker.refuses(self._who)}]}}},
            {"$set": {
                "places": {"$cond": ["$granted", more, "$places"]},
                "probe_until": {"$cond": [probes, until, {"$ifNull": ["$probe_until", 0]}]},
                "probe_by": {"$cond": [probes, {"$literal": self._who}, "$probe_by"]},
            }},
        ]  # fmt: skip

    def _refuse_if_open(self, state: dict[str, Any]) -> None:
        failures = state.get("failures") or 0
        probing = state.get("probe_by") not in (None, self._who) and (
            state["probe_until"] > state["asked_at"]
        )
        resting = (state.get("open_until") or 0) > state["asked_at"]
        if failures < self._breaker.failures or not (probing or resting):
            return
        seconds = seconds_closed(state)
        raise NoTurnError(
            f"the partner is unwell: {failures} requests in a row failed, so it is left alone for another "
            f"{seconds:.0f} s; nothing was sent, nothing is lost, {self._patience.then}",
            retry_after=seconds,
            subject=self._npo_id,
        )

    def _refuse_if_resting(self, state: dict[str, Any]) -> float:
        """Return the seconds the partner still wants to be left alone, if they can be waited for here."""
        rest: float = max(0.0, ((state.get("not_before") or 0) - state["asked_at"]) / 1000)
        if rest > self._patience.told:
            raise RateLimitedError(
                f"the partner asked to be left alone for another {rest:.0f} s; nothing was sent, "
                f"{self._patience.then}; lower requests_per_minute if this repeats",
                retry_after=rest,
                subject=self._npo_id,
            )
        return rest

    @property
    def _who(self) -> str:
        return f"{self._me}/{get_ident()}"

    def _renewal(self) -> float:
        return time.monotonic() + self._lease / 3

    def _ask(self, stages: list[dict[str, Any]]) -> dict[str, Any]:
        """Change the document and return it as it is afterwards."""
        from pymongo import ReturnDocument

        with _store_waits(self._npo_id):
            state = self._documents.find_one_and_update(
                {"_id": self._npo_id}, stages, upsert=True, return_document=ReturnDocument.AFTER
            )
        found: dict[str, Any] = state or {}
        self._unwell = bool(found.get("failures"))
        return found

    def _update(self, stages: list[dict[str, Any]]) -> None:
        with store_errors(self._npo_id):
            self._documents.update_one({"_id": self._npo_id}, stages, upsert=True)

    @property
    def _documents(self) -> Collection[dict[str, Any]]:
        from pymongo import WriteConcern

        # What a failover of the store may forget here is a second of budget: not worth a journal's wait.
        return self._store[COLLECTION].with_options(write_concern=WriteConcern(w=1))


@dataclass(frozen=True, slots=True)
class Rest:
    """What kept an NPO from being asked.

    Attributes:
        told: Seconds it still wanted to be left alone, as it told.
        closed: Seconds the breaker would still have been open.
        failures: Failed requests in a row that had been counted.
    """

    told: float = 0
    closed: float = 0
    failures: int = 0


def wake(store: IntegrationStore, npo_id: str) -> Rest:
    """Let an NPO be asked at once: end its told rest, close its breaker, count failures from none.

    Its requests a minute and its places stay as they are.

    Raises:
        IntegrationError: The store does not answer.
    """
    from pymongo import ReturnDocument

    def left(*names: str) -> dict[str, Any]:
        until = {"$max": [{"$ifNull": [f"${name}", 0]} for name in names]}
        return {"$max": [0, {"$divide": [{"$subtract": [until, NOW]}, 1000]}]}

    woken = {
        "at": NOW,
        "told": left("not_before"),
        "closed": left("open_until", "probe_until"),
        "failures": {"$ifNull": ["$failures", 0]},
    }
    with store_errors(npo_id):
        state: dict[str, Any] | None = store[COLLECTION].find_one_and_update(
            {"_id": npo_id},
            [{"$set": {"woken": woken}}, {"$set": {"not_before": 0}}, *after_success()],
            return_document=ReturnDocument.AFTER,
        )
    if state is None:
        return Rest()
    return Rest(state["woken"]["told"], state["woken"]["closed"], state["woken"]["failures"])


@contextmanager
def _store_waits(npo_id: str) -> Iterator[None]:
    """Translate a store that does not answer: no failure of the partner's, and no try of the request."""
    try:
        with store_errors(npo_id):
            yield
    except ConfigurationError:
        raise
    except IntegrationError as error:
        raise NotYetError(
            f"the budget cannot be looked at, nothing was sent: {error.message}",
            retry_after=STORE_WAIT,
            subject=npo_id,
        ) from None


def _places() -> dict[str, Any]:
    return {"$ifNull": ["$places", []]}

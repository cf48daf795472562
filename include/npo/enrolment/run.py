"""What the tasks of ``npo_enrolment``, and ``spotlight enrolment run``, call."""

from __future__ import annotations

import logging
import time
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from include.errors import ConfigurationError, IntegrationError
from include.failures import located
from include.npo.context import utc_now
from include.npo.enrolment.decisions import Terms, given_up
from include.npo.enrolment.due import DUE, npos_to_work_at
from include.npo.enrolment.inbox import receive
from include.npo.enrolment.lease import LeaseLostError, held_lease
from include.npo.enrolment.partner import Partner
from include.npo.enrolment.records import COLLECTION, NPOS, Changes, by_reference, fence_owner
from include.npo.enrolment.work import Worker, fail_waiting, tell
from include.registry.models import NpoStatus
from include.settings import get_settings
from include.storage.mongo import IntegrationStore, store_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from pymongo.client_session import ClientSession

    from include.connectors.manifest_enrolment import Enrolment
    from include.connectors.open import Api
    from include.events.publisher import Publisher
    from include.npo.enrolment.lease import Lease
    from include.registry.models import NpoConfig
    from include.settings import Settings
    from include.storage.mongo import Write

STAGE = "enrol"
DRAIN_SECONDS = 120.0
ENROL_SECONDS = 180.0
MOST = 5_000
"""Enrolments a call of ``enrol`` works at; the next one goes on."""
PAUSED_WAIT = timedelta(minutes=5)
_SWEPT_AT_ONCE = 500
_BETWEEN_PUBLISHING = 2.0

log = logging.getLogger("spotlight.enrolment")


class OpenApi(Protocol):
    """Opens an NPO's API: ``include.connectors.open.open_api`` with the row's own credential."""

    def __call__(self, npo: NpoConfig, settings: Settings, store: IntegrationStore) -> Api:
        """Return it; nothing is asked of the partner yet."""
        ...


@dataclass(frozen=True, slots=True)
class _Site:
    """An NPO as its row is now: what to enrol at, or the code of what is in the way."""

    npo: NpoConfig | None = None
    enrolment: Enrolment | None = None
    obstacle: str = ""
    paused: bool = False


@contextmanager
def opened_store(settings: Settings) -> Iterator[IntegrationStore]:
    """Open the integration store."""
    store = IntegrationStore(settings)
    try:
        yield store
    finally:
        store.close()


def terms_of(settings: Settings) -> Terms:
    """Return how long to try, and how long to keep what failed."""
    return Terms(
        timedelta(hours=settings.enrolment_give_up_hours), timedelta(days=settings.enrolment_keep_days)
    )


def drain(
    settings: Settings | None = None,
    *,
    seconds: float = DRAIN_SECONDS,
    now: Callable[[], datetime] = utc_now,
) -> dict[str, int]:
    """Take the platform's commands from the queue into the store, and end what has been tried long enough.

    Returns:
        Counts: ``received``, ``created``, ``withdrawn``, ``repeated``, ``unreadable``, ``given_up``,
        ``forgotten``.

    Raises:
        ConfigurationError: The queue is not there, or the key or a right is missing.
        TransientError: Queue or store did not answer; nothing is lost.
        FatalError: The commands of an NPO cannot be kept; the others were.
    """
    settings = settings or get_settings()
    until = time.monotonic() + seconds
    counts: dict[str, int] = {}
    with located("enrolment", "drain"), opened_store(settings) as store:
        store.prepare()  # the first task of a run; the others find it done
        try:
            counts |= receive(store, settings, now=now, goes_on=lambda: time.monotonic() < until)
        finally:  # commands that cannot be taken on keep nobody's outcome
            with store_errors("enrolment"):
                counts["forgotten"] = _forget(store, now=now)
                counts["given_up"] = _give_up(store, now=now, terms=terms_of(settings))
    return counts


def npos_with_work(
    limit: int, settings: Settings | None = None, *, now: Callable[[], datetime] = utc_now
) -> list[str]:
    """Return the NPOs with enrolments to be worked at now, or outcomes to be published, longest due first.

    Raises:
        TransientError: The store did not answer.
    """
    settings = settings or get_settings()
    with located("enrolment", "npos"), opened_store(settings) as store, store_errors("enrolment"):
        return npos_to_work_at(store, at=now())[:limit]


def enrol(
    npo_id: str,
    settings: Settings | None = None,
    *,
    seconds: float = ENROL_SECONDS,
    most: int = MOST,
    now: Callable[[], datetime] = utc_now,
    open_partner: OpenApi | None = None,
) -> dict[str, int]:
    """Work off one NPO's enrolments as far as time and number allow, and publish what came of them.

    Any number of calls may run at once: one of them works, the others return at once.

    Args:
        npo_id: The NPO.
        settings: Those of the process when left out.
        seconds: After so long no more are begun.
        most: Nor after so many.
        now: The clock.
        open_partner: For tests; the NPO's own API when left out.

    Returns:
        How many came to which state, and ``published``.

    Raises:
        ConfigurationError: The partner refuses our set-up: this NPO's enrolments are stopped, none is lost.
        TransientError: Store, registry or event stream did not answer; the next run goes on.
    """
    settings = settings or get_settings()
    with (
        located(npo_id, STAGE),
        opened_store(settings) as store,
        held_lease(store, npo_id, seconds=settings.enrolment_lease_seconds) as lease,
    ):
        if lease is None:
            return {"held_by_another_run": 1}
        run = _Run(npo_id, settings, store, lease, now, time.monotonic() + seconds, most)
        return run.work(open_partner or _open)


@dataclass(slots=True)
class _Run:
    """One call of ``enrol``."""

    npo_id: str
    settings: Settings
    store: IntegrationStore
    lease: Lease
    now: Callable[[], datetime]
    until: float
    most: int
    published: int = 0
    _publisher: Publisher | None = None
    _published_at: float = field(default_factory=time.monotonic)

    def work(self, open_partner: OpenApi) -> dict[str, int]:
        counts: Counter[str] = Counter()
        stopped = ""
        try:
            stopped = self._work(open_partner, counts)
        except LeaseLostError as error:
            log.warning("%s", error)
            counts["overtaken"] += 1
        finally:
            self.publish()
        if stopped:
            raise self._stopped(stopped)
        return dict(counts) | {"published": self.published}

    def _work(self, open_partner: OpenApi, counts: Counter[str]) -> str:
        """Work, and return why the NPO's enrolments are stopped, if they are."""
        terms = terms_of(self.settings)
        with store_errors(self.npo_id):
            state = self.store[NPOS].find_one({"_id": self.npo_id}, {"stopped": 1, "not_before": 1}) or {}
        held = "stopped" in state or ("not_before" in state and state["not_before"] > self.now())
        self._note({"looked_at": self.now()})
        try:
            site = _site(self.npo_id, self.settings)
        except ConfigurationError as error:
            return "" if held else self._stop(error.message)
        if site.obstacle:
            counts["failed"] += fail_waiting(
                self.store, self.npo_id, site.obstacle, lease=self.lease, now=self.now, terms=terms
            )
            return ""
        if held:
            return ""
        if site.paused or site.npo is None or site.enrolment is None:
            self._note({"not_before": self.now() + PAUSED_WAIT})
            counts["npo_paused"] += 1
            return ""
        try:
            api = open_partner(site.npo, self.settings, self.store)
        except ConfigurationError as error:
            return self._stop(error.message)
        try:
            worker = Worker(
                store=self.store,
                npo_id=self.npo_id,
                lease=self.lease,
                partner=Partner(api, site.enrolment),
                enrolment=site.enrolment,
                threads=site.npo.max_concurrency,
                terms=terms,
                now=self.now,
                goes_on=lambda done: time.monotonic() < self.until and done < self.most,
                publish=self._publish_now_and_then,
                counts=counts,
            )
            worker.run()
        finally:
            api.session.close()
        return worker.stopped

    def publish(self) -> None:
        """Send what waits in the NPO's outbox, and note that nothing is to be published any more."""
        from include.events.drain import drain as drain_outbox
        from include.events.publisher import Publisher

        with store_errors(self.npo_id):
            marked = self.store[NPOS].find_one({"_id": self.npo_id, "publish": {"$exists": True}})
            if marked is None:
                return
            self._publisher = self._publisher or Publisher(self.settings)
            self.published += drain_outbox(
                self.store,
                self.settings,
                self.npo_id,
                now=self.now,
                progress=lambda line: log.debug("%s", line),
                publisher=self._publisher,
            )
            self.store[NPOS].update_one(
                {"_id": self.npo_id, "publish": marked["publish"]}, {"$unset": {"publish": ""}}
            )

    def _publish_now_and_then(self) -> None:
        if time.monotonic() - self._published_at < _BETWEEN_PUBLISHING:
            return
        with suppress(IntegrationError):  # said at the end, when the work is done
            self.publish()
        self._published_at = time.monotonic()

    def _stop(self, why: str) -> str:
        self._note({"stopped": {"at": self.now(), "why": why}})
        return why

    def _note(self, state: dict[str, Any]) -> None:
        with store_errors(self.npo_id):
            self.store[NPOS].update_one({"_id": self.npo_id}, {"$set": state}, upsert=True)

    def _stopped(self, why: str) -> ConfigurationError:
        with store_errors(self.npo_id):
            waiting = self.store[COLLECTION].count_documents({"npo_id": self.npo_id, "due": True})
        structlog.get_logger("spotlight.alerts").error(
            "enrolment_stopped", npo_id=self.npo_id, waiting=waiting, message=why
        )
        return ConfigurationError(
            f"{why}; enrolments of this NPO are stopped, {waiting} wait and none is lost: when it is mended, "
            f"'spotlight enrolment resume {self.npo_id}'",
            subject=self.npo_id,
            stage=STAGE,
        )


def _site(npo_id: str, settings: Settings) -> _Site:
    """Return what the NPO's row says now.

    Raises:
        ConfigurationError: The row is broken.
        TransientError: The registry does not answer.
    """
    from include.connectors.discovery import load_manifest
    from include.registry import queries
    from include.registry.catalogue import parse_rows

    row = queries.row(settings.registry_dsn.get_secret_value(), npo_id, settings.registry_timeout)
    if row is None:
        return _Site(obstacle="npo_unknown")
    if row["status"] not in {NpoStatus.ACTIVE, NpoStatus.PAUSED}:
        return _Site(obstacle="npo_not_in_use")
    configs, broken = parse_rows([row])
    if broken:
        raise ConfigurationError(f"the registry row is broken: {broken[0].problem}")
    npo = configs[0]
    enrolment = load_manifest(npo).enrolment
    if enrolment is None:
        return _Site(npo, obstacle="no_enrolment")
    return _Site(npo, enrolment, paused=npo.status is NpoStatus.PAUSED)


def _open(npo: NpoConfig, settings: Settings, store: IntegrationStore) -> Api:
    from include.connectors.open import open_api
    from include.registry.credentials import resolve_credential

    return open_api(npo, resolve_credential(npo.credential_ref), settings, store=store)


def _give_up(store: IntegrationStore, *, now: Callable[[], datetime], terms: Terms) -> int:
    """End what has been tried long enough; told like every outcome."""
    due = {"due": True, "give_up_at": {"$lte": now()}}
    found = list(store[COLLECTION].find(due, {"npo_id": 1}).hint(DUE).limit(_SWEPT_AT_ONCE))
    by_npo: dict[str, list[str]] = {}
    for document in found:
        by_npo.setdefault(document["npo_id"], []).append(document["_id"])
    failures: list[IntegrationError] = []
    for npo_id, references in by_npo.items():
        try:
            _give_up_of(store, npo_id, references, now=now, terms=terms)
        except IntegrationError as error:  # said when the others' outcomes are told
            failures.append(error)
    if failures:
        raise failures[0]
    return len(found)


def _give_up_of(
    store: IntegrationStore,
    npo_id: str,
    references: list[str],
    *,
    now: Callable[[], datetime],
    terms: Terms,
) -> None:
    def plan() -> tuple[Changes, Write | None]:
        at = now()
        changes = Changes(at)
        for record in by_reference(store, references).values():
            if record.due_at is not None and record.give_up_at is not None and record.give_up_at <= at:
                changes.add(record, given_up(record, at=at, terms=terms))

        def write(session: ClientSession, order: int) -> None:
            changes.write(store, npo_id, session, order)

        return changes, write if changes else None

    for record in store.commit_plan(fence_owner(npo_id), plan).records.values():
        tell(record)


def _forget(store: IntegrationStore, *, now: Callable[[], datetime]) -> int:
    """Drop the candidate's data of failed enrolments that nobody has tried again in time."""
    done: Any = store[COLLECTION].update_many(
        {"forget_at": {"$lte": now()}}, {"$set": {"candidate": {}}, "$unset": {"forget_at": ""}}
    )
    return int(done.modified_count)

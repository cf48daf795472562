"""Contexts that only look: one page of a partner judged as a run would judge it, and kept nowhere."""

from __future__ import annotations

from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from include.connectors.protocol import Window
from include.errors import RecordError
from include.npo.context import RunContext, utc_now
from include.npo.entity_plan import Entity, to_entity
from include.quality.gate import Reason
from include.registry.models import Credential
from include.storage.documents import canonical_json, digest_of, raw_key
from include.storage.raw import PendingRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from include.connectors.protocol import Connector, Page, Parent, Resource
    from include.quality.gate import GateResult
    from include.registry.models import NpoConfig
    from include.settings import Settings
    from include.storage.mongo import IntegrationStore

MAX_RECORDS = 500
MAX_PARENTS = 5
QUICK_TRIES = 2
LONGEST_WAIT = 5.0
STORE_ANSWERS_WITHIN = 3.0
NO_STORE = "the store does not answer, or refuses us: these requests count for themselves only"


@dataclass(frozen=True, slots=True)
class Sampled:
    """One record of the partner and what becomes of it.

    Attributes:
        record: As the partner gave it.
        pending: As it would wait for the stages; ``None`` for one without a usable id.
        entity: The platform's record; ``None`` where it cannot be made.
        problems: Why not, or why it would be set aside.
    """

    record: Any
    pending: PendingRecord | None
    entity: Entity | None
    problems: tuple[Reason, ...] = ()

    @property
    def cursor(self) -> datetime | None:
        """Return when the partner last changed the record, ``None`` if it does not say."""
        return self.pending.cursor if self.pending else None


def sample_context(
    npo: NpoConfig, credential: Credential, settings: Settings, store: IntegrationStore | None = None
) -> RunContext:
    """Return a context that reads the partner and keeps nothing: records and pages go nowhere.

    A person waits: a request is tried twice and never waits long, for its turn neither.

    Args:
        npo: The row, of any status.
        credential: What its ``credential_ref`` resolves to.
        settings: Limits.
        store: Holds the budget that runs and enrolments draw on too; without one it is this process's own.

    Raises:
        ConfigurationError: The manifest is not valid.
    """
    from include.connectors.limits import A_PERSONS
    from include.connectors.open import open_connector
    from include.connectors.retry import RetryPolicy
    from include.storage.landing import LandingZone
    from include.storage.mongo import IntegrationStore

    retry = RetryPolicy(attempts=QUICK_TRIES, first_wait=0.5, longest_told_wait=LONGEST_WAIT)
    return RunContext(
        npo=npo,
        run_id="sample",
        connector=open_connector(npo, credential, settings, store=store, retry=retry, patience=A_PERSONS),
        store=store or IntegrationStore(settings),
        landing=LandingZone(settings),
        settings=settings,
    )


def first_page(connector: Connector, resource: Resource) -> Page | None:
    """Return the first page of a resource; ``None`` when the partner gives none.

    Of a nested resource it is the first that holds a record, of the first few parents.

    Raises:
        IntegrationError: As the connector's ``pages`` says.
    """
    nested = connector.manifest.resource(resource).nested
    if nested is None:
        return _page(connector, resource, None)
    above = first_page(connector, nested.parent)
    found: Page | None = None
    for record in above.records[:MAX_PARENTS] if above else ():
        try:
            parent = connector.parent(resource, record)
        except RecordError:
            continue
        found = _page(connector, resource, parent) or found
        if found and found.records:
            break
    return found


def _page(connector: Connector, resource: Resource, parent: Parent | None) -> Page | None:
    pages: Any = connector.pages(resource, Window(), parent)
    with closing(pages):
        return next(pages, None)


def look_at(ctx: RunContext, resource: Resource, page: Page, *, limit: int = MAX_RECORDS) -> list[Sampled]:
    """Return what becomes of the first records of a page."""
    return [_look_at_one(ctx, resource, page, record) for record in page.records[:limit]]


def _look_at_one(ctx: RunContext, resource: Resource, page: Page, record: Any) -> Sampled:
    pending: PendingRecord | None = None
    try:
        pending = _pending(ctx, resource, page, record)
        mapped = ctx.connector.to_platform(resource, record)
        version = ctx.connector.manifest.resource(resource).mapping.version
        entity = to_entity(ctx.npo.npo_id, resource, pending, mapped, mapping_version=version)
    except RecordError as error:
        return Sampled(record, pending, None, (Reason(error.code, error.message),))
    return Sampled(record, pending, entity)


def _pending(ctx: RunContext, resource: Resource, page: Page, record: Any) -> PendingRecord:
    payload = canonical_json(record)
    external_id = ctx.connector.external_id(resource, record)
    return PendingRecord(
        key=raw_key(ctx.npo.npo_id, resource, external_id),
        external_id=external_id,
        payload=payload.decode(),
        content_hash=digest_of(payload).hex(),
        cursor=ctx.connector.cursor(resource, record),
        fetched_at=page.fetched_at,
        deleted=ctx.connector.is_deleted(resource, record),
        raw_ref="",
        run_id=ctx.run_id,
        landed_at=utc_now(),
    )


def judge(ctx: RunContext, resource: Resource, sampled: Sequence[Sampled]) -> list[GateResult]:
    """Return what the row suite and the canonical suite say of the records, as a run would ask them."""
    from include.npo.transform import canonical_frame
    from include.npo.validate import required_values, row_frame
    from include.quality.gate import run_suite

    pending = [one.pending for one in sampled if one.pending]
    entities = [one.entity for one in sampled if one.entity]
    found = []
    if pending:
        frame = row_frame(ctx, pending, required_values(ctx, resource))
        found.append(run_suite(f"npo_{resource}", frame))
    if entities:
        found.append(run_suite(f"npo_canonical_{resource}", canonical_frame(resource, entities)))
    return found


@contextmanager
def open_store(settings: Settings) -> Iterator[IntegrationStore]:
    """Open the integration store and close it again."""
    from include.storage.mongo import IntegrationStore

    store = IntegrationStore(settings)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def budget_store(settings: Settings) -> Iterator[IntegrationStore | None]:
    """Open the store that holds the NPOs' budgets; ``None`` where it does not answer soon, or refuses us.

    Whoever sets up an integration may have no store at hand, and is not kept from looking at the partner.
    """
    with open_store(settings) as store:
        yield store if _answers(store) else None


def _answers(store: IntegrationStore) -> bool:
    import pymongo
    from pymongo.errors import PyMongoError

    from include.connectors.shared_budget import COLLECTION

    try:
        with pymongo.timeout(STORE_ANSWERS_WITHIN):
            # A budget is changed by every request: one that may only read it refuses us. Matches nothing.
            store[COLLECTION].update_one({"_id": ""}, {"$unset": {"asked_at": ""}})
    except PyMongoError:
        return False
    return True


@contextmanager
def stored_context(settings: Settings) -> Iterator[Callable[[NpoConfig], RunContext]]:
    """Yield a maker of contexts for many NPOs that share one store; none of them can ask a partner."""
    from include.connectors.open import open_connector
    from include.storage.landing import LandingZone

    landing = LandingZone(settings)
    with open_store(settings) as store:

        def context_of(npo: NpoConfig) -> RunContext:
            return RunContext(
                npo=npo,
                run_id="look",
                connector=open_connector(npo, Credential(), settings),
                store=store,
                landing=landing,
                settings=settings,
            )

        yield context_of

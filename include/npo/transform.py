"""Transform: valid records become canonical entities, versions and outbox events, one transaction a batch."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson

from include.canonical import AssignmentStatus
from include.errors import RecordError
from include.events.envelope import MAX_EVENT_BYTES, Event
from include.npo.answers import answered, enrols
from include.npo.entity_plan import Entity, to_entity, to_event, under_id
from include.npo.identity import entity_id
from include.quality.gate import Reason, run_suite
from include.quality.quarantine import Quarantined, open_count, release, set_aside
from include.storage.documents import RawState, load_json
from include.storage.entities import known_entities, stored_contents, write_entities
from include.storage.outbox import OutboxEntry, add_to_outbox, known_events
from include.storage.raw import PendingRecord, hold_back, move_state, pending_batches, quarantine_raw

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    import pandas as pd
    from pymongo.client_session import ClientSession

    from include.connectors.protocol import Resource
    from include.npo.context import RunContext, RunRef
    from include.storage.documents import KnownEntity
    from include.storage.mongo import Write

STAGE = "transform"


@dataclass(slots=True)
class _Batch:
    """A batch on its way.

    Attributes:
        good: Records with their entity; one that answers several enrolments is there once for each.
        bad: Records that have none, with the reasons.
        held: Records that may answer an enrolment whose outcome is not known yet.
    """

    good: list[tuple[PendingRecord, Entity]] = field(default_factory=list)
    bad: list[tuple[PendingRecord, tuple[Reason, ...]]] = field(default_factory=list)
    held: list[PendingRecord] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Changes:
    """What one batch changes in the store."""

    records: list[PendingRecord]
    batch: _Batch
    entities: list[Entity]
    known: dict[str, KnownEntity]
    outbox: list[OutboxEntry]
    at: datetime


def transform(ctx: RunContext, ref: RunRef) -> RunRef:
    """Transform everything valid and not yet transformed, whichever run landed it.

    Raises:
        DataQualityError: The canonical suite refused a batch; it stays valid, nothing is published.
        TransientError: Store or landing zone did not answer.
    """
    counts = {"entities": 0, "events": 0, "unchanged": 0, "quarantined": 0, "held_back": 0}
    for resource in ctx.resources:
        for found in ctx.store.commit_each(ctx.npo.npo_id, partial(_plans, ctx, resource)):
            for what, number in found.items():
                counts[what] += number
            ctx.progress(f"{resource}: {counts['entities']} entities, {counts['events']} events so far")
    return ref.counted(STAGE, counts)


def _plans(ctx: RunContext, resource: Resource) -> Iterator[tuple[dict[str, int], Write]]:
    size = ctx.settings.batch_size
    for records in pending_batches(ctx.store, ctx.npo.npo_id, resource, RawState.VALID, size=size):
        yield _plan(ctx, resource, records)


def _plan(ctx: RunContext, resource: Resource, records: list[PendingRecord]) -> tuple[dict[str, int], Write]:
    """Map a batch and compare it with what is known; return counts and the write."""
    batch = _gated(ctx, resource, _mapped(ctx, resource, records))
    known = known_entities(ctx.store, resource, [entity.id for _, entity in batch.good])
    changed = [
        (record, entity)
        for record, entity in batch.good
        if entity.id not in known or known[entity.id].content_hash != entity.content_hash
    ]
    now = ctx.now()
    outbox = [_outbox_entry(ctx, resource, record, entity, known, now) for record, entity in changed]
    made = known_events(ctx.store, [entry.id for entry in outbox])
    outbox = [entry for entry in outbox if entry.id not in made]
    changes = _Changes(records, batch, [entity for _, entity in changed], known, outbox, now)
    counts = {
        "entities": len(changed),
        "events": len(outbox),
        "unchanged": len(batch.good) - len(changed),
        "quarantined": len(batch.bad),
        "held_back": len(batch.held),
    }
    return counts, partial(_write, ctx, resource, changes)


def _mapped(ctx: RunContext, resource: Resource, records: list[PendingRecord]) -> _Batch:
    version = ctx.connector.manifest.resource(resource).mapping.version
    batch = _Batch()
    for record in records:
        try:
            mapped = ctx.connector.to_platform(resource, load_json(record.payload))
            entity = to_entity(ctx.npo.npo_id, resource, record, mapped, mapping_version=version)
        except RecordError as error:
            batch.bad.append((record, (Reason(error.code, error.message),)))
        else:
            batch.good.append((record, entity))
    ids: Mapping[str, tuple[str, ...]] = {}
    if resource == "assignments" and enrols(ctx):
        batch.good, batch.held, ids = answered(ctx, batch.good, [record.external_id for record in records])
    return _with_tombstones(ctx, resource, batch, version, ids)


def _with_tombstones(
    ctx: RunContext, resource: Resource, batch: _Batch, version: int, ids: Mapping[str, tuple[str, ...]]
) -> _Batch:
    """Withdraw what the partner deleted leaving nothing but the id: the rest is what we knew of it."""
    npo_id = ctx.npo.npo_id
    gone = {
        known: record
        for record, _ in batch.bad
        if record.deleted
        for known in ids.get(record.external_id) or (entity_id(npo_id, resource, record.external_id),)
    }
    if not gone:
        return batch
    for known_id, content in stored_contents(ctx.store, resource, list(gone)).items():
        record = gone[known_id]
        entity = to_entity(npo_id, resource, record, content, mapping_version=version)
        batch.good.append((record, under_id(entity, known_id) if ids else entity))
    done = {record.key for record, _ in batch.good}
    return _Batch(batch.good, [entry for entry in batch.bad if entry[0].key not in done], batch.held)


def _gated(ctx: RunContext, resource: Resource, batch: _Batch) -> _Batch:
    """Run the canonical suite; rows it refuses change sides."""
    if not batch.good:
        return batch
    result = run_suite(
        f"npo_canonical_{resource}", canonical_frame(resource, [entity for _, entity in batch.good])
    )
    result.require_batch(subject=f"{ctx.npo.npo_id} {resource}", stage=STAGE)
    good = [pair for at, pair in enumerate(batch.good) if at not in result.row_failures]
    bad = [(batch.good[at][0], reasons) for at, reasons in result.row_failures.items()]
    return _Batch(good, batch.bad + bad, batch.held)


def canonical_frame(resource: Resource, entities: list[Entity]) -> pd.DataFrame:
    """Return what the canonical suite looks at: a row for each entity, times in seconds since 1970."""
    import pandas as pd

    def seconds(moments: list[datetime | None]) -> pd.Series[float]:
        return pd.Series([moment.timestamp() if moment else None for moment in moments], dtype="float64")

    unknown = AssignmentStatus.UNKNOWN.value
    columns: dict[str, Any] = {
        "entity_id": [entity.id for entity in entities],
        "status_known": [entity.content["status"] != unknown for entity in entities],
    }
    if resource == "offerings":
        schedules = [entity.content.get("schedule", {}) for entity in entities]
        columns["starts_at"] = seconds([schedule.get("starts_at") for schedule in schedules])
        columns["ends_at"] = seconds([schedule.get("ends_at") for schedule in schedules])
    else:
        columns["percent"] = pd.Series([entity.percent for entity in entities], dtype="float64")
        columns["started_at"] = seconds([entity.content.get("started_at") for entity in entities])
        columns["completed_at"] = seconds([entity.content.get("completed_at") for entity in entities])
    return pd.DataFrame(columns)


def _outbox_entry(
    ctx: RunContext,
    resource: Resource,
    record: PendingRecord,
    entity: Entity,
    known: dict[str, KnownEntity],
    now: datetime,
) -> OutboxEntry:
    event = to_event(ctx.npo.npo_id, resource, record, entity, before=known.get(entity.id), recorded_at=now)
    body = event.to_json()
    if len(body) > MAX_EVENT_BYTES:
        body = _by_reference(ctx, event).to_json()
    return OutboxEntry(event.id, event.type, event.partition_key, event.sequence, body)


def _by_reference(ctx: RunContext, event: Event) -> Event:
    """Put data too large to travel into S3 under the event's id, before the event is committed."""
    key = f"events/{event.owner}/{event.id}.json.gz"
    ctx.landing.put(key, orjson.dumps(event.data, option=orjson.OPT_UTC_Z), compress=True)
    return replace(event, data_ref=f"s3://{ctx.settings.landing_bucket}/{key}")


def _write(
    ctx: RunContext, resource: Resource, changes: _Changes, session: ClientSession, order: int
) -> None:
    npo_id, at = ctx.npo.npo_id, changes.at
    good = [record for record, _ in changes.batch.good]
    bad = changes.batch.bad
    write_entities(ctx.store, session, resource, changes.entities, changes.known, at=at)
    add_to_outbox(ctx.store, session, npo_id, changes.outbox, order=order, at=at)
    quarantine_raw(ctx.store, session, {record.key: reasons for record, reasons in bad})
    move_state(
        ctx.store,
        session,
        changes.records,
        now=RawState.VALID,
        to=RawState.TRANSFORMED,
    )
    hold_back(ctx.store, session, [record.key for record in changes.batch.held], RawState.VALID)
    set_aside(ctx.store, session, [_quarantined(npo_id, resource, *entry) for entry in bad], at=at)
    if open_count(ctx.store, npo_id, resource):
        landed = {record.external_id: record.landed_at for record in good}
        release(ctx.store, session, npo_id, resource, landed=landed, at=at)


def _quarantined(
    npo_id: str, resource: Resource, record: PendingRecord, reasons: tuple[Reason, ...]
) -> Quarantined:
    return Quarantined(npo_id, resource, record.external_id, STAGE, reasons, record.payload, record.raw_ref)

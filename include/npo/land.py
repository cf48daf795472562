"""Land raw: what was extracted becomes records in the store, each with its content hash and state.

Records and checkpoint commit together: the checkpoint moves in the transaction of the last batch,
so a run that dies in between lands the same pages again, which changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from include.errors import DataQualityError, RecordError
from include.npo.landing_plan import Incoming, LandingPlan, plan_landing
from include.npo.page_sources import PageSources, every_parent_answered, resource_of
from include.privacy.erased import erased_among
from include.quality.gate import Reason, run_suite
from include.quality.quarantine import Quarantined, set_aside
from include.storage.checkpoint import (
    forget_parent_cursors,
    note_landed,
    note_landing,
    read_checkpoint,
    write_checkpoint,
    write_parent_cursors,
)
from include.storage.documents import canonical_json, digest_of, raw_key
from include.storage.erased_page import is_erased
from include.storage.raw import (
    MAX_BATCH_BYTES,
    mark_seen,
    stored_versions,
    unseen,
    unseen_keys,
    withdraw,
    write_landed,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo.client_session import ClientSession

    from include.connectors.manifest import ResourceSpec
    from include.npo.context import RunContext, RunRef
    from include.storage.landing import LandedPage, ResourceManifest
    from include.storage.mongo import Write

STAGE = "land_raw"
MAX_RECORD_BYTES = 2**20
BELIEVED_ABSENT = 3


@dataclass(slots=True)
class _Batch:
    """Records of some pages on their way into one transaction."""

    records: list[Incoming] = field(default_factory=list)
    refused: list[Quarantined] = field(default_factory=list)
    bytes: int = 0
    erased: int = 0

    def __len__(self) -> int:
        return len(self.records) + len(self.refused)


@dataclass(slots=True)
class _Tally:
    """Counts of one resource, and the latest change seen, in all and for each parent."""

    cursor: datetime | None = None
    parents: dict[str, datetime] = field(default_factory=dict)
    counts: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(
            ("new", "changed", "unchanged", "stale", "withdrawn", "quarantined", "erased"), 0
        )
    )

    def see(self, records: list[Incoming], read_at: datetime) -> None:
        """Move on to the latest change, never later than the start of the reading.

        A record may change after its page was read and before the last page was: asking on from the last
        page's changes would miss it. It also keeps one wrong stamp in the future from hiding what follows.
        """
        for record in records:
            if record.cursor is None:
                continue
            changed = min(record.cursor, read_at)
            self.cursor = max(self.cursor or changed, changed)
            if record.parent is not None:
                self.parents[record.parent] = max(self.parents.get(record.parent, changed), changed)

    def add(self, plan: LandingPlan, refused: int) -> None:
        self.counts["new"] += len(plan.new)
        self.counts["changed"] += len(plan.changed)
        self.counts["unchanged"] += len(plan.unchanged)
        self.counts["stale"] += len(plan.stale)
        self.counts["quarantined"] += len(plan.ambiguous) + refused


def land_raw(ctx: RunContext, ref: RunRef) -> RunRef:
    """Land every manifest of the reference.

    A list that cannot be trusted as a whole (the raw suite refused a batch, or it would withdraw too much)
    is noted in the reference and raised by the last stage: the other resource is not to blame.

    Raises:
        TransientError: Store or landing zone did not answer.
    """
    totals: dict[str, int] = {}
    refused: list[str] = list(ref.refused)
    for key in ref.manifests:
        manifest = ctx.landing.manifest(key)
        try:
            counts = _land_manifest(ctx, manifest)
        except DataQualityError as error:
            ctx.progress(f"{manifest.resource} refused: {error}")
            refused.append(str(error))
            continue
        ctx.progress(f"{manifest.resource}: " + ", ".join(f"{n} {what}" for what, n in counts.items() if n))
        for what, number in counts.items():
            totals[what] = totals.get(what, 0) + number
    return replace(ref.counted(STAGE, totals), refused=tuple(refused))


def _land_manifest(ctx: RunContext, manifest: ResourceManifest) -> dict[str, int]:
    tally, read_at = _Tally(), datetime.fromisoformat(manifest.started_at)
    if _is_overtaken(ctx, manifest, read_at):
        tally.counts["stale"] = manifest.records
        note_landed(ctx.store, ctx.npo.npo_id, manifest.resource, manifest=manifest.key)
        return tally.counts
    for batch, plan in ctx.store.commit_each(ctx.npo.npo_id, partial(_plans, ctx, manifest)):
        tally.add(plan, len(batch.refused))
        tally.counts["erased"] += batch.erased
        tally.see(batch.records, read_at)
    _finish(ctx, manifest, tally)
    note_landed(ctx.store, ctx.npo.npo_id, manifest.resource, manifest=manifest.key)
    return tally.counts


def _is_overtaken(ctx: RunContext, manifest: ResourceManifest, read_at: datetime) -> bool:
    """Tell whether a full list is older than one landed or confirmed since: all it says is outdated."""
    full = manifest.moves_checkpoint and not _spec(ctx, manifest).reads_changes
    return full and read_checkpoint(ctx.store, ctx.npo.npo_id, manifest.resource).is_newer_than(read_at)


def _plans(
    ctx: RunContext, manifest: ResourceManifest
) -> Iterator[tuple[tuple[_Batch, LandingPlan], Write | None] | None]:
    before: set[str] = set()
    for batch in _batches(ctx, manifest):
        _drop_erased(ctx, manifest, batch)
        _guard(ctx, manifest, batch)
        keys = {record.key for record in batch.records}
        if not keys.isdisjoint(before):
            yield None  # a record met again: what is stored of it must be known first
        before = keys
        yield _plan(ctx, manifest, batch)


def _batches(ctx: RunContext, manifest: ResourceManifest) -> Iterator[_Batch]:
    """Yield the manifest's records in batches of at most ``batch_size`` or one page, whichever is more."""
    batch, sources = _Batch(), PageSources(manifest)
    for page, body in ctx.landing.bodies(manifest):
        parent = sources.parent(page)
        records = ctx.connector.records(
            resource_of(manifest), body, page.content_type, **({"parent": parent} if parent else {})
        )
        full = len(batch) + len(records) > ctx.settings.batch_size
        if len(batch) and (full or batch.bytes + len(body) > MAX_BATCH_BYTES):
            yield batch
            batch = _Batch()
        batch.bytes += len(body)
        for position, record in enumerate(records):
            _take(ctx, sources, batch, page, position, record)
    if len(batch) or batch.erased:
        yield batch


def _drop_erased(ctx: RunContext, manifest: ResourceManifest, batch: _Batch) -> None:
    """Take out what a candidate had erased and the partner, or an older page, still holds."""
    ids = {record.external_id for record in batch.records}
    ids |= {record.external_id for record in batch.refused if record.external_id}
    gone = erased_among(ctx.store, ctx.npo.npo_id, manifest.resource, sorted(ids))
    if not gone:
        return
    before = len(batch)
    batch.records = [record for record in batch.records if record.external_id not in gone]
    batch.refused = [record for record in batch.refused if record.external_id not in gone]
    batch.erased += before - len(batch)


def _spec(ctx: RunContext, manifest: ResourceManifest) -> ResourceSpec:
    return ctx.connector.manifest.resource(resource_of(manifest))


def _take(
    ctx: RunContext, sources: PageSources, batch: _Batch, page: LandedPage, position: int, record: Any
) -> None:
    """Add one record to the batch: as it is, or refused with the reason."""
    if is_erased(record):
        batch.erased += 1
        return
    resource = sources.resource
    payload = canonical_json(record)
    raw_ref = f"{page.key}#{position}"
    external_id: str | None = None
    try:
        external_id = ctx.connector.external_id(resource, record)
        cursor = ctx.connector.cursor(resource, record)
        deleted = ctx.connector.is_deleted(resource, record)
        _require_size(payload)
    except RecordError as error:
        reason = Reason(error.code, error.message)
        batch.refused.append(
            Quarantined(ctx.npo.npo_id, resource, external_id, STAGE, (reason,), payload.decode(), raw_ref)
        )
        return
    if not sources.holds(page, cursor):
        return
    batch.records.append(
        Incoming(
            key=raw_key(ctx.npo.npo_id, resource, external_id),
            external_id=external_id,
            payload=payload.decode(),
            content_hash=digest_of(payload).hex(),
            cursor=cursor,
            fetched_at=datetime.fromisoformat(page.fetched_at),
            deleted=deleted,
            raw_ref=raw_ref,
            parent=page.parent,
        )
    )


def _require_size(payload: bytes) -> None:
    if len(payload) > MAX_RECORD_BYTES:
        raise RecordError("record of more than 1 MiB", code="record_too_large")


def _guard(ctx: RunContext, manifest: ResourceManifest, batch: _Batch) -> None:
    """Refuse a batch whose shape says that the wrong thing was read."""
    if not len(batch):
        return  # all of it was erased
    import pandas as pd

    good, bad = len(batch.records), len(batch.refused)
    frame = pd.DataFrame(
        {
            "external_id": [record.external_id for record in batch.records] + [None] * bad,
            "is_object": [True] * good
            + [record.reasons[0].code != "not_an_object" for record in batch.refused],
            "payload_bytes": [len(record.payload) for record in batch.records]
            + [len(record.payload) for record in batch.refused],
        }
    )
    run_suite("npo_raw", frame).require_batch(subject=f"{ctx.npo.npo_id} {manifest.resource}", stage=STAGE)


def _plan(
    ctx: RunContext, manifest: ResourceManifest, batch: _Batch
) -> tuple[tuple[_Batch, LandingPlan], Write | None]:
    stored = stored_versions(ctx.store, [record.key for record in batch.records])
    plan = plan_landing(batch.records, stored, manifest=manifest.key)
    refused = [*batch.refused, *(_ambiguous(ctx, manifest, record) for record in plan.ambiguous)]
    counts_seen = tracks_absence(_spec(ctx, manifest), manifest)
    # Set aside, but there: a full list that holds a bad version of a record does not lack it.
    met = [
        raw_key(ctx.npo.npo_id, manifest.resource, record.external_id)
        for record in refused
        if record.external_id
    ]
    now = ctx.now()

    def write(session: ClientSession, _order: int) -> None:
        write_landed(ctx.store, session, manifest, plan, at=now)
        if counts_seen:
            mark_seen(ctx.store, session, manifest, [*plan.unchanged, *plan.stale, *met])
        set_aside(ctx.store, session, refused, at=now)
        if manifest.moves_checkpoint:
            note_landing(ctx.store, session, ctx.npo.npo_id, manifest.resource, manifest=manifest.key)

    return (batch, plan), write if plan.new or plan.changed or refused or counts_seen else None


def _ambiguous(ctx: RunContext, manifest: ResourceManifest, record: Incoming) -> Quarantined:
    reason = Reason(
        "duplicate_id",
        "the same id came with other content in one extraction and no time tells which is newer; "
        "the first read was kept",
    )
    return Quarantined(
        ctx.npo.npo_id,
        manifest.resource,
        record.external_id,
        STAGE,
        (reason,),
        record.payload,
        record.raw_ref,
    )


def tracks_absence(spec: ResourceSpec, manifest: ResourceManifest) -> bool:
    """Tell whether a record missing from this extraction is gone: a full list of a snapshot source.

    The list of a nested resource is full if every parent was asked for and answered: of one that nothing can
    be asked for, nothing is known.
    """
    whole = manifest.since is None and every_parent_answered(manifest) and not manifest.parents_unusable
    return spec.deletes.mode == "snapshot" and whole and manifest.moves_checkpoint


def _finish(ctx: RunContext, manifest: ResourceManifest, tally: _Tally) -> None:
    """Withdraw what a full list no longer holds, then move the checkpoint."""
    if not manifest.moves_checkpoint:
        return
    npo_id, resource, now = ctx.npo.npo_id, manifest.resource, ctx.now()
    read_at = datetime.fromisoformat(manifest.started_at)
    if not read_checkpoint(ctx.store, npo_id, resource).is_newer_than(read_at):
        # Else a cleared task lands an old list again: what came after it is not gone.
        _guard_against_mass_withdrawal(ctx, manifest)
        while withdrawn := ctx.store.commit_plan(npo_id, partial(_withdrawal, ctx, manifest, now)):
            tally.counts["withdrawn"] += withdrawn
    _move_parent_cursors(ctx, manifest, tally)
    if not every_parent_answered(manifest):
        return  # what those hold was not landed: the resource as a whole has not come further

    def prepare() -> tuple[None, Write]:
        after = read_checkpoint(ctx.store, npo_id, resource).advanced(
            tally.cursor, digest=manifest.digest, manifest=manifest.key, read_at=read_at
        )
        return None, lambda session, _order: write_checkpoint(
            ctx.store, session, npo_id, resource, checkpoint=after, at=now
        )

    ctx.store.commit_plan(npo_id, prepare)


def _move_parent_cursors(ctx: RunContext, manifest: ResourceManifest, tally: _Tally) -> None:
    """Note how far each parent was read: after all its records are committed, some parents at a time."""
    npo_id, resource, now = ctx.npo.npo_id, manifest.resource, ctx.now()
    size = ctx.settings.batch_size

    def prepare(start: int) -> tuple[None, Write]:
        some = manifest.parents[start : start + size]
        cursors = {parent.key: tally.parents.get(parent.key) for parent in some if parent.state == "read"}
        gone = [parent.key for parent in some if parent.state == "gone"]

        def write(session: ClientSession, _order: int) -> None:
            write_parent_cursors(
                ctx.store, session, npo_id=npo_id, resource=resource, cursors=cursors, at=now
            )
            forget_parent_cursors(ctx.store, session, npo_id=npo_id, resource=resource, parents=gone)

        return None, write

    for start in range(0, len(manifest.parents), size):
        ctx.store.commit_plan(npo_id, partial(prepare, start))


def _withdrawal(ctx: RunContext, manifest: ResourceManifest, now: datetime) -> tuple[int, Write | None]:
    """Plan the withdrawal of the next records a full list does not hold; 0 when there are no more."""
    if not tracks_absence(_spec(ctx, manifest), manifest):
        return 0, None
    keys = unseen_keys(ctx.store, manifest, limit=ctx.settings.batch_size)
    if not keys:
        return 0, None
    return len(keys), lambda session, _order: withdraw(ctx.store, session, manifest, keys, at=now)


def _guard_against_mass_withdrawal(ctx: RunContext, manifest: ResourceManifest) -> None:
    """Refuse a full list that lacks more than the manifest's share of what is known.

    A few records may always go, else a short list could never lose one; but an empty list withdraws
    nothing.

    Raises:
        DataQualityError: An empty or cut-off list is likelier than that many withdrawals.
    """
    spec = _spec(ctx, manifest)
    if not tracks_absence(spec, manifest):
        return
    absent, known = unseen(ctx.store, manifest)
    limit = spec.deletes.max_share
    if absent <= (BELIEVED_ABSENT if manifest.records else 0) or absent / known <= limit:
        return
    raise DataQualityError(
        f"the list of {manifest.resource} would withdraw {absent} of {known} known records, more than "
        f"max_share {limit:.0%}: nothing was withdrawn and the checkpoint stays. If the partner really "
        "removed them, raise deletes.max_share for one run",
        subject=ctx.npo.npo_id,
        stage=STAGE,
    )

"""Extract: read the partner's API and land every answer as it came, but for records that were erased.

Writes pages and, last, one manifest per resource and attempt. Beside them only hints and notes change, so an
attempt that dies leaves pages nobody reads and nothing that the next one does not put right.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from include.connectors.protocol import Window
from include.connectors.windows import lies_inside
from include.errors import ConfigurationError, IntegrationError, RecordError, TransientError
from include.npo.context import RunRef
from include.npo.land import tracks_absence
from include.npo.nested import NestedReading
from include.npo.novelty import external_id_of, holds_news
from include.npo.remap import reopen_if_mapping_changed
from include.privacy.erased import COLLECTION as ERASED
from include.privacy.erased import erased_among
from include.storage import landing
from include.storage.checkpoint import (
    confirm_checkpoint,
    forget_failures,
    note_failure,
    note_unlanded,
    read_checkpoint,
)
from include.storage.documents import content_digest, merge_digests
from include.storage.erased_page import ERASED_RECORD, is_erased, rewritten
from include.storage.pending import has_pending

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from include.connectors.protocol import Page, Parent, Resource
    from include.npo.context import RunContext
    from include.storage.checkpoint import Checkpoint

UPLOADS_AT_ONCE = 2
PROGRESS_EVERY_PAGES = 20
TRIES_TOGETHER = 3
"""Times in a row a resource may fail for the moment before the others are landed without it."""
NESTED_UNTIL = timedelta(minutes=90)
NESTED_AT_LEAST = timedelta(minutes=15)
"""Reading parents ends that long after the beginning of extract, or of itself: before the task is killed."""


@dataclass(frozen=True, slots=True)
class _Attempt:
    """Where one attempt to read one resource is kept, and what it was asked to read."""

    resource: Resource
    prefix: str
    attempt: str
    started_at: str
    window: Window
    cut: bool


@dataclass(slots=True)
class _Extraction:
    """What the attempts of one run come to.

    Attributes:
        began: When extract did.
        manifests: Keys of those that hold something to land.
        failures: Why a resource, or some parents of a nested one, were not read.
        errors: Of the resources that were not read.
        parents: Parents met by this run, by resource nested in theirs; ``None`` for a deleted one.
    """

    began: datetime
    manifests: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=lambda: {"pages": 0, "records": 0})
    failures: list[str] = field(default_factory=list)
    errors: list[IntegrationError] = field(default_factory=list)
    parents: dict[Resource, dict[str, Parent | None]] = field(default_factory=dict)


def extract(ctx: RunContext) -> RunRef | None:
    """Read every resource of the NPO; return what there is to land, or ``None`` if there is nothing to do.

    ``None`` means: the source holds nothing that was not landed before, and no record or event of
    an earlier run waits. The other stages are then skipped. A resource that could not be read, and parents of
    a nested one that did not answer, are noted in the reference: what was read is landed, then the last
    stage fails the run. So that a short outage costs no run, a failure that may pass is raised the first
    times in a row: the task's retry reads all.

    Raises:
        IntegrationError: As the connector's ``pages`` and the landing zone say, and there is nothing else to
            do, or the failure may pass.
        ConfigurationError: The partner refuses the set-up, which pauses the integration.
        TransientError: Parents did not answer, and there is nothing else to do.
    """
    found = _Extraction(ctx.now())
    for resource in ctx.connector.manifest.reading_order:
        reopened = reopen_if_mapping_changed(ctx, resource)
        if reopened:
            ctx.progress(f"{resource}: the mapping has a new version, {reopened} records go through it again")
        if ctx.backfill and not ctx.connector.manifest.resource(resource).reads_changes:
            found.manifests += _landed_in(ctx, resource, ctx.backfill)
        else:
            _extract_or_note(ctx, resource, found)
    if not found.manifests and not has_pending(ctx.store, ctx.npo.npo_id):
        if found.errors:
            raise found.errors[0]
        if found.failures:
            raise TransientError("; ".join(found.failures), subject=ctx.npo.npo_id, stage="extract")
        ctx.progress(f"nothing new in {found.counts['records']} records, nothing pending")
        return None
    ref = RunRef(ctx.npo.npo_id, ctx.run_id, tuple(found.manifests), refused=tuple(found.failures))
    return ref.counted("extract", found.counts)


def window_of(ctx: RunContext, resource: Resource, checkpoint: Checkpoint) -> Window:
    """Return what to read: a backfill's interval, or everything since the checkpoint less the lookback.

    The lookback re-reads what may have arrived late or shared the checkpoint's time stamp at a
    page edge; the content hash makes reading it again harmless.
    """
    if ctx.backfill:
        return ctx.backfill
    spec = ctx.connector.manifest.resource(resource)
    if checkpoint.cursor is None or spec.incremental is None or not spec.reads_changes:
        return Window()
    return Window(since=checkpoint.cursor - spec.incremental.lookback)


def _extract_or_note(ctx: RunContext, resource: Resource, found: _Extraction) -> None:
    """Read one resource; note why it could not be, where the others are to be landed all the same."""
    npo_id = ctx.npo.npo_id
    checkpoint = read_checkpoint(ctx.store, npo_id, resource)
    try:
        _extract_news(ctx, resource, checkpoint, found)
    except IntegrationError as error:
        refused = isinstance(error, ConfigurationError) and error.pauses
        may_pass = (
            isinstance(error, TransientError) and note_failure(ctx.store, npo_id, resource) < TRIES_TOGETHER
        )
        if refused or may_pass:
            raise
        ctx.progress(f"{resource} could not be read, the rest goes on: {error.message}")
        found.errors.append(error)
        found.failures.append(f"{resource} could not be read: {error.message}")
        return
    if checkpoint.failed_in_a_row:
        forget_failures(ctx.store, npo_id, resource)


def _extract_news(ctx: RunContext, resource: Resource, checkpoint: Checkpoint, found: _Extraction) -> None:
    """Read one resource, write its manifest, and keep that if it holds anything to land."""
    manifest, news = _extract_resource(ctx, resource, checkpoint, found)
    found.counts["pages"] += len(manifest.pages)
    found.counts["records"] += manifest.records
    # A full list of a snapshot source is news also when a record is missing from it.
    news = news or tracks_absence(ctx.connector.manifest.resource(resource), manifest)
    unfinished = checkpoint.unfinished and ctx.backfill is None
    lands = unfinished or (news and (ctx.backfill is not None or manifest.digest != checkpoint.digest))
    if lands:
        note_unlanded(
            ctx.store, manifest.npo_id, resource, manifest=manifest.key, backfill=ctx.backfill is not None
        )
    ctx.landing.put_manifest(manifest)
    ctx.progress(f"{resource}: {manifest.records} records in {len(manifest.pages)} pages landed")
    if lands:
        found.manifests.append(manifest.key)
    elif manifest.digest == checkpoint.digest:
        read_at = datetime.fromisoformat(manifest.started_at)
        confirm_checkpoint(ctx.store, ctx.npo.npo_id, resource, read_at=read_at)


def _extract_resource(
    ctx: RunContext, resource: Resource, checkpoint: Checkpoint, found: _Extraction
) -> tuple[landing.ResourceManifest, bool]:
    """Land one resource's pages; return its manifest and whether they hold a record the store lacks."""
    attempt = _new_attempt(ctx, resource, window_of(ctx, resource, checkpoint))
    reading: NestedReading | None = None
    if ctx.connector.manifest.resource(resource).nested:
        until = max(found.began + NESTED_UNTIL, ctx.now() + NESTED_AT_LEAST)
        met = found.parents.get(resource, {})
        reading = NestedReading(ctx, resource, attempt.window, met, until=until)
        pages, digest, news = _land_pages(ctx, attempt, reading.pages(), found)
        reading.count(found.counts)
        found.failures += reading.failures()
    else:
        read = ctx.connector.pages(resource, attempt.window)
        pages, digest, news = _land_pages(ctx, attempt, read, found)
    window = attempt.window
    manifest = landing.ResourceManifest(
        npo_id=ctx.npo.npo_id,
        resource=resource,
        run_id=ctx.run_id,
        attempt=attempt.attempt,
        prefix=attempt.prefix,
        started_at=attempt.started_at,
        since=window.since.isoformat() if window.since else None,
        until=window.until.isoformat() if window.until else None,
        moves_checkpoint=ctx.backfill is None,
        digest=digest,
        records=sum(page.records for page in pages),
        pages=tuple(pages),
        cut=attempt.cut,
        parents=tuple(reading.parents) if reading else (),
        parents_unusable=reading.unusable if reading else 0,
    )
    return manifest, news


def _new_attempt(ctx: RunContext, resource: Resource, window: Window) -> _Attempt:
    now = ctx.now()
    attempt = f"{now:%H%M%S}-{uuid4().hex[:8]}"
    prefix = landing.prefix(ctx.npo.npo_id, resource, f"{now:%Y-%m-%d}", ctx.run_id, attempt)
    incremental = ctx.connector.manifest.resource(resource).incremental
    cut = ctx.backfill is not None or (incremental is not None and incremental.client_filter)
    return _Attempt(resource, prefix, attempt, now.isoformat(), window, cut)


def _land_pages(
    ctx: RunContext, attempt: _Attempt, pages: Iterable[Page], found: _Extraction
) -> tuple[list[landing.LandedPage], str, bool]:
    """Stream pages to S3 while the next is being fetched; at most a few are held in memory."""
    landed: list[landing.LandedPage] = []
    digest, news = 0, False
    waiting: deque[Future[None]] = deque()
    notes_parents = _parents_noted(ctx, attempt.resource, found)
    with ThreadPoolExecutor(UPLOADS_AT_ONCE, thread_name_prefix="landing") as uploads:
        for number, page in enumerate(_without_erased(ctx, attempt.resource, pages), start=1):
            entry = _landed(attempt, page, number)
            waiting.append(uploads.submit(ctx.landing.put, entry.key, page.body, compress=True))
            landed.append(entry)
            notes_parents(page.records)
            records = list(_inside(ctx, attempt, page))
            digest = merge_digests(digest, (content_digest(record) for record in records))
            news = news or holds_news(ctx, attempt.resource, records)
            while len(waiting) > UPLOADS_AT_ONCE:
                waiting.popleft().result()
            if number % PROGRESS_EVERY_PAGES == 0:
                ctx.progress(f"{attempt.resource}: {number} pages read")
        for upload in waiting:
            upload.result()
    return landed, f"{digest:032x}", news


def _without_erased(ctx: RunContext, resource: Resource, pages: Iterable[Page]) -> Iterator[Page]:
    """Yield the pages, a mark in the place of each record that a candidate had erased and that came again.

    Asked for each page: an erasure may be requested while the source is read.
    """
    ours = {"npo_id": ctx.npo.npo_id, "resource": resource}
    for page in pages:
        if ctx.store[ERASED].find_one(ours, {"_id": 1}) is None:
            yield page
            continue
        ids = [external_id_of(ctx, resource, record) for record in page.records]
        gone = erased_among(ctx.store, ctx.npo.npo_id, resource, [one for one in ids if one is not None])
        if not gone:
            yield page
            continue
        kept = [
            ERASED_RECORD if one in gone else record for one, record in zip(ids, page.records, strict=True)
        ]
        yield replace(page, body=rewritten(kept), records=kept)


def _inside(ctx: RunContext, attempt: _Attempt, page: Page) -> Iterator[Any]:
    """Yield the records of a page that landing will take from it; what cannot be told is its to refuse."""
    window = page.window or attempt.window
    for record in page.records:
        if is_erased(record):
            continue
        try:
            if attempt.cut and not lies_inside(window, ctx.connector.cursor(attempt.resource, record)):
                continue
        except RecordError:
            pass
        yield record


def _parents_noted(ctx: RunContext, resource: Resource, found: _Extraction) -> Callable[[list[Any]], None]:
    """Return what keeps the parents among a page's records, for the resource that is nested in this one."""
    nested = ctx.connector.manifest.nested_in(resource)
    if nested is None:
        return lambda _records: None
    parents = found.parents.setdefault(nested, {})

    def note(records: list[Any]) -> None:
        for record in records:
            try:
                parent = ctx.connector.parent(nested, record)
            except RecordError:
                continue  # landing sets it aside, or says nothing of it: nothing can be asked for it
            parents[parent.key] = None if ctx.connector.is_deleted(resource, record) else parent

    return note


def _landed(attempt: _Attempt, page: Page, number: int) -> landing.LandedPage:
    return landing.LandedPage(
        key=f"{attempt.prefix}/page-{number:06d}.gz",
        url=page.url,
        status=page.status,
        content_type=page.content_type,
        fetched_at=page.fetched_at.isoformat(),
        records=len(page.records),
        bytes=len(page.body),
        parent=page.parent.key if page.parent else None,
    )


def _landed_in(ctx: RunContext, resource: Resource, window: Window) -> list[str]:
    """Return the manifests landed inside a window: the backfill of a source that cannot filter by time."""
    keys = ctx.landing.manifests_between(ctx.npo.npo_id, resource, window)
    ctx.progress(f"{resource}: the source cannot filter by time: replaying {len(keys)} landed extractions")
    return keys

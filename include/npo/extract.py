"""Extract: read the partner's API and land every answer as it came.

Writes pages and, last, one manifest per resource and attempt. Nothing else changes, so an attempt
that dies leaves pages nobody reads and no other trace.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import uuid4

from include.connectors.protocol import Window
from include.npo.context import RunRef
from include.npo.land import tracks_absence
from include.npo.novelty import holds_news
from include.npo.remap import reopen_if_mapping_changed
from include.storage import landing
from include.storage.checkpoint import confirm_checkpoint, read_checkpoint
from include.storage.documents import content_digest, merge_digests
from include.storage.pending import has_pending

if TYPE_CHECKING:
    from include.connectors.protocol import Page, Resource
    from include.npo.context import RunContext
    from include.storage.checkpoint import Checkpoint

UPLOADS_AT_ONCE = 2
PROGRESS_EVERY_PAGES = 20


@dataclass(frozen=True, slots=True)
class _Attempt:
    """Where one attempt to read one resource is kept, and what it was asked to read."""

    resource: Resource
    prefix: str
    attempt: str
    started_at: str
    window: Window


def extract(ctx: RunContext) -> RunRef | None:
    """Read every resource of the NPO; return what there is to land, or ``None`` if there is nothing to do.

    ``None`` means: the source holds nothing that was not landed before, and no record or event of
    an earlier run waits. The other stages are then skipped.

    Raises:
        IntegrationError: As the connector's ``pages`` and the landing zone say.
    """
    manifests: list[str] = []
    counts = {"pages": 0, "records": 0}
    for resource in ctx.resources:
        reopened = reopen_if_mapping_changed(ctx, resource)
        if reopened:
            ctx.progress(f"{resource}: the mapping has a new version, {reopened} records go through it again")
        if ctx.backfill and not ctx.connector.manifest.resource(resource).filters_since:
            manifests += _landed_in(ctx, resource, ctx.backfill)
            continue
        checkpoint = read_checkpoint(ctx.store, ctx.npo.npo_id, resource)
        manifest, news = _extract_resource(ctx, resource, checkpoint)
        counts["pages"] += len(manifest.pages)
        counts["records"] += manifest.records
        # A full list of a snapshot source is news also when a record is missing from it.
        news = news or tracks_absence(ctx.connector.manifest.resource(resource), manifest)
        if news and (ctx.backfill or manifest.digest != checkpoint.digest):
            manifests.append(manifest.key)
        elif manifest.digest == checkpoint.digest:
            read_at = datetime.fromisoformat(manifest.started_at)
            confirm_checkpoint(ctx.store, ctx.npo.npo_id, resource, read_at=read_at)
    if not manifests and not has_pending(ctx.store, ctx.npo.npo_id):
        ctx.progress(f"nothing new in {counts['records']} records, nothing pending")
        return None
    return RunRef(ctx.npo.npo_id, ctx.run_id, tuple(manifests)).counted("extract", counts)


def window_of(ctx: RunContext, resource: Resource, checkpoint: Checkpoint) -> Window:
    """Return what to read: a backfill's interval, or everything since the checkpoint less the lookback.

    The lookback re-reads what may have arrived late or shared the checkpoint's time stamp at a
    page edge; the content hash makes reading it again harmless.
    """
    if ctx.backfill:
        return ctx.backfill
    spec = ctx.connector.manifest.resource(resource)
    if checkpoint.cursor is None or spec.incremental is None or not spec.filters_since:
        return Window()
    return Window(since=checkpoint.cursor - spec.incremental.lookback)


def _extract_resource(
    ctx: RunContext, resource: Resource, checkpoint: Checkpoint
) -> tuple[landing.ResourceManifest, bool]:
    """Land one resource; return its manifest and whether it holds a record the store does not know."""
    attempt = _new_attempt(ctx, resource, window_of(ctx, resource, checkpoint))
    pages, digest, news = _land_pages(ctx, attempt)
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
    )
    ctx.landing.put_manifest(manifest)
    ctx.progress(f"{resource}: {manifest.records} records in {len(pages)} pages landed")
    return manifest, news


def _new_attempt(ctx: RunContext, resource: Resource, window: Window) -> _Attempt:
    now = ctx.now()
    attempt = f"{now:%H%M%S}-{uuid4().hex[:8]}"
    prefix = landing.prefix(ctx.npo.npo_id, resource, f"{now:%Y-%m-%d}", ctx.run_id, attempt)
    return _Attempt(resource, prefix, attempt, now.isoformat(), window)


def _land_pages(ctx: RunContext, attempt: _Attempt) -> tuple[list[landing.LandedPage], str, bool]:
    """Stream pages to S3 while the next is being fetched; at most a few are held in memory."""
    landed: list[landing.LandedPage] = []
    digest, news = 0, False
    waiting: deque[Future[None]] = deque()
    with ThreadPoolExecutor(UPLOADS_AT_ONCE, thread_name_prefix="landing") as uploads:
        for page in ctx.connector.pages(attempt.resource, attempt.window):
            entry = _landed(attempt, page)
            waiting.append(uploads.submit(ctx.landing.put, entry.key, page.body, compress=True))
            landed.append(entry)
            digest = merge_digests(digest, (content_digest(record) for record in page.records))
            news = news or holds_news(ctx, attempt.resource, page.records)
            while len(waiting) > UPLOADS_AT_ONCE:
                waiting.popleft().result()
            if page.number % PROGRESS_EVERY_PAGES == 0:
                ctx.progress(f"{attempt.resource}: {page.number} pages read")
        for upload in waiting:
            upload.result()
    return landed, f"{digest:032x}", news


def _landed(attempt: _Attempt, page: Page) -> landing.LandedPage:
    return landing.LandedPage(
        key=f"{attempt.prefix}/page-{page.number:06d}.gz",
        url=page.url,
        status=page.status,
        content_type=page.content_type,
        fetched_at=page.fetched_at.isoformat(),
        records=len(page.records),
        bytes=len(page.body),
    )


def _landed_in(ctx: RunContext, resource: Resource, window: Window) -> list[str]:
    """Return the manifests landed inside a window: the backfill of a source that cannot filter by time."""
    keys = ctx.landing.manifests_between(ctx.npo.npo_id, resource, window)
    ctx.progress(f"{resource}: the source cannot filter by time: replaying {len(keys)} landed extractions")
    return keys

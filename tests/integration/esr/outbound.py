"""The way out as tests see it: records made by hand, a folder on the SFTP server as it is on disk."""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from include.errors import TransientError
from include.esr.context import EsrContext
from include.esr.exports.allocating import allocate
from include.esr.exports.export import export_file
from include.esr.exports.ledger import collection_of
from include.esr.names import FileType
from include.esr.outbound import RecordState, entry
from include.esr.tcs import Tcs
from include.sandbox.tcs.process import TcsSandbox
from include.storage.documents import content_hash
from tests.conftest import HOME

TODAY = date(2026, 7, 7)
AFTERNOON = datetime(2026, 7, 7, 13, 0, 5, tzinfo=UTC)  # 14:00:05 in London
NAME = "DE_KSS_APP_20260707_00000001.DAT"
NOTICE = "DE_KSS_DNC_20260707_00000001.DAT"
AWKWARD = {
    "last_name": 'O\'Neill "Nell"',
    "first_name": "Zoë, María",
    "address1": "C:\\Flat 2\\",
    "address2": '"',
    "town": "Łódź",
}


@dataclass
class Outbound:
    """One test's way out."""

    ctx: EsrContext
    folder: Path
    tcs: TcsSandbox

    def export(self, kind: Any = "APP", *, today: date = TODAY, deanery: str = "KSS") -> dict[str, int]:
        with Tcs(self.ctx.settings) as tcs:
            return export_file(self.ctx, kind, deanery, today=today, tcs=tcs)

    def made(self, *, deanery: str = "KSS") -> bool:
        """Make a day's file, tell nobody, and return whether there was anything in it."""
        return allocate(self.ctx, FileType.APP, deanery, today=TODAY).export is not None

    def to_the_end(self, kind: Any = "APP") -> dict[str, int]:
        """Export as the scheduler would: again as long as something must wait."""
        for _ in range(20):
            try:
                return self.export(kind)
            except TransientError:
                time.sleep(1)
        raise AssertionError("never done")

    def later(self, seconds: float) -> Outbound:
        moment = self.ctx.now() + timedelta(seconds=seconds)
        return replace(self, ctx=replace(self.ctx, now=lambda: moment))

    def files(self) -> dict[str, bytes]:
        return {file.name: file.read_bytes() for file in sorted(self.folder.iterdir())}

    def states(self, collection: str = "esr_app_record") -> dict[str, str]:
        return {each["_id"]: each["state"] for each in self.ctx.store[collection].find().sort("_id", 1)}

    def entry(self, name: str = NAME) -> dict[str, Any]:
        found = self.ctx.store["esr_export"].find_one({"_id": name})
        assert found is not None
        return found

    def add(self, *records: dict[str, Any]) -> None:
        for record in records:
            self.ctx.store[collection_of(record["kind"])].insert_one(record)

    def with_settings(self, **changes: Any) -> Outbound:
        return replace(self, ctx=replace(self.ctx, settings=self.ctx.settings.model_copy(update=changes)))

    def told(self) -> list[tuple[int, str, str]]:
        """Return what TCS was told of placements: id, status, file."""
        return sorted(
            (placement, event["status"], event["filename"])
            for placement, events in self.tcs.placement_events().items()
            for event in events
        )


@pytest.fixture
def out(esr_ctx: EsrContext, topics: None, tcs_sandbox: TcsSandbox) -> Iterator[Outbound]:
    """The way out of a test, at 14:00 on ``TODAY``."""
    folder = f"t{uuid.uuid4().hex[:12]}/outbound"
    path = HOME / "sftp" / "files" / folder
    path.mkdir(parents=True)
    settings = esr_ctx.settings.model_copy(
        update={"esr_outbound_folder": folder, "tcs_timeout": 2, "tcs_lease_seconds": 7}
    )
    yield Outbound(replace(esr_ctx, settings=settings, now=lambda: AFTERNOON), path, tcs_sandbox)
    shutil.rmtree(path.parent)


@pytest.fixture
def placements(tcs_sandbox: TcsSandbox) -> list[int]:
    """Ids of three placements that TCS knows."""
    return sorted(
        each["id"] for each in tcs_sandbox.load_placements(*({"traineeId": 1, "postId": 1} for _ in range(3)))
    )


def _record(kind: str, key: str, fields: Mapping[str, Any], **about: Any) -> dict[str, Any]:
    return {
        "_id": key,
        "deanery": "KSS",
        "kind": kind,
        "state": RecordState.TO_EXPORT.value,
        "reason": None,
        "made_on": TODAY.isoformat(),
        "fields": dict(fields),
        "hash": content_hash(dict(fields)),
        "revision": 1,
        "generated_at": AFTERNOON,
        "changed_at": AFTERNOON,
        "file": None,
        "ordinal": None,
        "exported_at": None,
        "resends": 0,
        "answer": None,
        "history": [entry(RecordState.TO_EXPORT, AFTERNOON, why="generated")],
    } | about


def applicant(
    placement: int,
    *,
    position: int = 0,
    start: date | None = None,
    post: str = "KSS/RXC01/800/GPST/003",
    **about: Any,
) -> dict[str, Any]:
    """Return an AppRecord that is due on ``TODAY`` unless said otherwise."""
    day = (start or TODAY + timedelta(days=30)).isoformat()
    position = position or placement + 7_000_000
    fields = {
        "effective_date": day,
        "applicant_email_address": f"t{placement}@example.org",
        "last_name": "Hopper",
        "first_name": "Grace",
        "dob": "1990-02-28",
        "position_id": position,
        "position_number": f"{position}",
        "projected_hire_date": day,
        "deanery_number": post,
    } | about.pop("fields", {})
    return _record(
        "APP",
        f"{placement}-{position}",
        fields,
        post_id=4711,
        post_number=post,
        position_id=position,
        position_number=f"{position}",
        placement_id=placement,
        trainee_id=placement + 1,
        start=day,
        **about,
    )


def notification(number: int, *, made_on: date = TODAY, vpd: str = "096", **about: Any) -> dict[str, Any]:
    """Return a notification that is due on ``TODAY`` unless said otherwise."""
    post, position = f"KSS/RXC01/800/GPST/{number:03d}", 7_000_000 + number
    fields = {
        "notification_title_code": "1",
        "deanery_body": "KSS",
        "deanery_post_number": post,
        "current_trainee_last_name": "Hopper",
        "current_trainee_projected_end_date": "2026-08-04",
        "current_trainee_vpd_for_next_placement": vpd,
        "post_vacant_at_next_rotation": "true",
    } | about.pop("fields", {})
    return _record(
        "DNC",
        f"{number:032x}",
        fields,
        post_id=number,
        post_number=post,
        position_id=position,
        position_number=f"{position}",
        placement_id=None,
        trainee_id=None,
        rank=f"{made_on.isoformat()}/{post}/{position:012d}/1",
        **({"made_on": made_on.isoformat()} | about),
    )

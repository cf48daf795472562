"""Killed after any side effect of discovery, the next looks bring about what an undisturbed one does."""

from __future__ import annotations

import shutil
import subprocess
import sys
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from include.esr.files.discovery import discover
from tests.conftest import HOME
from tests.integration.esr.inbox import Inbox, body_of, name_of
from tests.integration.esr.killed_discovery import SIDE_EFFECTS

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
FIRST, SECOND = name_of(17), name_of(18, day=5)
TIMES = {"states", "remote_moved_at", "at", "prepared_at"}


@pytest.fixture
def inbox(monkeypatch):
    folder = f"t{uuid.uuid4().hex[:12]}/inbound"
    monkeypatch.setenv("SPOTLIGHT_ESR_INBOUND_FOLDER", folder)
    path = HOME / "sftp" / "files" / folder
    path.mkdir(parents=True)
    yield Inbox(path)
    shutil.rmtree(path.parent)


@pytest.fixture
def ctx(inbox, esr_ctx):
    folder = "/".join(inbox.path.parts[-2:])
    settings = esr_ctx.settings.model_copy(update={"esr_inbound_folder": folder})
    return replace(esr_ctx, settings=settings, now=lambda: NOON)


def fill(inbox: Inbox) -> None:
    """Two good files, one with the content of the first, one that is refused."""
    inbox.put(FIRST, body_of(FIRST, lines=4000))
    inbox.put(SECOND, body_of(SECOND))
    inbox.put(name_of(17, kind="RMC"), body_of(FIRST, lines=4000))
    inbox.put(FIRST.replace("KSS", "ZZZ"), body_of())


def end_state(ctx, inbox, s3) -> dict[str, Any]:
    """Return everything discovery leaves behind, without when."""
    bucket = ctx.settings.landing_bucket
    keys = [each["Key"] for each in s3.list_objects_v2(Bucket=bucket).get("Contents", [])]
    return {
        "ledger": [
            without_times(each) | {"came into": sorted(each["states"])}
            for each in ctx.store["esr_file"].find(sort=[("_id", 1)])
        ],
        "receipts": [without_times(each) for each in ctx.store["esr_receipt"].find()],
        "sightings": list(ctx.store["esr_sighting"].find()),
        "objects": {key: s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys},
        "server": inbox.tree(),
        "uploads": s3.list_multipart_uploads(Bucket=bucket).get("Uploads", []),
    }


def without_times(document):
    if isinstance(document, dict):
        return {name: without_times(value) for name, value in document.items() if name not in TIMES}
    return [without_times(each) for each in document] if isinstance(document, list) else document


def empty(ctx, inbox, s3) -> None:
    for collection in ("esr_file", "esr_receipt", "esr_sighting", "fence"):
        ctx.store[collection].delete_many({})
    bucket = ctx.settings.landing_bucket
    for each in s3.list_objects_v2(Bucket=bucket).get("Contents", []):
        s3.delete_object(Bucket=bucket, Key=each["Key"])
    for path in inbox.path.rglob("*.DAT*"):
        path.unlink()


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("side_effect", SIDE_EFFECTS)
def test_a_look_killed_after_a_side_effect_is_finished_by_the_next(ctx, inbox, s3, side_effect, times):
    fill(inbox)
    discover(ctx)
    undisturbed = end_state(ctx, inbox, s3)
    assert len(undisturbed["server"]) == 4
    empty(ctx, inbox, s3)
    fill(inbox)

    command = [sys.executable, "-m", "tests.integration.esr.killed_discovery", side_effect, str(times)]
    killed = subprocess.run(command, check=False, timeout=60)

    assert killed.returncode == -9
    discover(ctx)
    assert end_state(ctx, inbox, s3) == undisturbed
    discover(ctx)
    assert end_state(ctx, inbox, s3) == undisturbed

"""Discovery on SFTP servers that fail or lie: nothing is lost, nothing is believed."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from include.esr.files import ledger
from include.esr.files.discovery import discover, settle_remote
from tests.integration.esr.inbox import NAME, Inbox, body_of, name_of
from tests.integration.esr.strange_sftp import (
    FallsSilent,
    GoesAway,
    ListsPaths,
    RefusesToMove,
    SendsTooMuchOfOne,
    Strange,
    serving,
)

ID = f"{NAME}#1"


@pytest.fixture
def inbox(tmp_path):
    return Inbox(tmp_path)


@pytest.mark.parametrize("kind", [GoesAway, FallsSilent, SendsTooMuchOfOne])
def test_a_transfer_that_breaks_off_leaves_nothing_half_done_and_the_others_come(esr_ctx, inbox, mongo, kind):
    other = name_of(18, day=5)
    inbox.put(NAME, body_of(lines=20_000))
    inbox.put(other, body_of(other))
    with serving(kind, inbox.path, esr_ctx.settings) as settings:
        started = time.monotonic()
        found = discover(replace(esr_ctx, settings=settings))
        assert time.monotonic() - started < 15
    [(name, why)] = found.failed
    assert name == NAME
    assert NAME in why
    assert [each["_id"] for each in mongo.esr_file.find()] == list(found.landed) == [f"{other}#1"]
    assert inbox.names() == [NAME, f"done/{other}"]
    with serving(Strange, inbox.path, esr_ctx.settings) as settings:
        assert discover(replace(esr_ctx, settings=settings)).landed == (ID,)
    assert ledger.read(esr_ctx.store, ID).lines == 20_002


def test_names_that_are_paths_are_left_alone_and_told(esr_ctx, inbox, mongo):
    inbox.put(NAME, body_of())
    told: list[str] = []
    with serving(ListsPaths, inbox.path, esr_ctx.settings) as settings:
        ctx = replace(esr_ctx, settings=settings, progress=told.append)
        assert discover(ctx).landed == (ID,)
    assert [each["_id"] for each in mongo.esr_file.find()] == [ID]
    assert any("3 entries whose name no file can have" in line for line in told)


def test_a_file_that_cannot_be_put_away_is_landed_once_all_the_same(esr_ctx, inbox, mongo):
    other = name_of(18, day=5)
    inbox.put(NAME, body_of())
    with serving(RefusesToMove, inbox.path, esr_ctx.settings) as settings:
        ctx = replace(esr_ctx, settings=settings)
        found = discover(ctx)
        inbox.put(other, body_of(other))
        again = discover(ctx)
        settle_remote(ctx, ID)  # the verdict stands whatever the server says
    assert (found.landed, again.landed) == ((ID,), (f"{other}#1",))
    assert [[name for name, _ in each.failed] for each in (found, again)] == [[NAME], [NAME, other]]
    assert all("lacks a right" in why for _, why in again.failed)
    assert {each["state"] for each in mongo.esr_file.find()} == {"landed"}
    with serving(Strange, inbox.path, esr_ctx.settings) as settings:
        assert discover(replace(esr_ctx, settings=settings)).landed == ()
    assert inbox.names() == [f"done/{NAME}", f"done/{other}"]

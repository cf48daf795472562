"""Discovery on SFTP servers that fail or lie: nothing is lost, nothing is believed."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from include.errors import ConfigurationError, TransientError
from include.esr.files import ledger
from include.esr.files.discovery import discover
from tests.integration.esr.inbox import NAME, Inbox, body_of
from tests.integration.esr.strange_sftp import (
    FallsSilent,
    GoesAway,
    ListsPaths,
    RefusesToMove,
    SendsTooMuch,
    Strange,
    serving,
)

ID = f"{NAME}#1"


@pytest.fixture
def inbox(tmp_path):
    return Inbox(tmp_path)


@pytest.mark.parametrize("kind", [GoesAway, FallsSilent, SendsTooMuch])
def test_a_transfer_that_breaks_off_leaves_nothing_half_done(esr_ctx, inbox, mongo, kind):
    inbox.put(NAME, body_of(lines=20_000))
    with serving(kind, inbox.path, esr_ctx.settings) as settings:
        started = time.monotonic()
        with pytest.raises(TransientError, match=NAME):
            discover(replace(esr_ctx, settings=settings))
        assert time.monotonic() - started < 15
    assert mongo.esr_file.count_documents({}) == 0
    assert inbox.names() == [NAME]
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
    inbox.put(NAME, body_of())
    with serving(RefusesToMove, inbox.path, esr_ctx.settings) as settings:
        for _ in range(2):
            with pytest.raises(ConfigurationError, match="lacks a right"):
                discover(replace(esr_ctx, settings=settings))
    assert [each["state"] for each in mongo.esr_file.find()] == ["landed"]
    with serving(Strange, inbox.path, esr_ctx.settings) as settings:
        assert discover(replace(esr_ctx, settings=settings)).landed == ()
    assert inbox.names() == [f"done/{NAME}"]

"""An export killed after any side effect and run again ends the same: one file, one call each."""

from __future__ import annotations

import hashlib
import importlib
import multiprocessing
import os
import signal
from collections import Counter
from dataclasses import replace

import pandas as pd
import pytest

from include.esr.exports.checking import facts_of
from include.quality.gate import run_suite
from include.storage.landing import LandingZone
from include.storage.mongo import IntegrationStore
from tests.integration.esr.killed import _watch
from tests.integration.esr.outbound import NAME, Outbound, applicant, out, placements

__all__ = ["out", "placements"]
FORK = multiprocessing.get_context("fork")
FACTS = (
    *("readable", "header_is_name", "footer_counts", "counts_are_the_ledgers"),
    *("same_records", "in_window", "few_of_a_post"),
)
POINTS = {
    "committed": ("include.storage.mongo", "IntegrationStore", "commit"),
    "archived": ("include.storage.landing", "LandingZone", "put"),
    "written": ("include.esr.files.sftp_out", "OutboundFolder", "write"),
    "renamed": ("include.esr.files.sftp_out", "OutboundFolder", "rename"),
    "told": ("include.esr.tcs.session", "TcsSession", "tell"),
    "sent": ("include.events.publisher", "Publisher", "send"),
}


@pytest.fixture(scope="module")
def warm() -> None:
    """Import what costs seconds before the first fork."""
    run_suite("esr_app", pd.DataFrame([dict.fromkeys(FACTS, True)]))
    assert callable(facts_of)


def export_and_die(given: Outbound, point: str, nth: int) -> None:
    """Export in a process of its own that is killed right after a side effect."""
    module, owner, method = POINTS[point]
    _watch(getattr(importlib.import_module(module), owner), method, point, Counter(), (point, nth))
    settings = given.ctx.settings
    ctx = replace(given.ctx, store=IntegrationStore(settings), landing=LandingZone(settings))
    replace(given, ctx=ctx).export()
    os._exit(0)


@pytest.mark.parametrize(
    ("point", "nth"),
    [
        *(("committed", nth) for nth in (1, 2, 3, 4)),
        *((point, 1) for point in POINTS if point != "committed"),
    ],
)
def test_an_export_killed_after_a_side_effect_ends_the_same_when_run_again(out, placements, warm, point, nth):
    out = out.with_settings(tcs_lease_seconds=3)
    out.add(*(applicant(each) for each in placements))
    child = FORK.Process(target=export_and_die, args=(out, point, nth))
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL

    out.later(600).to_the_end()

    body, entry = out.files()[NAME], out.entry()
    assert list(out.files()) == [NAME]
    assert b",20260707,140005," in body  # the moment its number was given, whoever wrote it in the end
    assert hashlib.sha256(body).hexdigest() == entry["sha256"]
    assert out.ctx.landing.get(entry["object_key"]) == body
    assert set(out.states().values()) == {"EXPORTED"}
    assert out.told() == [(each, "EXPORTED", NAME) for each in placements]
    store = out.ctx.store
    assert (entry["state"], store["esr_export"].count_documents({})) == ("sent", 1)
    assert store["esr_sequence"].find_one({"_id": "APP"})["value"] == 1
    assert [each.get("pending") for each in store["outbox"].find()] == [None]
    assert store["esr_call"].count_documents({"state": "told"}) == len(placements)

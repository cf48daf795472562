"""Killed after any side effect and run again, confirmations end as if nothing had happened."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from include.errors import TransientError
from include.esr.confirmations.run import confirm
from include.sandbox.tcs.process import TcsSandbox
from tests.conftest import empty_bucket, s3_client
from tests.integration.esr.answering import Answering, answering, apc, dcc
from tests.integration.esr.inbound import Exchange
from tests.integration.esr.killed import NOWHERE
from tests.integration.esr.killed_confirm import POINTS, SMALL, ConfirmNursery

pytestmark = [pytest.mark.timeout(900), pytest.mark.xdist_group("esr_killed")]

COLLECTIONS = (
    *("esr_app_record", "esr_notification", "esr_answer", "esr_export", "esr_call", "esr_file"),
    *("esr_sighting", "outbox", "quarantine", "esr_lease", "fence"),
)
RECORDS = 45
# What may differ after a run that was killed: places in the fence's count, tries and whose they were.
VOLATILE = {"order", "attempts", "lease", "sent_at", "body", "seen"}


@pytest.fixture(scope="module")
def nursery() -> Iterator[ConfirmNursery]:
    nursery = ConfirmNursery()
    yield nursery
    nursery.close()


@pytest.fixture
def side(esr: Exchange) -> Iterator[Answering]:
    with answering(esr) as opened:
        yield opened.with_settings(**SMALL)


@pytest.fixture(scope="module")
def known() -> dict[str, Any]:
    """What a run nobody kills ends in; found out by the first test that asks."""
    return {}


def fill(side: Answering, tcs: TcsSandbox) -> None:
    """Answers of every kind: good, bad, doubled, contradicting, unknown, of a file that is unknown."""
    store = side.ctx.store
    for name in COLLECTIONS:
        store[name].delete_many({})
    client = s3_client(side.ctx.settings)
    empty_bucket(client, side.ctx.settings.landing_bucket)
    for name in side.exchange.names("done"):
        side.exchange.sftp.remove(f"done/{name}")
    for name in side.exchange.names(""):
        if name.endswith(".DAT"):
            side.exchange.sftp.remove(name)
    tcs.reset()
    side.sent(records=RECORDS)
    side.sent(records=3, kind="DNC")
    lines = [apc(each, "FAIL" if each % 7 == 0 else "SUCCESS") for each in range(1, RECORDS + 1)]
    side.put([*lines[:30], "APC,x", apc(3), apc(99), apc(5, "FAIL"), *lines[30:]])
    side.put([apc(1, "FAIL", "ERROR", "Doha, Qatar"), apc(2)], day=9)
    side.put([apc(1)], 9)
    side.put([dcc(1), dcc(2, "SUCCESS", "WARNING"), dcc(3)], kind="DCC")


def to_the_end(side: Answering) -> None:
    give_up = time.monotonic() + 60
    while subjects := side.look():
        for subject in subjects:
            with contextlib.suppress(TransientError):
                confirm(side.ctx, subject)
        assert time.monotonic() < give_up
        time.sleep(0.2)


def final_state(side: Answering) -> dict[str, Any]:
    """Return everything confirmations left anywhere, without times and tries."""
    kept = [name for name in COLLECTIONS if name not in {"fence", "esr_lease", "esr_sighting"}]
    return {
        "store": {
            name: [plain(each) for each in side.ctx.store[name].find().sort("_id", 1)] for name in kept
        },
        "sftp": {folder: side.exchange.names(folder) for folder in ("", "done", "rejected")},
        "told": sorted(side.told()),
    }


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: plain(each)
            for key, each in value.items()
            if key not in VOLATILE and not isinstance(each, datetime)
        }
    return [plain(each) for each in value] if isinstance(value, list) else value


def uninterrupted(side: Answering, nursery: ConfirmNursery) -> dict[str, Any]:
    fill(side, side.exchange.tcs)
    answer = nursery.run(dict(os.environ), *NOWHERE)
    assert set(answer.get("passed", answer)) == set(POINTS)
    state = final_state(side)
    assert len(state["told"]) == RECORDS + 2  # two were answered differently later
    assert {each["state"] for each in state["store"]["esr_file"]} == {"published"}
    return {"passed": answer["passed"], "state": json.loads(json.dumps(state, default=str))}


def killed_and_run_again(
    side: Answering, nursery: ConfirmNursery, point: str, number: int, expected: dict[str, Any]
) -> None:
    fill(side, side.exchange.tcs)
    assert nursery.run(dict(os.environ), point, number) == {"signal": signal.SIGKILL}
    to_the_end(side)
    state = json.loads(json.dumps(final_state(side), default=str))
    for part, wanted in expected.items():
        assert state[part] == wanted, f"{part} differs, killed at {point} {number}"


@pytest.mark.parametrize("point", [point for point in POINTS if point != "committed"])
def test_confirmations_killed_after_a_side_effect_end_the_same_when_run_again(point, side, nursery, known):
    if not known:
        known.update(uninterrupted(side, nursery))
    for number in sorted({1, known["passed"][point]}):
        killed_and_run_again(side, nursery, point, number, known["state"])


@pytest.mark.parametrize("first", [1, 2], ids=["odd", "even"])
def test_confirmations_killed_after_any_commit_end_the_same_when_run_again(first, side, nursery, known):
    if not known:
        known.update(uninterrupted(side, nursery))
    for number in range(first, known["passed"]["committed"] + 1, 2):
        killed_and_run_again(side, nursery, "committed", number, known["state"])

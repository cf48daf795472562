"""Killed after any side effect and run again, the exchange ends as if nothing had happened."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from include.events.topics import ensure_topics
from include.sandbox.esr.dirt import Dirt
from include.sandbox.esr.files import MadeFile, rmc, rmf
from include.settings import Settings
from tests.conftest import empty_bucket, s3_client
from tests.integration.esr.inbound import DAY, SUBSCRIBERS, WORLD, Exchange, exchange
from tests.integration.esr.killed import NOWHERE, POINTS, Nursery

pytestmark = [pytest.mark.timeout(900), pytest.mark.xdist_group("esr_killed")]

# Small enough that every stage commits several times.
SMALL = {"SPOTLIGHT_ESR_CHUNK_BYTES": "8192", "SPOTLIGHT_BATCH_SIZE": "60"}
AT_ONCE_AGAIN = 6
# Of each side effect, the first time, the last, and one in between; of commits, every one (below).
PLACES = (0.0, 0.5, 1.0)
COMMITTED = "committed"


def files() -> list[MadeFile]:
    """Return two days of a deanery, small, with bad lines, and a file of another that is condemned."""
    return [
        rmf("KSS", DAY, 17, world=WORLD, posts=25, dirt=(Dirt.BAD_ID, Dirt.TOO_FEW)),
        rmc("KSS", DAY + timedelta(days=1), 18, world=WORLD, posts=60),
        rmf("LDN", DAY, 9, world=WORLD, posts=3, dirt=(Dirt.WRONG_FOOTER,)),
    ]


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    opened = Nursery()
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def known() -> dict[str, Any]:
    """The end state of a run nobody killed, and how often it passed each point; filled by the first test."""
    return {}


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("SPOTLIGHT_")} | SMALL


def to_the_end(nursery: Nursery, esr: Exchange) -> dict[str, Any]:
    """Run until nothing waits: what a killed process held is free once its lease has run out."""
    report: dict[str, Any] = {}
    for _ in range(AT_ONCE_AGAIN):
        report = nursery.run(environment(), *NOWHERE)
        assert "crashed" not in report, report["crashed"]
        if not report["waiting"] and not esr.store["esr_person"].count_documents(
            {"pending": True, "outcome.status": "unsettled"}
        ):
            break
        time.sleep(1)
    return report


@contextlib.contextmanager
def apart(esr: Exchange, name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Exchange]:
    """Open an exchange with store, bucket, topics and folder of its own, and TCS as it was at the start."""
    given = esr.settings
    names = {
        "SPOTLIGHT_MONGO_DATABASE": f"{given.mongo_database}_{name}",
        "SPOTLIGHT_LANDING_BUCKET": f"{given.landing_bucket}-{name}",
        "SPOTLIGHT_EVENTS_PREFIX": name,
        "SPOTLIGHT_ESR_INBOUND_FOLDER": f"{given.esr_inbound_folder}-{name}",
    }
    with monkeypatch.context() as patched:
        for variable, value in names.items():
            patched.setenv(variable, value)
        settings = Settings()
        client = s3_client(settings)
        client.create_bucket(Bucket=settings.landing_bucket)
        ensure_topics(settings)
        esr.tcs.reset()
        with exchange(settings, esr.tcs) as opened:
            for file in files():
                opened.sftp.put(file.name, file.body)
            yield opened
            opened.store.client.drop_database(settings.mongo_database)
        empty_bucket(client, settings.landing_bucket)
        client.delete_bucket(Bucket=settings.landing_bucket)


def uninterrupted(esr: Exchange, nursery: Nursery, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return what a run nobody kills ends in, and how often it passed each point."""
    with apart(esr, "whole", monkeypatch) as other:
        report = to_the_end(nursery, other)
        state = other.final_state()
    assert list(report["failed"]) == ["DE_LDN_RMF_20260304_00000009.DAT#1"]
    # Else the tests below would prove less than they say.
    assert set(report["passed"]) == set(POINTS)
    assert {name: len(events) > AT_ONCE_AGAIN for name, events in state["events"].items()} == dict.fromkeys(
        SUBSCRIBERS, True
    )
    return {"passed": report["passed"], "state": state}


def killed_and_run_again(
    point: str, number: int, other: Exchange, nursery: Nursery, expected: dict[str, Any]
) -> None:
    """Kill a run after a side effect, run again to the end, and compare all that is left anywhere."""
    assert nursery.run(environment(), point, number) == {"signal": signal.SIGKILL}
    to_the_end(nursery, other)
    state = other.final_state()
    for part, wanted in expected.items():
        assert state[part] == wanted, f"{part} differs, killed at {point} {number}"


@pytest.mark.parametrize("point", [point for point in POINTS if point != COMMITTED])
def test_a_run_killed_after_a_side_effect_ends_the_same_when_run_again(
    point: str,
    esr: Exchange,
    nursery: Nursery,
    known: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
):
    if not known:
        known.update(uninterrupted(esr, nursery, monkeypatch))
    numbers = {1 + round(place * (known["passed"][point] - 1)) for place in PLACES}
    for number in sorted(numbers):
        with apart(esr, f"{point}{number}", monkeypatch) as other:
            killed_and_run_again(point, number, other, nursery, known["state"])


@pytest.mark.parametrize("first", [1, 2], ids=["odd", "even"])
def test_a_run_killed_after_any_commit_ends_the_same_when_run_again(
    first: int,
    esr: Exchange,
    nursery: Nursery,
    known: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
):
    if not known:
        known.update(uninterrupted(esr, nursery, monkeypatch))
    for number in range(first, known["passed"][COMMITTED] + 1, 2):
        with apart(esr, f"commit{number}", monkeypatch) as other:
            killed_and_run_again(COMMITTED, number, other, nursery, known["state"])

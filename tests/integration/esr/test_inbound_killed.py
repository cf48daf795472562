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
# Of each point, the first time, the last, and some in between; of commits, which come in every stage, more.
PLACES = dict.fromkeys(POINTS, (0.0, 0.5, 1.0)) | {"committed": tuple(at / 9 for at in range(10))}


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
def apart(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Use a store, bucket, topics and folder apart from the test's own for the block."""
    names = {
        "SPOTLIGHT_MONGO_DATABASE": f"{settings.mongo_database}_apart",
        "SPOTLIGHT_LANDING_BUCKET": f"{settings.landing_bucket}-apart",
        "SPOTLIGHT_EVENTS_PREFIX": "apart",
        "SPOTLIGHT_ESR_INBOUND_FOLDER": f"{settings.esr_inbound_folder}-apart",
    }
    with monkeypatch.context() as patched:
        for name, value in names.items():
            patched.setenv(name, value)
        yield


def uninterrupted(esr: Exchange, nursery: Nursery, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return what a run nobody kills ends in."""
    with apart(esr.settings, monkeypatch):
        settings = Settings()
        client = s3_client(settings)
        client.create_bucket(Bucket=settings.landing_bucket)
        ensure_topics(settings)
        with exchange(settings, esr.tcs) as other:
            for file in files():
                other.sftp.put(file.name, file.body)
            report = to_the_end(nursery, other)
            state = other.final_state()
            other.store.client.drop_database(settings.mongo_database)
        empty_bucket(client, settings.landing_bucket)
        client.delete_bucket(Bucket=settings.landing_bucket)
    esr.tcs.reset()
    assert list(report["failed"]) == ["DE_LDN_RMF_20260304_00000009.DAT#1"]
    # Else the tests below would prove less than they say.
    assert set(report["passed"]) == set(POINTS)
    assert {name: len(events) > AT_ONCE_AGAIN for name, events in state["events"].items()} == dict.fromkeys(
        SUBSCRIBERS, True
    )
    return {"passed": report["passed"], "state": state}


@pytest.mark.parametrize(("point", "place"), [(name, at) for name, places in PLACES.items() for at in places])
def test_a_run_killed_after_a_side_effect_ends_the_same_when_run_again(
    point: str,
    place: float,
    esr: Exchange,
    nursery: Nursery,
    known: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
):
    if not known:
        known.update(uninterrupted(esr, nursery, monkeypatch))
    number = 1 + round(place * (known["passed"][point] - 1))
    for file in files():
        esr.sftp.put(file.name, file.body)
    assert nursery.run(environment(), point, number) == {"signal": signal.SIGKILL}
    to_the_end(nursery, esr)
    state = esr.final_state()
    for part, expected in known["state"].items():
        assert state[part] == expected, f"{part} differs, killed at {point} {number}"

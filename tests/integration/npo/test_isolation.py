"""Twenty NPOs, three of them bad, and fewer slots than NPOs: the others finish, and soon."""

from __future__ import annotations

import multiprocessing
import time
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from importlib import import_module
from threading import Event
from typing import TYPE_CHECKING

import pytest

from tests.conformance.rows import make_manifest, make_row
from tests.conformance.tiny_server import Reply, Seen, TinyServer
from tests.integration.npo.isolated import Tried, run_extract

if TYPE_CHECKING:
    from collections.abc import Iterator

    from include.registry.models import NpoConfig
    from include.settings import Settings

SLOTS = 4
BAD = ("hangs", "floods", "fails")
GOOD = tuple(f"good_{number:02}" for number in range(17))
RECORDS, PAGES = 5, 2
TRIES = 4
"""Of a bad NPO, one right after the other: far more haste than the retry policy has."""


class Partners:
    """Twenty APIs on one server, told apart by the first part of the path."""

    def __init__(self) -> None:
        self.over = Event()

    def answer(self, seen: Seen) -> Reply:
        name = seen.path.split("/")[1]
        if name == "hangs":
            self.over.wait(10)
            return Reply(body={"items": []})
        if name == "floods":
            return Reply(429, {"message": "too many"}, {"Retry-After": "600"})
        if name == "fails":
            return Reply(500, {"message": "no"})
        page = int(seen.query.get("page", ["1"])[0])
        items = [
            {"id": f"{page}-{n}", "name": "n", "changed": "2026-01-01T00:00:00Z"} for n in range(RECORDS)
        ]
        following = f"http://{seen.headers['Host']}/{name}/items?page={page + 1}" if page < PAGES else None
        return Reply(body={"items": items, "next": following})


def row(server: TinyServer, npo_id: str) -> NpoConfig:
    return make_row(f"{server.url}/{npo_id}", npo_id=npo_id, manifest=make_manifest(timeout=0.5))


@pytest.fixture
def slots() -> Iterator[ProcessPoolExecutor]:
    """Warm worker processes, forked as LocalExecutor does; before any thread is started."""
    for module in ("paging", "wire", "rest"):
        import_module(f"include.connectors.{module}")
    with ProcessPoolExecutor(SLOTS, mp_context=multiprocessing.get_context("fork")) as slots:
        list(slots.map(time.sleep, [0.01] * SLOTS))
        yield slots


def asked(server: TinyServer, name: str) -> int:
    return sum(seen.path.startswith(f"/{name}/") for seen in server.seen)


def test_seventeen_of_twenty_finish_while_three_hang_flood_and_fail(
    slots: ProcessPoolExecutor, settings: Settings, empty_database: str
) -> None:
    settings = settings.model_copy(update={"npo_breaker_failures": 2, "npo_breaker_seconds": 120})
    partners = Partners()
    tries: list[Tried] = []
    with TinyServer(partners.answer) as server:
        start = time.monotonic()

        def begin(npo_id: str) -> Future[Tried]:
            return slots.submit(run_extract, row(server, npo_id), settings, f"run__{len(tries)}")

        # The bad ones stand first in the queue, and come back as soon as they failed.
        under_way = {begin(name) for name in (*BAD, *GOOD)}
        last_good = start
        while under_way:
            done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
            for tried in (one.result() for one in done):
                tries.append(tried)
                if tried.npo_id in GOOD:
                    last_good = time.monotonic()
                elif sum(other.npo_id == tried.npo_id for other in tries) < TRIES:
                    under_way.add(begin(tried.npo_id))
        partners.over.set()
        sent = {name: asked(server, name) for name in BAD}

    good = [tried for tried in tries if tried.npo_id in GOOD]
    assert {tried.npo_id: tried.records for tried in good} == dict.fromkeys(GOOD, RECORDS * PAGES)
    assert last_good - start < 30
    ends = {name: [tried.failure for tried in tries if tried.npo_id == name] for name in BAD}
    # Two requests of two tries each, then the breaker spares both sides the rest.
    assert ends["hangs"] == ends["fails"] == ["TransientError"] * 2 + ["NoTurnError"] * (TRIES - 2)
    assert sent["hangs"] == sent["fails"] == 4
    # Told once to stay away for ten minutes, every worker does.
    assert ends["floods"] == ["RateLimitedError"] * TRIES
    assert sent["floods"] == 1
    held = [tried.seconds for tried in tries if tried.failure == "NoTurnError"]
    assert max(held) < 5

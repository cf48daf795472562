"""A run of an NPO killed after every side effect of every stage ends, in the end, as one left alone."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import Counter
from dataclasses import replace
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from include.events.publisher import Publisher
from include.npo import extract as extract_stage
from include.npo.extract import extract
from include.storage import outbox
from include.storage.landing import LandingZone
from include.storage.mongo import IntegrationStore
from include.storage.pending import has_pending
from include.storage.raw import state_of
from tests.integration.npo.conftest import LATER_STAGES

if TYPE_CHECKING:
    from tests.integration.npo.conftest import Sync

FORK = multiprocessing.get_context("fork")
MOST_KILLS = 60
AGAIN: dict[str, tuple[tuple[Any, str], tuple[int, ...]]] = {
    "a page is landed": ((LandingZone, "put"), (1, 2, 4)),
    "a list is landed": ((LandingZone, "put_manifest"), (1, 2)),
    "events are sent": ((Publisher, "_send_batch"), (1, 30, 60)),
}
"""What was done is done again, so each death is a later one."""
KEPT: dict[str, tuple[Any, str]] = {
    "a batch is committed": (IntegrationStore, "commit"),
    "events are marked as sent": (outbox, "mark_published"),
    "a reading is confirmed": (extract_stage, "confirm_checkpoint"),
}
"""What was done stays done, so every start comes further, until one gets through."""


def run_and_die(mine: Sync, step: tuple[Any, str], nth: int) -> None:
    """Run all stages in a process of its own, killed right after a step was done for the nth time."""
    owner, name = step
    whole, done = getattr(owner, name), count(1)

    def fatal(*args: Any, **kwargs: Any) -> Any:
        result = whole(*args, **kwargs)
        if next(done) == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, fatal)
    # No connection of the parent's: a fork must not share one.
    ctx = replace(mine.context(), store=IntegrationStore(mine.settings), landing=LandingZone(mine.settings))
    if (ref := extract(ctx)) is not None:
        for stage in LATER_STAGES:
            ref = stage(ctx, ref)


def exit_of(mine: Sync, step: tuple[Any, str], nth: int) -> int | None:
    child = FORK.Process(target=run_and_die, args=(mine, step, nth))
    child.start()
    child.join(60)
    return child.exitcode


def killed_again(mine: Sync, step: tuple[Any, str], deaths: tuple[int, ...]) -> int:
    """Let a run die at each of these times, then get through; return how many died."""
    codes = [exit_of(mine, step, nth) for nth in deaths]
    assert codes == [-signal.SIGKILL] * len(deaths)
    assert exit_of(mine, step, MOST_KILLS**3) == 0
    return len(deaths)


def killed_until_through(mine: Sync, step: tuple[Any, str]) -> int:
    """Let every run die at its first step until one gets through; return how many died."""
    for killed in range(MOST_KILLS):
        code = exit_of(mine, step, 1)
        if code == 0:
            return killed
        assert code == -signal.SIGKILL, f"ended by itself with {code}"
    raise AssertionError(f"not through after {MOST_KILLS} kills")


def end_state(mine: Sync) -> dict[str, Any]:
    """Return what must be the same however often a run was killed: contents, versions, states; no times."""
    store = mine.store
    return {
        "raw": {
            doc["_id"]: (doc["content_hash"], doc["deleted_upstream"], state_of(store, doc["_id"]))
            for doc in store["npo_raw"].find()
        },
        "entities": {
            doc["_id"]: (doc["version"], doc["content_hash"])
            for name in ("npo_offering", "npo_assignment")
            for doc in store[name].find()
        },
        "versions": sorted(doc["_id"] for doc in store["npo_version"].find()),
        "quarantine": {doc["_id"]: doc["state"] for doc in store["quarantine"].find()},
        "outbox": {doc["_id"]: doc.get("pending", False) for doc in store["outbox"].find()},
        "checkpoints": {
            doc["_id"]: doc.get("cursor")
            for doc in store["npo_checkpoint"].find({"cursor": {"$exists": True}})
        },
        "events": Counter(event["id"] for event in mine.events()),
    }


def cleared(mine: Sync) -> None:
    for name in ("npo_raw", "npo_offering", "npo_assignment", "npo_version", "quarantine", "outbox", "fence"):
        mine.store[name].delete_many({})
    mine.store["npo_checkpoint"].delete_many({})


@pytest.fixture
def small(sync):
    """A partner read in many small batches."""
    made = sync(
        "codebridge", manifest={"resources": {"assignments": {"endpoint": {"params": {"limit": 200}}}}}
    )
    made.settings = made.settings.model_copy(update={"batch_size": 200})
    return made


@pytest.mark.timeout(300)
def test_killed_after_every_side_effect_a_run_ends_as_one_that_was_left_alone(small):
    small.run()
    undisturbed = end_state(small)
    assert not has_pending(small.store, small.npo.npo_id)
    assert len(undisturbed["events"]) > 100
    expected = {key: value for key, value in undisturbed.items() if key != "events"}
    steps = {name: partial(killed_again, small, *entry) for name, entry in AGAIN.items()}
    steps |= {name: partial(killed_until_through, small, entry) for name, entry in KEPT.items()}
    deaths: dict[str, int] = {}
    for name, killed in steps.items():
        cleared(small)
        deaths[name] = killed()
        disturbed = end_state(small)
        # The broker drops an id it had a moment ago, as it did for the whole first run.
        assert not disturbed.pop("events") - undisturbed["events"], name
        assert disturbed == expected, name
        assert not has_pending(small.store, small.npo.npo_id), name
    assert deaths["a batch is committed"] >= 8, deaths
    assert deaths["events are marked as sent"] >= 1, deaths

"""Generation killed after any commit and run again ends as if nothing had happened, to ESR too."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

import orjson
import pytest

from include.esr.generation import generate as generation
from include.esr.generation import wake
from include.esr.generation.generate import generate
from include.esr.outbound import RecordState
from include.esr.tcs import Tcs
from include.events.topics import POSITION_RECONCILED, connect, queue_name
from include.storage.landing import LandingZone
from include.storage.mongo import IntegrationStore
from tests.integration.esr.killed import _watch
from tests.integration.esr.out_chain import DAY, KSS, Chain, chain, opened_chain, problems

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("esr_killed")]

__all__ = ["chain"]
FORK = multiprocessing.get_context("fork")
NEXT = DAY + timedelta(1)
POSTS = 6
KEPT = (
    *("esr_app_record", "esr_notification", "esr_post", "esr_todo", "esr_export", "esr_sequence"),
    *("esr_call", "esr_position"),
)
GENERATED = ("esr_app_record", "esr_notification", "esr_post", "esr_todo")
VOLATILE = {"order", "attempts", "lease", "exportedAt", "stamp", "parts"}


def fill(chain: Chain) -> None:
    """Make posts of which every batch of generation has news on both days."""
    for at in range(POSTS):
        number = f"KSS/RXC01/800/GPST/{at:03d}"
        post = chain.post(number)
        chain.position(100 + at, post, number)
        chain.position(200 + at, post, number, host_lead_indicator="Lead Employer")
        chain.place(2 * at, post, DAY - timedelta(60), 80)
        chain.place(2 * at + 1, post, DAY + timedelta(2 + 15 * at))


def change(chain: Chain) -> None:
    """Change something of every post before the second day."""
    records = chain.records().values()
    placements = {each["post_id"]: each["placement_id"] for each in records if each["start"] > f"{DAY}"}
    for at, (post, placement) in enumerate(sorted(placements.items())):
        match at % 3:
            case 0:
                chain.tcs.remove_placement(placement)
                chain.place(30 + at, post, NEXT + timedelta(40))
            case 1:
                chain.tcs.move_placement(placement, NEXT + timedelta(20), NEXT + timedelta(70))
                chain.change_position(100 + at, deleted=True)
            case _:
                chain.tcs.approve_placement(placement, approved=False)


def killed(chain: Chain, run: Callable[[Chain], object], fatal: tuple[str, str, str], nth: int) -> bool:
    """Run in a process of its own that dies after the nth time; return whether it came so far."""

    def child() -> None:
        module, owner, method = fatal
        holder = importlib.import_module(module)
        _watch(getattr(holder, owner) if owner else holder, method, method, Counter(), (method, nth))
        settings = chain.ctx.settings
        ctx = replace(chain.ctx, store=IntegrationStore(settings), landing=LandingZone(settings))
        run(replace(chain, ctx=ctx))
        os._exit(0)

    process = FORK.Process(target=child)
    process.start()
    process.join(60)
    assert process.exitcode in {0, -signal.SIGKILL}
    return process.exitcode != 0


NOTED = ("include.esr.generation.wake", "", "note_todo")
COMMIT = ("include.storage.mongo", "IntegrationStore", "commit")


def final_state(chain: Chain) -> dict[str, Any]:
    """Return everything that is left at either end, without times and tries."""
    store = {name: [plain(each) for each in chain.ctx.store[name].find().sort("_id", 1)] for name in KEPT}
    rows = {place: dict(row.values) for place, row in chain.rows().items()}
    return {"store": store, "esr": rows, "tcs": chain.told()}


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: plain(each)
            for key, each in value.items()
            if key not in VOLATILE and not isinstance(each, datetime)
        }
    return [plain(each) for each in value] if isinstance(value, list) else value


def played(chain: Chain, day: date, nth: int) -> tuple[dict[str, Any], bool]:
    """Play two days to their end, generation of one of them killed after its nth commit.

    Returns:
        The final state, and whether there was an nth commit.
    """
    fill(chain)
    is_dead = False
    for today in (DAY, NEXT):
        if today == NEXT:
            change(chain)
        if today == day:
            is_dead = killed(chain, lambda given: given.sweep(today), COMMIT, nth)  # noqa: B023 - called now
            assert len(chain.records()) < 4 * POSTS + POSTS
        chain.send(today)
        assert chain.play(today).set_aside == []
        assert problems(chain) == []
    return final_state(chain), is_dead


@pytest.mark.parametrize("day", [DAY, NEXT], ids=["first", "second"])
def test_generation_killed_after_any_commit_ends_the_same_when_run_again(
    day, esr_ctx, topics, tcs_sandbox, monkeypatch
):
    monkeypatch.setattr(generation, "POSTS_AT_ONCE", 2)
    with opened_chain(esr_ctx, tcs_sandbox) as chain:
        undisturbed, _ = played(chain, date.min, 0)
    assert {each["state"] for each in undisturbed["store"]["esr_app_record"]} >= {RecordState.EXPORTED}
    nth, is_dead = 0, True
    while is_dead:
        nth += 1
        with opened_chain(esr_ctx, tcs_sandbox) as chain:
            state, is_dead = played(chain, day, nth)
        for part, wanted in undisturbed.items():
            assert state[part] == wanted, f"{part} differs, killed at commit {nth}"
    assert nth > POSTS / 2


def tell_of_posts(chain: Chain, posts: dict[int, int]) -> None:
    """Put the events of reconciled positions into both subscribers' queues."""
    clients = connect(chain.ctx.settings)
    for subscriber in wake.SUBSCRIBERS:
        name = queue_name(chain.ctx.settings, subscriber, POSITION_RECONCILED)
        url = clients.sqs.get_queue_url(QueueName=name)["QueueUrl"]
        # What a killed reader had read and not deleted comes again this soon.
        clients.sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "1"})
        for position, post in posts.items():
            body = {"data": {"position": {"deanery": KSS, "position_id": position, "post_id": post}}}
            clients.sqs.send_message(
                QueueUrl=url,
                MessageBody=orjson.dumps(body).decode(),
                MessageGroupId=f"{position}",
                MessageDeduplicationId=f"{position}",
            )


def woken(given: Chain) -> None:
    """Do what ``esr_generation`` does."""
    wake.receive(given.ctx)
    with Tcs(given.ctx.settings) as tcs:
        generate(given.ctx, KSS, tcs, today=DAY, sweep=False)


@pytest.mark.parametrize(
    ("fatal", "nth"), [(NOTED, 1), (NOTED, 2), (COMMIT, 1)], ids=["noted", "noted twice", "committed"]
)
def test_no_event_is_lost_when_who_reads_the_queues_is_killed(chain, fatal, nth, monkeypatch):
    monkeypatch.setattr(generation, "POSTS_AT_ONCE", 2)
    fill(chain)
    posts = {each["_id"]: each["match"]["post_id"] for each in chain.ctx.store["esr_position"].find()}
    tell_of_posts(chain, posts)
    assert killed(chain, woken, fatal, nth)
    time.sleep(1.5)
    woken(chain)
    by_events = generated(chain)
    assert len(by_events["esr_post"]) == POSTS
    assert by_events["esr_todo"] == []
    for name in GENERATED:
        chain.ctx.store[name].delete_many({})
    chain.sweep()
    assert by_events == generated(chain)


def generated(chain: Chain) -> dict[str, Any]:
    """Return what generation has made, without times."""
    return {name: [plain(each) for each in chain.ctx.store[name].find().sort("_id", 1)] for name in GENERATED}

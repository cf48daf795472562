"""Positions find their posts in TCS; consumers and posts are told once, whatever fails in between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import orjson
import pytest

from include.errors import IntegrationError
from include.esr.context import EsrContext
from include.esr.documents import owner
from include.esr.positions.reconcile import reconcile_positions
from include.esr.tcs import Tcs
from include.esr.tcs.calls import deliver
from include.events.schema import problem
from include.sandbox.tcs.process import TcsSandbox
from tests.integration.esr.position_lines import NOW, line, save, source

A, B = "KSS/TST01/800/STR/001", "KSS/TST01/800/STR/002"
NOWHERE = "KSS/TST01/800/STR/999/S"


@dataclass
class Exchange:
    """One deanery's positions, and the TCS they are reconciled with."""

    ctx: EsrContext
    tcs: Tcs
    sandbox: TcsSandbox
    posts: dict[str, int]
    lines: list[str] = field(default_factory=list)
    sequence: int = 1

    def file(self, *pos: dict[str, Any], por: list[dict[str, Any]] | None = None) -> None:
        """Save the next day's file."""
        save(self.ctx.store, source(self.sequence), pos=list(pos), por=por)
        self.sequence += 1

    def reconcile(self) -> dict[str, int]:
        return reconcile_positions(self.ctx, "KSS", self.tcs)

    def position(self, position_id: int = 7) -> dict[str, Any]:
        found = self.ctx.store["esr_position"].find_one({"_id": position_id})
        assert found is not None
        return found

    def result(self, position_id: int = 7) -> tuple[str, int | None]:
        match = self.position(position_id)["match"]
        return match["status"], match["post_id"]

    def events(self) -> list[dict[str, Any]]:
        """Return the events that wait, in order."""
        found = self.ctx.store["outbox"].find({"owner": "esr/KSS"}).sort([("order", 1), ("_id", 1)])
        return [orjson.loads(doc["body"]) for doc in found]

    def deliver(self) -> dict[int, list[tuple[int, str]]]:
        """Tell TCS what waits and return what each post was told so far: position and status."""
        deliver(self.ctx.store, owner("KSS"), self.tcs, self.ctx.settings, now=self.ctx.now)
        events = self.sandbox.post_events()
        return {
            post: [(event["positionId"], event["status"]) for event in said] for post, said in events.items()
        }


@pytest.fixture
def exchange(esr_ctx, tcs_sandbox):
    loaded = tcs_sandbox.load_posts({"nationalPostNumber": A}, {"nationalPostNumber": B})
    with Tcs(esr_ctx.settings) as tcs:
        yield Exchange(esr_ctx, tcs, tcs_sandbox, {post["nationalPostNumber"]: post["id"] for post in loaded})


def at(number: str, position_id: int = 7, **said: Any) -> dict[str, Any]:
    return line(position_id, deanery_number=number, **said)


def test_a_position_whose_number_tcs_has_is_matched_and_told(exchange):
    exchange.file(at(A), por=[at(A, employing_org_vpd_code="096", host_lead_indicator="Host Employer")])
    counts = exchange.reconcile()
    assert counts == {"positions": 1, "matched": 1, "unmatched": 0, "deleted": 0, "events": 1, "calls": 1}
    assert exchange.result() == ("MATCHED", exchange.posts[A])
    assert "pending" not in exchange.position()
    (event,) = exchange.events()
    assert event["source"] == "/esr-exchange/KSS"
    assert event["data"]["position"]["employing_org_vpd_code"] == "096"
    assert problem(event["type"], event["data"]) is None
    assert exchange.deliver() == {exchange.posts[A]: [(7, "RECONCILED")]}


@pytest.mark.parametrize("number", [NOWHERE, A.lower(), f"{A}/S", f" {A}"])
def test_only_the_exact_number_matches(exchange, number):
    exchange.file(at(number))
    assert exchange.reconcile()["unmatched"] == 1
    assert exchange.result() == ("UNMATCHED", None)
    assert exchange.events() == []


def test_one_post_may_have_many_positions(exchange):
    exchange.file(*(at(A, position_id) for position_id in (7, 8, 9)))
    assert exchange.reconcile()["matched"] == 3
    assert sorted(exchange.deliver()[exchange.posts[A]]) == [(each, "RECONCILED") for each in (7, 8, 9)]


def test_an_unmatched_position_is_tried_again_and_matched_when_tcs_gets_the_post(exchange):
    exchange.file(at(NOWHERE))
    exchange.reconcile()
    assert exchange.reconcile() == {
        "positions": 1,
        "matched": 0,
        "unmatched": 1,
        "deleted": 0,
        "events": 0,
        "calls": 0,
    }
    (post,) = exchange.sandbox.load_posts({"nationalPostNumber": NOWHERE})
    assert exchange.reconcile()["matched"] == 1
    assert exchange.result() == ("MATCHED", post["id"])
    assert "unmatched" not in exchange.position()
    assert exchange.reconcile()["positions"] == 0
    assert exchange.deliver() == {post["id"]: [(7, "RECONCILED")]}


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 503},
        {"kind": "status", "status": 404},
        {"kind": "status", "status": 400},
        {"kind": "drop"},
        {"kind": "not_json"},
        {"kind": "body", "body": {}},
        {"kind": "body", "body": None},
    ],
    ids=str,
)
def test_a_failed_lookup_never_gives_unmatched(exchange, fault):
    exchange.file(at(A))
    exchange.sandbox.misbehave({"call": "posts/filter"} | fault)
    impatient = exchange.ctx.settings.model_copy(update={"tcs_breaker_failures": 1})
    with Tcs(impatient) as tcs, pytest.raises(IntegrationError):
        reconcile_positions(exchange.ctx, "KSS", tcs)
    waiting = exchange.position()
    assert (waiting["match"], waiting["pending"], waiting.get("unmatched")) == (None, True, None)
    assert exchange.events() == []


def test_a_lookup_that_fails_leaves_a_match_as_it_was(exchange):
    exchange.file(at(A))
    exchange.reconcile()
    exchange.file(at(A, ods_code="RXC"))
    exchange.sandbox.misbehave({"call": "posts/filter", "kind": "not_json"})
    with pytest.raises(IntegrationError):
        exchange.reconcile()
    assert exchange.result() == ("MATCHED", exchange.posts[A])
    exchange.sandbox.behave()
    with Tcs(exchange.ctx.settings) as tcs:
        assert reconcile_positions(exchange.ctx, "KSS", tcs)["matched"] == 1


def test_a_moved_post_tells_deleted_to_the_old_and_reconciled_to_the_new_once(exchange):
    exchange.file(at(A))
    exchange.reconcile()
    exchange.deliver()
    exchange.file(at(B))
    for _ in range(2):
        exchange.reconcile()
        told = exchange.deliver()
    assert told == {
        exchange.posts[A]: [(7, "RECONCILED"), (7, "DELETED")],
        exchange.posts[B]: [(7, "RECONCILED")],
    }
    last = exchange.events()[-1]["data"]
    assert (last["previous_post_id"], last["position"]["post_id"]) == (exchange.posts[A], exchange.posts[B])


def test_d_then_c_tells_the_post_each_time(exchange):
    exchange.file(at(A))
    exchange.reconcile()
    exchange.file(at(A, indicator="D"))
    exchange.reconcile()
    exchange.file(at(A))
    exchange.reconcile()
    exchange.file(at(A, indicator="D"))
    exchange.reconcile()
    said = exchange.deliver()[exchange.posts[A]]
    assert [status for _, status in said] == ["RECONCILED", "DELETED", "RECONCILED", "DELETED"]
    assert [event["data"]["position"]["deleted"] for event in exchange.events()] == [False, True, False, True]
    assert [int(event["sequence"]) for event in exchange.events()] == [1, 2, 3, 4]


def test_a_deleted_position_is_not_looked_up(exchange):
    exchange.file(at(A, indicator="D"))
    exchange.tcs.calls.clear()
    assert exchange.reconcile()["deleted"] == 1
    assert sum(exchange.tcs.calls.values()) == 0
    assert exchange.position()["match"] is None
    assert exchange.events() == []
    assert exchange.deliver() == {}


def test_stale_deleted_positions_are_told_to_nobody(exchange):
    """Incident: stale deleted positions produced extra applicants."""
    exchange.file(at(A))
    exchange.sequence = 5
    exchange.file(at(A, indicator="D"))
    exchange.sequence = 3
    exchange.file(at(A), por=[at(A)])
    exchange.reconcile()
    assert exchange.position()["deleted"]
    assert exchange.events() == []
    assert exchange.deliver() == {}


def test_an_unmatched_position_that_is_deleted_is_tried_no_more(exchange):
    exchange.file(at(NOWHERE))
    exchange.reconcile()
    exchange.file(at(NOWHERE, indicator="D"))
    exchange.reconcile()
    exchange.tcs.calls.clear()
    assert exchange.reconcile()["positions"] == 0
    assert sum(exchange.tcs.calls.values()) == 0


def test_replaying_a_file_tells_nothing(exchange):
    exchange.file(at(A), at(NOWHERE, 8))
    exchange.reconcile()
    exchange.deliver()
    before, told = list(exchange.ctx.store["esr_position"].find()), exchange.sandbox.digest()
    exchange.sequence = 1
    exchange.file(at(A), at(NOWHERE, 8))
    counts = exchange.reconcile()
    exchange.deliver()
    assert (counts["events"], counts["calls"]) == (0, 0)
    assert list(exchange.ctx.store["esr_position"].find()) == before
    assert exchange.sandbox.digest() == told
    assert len(exchange.events()) == 1


def test_a_changed_position_with_the_same_post_is_an_event_and_no_call(exchange):
    exchange.file(at(A))
    exchange.reconcile()
    exchange.file(at(A, ods_code="RXC"))
    assert (exchange.reconcile()["events"], exchange.ctx.store["esr_call"].count_documents({})) == (1, 1)
    assert exchange.events()[-1]["data"]["position"]["file"] == "DE_KSS_RMC_20260302_00000002.DAT"


def test_another_deanerys_positions_are_left_to_it(exchange):
    save(exchange.ctx.store, source(1, deanery="LDN"), pos=[at(A, 70)])
    exchange.file(at(A))
    assert exchange.reconcile()["positions"] == 1
    assert exchange.position(70)["pending"]


def test_posts_are_looked_up_in_bulk_and_batches_commit_one_by_one(exchange):
    settings = exchange.ctx.settings.model_copy(update={"batch_size": 40})
    ctx = EsrContext("run", exchange.ctx.store, exchange.ctx.landing, settings)
    exchange.file(*(at(A if each % 2 else NOWHERE, each) for each in range(1, 101)))
    exchange.tcs.calls.clear()
    counts = reconcile_positions(ctx, "KSS", exchange.tcs)
    assert (counts["positions"], counts["matched"], counts["events"]) == (100, 50, 50)
    assert sum(exchange.tcs.calls.values()) <= 2
    assert exchange.ctx.store.fence("esr/KSS") == 1 + 3


def test_a_file_saved_during_the_lookup_is_not_lost(exchange, monkeypatch):
    exchange.file(at(A))
    look_up: Callable[..., Any] = exchange.tcs.posts

    def slowly(numbers):
        if exchange.sequence == 2:
            exchange.file(at(B))
        return look_up(numbers)

    monkeypatch.setattr(exchange.tcs, "posts", slowly)
    exchange.reconcile()
    assert exchange.result() == ("MATCHED", exchange.posts[B])
    assert exchange.deliver() == {exchange.posts[B]: [(7, "RECONCILED")]}


def test_a_crash_before_the_commit_leaves_nothing_half_done(exchange, monkeypatch):
    exchange.file(at(A))

    def crash(*_: object, **__: object) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr("include.esr.positions.reconcile.queue_calls", crash)
        with pytest.raises(RuntimeError):
            exchange.reconcile()
    assert (exchange.events(), exchange.position()["match"]) == ([], None)
    exchange.reconcile()
    assert len(exchange.events()) == 1
    assert exchange.deliver() == {exchange.posts[A]: [(7, "RECONCILED")]}


def test_a_post_that_comes_back_under_a_held_clock_is_told_at_another_time(exchange):
    ctx = EsrContext("run", exchange.ctx.store, exchange.ctx.landing, exchange.ctx.settings, now=lambda: NOW)
    for indicator in "CDC":
        exchange.file(at(A, indicator=indicator))
        reconcile_positions(ctx, "KSS", exchange.tcs)
    exchange.deliver()
    said = exchange.sandbox.post_events()[exchange.posts[A]]
    times = [datetime.fromisoformat(event["eventDateTime"]) for event in said]
    assert times == [NOW + timedelta(milliseconds=each) for each in range(3)]

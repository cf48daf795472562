"""Calls to TCS are told exactly once, in order, though TCS takes every repeat as one more event."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from include.errors import ConfigurationError, NotYetError, TransientError
from include.esr.context import EsrContext
from include.esr.tcs import Tcs, delivery
from include.esr.tcs.answers import written
from include.esr.tcs.calls import Call, deliver, queue_calls, release_calls, waiting_calls
from include.esr.tcs.lease import held_lease
from include.sandbox.esr.world import FIRST_POST
from include.sandbox.tcs.process import TcsSandbox
from include.settings import Settings
from tests.integration.esr.tcs_client import QUICK

OWNER = "esr/NTH"
AT = datetime(2026, 3, 4, 14, 30, 0, 120_000, tzinfo=UTC)
LEASE = 2.0


def call(position: int, *, post: int = 0, status: str = "RECONCILED", nth: int = 0) -> Call:
    """The nth change of a position, told to the post ``FIRST_POST + post``."""
    body = {
        "eventDateTime": written(AT.replace(second=nth)),
        "filename": "DE_NTH_RMC_20260304_00000017.DAT",
        "postId": FIRST_POST + post,
        "positionNumber": f"{position:08d}",
        "positionId": position,
        "status": status,
    }
    return Call(id=f"{position}/{nth}/{status}", post_id=FIRST_POST + post, position_id=position, body=body)


@dataclass
class Telling:
    """One owner's calls and the stand-in they are told to."""

    ctx: EsrContext
    settings: Settings
    sandbox: TcsSandbox
    tcs: Tcs

    def queue(self, *queued: Call, owner: str = OWNER, at: datetime = AT) -> int:
        new = 0

        def prepare() -> tuple[None, Any]:
            def write(session: Any, order: int) -> None:
                nonlocal new
                new = queue_calls(self.ctx.store, session, owner, queued, order=order, at=at)

            return None, write

        self.ctx.store.commit_plan(owner, prepare)
        return new

    def deliver(self, owner: str = OWNER, **changed: Any) -> dict[str, int]:
        settings = self.settings.model_copy(update=changed)
        return deliver(self.ctx.store, owner, self.tcs, settings, now=self.ctx.now)

    def told(self) -> list[tuple[int, int, str]]:
        """Position, post and status of every event TCS has, in the order it was told."""
        bodies = [entry["body"] for entry in self.sandbox.told("event")]
        return [(body["positionId"], body["postId"] - FIRST_POST, body["status"]) for body in bodies]

    def states(self) -> dict[str, str]:
        return {found["_id"]: found["state"] for found in self.ctx.store["esr_call"].find()}


@pytest.fixture
def telling(esr_ctx: EsrContext, settings: Settings, tcs_sandbox: TcsSandbox) -> Iterator[Telling]:
    settings = settings.model_copy(update={"tcs_timeout": 0.4, "tcs_lease_seconds": LEASE})
    with Tcs(settings, patience=QUICK) as tcs:
        yield Telling(esr_ctx, settings, tcs_sandbox, tcs)


def test_what_is_queued_is_told_once_however_often_it_is_delivered(telling: Telling) -> None:
    telling.queue(*(call(position, post=position % 7) for position in range(1, 1_201)))
    assert telling.deliver() == {"told": 1_200, "read_back": 0, "refused": 0}
    assert telling.deliver() == {"told": 0, "read_back": 0, "refused": 0}
    assert sorted(telling.told()) == [(position, position % 7, "RECONCILED") for position in range(1, 1_201)]
    assert set(telling.states().values()) == {"told"}


def test_calls_of_one_position_go_out_in_the_order_they_were_queued(telling: Telling) -> None:
    telling.queue(call(1, status="DELETED"), call(1, post=1), call(2))
    telling.queue(call(1, post=1, status="DELETED", nth=1), call(1, nth=2))
    telling.deliver()
    assert [told[1:] for told in telling.told() if told[0] == 1] == [
        (0, "DELETED"),
        (1, "RECONCILED"),
        (1, "DELETED"),
        (0, "RECONCILED"),
    ]


def test_a_change_planned_again_is_queued_once(telling: Telling) -> None:
    assert telling.queue(call(1), call(2)) == 2
    assert telling.queue(call(2), call(3)) == 1
    telling.deliver()
    assert telling.queue(call(1)) == 0
    telling.deliver()
    assert len(telling.told()) == 3


def test_a_refused_call_is_kept_with_the_reason_and_the_others_go_on(telling: Telling) -> None:
    telling.queue(call(1), call(2, post=900_000), call(3))
    with capture_logs() as lines:
        assert telling.deliver() == {"told": 2, "read_back": 0, "refused": 1}
    assert waiting_calls(telling.ctx.store, OWNER) == 0
    assert alerts_of(lines) == [
        {
            "owner": OWNER,
            "kind": "esr-changed",
            "position_id": 2,
            "post_id": FIRST_POST + 900_000,
            "status": "RECONCILED",
            "reason": "404 Not Found",
        }
    ]
    telling.sandbox.load_posts({"id": FIRST_POST + 900_000, "nationalPostNumber": "NTH/NEW"})
    assert release_calls(telling.ctx.store, OWNER) == 1
    assert telling.deliver()["told"] == 1
    assert "refused" not in telling.states().values()


def alerts_of(lines: Sequence[Any]) -> list[dict[str, Any]]:
    """Return what the lines about refused calls say, which are errors."""
    return [
        {name: line[name] for name in line if name not in ("event", "log_level")}
        for line in lines
        if (line["event"], line["log_level"]) == ("esr_call_refused", "error")
    ]


def deliver_until_done(telling: Telling) -> tuple[dict[str, int], int]:
    """Deliver as the scheduler would, every time with a client of its own; return what and after how many."""
    for turn in range(10):
        with Tcs(telling.settings, patience=QUICK) as telling.tcs, suppress(NotYetError):
            return telling.deliver(), turn
        telling.ctx.store["esr_call"].update_many(
            {"state": "sending"}, [{"$set": {"sent_at": {"$subtract": ["$sent_at", 60_000]}}}]
        )
    raise AssertionError("never delivered")


@pytest.mark.parametrize("fault", [{"kind": "status", "status": 500}, {"kind": "delay", "seconds": 0.6}])
def test_a_call_tcs_keeps_failing_on_is_set_aside_after_five_times_and_others_do_not_wait(
    telling: Telling, fault: dict[str, Any]
) -> None:
    telling.sandbox.misbehave({"call": f"{FIRST_POST + 5}/esr-changed"} | fault)
    telling.queue(call(1), call(2, post=5), call(3))
    telling.queue(call(2, status="DELETED", nth=1))
    with pytest.raises(NotYetError):
        telling.deliver()
    assert telling.told() == [(1, 0, "RECONCILED"), (3, 0, "RECONCILED")]
    with capture_logs() as lines:
        done, turns = deliver_until_done(telling)
    assert (done, turns) == ({"told": 1, "read_back": 0, "refused": 1}, 5)
    assert telling.states()["2/0/RECONCILED"] == "refused"
    assert [(each["position_id"], each["reason"]) for each in alerts_of(lines)] == [(2, "tcs_keeps_failing")]
    telling.sandbox.behave()
    assert release_calls(telling.ctx.store, OWNER) == 1
    with Tcs(telling.settings, patience=QUICK) as telling.tcs:
        assert telling.deliver()["told"] == 1


def test_a_call_that_got_through_in_a_failure_is_told_and_not_set_aside(telling: Telling) -> None:
    telling.sandbox.misbehave(
        {"call": "POST .*esr-changed", "kind": "status", "status": 500, "times": 4},
        {"call": "POST .*esr-changed", "kind": "status_after", "status": 500},
    )
    telling.queue(call(1))
    done, turns = deliver_until_done(telling)
    assert (done, turns) == ({"told": 1, "read_back": 1, "refused": 0}, 4)
    assert telling.states() == {"1/0/RECONCILED": "told"}


def test_an_outage_however_long_sets_nothing_aside(telling: Telling) -> None:
    telling.queue(call(1))
    telling.sandbox.misbehave({"call": "/api/", "kind": "status", "status": 503})
    for _ in range(7):
        with Tcs(telling.settings, patience=QUICK) as telling.tcs, pytest.raises(TransientError):
            telling.deliver()
        telling.ctx.store["esr_call"].update_many(
            {"state": "sending"}, [{"$set": {"sent_at": {"$subtract": ["$sent_at", 60_000]}}}]
        )
    telling.sandbox.behave()
    with Tcs(telling.settings, patience=QUICK) as telling.tcs:
        assert telling.deliver() == {"told": 1, "read_back": 0, "refused": 0}


OTHER = "esr/KSS"


def test_a_position_that_moved_between_deaneries_is_told_of_in_order(telling: Telling) -> None:
    """KSS lets go of it, then NTH gets it: however late KSS is, its DELETED must not come last."""
    telling.queue(call(1, status="DELETED"), owner=OTHER)
    telling.queue(call(1, nth=1), call(2), at=AT + timedelta(seconds=5))
    with pytest.raises(NotYetError, match="another deanery"):
        telling.deliver()
    assert telling.told() == [(2, 0, "RECONCILED")]
    telling.deliver(OTHER)
    telling.deliver()
    assert telling.told() == [(2, 0, "RECONCILED"), (1, 0, "DELETED"), (1, 0, "RECONCILED")]


def test_a_doubtful_call_of_another_deanery_holds_the_position_back_too(telling: Telling) -> None:
    telling.queue(call(1, status="DELETED"), owner=OTHER)
    telling.sandbox.misbehave({"call": "esr-changed", "kind": "drop", "times": 1})
    with pytest.raises(NotYetError):
        telling.deliver(OTHER)
    telling.queue(call(1, nth=1), at=AT + timedelta(seconds=5))
    with pytest.raises(NotYetError, match="another deanery"):
        telling.deliver()
    assert telling.told() == []


def test_what_another_deanery_queued_later_holds_nothing_back(telling: Telling) -> None:
    telling.queue(call(1, status="DELETED"))
    telling.queue(call(1, nth=1), owner=OTHER, at=AT + timedelta(seconds=5))
    assert telling.deliver()["told"] == 1


def test_deaneries_whose_clocks_disagree_never_wait_for_each_other_for_ever(telling: Telling) -> None:
    """Within a deanery the order of commits counts, whatever the clock said."""
    telling.queue(call(1), at=AT + timedelta(seconds=20))
    telling.queue(call(1, nth=1), at=AT)
    telling.queue(call(1, nth=2), owner=OTHER, at=AT + timedelta(seconds=10))
    for _ in range(2):
        for owner in (OWNER, OTHER):
            with suppress(NotYetError):
                telling.deliver(owner)
    assert [entry["body"]["eventDateTime"][17:19] for entry in telling.sandbox.told("event")] == [
        "02",
        "00",
        "01",
    ]


def test_many_positions_that_are_held_back_do_not_keep_those_behind_them_waiting(
    telling: Telling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "CALLS_AT_ONCE", 3)
    telling.queue(*(call(position, status="DELETED") for position in range(1, 9)), owner=OTHER)
    telling.queue(*(call(position, nth=1) for position in range(1, 11)), at=AT + timedelta(seconds=5))
    with pytest.raises(NotYetError, match="8 positions"):
        telling.deliver()
    assert sorted(telling.told()) == [(9, 0, "RECONCILED"), (10, 0, "RECONCILED")]


@pytest.mark.parametrize("kind", ["drop_after", "status_after", "delay_after"])
def test_what_was_told_but_not_answered_is_read_back_and_not_told_again(telling: Telling, kind: str) -> None:
    telling.sandbox.misbehave({"call": "esr-changed", "kind": kind, "times": 3, "seconds": 0.8})
    telling.queue(*(call(position) for position in range(1, 11)))
    assert telling.deliver() == {"told": 10, "read_back": 3, "refused": 0}
    assert len(telling.told()) == 10


def test_what_did_not_arrive_waits_until_it_cannot_any_more_and_holds_back_its_position_only(
    telling: Telling,
) -> None:
    telling.sandbox.misbehave({"call": f"{FIRST_POST}/esr-changed", "kind": "drop", "times": 1})
    telling.queue(call(1), call(2, post=1))
    telling.queue(call(1, status="DELETED", nth=1), call(2, post=1, status="DELETED", nth=1))
    for _ in range(2):
        with pytest.raises(NotYetError) as raised:
            telling.deliver()
        assert 0 < raised.value.retry_after <= LEASE
        assert telling.told() == [(2, 1, "RECONCILED"), (2, 1, "DELETED")]
    time.sleep(LEASE)
    assert telling.deliver() == {"told": 2, "read_back": 0, "refused": 0}
    assert telling.told()[2:] == [(1, 0, "RECONCILED"), (1, 0, "DELETED")]


def test_a_call_that_arrives_after_its_time_out_is_not_told_again(telling: Telling) -> None:
    telling.sandbox.misbehave({"call": "esr-changed", "kind": "delay", "seconds": 0.7, "times": 1})
    telling.queue(call(1))
    with pytest.raises(NotYetError):
        telling.deliver()
    time.sleep(LEASE)
    telling.deliver()
    assert len(telling.told()) == 1


@pytest.mark.parametrize("fault", [{"kind": "status", "status": 503}, {"kind": "drop"}])
def test_during_an_outage_everything_waits_and_resumes_by_itself(
    telling: Telling, fault: dict[str, Any]
) -> None:
    telling.queue(*(call(position) for position in range(1, 101)))
    telling.sandbox.misbehave({"call": "/api/", **fault})
    for _ in range(3):
        with pytest.raises(TransientError):
            telling.deliver()
    assert waiting_calls(telling.ctx.store, OWNER) == 100
    telling.sandbox.behave()
    time.sleep(LEASE + 0.1)
    with Tcs(telling.settings, patience=QUICK) as telling.tcs:
        assert telling.deliver()["told"] == 100
    assert len(telling.told()) == 100


def test_a_tcs_that_cannot_be_reached_leaves_nothing_in_doubt(telling: Telling) -> None:
    telling.queue(call(1))
    with Tcs(telling.settings.model_copy(update={"tcs_url": "http://127.0.0.1:9"}), patience=QUICK) as gone:
        there, telling.tcs = telling.tcs, gone
        with pytest.raises(TransientError):
            telling.deliver()
    assert telling.states() == {"1/0/RECONCILED": "pending"}
    telling.tcs = there
    assert telling.deliver()["told"] == 1


def test_a_read_back_that_fails_decides_nothing(telling: Telling, monkeypatch: pytest.MonkeyPatch) -> None:
    telling.queue(call(1))
    telling.sandbox.misbehave(
        {"call": "esr-changed", "kind": "drop_after", "times": 1},
        {"call": f"GET /api/posts/{FIRST_POST}", "kind": "body", "body": {"id": FIRST_POST}},
    )
    for _ in range(2):
        with pytest.raises(TransientError):
            telling.deliver()
        time.sleep(LEASE)
    telling.sandbox.behave()
    assert telling.deliver() == {"told": 1, "read_back": 1, "refused": 0}
    assert len(telling.told()) == 1


def test_a_held_lease_keeps_others_out_and_says_for_how_long(telling: Telling) -> None:
    telling.queue(call(1))
    with held_lease(telling.ctx.store, OWNER, seconds=50), pytest.raises(NotYetError) as raised:
        telling.deliver()
    assert 40 < raised.value.retry_after <= 50
    assert telling.told() == []
    assert telling.deliver()["told"] == 1, "a lease given back is free at once"


def test_a_lease_that_could_end_before_a_call_does_is_refused(telling: Telling) -> None:
    with pytest.raises(ConfigurationError, match="SPOTLIGHT_TCS_LEASE_SECONDS"):
        telling.deliver(tcs_lease_seconds=0.4)


def test_more_calls_than_a_lease_has_time_for_are_told_under_the_next(telling: Telling) -> None:
    telling.sandbox.misbehave({"call": "esr-changed", "kind": "delay", "seconds": 0.1})
    telling.queue(*(call(position) for position in range(1, 401)))
    telling.queue(*(call(position, status="DELETED", nth=1) for position in range(1, 11)))
    # A time-out that no busy machine comes near, and a lease shorter than all the calls take.
    settings = telling.settings.model_copy(update={"tcs_timeout": 2.0, "tcs_lease_seconds": 2.5})
    with Tcs(settings, patience=QUICK) as tcs:
        counts = deliver(telling.ctx.store, OWNER, tcs, settings, now=telling.ctx.now)
    assert counts == {"told": 410, "read_back": 0, "refused": 0}
    assert len(set(telling.told())) == len(telling.told()) == 410
    assert [status for position, _, status in telling.told() if position == 7] == ["RECONCILED", "DELETED"]


def test_two_deliverers_at_once_tell_everything_once(telling: Telling) -> None:
    telling.queue(*(call(position, post=position % 5) for position in range(1, 801)))
    busy = 0

    def one() -> None:
        nonlocal busy
        with Tcs(telling.settings, patience=QUICK) as tcs:
            while waiting_calls(telling.ctx.store, OWNER):
                try:
                    deliver(telling.ctx.store, OWNER, tcs, telling.settings, now=telling.ctx.now)
                except NotYetError:
                    busy += 1
                    time.sleep(0.02)

    threads = [threading.Thread(target=one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert busy
    assert len(telling.told()) == len(set(telling.told())) == 800


def test_a_holder_that_was_overtaken_sends_nothing_and_changes_nothing(
    telling: Telling, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that sleeps (a paused container) between marking and sending wakes up after its lease."""
    telling.queue(call(1), call(2))
    tell = Tcs.tell_posts_changed

    def sleepy(self: Tcs, changes: Any, **kwargs: Any) -> Any:
        monkeypatch.setattr(Tcs, "tell_posts_changed", tell)
        time.sleep(LEASE + 0.1)
        assert telling.deliver()["told"] == 2
        return tell(self, changes, **kwargs)

    monkeypatch.setattr(Tcs, "tell_posts_changed", sleepy)
    with pytest.raises(TransientError, match="no time left"):
        telling.deliver()
    assert sorted(telling.told()) == [(1, 0, "RECONCILED"), (2, 0, "RECONCILED")]
    assert set(telling.states().values()) == {"told"}


def test_a_holder_that_was_overtaken_before_marking_stops(
    telling: Telling, monkeypatch: pytest.MonkeyPatch
) -> None:
    telling.queue(call(1))
    whole = delivery.Delivery._next

    def sleepy(self: Any, blocked: Any) -> Any:
        found = whole(self, blocked)
        monkeypatch.setattr(delivery.Delivery, "_next", whole)
        time.sleep(LEASE + 0.1)
        telling.deliver()
        return found

    monkeypatch.setattr(delivery.Delivery, "_next", sleepy)
    with pytest.raises(NotYetError, match="taken over"):
        telling.deliver()
    assert len(telling.told()) == 1

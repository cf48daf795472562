"""Events set aside: said by every publication until a person releases them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner

from include.cli import app
from include.errors import FatalError, TransientError
from include.events.consumer import Consumer
from include.events.envelope import OFFERING_CREATED
from include.events.publisher import Publisher
from include.npo.context import RunContext, RunRef
from include.npo.publish import publish
from include.storage import outbox
from include.storage.mongo import IntegrationStore
from include.storage.outbox import OutboxEntry
from include.storage.pending import has_pending

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)


@dataclass
class Waiting:
    """An NPO's outbox."""

    ctx: RunContext
    store: IntegrationStore
    consumer: Consumer
    order: int = 0

    def add(self, event_id: str, event: dict[str, Any], npo: str = "x") -> None:
        self.order += 1
        body = orjson.dumps({"id": event_id} | event)
        entry = OutboxEntry(event_id, OFFERING_CREATED, event_id, 1, body)
        with self.store.client.start_session() as session:
            outbox.add_to_outbox(self.store, session, npo, [entry], order=self.order, at=NOW)

    def publish(self) -> RunRef:
        return publish(self.ctx, RunRef("x", "run"))

    def received(self) -> list[str]:
        return sorted(event["id"] for event in self.consumer.receive())


GOOD = {"dataref": "s3://bucket/key"}  # its data is checked before it is put there
SPOILT = {"data": {"version": "one"}}
TOO_LARGE = {"dataref": "x" * 300_000}


@pytest.fixture
def waiting(empty_database, settings, topics):
    store = IntegrationStore(settings)
    ctx: Any = SimpleNamespace(
        npo=SimpleNamespace(npo_id="x"),
        store=store,
        settings=settings,
        now=lambda: NOW,
        progress=lambda _line: None,
    )
    yield Waiting(ctx, store, Consumer(settings, name="test"))
    store.close()


@pytest.mark.parametrize(
    ("event", "reason"), [(SPOILT, "breaks"), (TOO_LARGE, "SNS refused it: InvalidParameter")]
)
def test_an_event_that_cannot_be_sent_is_kept_with_the_reason_and_the_others_go_out(waiting, event, reason):
    waiting.add("bad", event)
    waiting.add("good", GOOD)
    with pytest.raises(FatalError, match="1 events break their schema or are refused by SNS"):
        waiting.publish()
    assert waiting.received() == ["good"]
    assert reason in waiting.store["outbox"].find_one({"_id": "bad"})["refused"]
    assert outbox.waiting(waiting.store, "x") == 0


def test_events_set_aside_are_told_by_each_later_run_until_they_are_released(waiting):
    waiting.add("bad", SPOILT)
    with pytest.raises(FatalError, match="spotlight events release --owner x"):
        waiting.publish()
    waiting.add("good", GOOD)
    with pytest.raises(FatalError, match="1 events break their schema"):
        waiting.publish()
    assert waiting.received() == ["good"]


def test_a_failed_sending_does_not_hide_what_was_set_aside(waiting, monkeypatch):
    waiting.add("bad", SPOILT)
    waiting.add("good", GOOD)
    with monkeypatch.context() as down:
        down.setattr(Publisher, "_send_batch", lambda *_: [])
        with pytest.raises(TransientError, match="stay in the outbox"):
            waiting.publish()
    with pytest.raises(FatalError, match="1 events break their schema"):
        waiting.publish()
    assert waiting.received() == ["good"]


def test_the_events_of_another_npo_are_not_told(waiting):
    waiting.add("theirs", SPOILT, npo="y")
    outbox.refuse(waiting.store, "theirs", "spoilt", at=NOW)
    assert waiting.publish().counts == {"publish.published": 0}


def test_released_events_wait_again_and_go_out_once_mended(waiting):
    waiting.add("bad", SPOILT)
    waiting.add("theirs", SPOILT, npo="y")
    outbox.refuse(waiting.store, "theirs", "spoilt", at=NOW)
    with pytest.raises(FatalError):
        waiting.publish()
    mended = orjson.dumps({"id": "bad"} | GOOD).decode()
    waiting.store["outbox"].update_one({"_id": "bad"}, {"$set": {"body": mended}})
    assert not has_pending(waiting.store, "x")

    answer = CliRunner().invoke(app, ["events", "release", "--owner", "x", "--json"])

    assert json.loads(answer.stdout) == {"owner": "x", "released": 1}
    assert has_pending(waiting.store, "x")
    assert waiting.publish().counts == {"publish.published": 1}
    assert waiting.received() == ["bad"]
    assert outbox.refused(waiting.store, "y") == 1


def test_an_event_released_before_it_is_mended_is_set_aside_again(waiting):
    waiting.add("bad", SPOILT)
    for _ in range(2):
        with pytest.raises(FatalError, match="1 events break their schema"):
            waiting.publish()
        assert outbox.release(waiting.store, "x") == 1


def test_releasing_nothing_says_so(waiting):
    answer = CliRunner().invoke(app, ["events", "release", "--owner", "nobody"])
    assert answer.exit_code == 0
    assert "0 events of nobody wait again" in answer.stdout


def test_events_set_aside_are_found_by_an_index(waiting):
    query = {"owner": "x", "refused": {"$exists": True}}
    plan = waiting.store["outbox"].find(query).explain()["queryPlanner"]["winningPlan"]
    assert '"indexName":"refused"' in orjson.dumps(plan, default=str).decode()


def test_an_event_erased_while_it_is_on_its_way_is_not_set_aside_nor_released(waiting):
    waiting.add("erased", SPOILT)
    gone = {"$set": {"body": "", "erased": True}, "$unset": {"pending": ""}}
    waiting.store["outbox"].update_one({"_id": "erased"}, gone)
    outbox.refuse(waiting.store, "erased", "spoilt", at=NOW)
    assert "refused" not in waiting.store["outbox"].find_one({"_id": "erased"})
    waiting.store["outbox"].update_one({"_id": "erased"}, {"$set": {"refused": "spoilt"}})  # from before
    assert outbox.refused(waiting.store, "x") == 0
    assert outbox.release(waiting.store, "x") == 0
    assert waiting.publish().counts == {"publish.published": 0}

"""What SNS says of events it does not take decides what becomes of them."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from botocore.retries.standard import ExponentialBackoff
from typer.testing import CliRunner

from include.cli import app
from include.errors import ConfigurationError, TransientError
from include.events import topics
from include.events.consumer import Consumer
from include.events.envelope import OFFERING_CREATED, OFFERING_UPDATED, POSITION_RECONCILED
from include.events.publisher import Publisher, Sending, require_all_sent
from include.events.topics import connect, ensure_topics, topic_arns
from include.storage.outbox import OutboxEntry

pytestmark = pytest.mark.usefixtures("topics")

TOO_LARGE = b'"' + b"x" * 300_000 + b'"'


@pytest.fixture
def no_waiting(monkeypatch):
    """Let the client try again at once."""
    monkeypatch.setattr(ExponentialBackoff, "delay_amount", lambda *_: 0)


def entry(event_id: str, key: str = "", body: bytes | None = None, sequence: int = 1) -> OutboxEntry:
    kind = OFFERING_CREATED if sequence == 1 else OFFERING_UPDATED
    return OutboxEntry(event_id, kind, key or event_id, sequence, body or b'{"id": "%b"}' % event_id.encode())


def test_an_event_sns_never_takes_is_refused_with_its_code_and_the_others_go_out(settings):
    consumer = Consumer(settings, name="test")
    sending = Publisher(settings).send([entry("a"), entry("b", body=TOO_LARGE), entry("c")])

    assert sorted(sending.confirmed) == ["a", "c"]
    assert sending.refused == {"b": "InvalidParameter"}
    assert not sending.failures
    require_all_sent(3, sending, subject="x")
    assert {event["id"] for event in consumer.receive()} == {"a", "c"}


def test_the_next_event_of_an_entity_does_not_wait_for_a_refused_one(settings):
    sending = Publisher(settings).send([entry("a", "k", TOO_LARGE), entry("b", "k", sequence=2)])
    assert sending.confirmed == ["b"]
    assert list(sending.refused) == ["a"]


def test_what_was_refused_in_one_sending_is_not_told_of_the_next(settings):
    publisher = Publisher(settings)
    publisher.send([entry("a", body=TOO_LARGE)])
    assert not publisher.send([entry("b")]).refused


def test_a_topic_that_is_gone_is_for_a_person(settings):
    publisher = Publisher(settings)
    clients = connect(settings)
    for arn in topic_arns(clients, settings).values():
        clients.sns.delete_topic(TopicArn=arn)
    sending = publisher.send([entry("a"), entry("b", "a", sequence=2)])

    assert sending.confirmed == []
    assert not sending.refused
    with pytest.raises(ConfigurationError, match=r"0 of 2 events \(NotFound.*: 1\); the others stay"):
        require_all_sent(2, sending, subject="x")


@pytest.mark.parametrize("call", [Publisher, ensure_topics, Consumer])
def test_an_event_stream_that_cannot_be_reached_is_transient(settings, call: Any, no_waiting):
    away = settings.model_copy(update={"events_endpoint_url": "http://127.0.0.1:9"})
    with pytest.raises(TransientError, match="event stream: EndpointConnectionError while"):
        call(away)


def test_a_stream_that_goes_away_while_sending_says_why(settings, no_waiting):
    publisher = Publisher(settings)
    away = settings.model_copy(update={"events_endpoint_url": "http://127.0.0.1:9"})
    publisher._clients = topics.connect(away)
    sending = publisher.send([entry("a"), entry("b")])
    with pytest.raises(TransientError, match=r"0 of 2 events \(EndpointConnectionError: 2\)"):
        require_all_sent(2, sending, subject="x")


def test_a_queue_that_is_gone_is_for_a_person(settings):
    consumer = Consumer(settings, name="test")
    for url in consumer._urls:
        consumer._clients.sqs.delete_queue(QueueUrl=url)
    with pytest.raises(ConfigurationError, match=r"event stream: .* while receiving"):
        consumer.receive()


def failed(code: str, *, sender: bool):
    """Return a hook that makes SNS's answer say that every event failed."""

    def change(parsed, **_):
        entries = [*parsed.get("Successful", []), *parsed.get("Failed", [])]
        parsed["Failed"] = [{"Id": one["Id"], "Code": code, "SenderFault": sender} for one in entries]
        parsed["Successful"] = []

    return change


@pytest.mark.parametrize(
    ("code", "sender", "ends"),
    [
        ("InternalError", False, TransientError),
        ("Throttled", True, TransientError),
        ("KMSThrottling", True, TransientError),
        ("AuthorizationError", True, ConfigurationError),
        ("KMSAccessDenied", True, ConfigurationError),
        ("InvalidParameter", True, None),
    ],
)
def test_only_an_event_at_fault_itself_is_refused(settings, code, sender, ends):
    publisher = Publisher(settings)
    publisher._clients.sns.meta.events.register("after-call.sns.PublishBatch", failed(code, sender=sender))
    sending = publisher.send([entry("a")])
    assert bool(sending.refused) == (ends is None)
    if ends:
        with pytest.raises(ends, match=f"{code}: 1") as raised:
            require_all_sent(1, sending, subject="x")
        assert not getattr(raised.value, "pauses", False)


def test_a_person_is_called_when_one_of_several_causes_needs_one():
    with pytest.raises(ConfigurationError, match="AuthorizationError: 1, Throttled: 2"):
        require_all_sent(3, Sending([], {}, {"Throttled": 2, "AuthorizationError": 1}), subject="x")


def test_what_was_received_is_deleted_already(settings):
    Consumer(settings, name="test")
    Publisher(settings).send([entry("a")])
    first, second = Consumer(settings, name="test"), Consumer(settings, name="test")
    assert [event["id"] for event in first.receive()] == ["a"]
    for url in first._urls:
        shown = first._clients.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        assert shown["ApproximateNumberOfMessages"] == "0"
        assert shown["ApproximateNumberOfMessagesNotVisible"] == "0"
    assert second.receive() == []


def test_a_reconciled_position_reaches_each_of_its_two_consumers_once(settings):
    told = OutboxEntry("p", POSITION_RECONCILED, "position/7", 1, b'{"id": "p"}')
    assert Publisher(settings).send([told]).confirmed == ["p"]
    for name in ("app-records", "notifications"):
        consumer = Consumer(settings, name, (topics.POSITION_RECONCILED,))
        assert [event["id"] for event in consumer.receive()] == ["p"]
        assert consumer.receive() == []
    names = [
        topics.queue_name(settings, name, topics.POSITION_RECONCILED)
        for name in ("app-records", "notifications")
    ]
    queues = {url.rsplit("/", 1)[-1] for url in connect(settings).sqs.list_queues()["QueueUrls"]}
    assert {name.replace(".fifo", "-dead.fifo") for name in names} | set(names) <= queues
    assert topics.queue_name(settings, "platform", topics.POSITION_RECONCILED) not in queues


def test_the_tail_shows_a_position_beside_the_npos(settings):
    body = {
        "id": "p",
        "type": POSITION_RECONCILED,
        "deanery": "KSS",
        "subject": "position/7",
        "sequence": "0000000002",
    }
    data = {"position": {"match_status": "MATCHED", "post_id": 4711, "deleted": True}}
    CliRunner().invoke(app, ["events", "tail", "--no-follow", "--seconds", "0"])
    event = orjson.dumps(body | {"recordedtime": "2026-03-04T14:30:00Z", "data": data})
    Publisher(settings).send([OutboxEntry("p", POSITION_RECONCILED, "position/7", 2, event)])
    answer = CliRunner().invoke(app, ["events", "tail", "--no-follow", "--seconds", "1"])
    assert "KSS" in answer.stdout
    assert "esr.position.reconciled" in answer.stdout
    assert "position/7 v2  MATCHED, post 4711, deleted" in answer.stdout

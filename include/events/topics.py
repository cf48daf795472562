"""Topics and queues: SNS FIFO topics, one SQS FIFO queue with a dead-letter queue per consumer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from include.aws import aws_errors, aws_session
from include.errors import ConfigurationError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient

    from include.settings import Settings

OFFERING_EVENTS = "offering-events"
ASSIGNMENT_UPDATES = "candidate-assignment-updates"
ENROLMENT_OUTCOMES = "enrolment-outcomes"
ASSIGNMENT_COMMANDS = "candidate-assignments"
"""The platform's: which candidate took up which offering, and who gave it up."""
POSITION_RECONCILED = "position-reconciled"
ESR_FILES = "esr-files"

PLATFORM_CONSUMER = "platform"
APP_RECORDS_CONSUMER = "app-records"
NOTIFICATIONS_CONSUMER = "notifications"
ENROLMENT_CONSUMER = "enrolment"
CONSUMERS = {
    OFFERING_EVENTS: (PLATFORM_CONSUMER,),
    ASSIGNMENT_UPDATES: (PLATFORM_CONSUMER,),
    ENROLMENT_OUTCOMES: (PLATFORM_CONSUMER,),
    ASSIGNMENT_COMMANDS: (ENROLMENT_CONSUMER,),
    POSITION_RECONCILED: (APP_RECORDS_CONSUMER, NOTIFICATIONS_CONSUMER),
    ESR_FILES: (PLATFORM_CONSUMER,),
}
"""Who has a queue on which topic from the start."""

TOPICS = tuple(CONSUMERS)

MAX_RECEIVES = 5
VISIBILITY_SECONDS = 60
RETENTION_SECONDS = 14 * 24 * 3600


@dataclass(frozen=True, slots=True)
class EventClients:
    """SNS and SQS clients of one environment."""

    sns: SNSClient
    sqs: SQSClient


def connect(settings: Settings) -> EventClients:
    """Return SNS and SQS clients with bounded time-outs and retries."""
    from botocore.config import Config

    key, secret = settings.events_access_key_id, settings.events_secret_access_key
    session = aws_session(settings.aws_region, key, secret)
    config = Config(
        connect_timeout=10,
        read_timeout=60,
        retries={"mode": "standard", "max_attempts": 4},
        max_pool_connections=32,
    )
    return EventClients(
        sns=session.client("sns", endpoint_url=settings.events_endpoint_url, config=config),
        sqs=session.client("sqs", endpoint_url=settings.events_endpoint_url, config=config),
    )


def topic_name(settings: Settings, topic: str) -> str:
    """Return a topic's full name, such as ``spotlight-offering-events.fifo``."""
    return f"{settings.events_prefix}-{topic}.fifo"


def queue_name(settings: Settings, consumer: str, topic: str) -> str:
    """Return the name of a consumer's queue on a topic."""
    return f"{settings.events_prefix}-{consumer}-{topic}.fifo"


def topic_arns(clients: EventClients, settings: Settings) -> dict[str, str]:
    """Return the ARN of every topic.

    Raises:
        ConfigurationError: A topic is not there; ``spotlight events prepare`` makes them. Or the key or a
            right is missing.
        TransientError: SNS did not answer after the client's own retries.
    """
    wanted = {topic_name(settings, topic): topic for topic in TOPICS}
    with stream_errors("listing topics"):
        arns = [
            entry["TopicArn"]
            for page in clients.sns.get_paginator("list_topics").paginate()
            for entry in page["Topics"]
        ]
    found = {wanted[name]: arn for arn in arns if (name := arn.rsplit(":", 1)[-1]) in wanted}
    missing = sorted(set(TOPICS) - set(found))
    if missing:
        names = ", ".join(topic_name(settings, topic) for topic in missing)
        raise ConfigurationError(f"SNS has no topic {names}; make them with 'spotlight events prepare'")
    return found


def stream_errors(doing: str) -> AbstractContextManager[None]:
    """Translate errors of SNS and SQS raised inside."""
    return aws_errors("event stream", doing, check="the key of the event stream and its rights")


def ensure_topics(settings: Settings) -> dict[str, str]:
    """Create the topics and our consumers' queues where they are missing; return topic ARNs.

    Raises:
        ConfigurationError: The key or a right is missing.
        TransientError: SNS or SQS did not answer after the client's own retries.
    """
    clients = connect(settings)
    with stream_errors("creating topics"):
        arns = {topic: _create_topic(clients, topic_name(settings, topic)) for topic in TOPICS}
    for topic, arn in arns.items():
        for consumer in CONSUMERS[topic]:
            subscribe(clients, settings, consumer=consumer, topic=topic, topic_arn=arn)
    return arns


def _create_topic(clients: EventClients, name: str) -> str:
    # Deduplication by our deterministic event id, not by content: two versions may look alike.
    attributes = {"FifoTopic": "true", "ContentBasedDeduplication": "false"}
    return clients.sns.create_topic(Name=name, Attributes=attributes)["TopicArn"]


def subscribe(clients: EventClients, settings: Settings, *, consumer: str, topic: str, topic_arn: str) -> str:
    """Create a consumer's queue with its dead-letter queue, subscribe it, return the queue's URL.

    Raises:
        ConfigurationError: The key or a right is missing.
        TransientError: SNS or SQS did not answer after the client's own retries.
    """
    name = queue_name(settings, consumer, topic)
    with stream_errors(f"making queue {name}"):
        return _subscribed_queue(clients, name, topic_arn)


def _subscribed_queue(clients: EventClients, name: str, topic_arn: str) -> str:
    dead = _create_queue(clients, name.replace(".fifo", "-dead.fifo"), {})
    redrive = json.dumps({"deadLetterTargetArn": _queue_arn(clients, dead), "maxReceiveCount": MAX_RECEIVES})
    url = _create_queue(
        clients, name, {"RedrivePolicy": redrive, "VisibilityTimeout": str(VISIBILITY_SECONDS)}
    )
    arn = _queue_arn(clients, url)
    clients.sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": _allow(arn, topic_arn)})
    clients.sns.subscribe(
        TopicArn=topic_arn,
        Protocol="sqs",
        Endpoint=arn,
        Attributes={"RawMessageDelivery": "true"},
        ReturnSubscriptionArn=True,
    )
    return url


def _create_queue(clients: EventClients, name: str, attributes: dict[str, str]) -> str:
    fifo = {"FifoQueue": "true", "MessageRetentionPeriod": str(RETENTION_SECONDS)}
    return clients.sqs.create_queue(QueueName=name, Attributes=fifo | attributes)["QueueUrl"]  # type: ignore[arg-type]


def _queue_arn(clients: EventClients, url: str) -> str:
    answer = clients.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    return answer["Attributes"]["QueueArn"]


def _allow(queue_arn: str, topic_arn: str) -> str:
    """Return the queue policy that lets this one topic, and nothing else, write to the queue."""
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": queue_arn,
        "Condition": {"ArnEquals": {"aws:SourceArn": topic_arn}},
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})

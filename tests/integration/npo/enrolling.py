"""An NPO that takes enrolments, on a real port, and the platform's side of the queue."""

from __future__ import annotations

import json
import secrets
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest
from psycopg.types.json import Jsonb
from pydantic import SecretStr

from include.connectors.open import open_api
from include.connectors.retry import RetryPolicy
from include.events.consumer import Consumer
from include.events.envelope import ASSIGNMENT_CREATED, ASSIGNMENT_WITHDRAWN
from include.events.topics import ASSIGNMENT_COMMANDS, ENROLMENT_OUTCOMES, connect, ensure_topics, topic_arns
from include.npo.enrolment.records import reference_of
from include.npo.enrolment.run import drain, enrol, npos_with_work
from include.npo.identity import offering_id
from include.registry.models import Credential
from include.sandbox.stack.stack import LocalStack
from include.settings import Settings
from include.storage.mongo import IntegrationStore
from tests.conftest import _migrated_template, _remove_topics, other_database

CANDIDATE = {
    "given_name": "Zebedee",
    "family_name": "Quillfeather",
    "email": "zebedee.q@planted.example",
    "phone": "07700 900123",
    "date_of_birth": "1999-02-28",
}
ENROLMENT: dict[str, Any] = {
    "approval": "never",
    "endpoint": {"path": "courses/{offering_id}/enrolments"},
    "request": {
        "candidate": ["given_name", "email"],
        "fields": {
            "learner.name": "candidate.given_name",
            "learner.email": "candidate.email",
            "ref": "reference",
            "channel": {"const": "spotlight"},
        },
    },
    "response": {
        "external_id": "id",
        "external_status": "state",
        "pending": "state == 'waiting'",
        "accepted": "state == 'enrolled'",
        "rejected": "state == 'refused'",
        "reason": "why",
    },
    "lookup": {"path": "enrolments", "params": {"ref": "{reference}"}, "match": "record.ref == reference"},
    "poll": {"path": "enrolments/{external_id}", "every": "PT1S", "give_up_after": "P1D"},
    "withdraw": {"path": "enrolments/{external_id}"},
}


@dataclass
class TinyNpo:
    """Keeps enrolments by reference; ``faults`` are answers given instead, first come first served.

    A fault is a status, ``lost`` (acts, then hangs up), ``lost_before`` (hangs up without acting) or
    ``(status, body, headers, acts)``.
    """

    honours_key: bool = True
    says: str = "enrolled"
    enrolments: list[dict[str, Any]] = field(default_factory=list)
    received: Counter[str] = field(default_factory=Counter)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    faults: list[Any] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    withdrawn: list[str] = field(default_factory=list)
    lock: Any = field(default_factory=threading.RLock)
    url: str = ""

    def doubled(self) -> list[str]:
        counts = Counter(each["ref"] for each in self.enrolments)
        return [ref for ref, number in counts.items() if number > 1]

    def act(self, body: dict[str, Any], key: str) -> tuple[dict[str, Any], bool]:
        with self.lock:
            self.received[key] += 1
            self.bodies.append(body)
            if self.honours_key:
                for each in self.enrolments:
                    if each["ref"] == body["ref"]:
                        return each, False
            made = {"id": f"e-{len(self.enrolments) + 1}", "ref": body["ref"], "state": self.says}
            self.enrolments.append(made)
            return made, True


class _Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def reply(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def hang_up(self) -> None:
        self.close_connection = True


def _handler(npo: TinyNpo) -> type[BaseHTTPRequestHandler]:  # noqa: C901 - an API in one place
    class Handler(_Answering):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            key = self.headers.get("Idempotency-Key", "")
            with npo.lock:
                npo.asked.append(f"POST {self.path}")
                fault = npo.faults.pop(0) if npo.faults else None
            if fault == "lost_before":
                return self.hang_up()
            if fault == "lost":
                npo.act(body, key)
                return self.hang_up()
            if isinstance(fault, int):
                return self.reply(fault, {"error": "fault"})
            if isinstance(fault, tuple):
                status, answer, headers, acts = fault
                if acts:
                    npo.act(body, key)
                return self.reply(status, answer, headers)
            made, fresh = npo.act(body, key)
            waiting = made["state"] == "waiting"
            return self.reply(202 if waiting else 201 if fresh else 200, made)

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            npo.asked.append(f"GET {parts.path}")
            with npo.lock:
                if parts.path == "/enrolments":
                    ref = parse_qs(parts.query).get("ref", [""])[0]
                    found = [each for each in npo.enrolments if each["ref"] == ref]
                    return self.reply(200, found)
                found = [each for each in npo.enrolments if parts.path.endswith(f"/{each['id']}")]
            return self.reply(200, found[0]) if found else self.reply(404, {})

        def do_DELETE(self) -> None:
            npo.asked.append(f"DELETE {self.path}")
            fault = npo.faults.pop(0) if npo.faults else None
            if isinstance(fault, int):
                return self.reply(fault, {})
            with npo.lock:
                npo.withdrawn.append(self.path.rsplit("/", 1)[-1])
            return self.reply(200, {})

    return Handler


@contextmanager
def tiny_npo(**behaviour: Any) -> Iterator[TinyNpo]:
    npo = TinyNpo(**behaviour)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(npo))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    npo.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield npo
    finally:
        server.shutdown()
        server.server_close()


def add_row(
    dsn: str, npo: TinyNpo, npo_id: str, *, enrolment: Any = ENROLMENT, status: str = "active"
) -> None:
    """Insert an NPO's row; ``enrolment`` of ``None`` leaves the section out."""
    manifest: dict[str, Any] = {
        "manifest_version": 2,
        "resources": {
            "offerings": {
                "endpoint": {"path": "courses"},
                "primary_key": "id",
                "mapping": {"version": 1, "fields": {"name": "title", "status": {"const": "active"}}},
            }
        },
    }
    if enrolment is not None:
        manifest["enrolment"] = enrolment
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "insert into integration.npo (npo_id, name, owner_email, status, connector, base_url,"
            " allowed_hosts, manifest, requests_per_minute, max_concurrency) values"
            " (%s, 'Tiny', 'jo@example.org', %s, 'rest', %s, %s, %s, 60000, 4)",
            [npo_id, status, npo.url, [npo.url.removeprefix("http://")], Jsonb(manifest)],
        )


def command(
    npo_id: str, assignment: str, *, kind: str = "created", offering: str = "c-1", **changes: Any
) -> dict[str, Any]:
    """Return a command event of the platform."""
    created = kind == "created"
    about = {"assignment_id": assignment, "candidate_id": f"cand-{assignment}"}
    if created:
        about |= {"offering_id": offering_id(npo_id, offering), "requested_at": "2026-03-01T12:00:00Z"}
    data: dict[str, Any] = {"assignment": about}
    data |= {"candidate": CANDIDATE} if created else {"reason": "changed_mind"}
    return {
        "specversion": "1.0",
        "id": str(uuid.uuid4()),
        "source": "/platform",
        "type": ASSIGNMENT_CREATED if created else ASSIGNMENT_WITHDRAWN,
        "subject": f"assignment/{assignment}",
        "time": "2026-03-01T12:00:00Z",
        "npoid": npo_id,
        "data": data,
    } | changes


@dataclass
class Platform:
    """Sends commands, hears outcomes, and runs the DAG's tasks in turn."""

    settings: Settings
    store: IntegrationStore
    consumer: Consumer
    clients: Any
    arn: str
    npo_id: str = ""
    told: list[dict[str, Any]] = field(default_factory=list)

    def send(self, *events: Any) -> None:
        for event in events:
            body = event if isinstance(event, str) else json.dumps(event)
            about = event["data"]["assignment"] if isinstance(event, dict) else {}
            group = (
                f"{self.npo_id}.{about.get('assignment_id')}"  # what a killed run has in hand blocks no other
            )
            self.clients.sns.publish(
                TopicArn=self.arn,
                Message=body,
                MessageGroupId=group,
                MessageDeduplicationId=str(uuid.uuid4()),
            )

    def command(self, assignment: str, **changes: Any) -> dict[str, Any]:
        """Return a command for this test's NPO."""
        return command(changes.pop("npo_id", self.npo_id), assignment, **changes)

    def offer(self, external_id: str = "c-1", **content: Any) -> None:
        key = offering_id(self.npo_id, external_id)
        known = {"external_id": external_id, "npo_id": self.npo_id, "name": "Course", "status": "active"}
        self.store["npo_offering"].insert_one({"_id": key, **known, **content})

    def run(self, npo_id: str = "") -> dict[str, int]:
        """Drain the queue and enrol at this test's NPO; returns the counts of both."""
        counts = drain(self.settings)
        return counts | enrol(npo_id or self.npo_id, self.settings, open_partner=opened)

    def has_work(self) -> bool:
        return self.npo_id in npos_with_work(1000, self.settings)

    def hurry(self) -> None:
        """Let everything of this NPO that waits be due now, and what was not found be so long since."""
        mine = {"npo_id": self.npo_id, "due": True}
        self.store["enrolment"].update_many(mine, [{"$set": {"due_at": "$received_at"}}])
        missed, settled = mine | {"missed_at": {"$exists": True}}, 3_600_000
        since = {"$subtract": ["$received_at", settled]}
        self.store["enrolment"].update_many(missed, [{"$set": {"missed_at": since}}])
        self.store["enrolment_npo"].update_one({"_id": self.npo_id}, {"$unset": {"not_before": ""}})
        for name in ("npo_budget", "npo_breaker", "npo_slot"):
            self.store[name].delete_many({})

    def give_up(self) -> None:
        """Let everything of this NPO have been tried long enough."""
        mine = {"npo_id": self.npo_id, "due": True}
        self.store["enrolment"].update_many(mine, [{"$set": {"give_up_at": "$received_at"}}])

    def outcomes(self, npo_id: str = "") -> list[dict[str, Any]]:
        """Return what this NPO's events told since the last look, in order."""
        while some := self.consumer.receive():
            self.told += some
        mine = [event for event in self.told if event["npoid"] == (npo_id or self.npo_id)]
        self.told = [event for event in self.told if event not in mine]
        return mine

    def statuses(self) -> list[str]:
        return [event["data"]["enrolment"]["status"] for event in self.outcomes()]

    def record(self, assignment: str, npo_id: str = "") -> dict[str, Any]:
        found = self.store["enrolment"].find_one({"_id": self.reference(assignment, npo_id)})
        assert found is not None
        return found

    def reference(self, assignment: str, npo_id: str = "") -> str:
        return reference_of(npo_id or self.npo_id, assignment)


def opened(npo: Any, settings: Settings, store: IntegrationStore) -> Any:
    quick = RetryPolicy(attempts=1, first_wait=0.01)
    return open_api(npo, Credential(), settings, store=store, retry=quick)


def platform_of(settings: Settings) -> Platform:
    clients = connect(settings)
    consumer = Consumer(settings, "test-platform", (ENROLMENT_OUTCOMES,))
    arn = topic_arns(clients, settings)[ASSIGNMENT_COMMANDS]
    return Platform(settings, IntegrationStore(settings), consumer, clients, arn)


Setup = Callable[..., None]


@pytest.fixture(scope="module")
def world(stack: LocalStack, prepared_store: IntegrationStore) -> Iterator[Platform]:
    """Topics, registry and store for all tests here, each of which has an NPO of its own: quick."""
    server = stack.env()["SPOTLIGHT_REGISTRY_DSN"]
    name = f"test_{uuid.uuid4().hex[:12]}"
    changes = {
        "mongo_database": prepared_store.database.name,
        "registry_dsn": SecretStr(other_database(server, name)),
        "events_access_key_id": SecretStr(str(10**11 + secrets.randbelow(9 * 10**11))),
        "allow_loopback": True,
    }
    settings = stack.settings().model_copy(update=changes)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{_migrated_template(server)}"')
        ensure_topics(settings)
        platform = platform_of(settings)
        yield platform
        platform.store.close()
        _remove_topics(settings)
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def platform(world: Platform) -> Platform:
    mine = replace(world, npo_id=f"tiny{uuid.uuid4().hex[:8]}", told=[])
    mine.offer()
    return mine


@pytest.fixture
def npo() -> Iterator[TinyNpo]:
    with tiny_npo() as npo:
        yield npo


@pytest.fixture
def row(platform: Platform, npo: TinyNpo) -> Setup:
    """Return a function that inserts the NPO's row: ``row(lookup=None)`` changes the enrolment section."""

    def insert(status: str = "active", **changes: Any) -> None:
        section = {name: value for name, value in (ENROLMENT | changes).items() if value is not None}
        dsn = platform.settings.registry_dsn.get_secret_value()
        add_row(dsn, npo, platform.npo_id, enrolment=section, status=status)

    return insert

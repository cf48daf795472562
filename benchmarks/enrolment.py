"""Ten thousand enrolments at fifty NPOs, the worker killed three times on the way: none lost, none doubled.

Prints one JSON line. Commands go in through the local stack's event stream; the worker does what the
tasks of ``npo_enrolment`` do, four NPOs at once, each task in a process forked from a warm one. It is killed
with everything it started and begun anew. The partners honour no idempotency key, lose answers after
acting, and let some wait: each enrolment they hold twice would be ours. In the end every command is held
against what the partners have and what the platform was told.

    .venv/bin/python -m benchmarks.enrolment [--commands 10000] [--npos 50] [--kills 3]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.types.json import Jsonb

from benchmarks.enrolment_partners import Partners, serving
from benchmarks.exchange import HOME, fresh, tell
from include.npo.enrolment.records import reference_of
from include.npo.identity import offering_id
from include.sandbox.platform.commands import Choice, Command, choose
from include.sandbox.platform.platform import ENDS, Platform
from include.sandbox.stack.stack import LocalStack
from include.settings import PROJECT_ROOT, Settings
from include.storage.mongo import IntegrationStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

NPOS_AT_ONCE = 4
SENDERS = 4
OFFERING = "course-1"
PATIENCE = 3600
MANIFEST: Mapping[str, Any] = {
    "manifest_version": 2,
    "resources": {
        "offerings": {
            "endpoint": {"path": "courses"},
            "primary_key": "id",
            "mapping": {"version": 1, "fields": {"name": "title", "status": {"const": "active"}}},
        }
    },
    "enrolment": {
        "approval": "never",
        "endpoint": {"path": "courses/{offering_id}/enrolments"},
        "request": {
            "candidate": ["given_name", "family_name", "email"],
            "fields": {
                "learner.name": "candidate.given_name",
                "learner.surname": "candidate.family_name",
                "learner.email": "candidate.email",
                "ref": "reference",
            },
        },
        "response": {
            "accepted": "state == 'enrolled'",
            "pending": "state == 'waiting'",
            "rejected": "state == 'refused'",
            "external_id": "id",
            "external_status": "state",
            "reason": "why",
        },
        "lookup": {
            "path": "enrolments",
            "params": {"ref": "{reference}"},
            "match": "record.ref == reference",
            # These partners' lists never lag: two minutes of waiting would be all that is measured.
            "settle": "PT1S",
        },
        "poll": {"path": "enrolments/{external_id}", "every": "PT2S", "give_up_after": "P1D"},
    },
}


def main() -> None:
    """Run the benchmark, or the worker it kills."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--commands", type=int, default=10_000)
    parser.add_argument("--npos", type=int, default=50)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work()
    else:
        print(json.dumps(measure(options.commands, options.npos, options.kills)))


def measure(commands: int, npos: int, kills: int) -> dict[str, Any]:
    """Let so many commands come to their outcomes and return figures."""
    with environment() as values, serving() as partners:
        settings = Settings()
        names = [f"bench{number:02}" for number in range(npos)]
        store = IntegrationStore(settings)
        insert_rows(settings, store, names, partners.url)
        platform = Platform(settings)
        choices = {name: [Choice(offering_id(name, OFFERING))] for name in names}
        sent = choose(choices, commands, seed=time.time_ns(), start=datetime.now(UTC))
        began = time.perf_counter()
        send(platform, sent)
        sent_in = time.perf_counter() - began
        tell(f"{commands:,} commands sent in {sent_in:.0f} s")
        began = time.perf_counter()
        workers, killed_at = run_workers(store, values, commands, kills)
        seconds = time.perf_counter() - began
        figures = compare(platform, partners, sent)
        store.client.drop_database(settings.mongo_database)
        store.close()
    return {
        "benchmark": "enrolment",
        "commands": commands,
        "npos": npos,
        "lookup_settle": MANIFEST["enrolment"]["lookup"]["settle"],
        "worker_killed": len(killed_at),
        "killed_with_outcomes": killed_at,
        "workers": workers,
        "seconds": round(seconds, 1),
        "outcomes_per_second": round(commands / seconds, 1),
        "sending": {"seconds": round(sent_in, 1), "commands_per_second": round(commands / sent_in)},
        **figures,
    }


@contextmanager
def environment() -> Iterator[dict[str, str]]:
    """Run the stack and lead this process and its children to it, with a store and topics of their own."""
    stack = LocalStack(HOME, services=("postgres", "mongo", "s3", "events"))
    tell(f"stack in {HOME}")
    stack.up()
    try:
        values = fresh(os.environ | stack.env() | {"SPOTLIGHT_ALLOW_LOOPBACK": "true"})
        os.environ |= {name: value for name, value in values.items() if name.startswith("SPOTLIGHT_")}
        yield values
    finally:
        stack.down()


def insert_rows(
    settings: Settings,
    store: IntegrationStore,
    names: Sequence[str],
    url: str,
    *,
    manifest: Mapping[str, Any] = MANIFEST,
) -> None:
    """Put the NPOs into the registry and an offering of each into the store.

    They start in the far future: a scheduler must not read partners that can only enrol.
    """
    with psycopg.connect(settings.registry_dsn.get_secret_value()) as connection:
        for name in names:
            connection.execute("delete from integration.npo where npo_id = %s", [name])
            connection.execute(
                "insert into integration.npo (npo_id, name, owner_email, status, connector, base_url,"
                " allowed_hosts, manifest, requests_per_minute, max_concurrency, start_date) values"
                " (%s, %s, 'bench@example.org', 'active', 'rest', %s, %s, %s, 100000, 4, '2099-01-01')",
                [name, name, f"{url}/{name}", [url.removeprefix("http://")], Jsonb(dict(manifest))],
            )
    store["npo_offering"].insert_many(
        [
            {"_id": offering_id(name, OFFERING), "external_id": OFFERING, "npo_id": name, "status": "active"}
            for name in names
        ]
    )


def send(platform: Platform, commands: Sequence[Command]) -> None:
    """Publish the commands, as the platform does."""
    shares = [commands[at::SENDERS] for at in range(SENDERS)]
    with ThreadPoolExecutor(SENDERS) as pool:
        list(pool.map(platform.send, shares))


def run_workers(
    store: IntegrationStore, values: Mapping[str, str], commands: int, kills: int
) -> tuple[int, list[int]]:
    """Run the worker until nothing is left, killing it as often at even steps; return how many ran."""
    killed_at: list[int] = []
    give_up = time.monotonic() + PATIENCE
    worker, workers = start_worker(values), 1
    try:
        while worker.poll() is None or worker.returncode:
            if time.monotonic() > give_up:
                raise TimeoutError(f"after {PATIENCE} s {ended(store)} of {commands} have an outcome")
            if worker.poll() is not None:
                worker, workers = start_worker(values), workers + 1
            elif len(killed_at) < kills and ended(store) > commands * (len(killed_at) + 1) / (kills + 1):
                os.killpg(worker.pid, signal.SIGKILL)
                worker.wait()
                killed_at.append(ended(store))
                tell(f"killed with {killed_at[-1]:,} outcomes")
            time.sleep(0.2)
    finally:
        if worker.poll() is None:
            os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()
    return workers, killed_at


def start_worker(values: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start the worker with a process group of its own, to be killed as one."""
    argv = [sys.executable, "-m", "benchmarks.enrolment", "--worker"]
    return subprocess.Popen(
        argv, env=dict(values), cwd=PROJECT_ROOT, stdout=subprocess.DEVNULL, start_new_session=True
    )


def ended(store: IntegrationStore) -> int:
    """Return how many enrolments have come to an outcome."""
    return store["enrolment"].count_documents({"state": {"$in": sorted(ENDS)}})


def work() -> None:
    """Do what the DAG's tasks do, run after run, until nothing is left: each task in a process of its own."""
    from include.npo.enrolment.run import drain, npos_with_work

    store = IntegrationStore(Settings())
    names = [found["_id"] for found in store["npo_offering"].aggregate([{"$group": {"_id": "$npo_id"}}])]
    store.close()
    import boto3  # noqa: F401 - a worker of Airflow's is warm
    import requests  # noqa: F401

    tell(f"a worker for {len(names)} NPOs")
    with multiprocessing.get_context("fork").Pool(NPOS_AT_ONCE, maxtasksperchild=1) as pool:
        quiet = 0
        while quiet < 2:  # noqa: PLR2004 - what a killed one had in hand comes back late
            received = pool.apply(drain)["received"]
            found = pool.apply(npos_with_work, [len(names)])
            counts = sum((Counter(one) for one in pool.imap_unordered(_enrol, found)), Counter())
            tell(f"received {received}, {len(found)} NPOs: {dict(counts)}")
            quiet = 0 if received or found or pool.apply(_left) else quiet + 1
            time.sleep(0 if found else 0.5)


def _enrol(npo_id: str) -> dict[str, int]:
    from include.npo.enrolment.run import enrol

    return enrol(npo_id)


def _left() -> int:
    """Return how much waits in the store, and in the queue for a message a killed worker had in hand."""
    from include.events.topics import ASSIGNMENT_COMMANDS, ENROLMENT_CONSUMER, connect, queue_name

    settings = Settings()
    store = IntegrationStore(settings)
    left = store["enrolment"].count_documents({"due": True})
    left += store["enrolment_npo"].count_documents({"publish": {"$exists": True}})
    store.close()
    sqs = connect(settings).sqs
    url = sqs.get_queue_url(QueueName=queue_name(settings, ENROLMENT_CONSUMER, ASSIGNMENT_COMMANDS))
    wanted: Any = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    attributes = sqs.get_queue_attributes(QueueUrl=url["QueueUrl"], AttributeNames=wanted)["Attributes"]
    return left + sum(int(value) for value in attributes.values())


def compare(platform: Platform, partners: Partners, sent: Sequence[Command]) -> dict[str, Any]:
    """Hold each command against what its partner has and what the platform was told."""
    quiet = 0
    while quiet < 2:  # noqa: PLR2004 - a queue may say once that it is empty
        heard = sum(map(len, platform.outcomes.told.values()))
        platform.listen()
        quiet = quiet + 1 if sum(map(len, platform.outcomes.told.values())) == heard else 0
    outcomes = platform.outcomes
    held = {
        command.assignment_id: partners.held(reference_of(command.npo_id, command.assignment_id))
        for command in sent
    }
    words = {command.assignment_id: outcomes.word(command.assignment_id) for command in sent}
    return {
        "told": dict(outcomes.counts(sent)),
        "lost": len(outcomes.open(sent)),
        "doubled_at_partners": sum(len(ids) > 1 for ids in held.values()),
        "told_otherwise_than_held": sum(
            (words[name] == "accepted") != bool(ids) for name, ids in held.items()
        ),
        "told_twice": len(outcomes.ended_twice())
        + sum(
            Counter(one.word for one in told.values()).most_common(1)[0][1] > 1
            for told in outcomes.told.values()
        ),
        "requests_at_partners": dict(partners.requests),
        "answers_lost_by_partners": partners.lost,
    }


if __name__ == "__main__":
    main()

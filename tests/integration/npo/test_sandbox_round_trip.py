"""From the platform's command to the partner and back: the real connectors at the sandbox partners."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest

from include.connectors.open import open_api
from include.events.consumer import Consumer
from include.npo.enrolment.desk import Person, approve, listed
from include.npo.enrolment.records import reference_of
from include.npo.enrolment.run import drain, enrol
from include.npo.identity import entity_id, offering_id
from include.registry.models import NpoConfig
from include.sandbox.demo.enrolment import NEVER_SENT, RoundTrip
from include.sandbox.demo.rows import insert_partners
from include.sandbox.demo.truth import Truth
from include.sandbox.npos.process import Sandbox, running
from include.sandbox.platform.commands import Choice, Command, choose, created, withdrawn
from include.sandbox.platform.people import needles
from include.sandbox.platform.platform import ENDS, Platform
from include.settings import Settings
from include.storage.landing import LandingZone
from include.storage.mongo import IntegrationStore
from tests.integration.npo.conftest import CREDENTIALS, Sync

FAULTS: list[tuple[str, dict[str, Any]]] = [
    ("lost", {}),
    ("status", {"status": 500}),
    ("duplicate", {}),
    ("odd_body", {}),
    ("no_id", {}),
]
POST_PATH = {"codebridge": "enrollments", "hopeworks": "applications", "mentornet": "sign_up"}


class Trip:
    """One NPO: its offerings are read, commands go out, time passes as fast as we like."""

    def __init__(self, sync: Sync, partners: Sandbox) -> None:
        self.sync, self.partners, self.npo_id = sync, partners, sync.npo.npo_id
        self.platform = Platform(sync.settings)
        self.late = timedelta(0)
        places = self.admin()["places"]
        choices = [Choice(offering_id(self.npo_id, key), word) for key, word in sorted(places.items())]
        known = {doc["_id"] for doc in sync.store["npo_offering"].find({}, {"_id": 1})}
        self.choices = [choice for choice in choices if choice.offering_id in known]

    def admin(self) -> Any:
        return self.partners.admin(self.npo_id, "GET", "enrolments")

    def misbehave(self, kind: str, **arguments: Any) -> None:
        rule = {"path_regex": POST_PATH[self.npo_id], "method": "POST", "kind": kind, "times": 1} | arguments
        self.partners.misbehave(self.npo_id, rule)

    def send(self, count: int, takes: str = "open", seed: int = 3) -> list[Command]:
        chosen = [choice for choice in self.choices if choice.takes == takes]
        commands = choose({self.npo_id: chosen}, count, seed=seed, start=datetime.now(UTC))
        self.platform.send(commands)
        return commands

    def work(self, commands: list[Command], ends: frozenset[str] = ENDS) -> None:
        """Let sweeps come, an hour apart, until all is told."""
        for _ in range(16):
            self.sweep()
            heard = self.platform.listen()
            if all(heard.word(command.assignment_id) in ends for command in commands):
                return

    def sweep(self) -> None:
        """Drain and enrol; whoever waits for a person is approved."""
        drain(self.sync.settings, now=self.now)
        enrol(self.npo_id, self.sync.settings, now=self.now, open_partner=open_partner)
        waiting = [each.reference for each in listed(self.sync.store, state="awaiting_approval")]
        if waiting:
            approve(
                self.sync.store, waiting, Person("tester", "fits"), now=self.now, give_up=timedelta(days=3)
            )
        self.late += timedelta(hours=1)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.late


def open_partner(npo: Any, settings: Any, store: Any) -> Any:
    return open_api(npo, CREDENTIALS[npo.npo_id], settings, store=store)


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """Partners of this module's own: nobody has to wait for it."""
    with running(tmp_path_factory.mktemp("npos"), "--mentornet-rate", "0", "--scale", "0.1") as started:
        yield started


@pytest.fixture
def trip(
    registry_dsn: str, empty_database: str, settings: Settings, topics: None, sandbox: Sandbox
) -> Iterator[Callable[[str], Trip]]:
    """Return a maker of trips: ``trip("hopeworks")``."""
    insert_partners(registry_dsn, sandbox.urls)
    store, landing = IntegrationStore(settings), LandingZone(settings)
    landing.prepare()
    consumer = Consumer(settings, name="test")

    def make(npo: str) -> Trip:
        sandbox.admin(npo, "POST", "reset")
        row = {
            "npo_id": npo,
            "name": npo,
            "owner_email": "data@example.org",
            "status": "active",
            "connector": npo,
            "base_url": sandbox.urls[npo],
            "allowed_hosts": [urlsplit(sandbox.urls[npo]).netloc],
            "schedule": "@hourly",
            "start_date": "2026-01-01",
        }
        mine = Sync(NpoConfig.model_validate(row), settings, store, landing, consumer)
        mine.run()
        mine.events()
        return Trip(mine, sandbox)

    yield make
    store.close()


def assert_enrolled_once_each(mine: Trip, commands: list[Command]) -> None:
    partner = mine.admin()
    assert (partner["enrolled"], partner["doubled"]) == (len(commands), 0)
    declined = partner["declined"]
    heard = mine.platform.listen().counts(commands)
    assert heard == {"accepted": len(commands) - declined} | ({"rejected": declined} if declined else {})
    for command in commands:
        reference = reference_of(mine.npo_id, command.assignment_id)
        stored = mine.sync.store["enrolment"].find_one({"_id": reference})
        assert stored is not None
        assert [stored["external_id"]] == partner["by_reference"][reference]["ids"]


def assert_only_the_allow_list_was_sent(mine: Trip) -> None:
    for seen in mine.admin()["by_reference"].values():
        assert not [name for name in seen["fields"] if any(part in name for part in NEVER_SENT)]


def assert_nobody_is_named(mine: Trip, commands: list[Command]) -> None:
    told = str(mine.platform.listen().told).lower()
    assert not [needle for needle in needles([one.person for one in commands]) if needle in told]


@pytest.mark.parametrize(
    ("npo", "takes", "own"),
    [
        ("codebridge", "full", {"status": 429, "headers": {"Retry-After": "1"}}),
        ("hopeworks", "closed", {"status": 503}),
        ("mentornet", "closed", {"status": 403, "body": {"error": {"code": "throttled"}}}),
    ],
)
def test_whatever_goes_wrong_every_candidate_is_enrolled_once_and_told_of(trip, npo, takes, own):
    mine = trip(npo)
    faults = [*FAULTS, ("status", own)]
    if npo == "mentornet":  # the others never say it with 200
        faults.append(("error_body", {"body": {"ok": False, "error": {"code": "internal"}}}))
    for kind, arguments in faults:
        mine.misbehave(kind, **arguments)
    commands = mine.send(len(faults))
    mine.platform.publish([created(commands[0]), created(commands[0], repeat=1)])
    mine.work(commands)
    assert_enrolled_once_each(mine, commands)
    assert_only_the_allow_list_was_sent(mine)
    (refused,) = mine.send(1, takes, seed=4)
    mine.work([refused])
    last = mine.platform.outcomes.last(refused.assignment_id)
    assert (last.word, last.enrolment["reason"]["text"].endswith(f"_{takes}")) == ("rejected", True)
    assert_nobody_is_named(mine, [*commands, refused])


def test_an_enrolment_is_found_again_by_the_next_reading_on_the_platforms_assignment(trip):
    mine = trip("codebridge")
    (command,) = mine.send(1)
    mine.work([command])
    mine.sync.run()
    (external,) = mine.admin()["by_reference"][reference_of("codebridge", command.assignment_id)]["ids"]
    stored = mine.sync.store["npo_assignment"].find({"external_id": external})
    assert [document["_id"] for document in stored] == [command.assignment_id]
    subjects = {event["subject"] for event in mine.sync.events()}
    assert f"assignment/{command.assignment_id}" in subjects
    assert f"assignment/{entity_id('codebridge', 'assignments', external)}" not in subjects


@pytest.mark.parametrize(("npo", "known"), [("hopeworks", 1), ("mentornet", 0)])
def test_an_enrolment_taken_back_is_told_and_the_partner_knows_where_it_can(trip, npo, known):
    mine = trip(npo)
    (command,) = mine.send(1)
    mine.sweep()
    mine.sweep()
    mine.platform.publish([withdrawn(command)])
    mine.work([command], ends=frozenset({"withdrawn"}))
    assert mine.platform.outcomes.word(command.assignment_id) == "withdrawn"
    assert mine.admin()["withdrawn"] == known


class InlineAirflow:
    """Does what the DAGs do in this process, at once; time passes an hour a sweep."""

    def __init__(self, trips: dict[str, Trip]) -> None:
        self.api, self.trips, self.late = self, trips, timedelta(0)

    def dag(self, dag_id: str) -> dict[str, Any]:
        return {"dag_id": dag_id}

    def run(self, _dag_id: str, _run_id: str) -> dict[str, Any]:
        return {"state": "success"}

    def trigger(self, dag_id: str, _run_id: str) -> None:
        self.trips[dag_id.removeprefix("npo__")].sync.run()

    def check(self) -> None:
        """Nothing can have died; what the alarms would start is done each time the demo looks."""
        settings = next(iter(self.trips.values())).sync.settings

        def now() -> datetime:
            return datetime.now(UTC) + self.late

        drain(settings, now=now)
        for name in self.trips:
            enrol(name, settings, now=now, open_partner=open_partner)
        self.late += timedelta(hours=1)


def test_the_demos_round_trip_ends_as_the_partners_say(trip, sandbox):
    trips = {npo: trip(npo) for npo in sandbox.urls}
    mine = trips["hopeworks"]
    session: Any = SimpleNamespace(
        airflow=InlineAirflow(trips),
        store=mine.sync.store,
        settings=mine.sync.settings,
        urls=sandbox.urls,
        stack={"SPOTLIGHT_SANDBOX_ADMIN_TOKEN": sandbox.admin_token},
    )
    demo = RoundTrip(session, Platform(mine.sync.settings, "onlooker"), print, patience=120)
    demo.send(24)
    demo.finish()
    demo.pull()
    outcome = demo.outcome(Truth({(npo, "assignments"): frozenset() for npo in sandbox.urls}, bad=0))
    assert outcome.problems == []
    summary = outcome.summary
    assert (summary.commands, summary.failed, summary.pending, summary.doubled) == (24, 0, 0, 0)
    assert summary.accepted + summary.rejected == 24
    assert summary.accepted <= summary.echoed
    assert min(summary.approved, len(demo.refused), summary.rejected) >= 1

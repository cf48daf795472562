"""Backfills through Airflow's REST API: a server that answers as Airflow's own OpenAPI document says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from threading import Event, Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from include.airflow_api import AirflowApi, NothingToRunError
from include.errors import ConfigurationError, TransientError
from include.npo.backfill import Interval, aligned, in_airflow, intervals, without_run
from include.registry.models import NpoConfig, NpoStatus

START, END = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC)
INTERVAL = Interval(START, END)
SECRET = "a-very-secret-password"


@cache
def described() -> dict[str, Any]:
    """Airflow's OpenAPI document, as it is installed; found without importing Airflow."""
    spec = find_spec("airflow")
    assert spec
    assert spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0])
    path = folder / "api_fastapi" / "core_api" / "openapi" / "v2-rest-api-generated.yaml"
    found: dict[str, Any] = yaml.load(path.read_text(), Loader=yaml.CSafeLoader)
    return found


def complaint(method: str, path: str, query: dict[str, Any], body: dict[str, Any] | None) -> str | None:
    """What Airflow would not understand of a call."""
    for pattern, methods in described()["paths"].items():
        if re.fullmatch(re.sub(r"{\w+}", "[^/]+", pattern), path) and method.lower() in methods:
            about = methods[method.lower()]
            unknown = set(query) - {parameter["name"] for parameter in about.get("parameters", ())}
            if body is not None:
                ref = about["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
                unknown |= set(body) - set(described()["components"]["schemas"][ref]["properties"])
            return f"unknown: {sorted(unknown)}" if unknown else None
    return f"no {method} {path}"


@dataclass
class FakeAirflow:
    """One DAG, whose backfills end after two looks."""

    port: int = 0
    paused: bool = False
    fails: int = 0
    nothing: bool = False
    skipped: tuple[int, ...] = ()
    away: int = 0
    running: list[dict[str, Any]] = field(default_factory=list)
    looks: int = 0
    created: list[dict[str, Any]] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    logins: int = 0
    token: str = "t1"

    def backfill(self, body: dict[str, Any], *, completed: bool) -> dict[str, Any]:
        return {
            "id": 7,
            "dag_id": "npo__severn",
            "from_date": body["from_date"],
            "to_date": body["to_date"],
            "completed_at": "2026-03-03T00:00:00Z" if completed else None,
        }

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        if (method, path) == ("POST", "/api/v2/backfills"):
            return self.create(body)
        hours = [hour for hour in range(-1, 24) if hour not in self.skipped]
        runs = [
            {
                "state": "failed" if number < self.fails else "success",
                "logical_date": (START + timedelta(hours=hour, minutes=17)).isoformat(),
            }
            for number, hour in enumerate(hours)
        ]
        if self.away and path.endswith("/backfills/7"):
            self.away -= 1
            return 503, {}
        self.looks += path.endswith("/backfills/7")
        known: dict[str, Any] = {
            "monitor/health": {"scheduler": {"status": "healthy"}},
            "dags/npo__severn": {"is_paused": self.paused},
            "dags/npo__severn/dagRuns": {"dag_runs": runs},
            "backfills": {"backfills": self.running},
        }
        if begun := self.created or self.running:
            known["backfills/7"] = self.backfill(begun[0], completed=self.looks > 1)
        found = known.get(path.removeprefix("/api/v2/"))
        return (200, found) if found else (404, {"detail": "not found"})

    def create(self, body: dict[str, Any]) -> tuple[int, Any]:
        if self.nothing:
            return 422, {"detail": "No runs to create"}
        self.created.append(body)
        return 200, self.backfill(body, completed=False)


@pytest.fixture
def airflow() -> Iterator[FakeAirflow]:
    fake = FakeAirflow()

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            url = urlsplit(self.path)
            length = int(self.headers.get("Content-Length", 0))
            body = json.loads(self.rfile.read(length)) if length else None
            if url.path == "/auth/token":
                fake.logins += 1
                good = body is not None and body["password"] == SECRET
                self._send(201 if good else 401, {"access_token": fake.token} if good else {})
                return
            if problem := complaint(self.command, url.path, parse_qs(url.query), body):
                fake.complaints.append(problem)
            open_to_all = url.path.endswith("/health")
            if not open_to_all and self.headers.get("Authorization") != f"Bearer {fake.token}":
                self._send(401, {})
                return
            self._send(*fake.answer(self.command, url.path, body))

        do_GET = do_POST = _handle  # noqa: N815 - the library's names

        def _send(self, status: int, value: Any) -> None:
            data = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    fake.port = server.server_address[1]
    Thread(target=server.serve_forever, daemon=True).start()
    yield fake
    server.shutdown()
    server.server_close()
    assert fake.complaints == []


@pytest.fixture
def api(airflow: FakeAirflow) -> AirflowApi:
    return AirflowApi(f"http://127.0.0.1:{airflow.port}", user="admin", password=SECRET)


def severn(
    status: NpoStatus = NpoStatus.ACTIVE, schedule: str = "17 * * * *", zone: str = "UTC"
) -> NpoConfig:
    known: Any = {"npo_id": "severn", "status": status, "schedule": schedule, "timezone": zone}
    return NpoConfig.model_construct(None, **known)


def run(api: AirflowApi, npo: NpoConfig | None = None) -> Any:
    told: list[str] = []
    result = in_airflow(api, poll=0.01)(npo or severn(), INTERVAL, told.append, Event())
    return result, told


def test_a_backfill_is_started_followed_and_told(airflow, api):
    result, told = run(api)
    assert (result.state, result.told) == ("done", "25 runs, backfill 7")
    assert told == ["backfill 7 in Airflow"]
    (body,) = airflow.created
    assert body["reprocess_behavior"] == "completed"
    assert airflow.logins == 1


def test_a_run_that_failed_makes_the_backfill_fail_and_says_where_to_look(airflow, api):
    airflow.fails = 2
    result, _ = run(api)
    assert result.state == "failed"
    assert result.told == "2 of 25 runs failed; see backfill 7 of npo__severn in Airflow"


def test_intervals_airflow_passed_over_are_told_and_not_called_done(airflow, api):
    airflow.skipped = (5, 23)
    result, _ = run(api)
    assert result.state == "in part"
    assert "23 runs, backfill 7; 2 intervals got none" in result.told
    assert "from 2026-03-01T05:17:00 to 2026-03-01T23:17:00" in result.told
    assert result.counts == {"success": 23, "without_run": 2}


def test_a_few_looks_without_an_answer_do_not_fail_a_backfill_that_goes_on(airflow, api):
    airflow.away = 4
    result, _ = run(api)
    assert result.state == "done"


def test_an_airflow_that_stays_away_fails_it(airflow, api):
    airflow.away = 1_000
    with pytest.raises(TransientError, match="503"):
        run(api)


@pytest.mark.parametrize(
    ("schedule", "zone", "hours", "number"),
    [("17 * * * *", "UTC", 24, 25), ("0 2 * * *", "Europe/London", 24, 2), ("0 0 1 1 *", "UTC", 24, 1)],
)
def test_every_interval_that_touches_the_stretch_is_expected(schedule, zone, hours, number):
    npo = severn(schedule=schedule, zone=zone)
    covering = aligned(npo, Interval(START, START + timedelta(hours=hours)))
    begins = intervals(npo, covering)
    assert len(begins) == number
    assert begins[0] == covering.start
    assert without_run(begins, begins) == []
    assert without_run(begins, begins[1:]) == begins[:1]


def test_the_same_backfill_under_way_is_followed_and_not_started_twice(airflow, api):
    covering = aligned(severn(), INTERVAL)
    dates = {"from_date": covering.start.isoformat(), "to_date": covering.end.isoformat()}
    airflow.running = [airflow.backfill(dates, completed=False)]
    result, told = run(api)
    assert result.state == "done"
    assert airflow.created == []
    assert told[0] == "found backfill 7 of this stretch under way"


def test_another_backfill_under_way_is_left_alone(airflow, api):
    airflow.running = [
        airflow.backfill(
            {"from_date": "2025-01-01T00:00:00Z", "to_date": "2025-01-02T00:00:00Z"}, completed=False
        )
    ]
    with pytest.raises(ConfigurationError, match="backfill 7 of another stretch is under way"):
        run(api)


def test_a_stop_leaves_the_backfill_to_airflow(airflow, api):
    stop = Event()
    stop.set()
    result = in_airflow(api, poll=5)(severn(), INTERVAL, lambda _line: None, stop)
    assert (result.state, result.told) == ("goes on", "backfill 7 goes on in Airflow")


@pytest.mark.parametrize("how", ["row", "ui"])
def test_a_paused_dag_is_told_before_anything_is_started(airflow, api, how):
    airflow.paused = how == "ui"
    with pytest.raises(ConfigurationError, match="its DAG is paused"):
        run(api, severn(NpoStatus.PAUSED if how == "row" else NpoStatus.ACTIVE))
    assert airflow.created == []


def test_a_stretch_without_a_whole_interval_is_told_with_the_way_out(airflow, api):
    airflow.nothing = True
    with pytest.raises(NothingToRunError, match="--local"):
        run(api)


def test_an_expired_token_is_fetched_again(airflow, api):
    assert api.is_paused("npo__severn") is False
    airflow.token = "t2"
    assert api.is_paused("npo__severn") is False
    assert airflow.logins == 2


def test_a_wrong_password_is_told_without_the_password(airflow):
    api = AirflowApi(f"http://127.0.0.1:{airflow.port}", user="admin", password="wrong-password")
    with pytest.raises(ConfigurationError, match="SPOTLIGHT_AIRFLOW_PASSWORD") as caught:
        api.is_paused("npo__severn")
    assert "wrong-password" not in str(caught.value)
    assert api.is_reachable()


def test_an_airflow_that_is_not_there_is_unreachable_and_told():
    api = AirflowApi("http://127.0.0.1:9", user="admin", password=SECRET)
    assert not api.is_reachable()
    with pytest.raises(TransientError, match="does not answer"):
        api.is_paused("npo__severn")


@pytest.mark.parametrize("url", ["http://airflow.example.org", "ftp://127.0.0.1", "airflow"])
def test_no_token_travels_in_the_clear(url):
    with pytest.raises(ConfigurationError, match="must begin with https"):
        AirflowApi(url)


@pytest.mark.parametrize(
    ("schedule", "zone", "start", "expected"),
    [
        ("17 * * * *", "UTC", "2026-03-01T00:00:00", "2026-02-28T23:17:00"),
        ("17 * * * *", "UTC", "2026-03-01T00:17:00", "2026-03-01T00:17:00"),
        ("0 6 * * *", "Europe/London", "2026-07-01T12:00:00", "2026-07-01T05:00:00"),
    ],
)
def test_the_interval_under_way_at_the_start_is_read_too(schedule, zone, start, expected):
    begin = datetime.fromisoformat(start).replace(tzinfo=UTC)
    found = aligned(severn(schedule=schedule, zone=zone), Interval(begin, END.replace(year=2027)))
    assert found.start == datetime.fromisoformat(expected).replace(tzinfo=UTC)
    assert found.end < END.replace(year=2027)

"""A small client of Airflow's public REST API: what a backfill over many DAGs asks of it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from include.errors import ConfigurationError, TransientError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import requests

TOKEN_LIFE = 1800.0
TIMEOUT = (5, 30)
PAGE = 100
MAX_PAGES = 200
MAX_RUNS = PAGE * MAX_PAGES
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _CONFLICT, _UNPROCESSABLE = 401, 403, 404, 409, 422
_CLIENT_ERROR, _SERVER_ERROR, _CREATED = 400, 500, 201


@dataclass(frozen=True, slots=True)
class Backfill:
    """One backfill as Airflow has it.

    Attributes:
        completed: Whether all its runs have ended, well or not.
    """

    id: int
    dag_id: str
    completed: bool
    start: str
    end: str

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Backfill:
        """Return the backfill of an answer."""
        completed = told.get("completed_at") is not None
        return cls(int(told["id"]), told["dag_id"], completed, told["from_date"], told["to_date"])


class NothingToRunError(ConfigurationError):
    """No whole interval of the DAG's schedule lies in the stretch of time."""


class AirflowApi:
    """Talks to one API server; safe to share between threads.

    Args:
        url: Such as ``https://airflow.example.org``; plain http only on the loopback.
        user: Whom to log in as, where there is no token.
        password: Theirs.
        token: A bearer token instead.
        clock: Monotonic seconds, for the age of a token we fetched.
    """

    def __init__(
        self,
        url: str,
        *,
        user: str = "",
        password: str = "",
        token: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
            raise ConfigurationError(
                "SPOTLIGHT_AIRFLOW_URL must begin with https (plain http is for the loopback): a token would "
                "travel in the clear"
            )
        self.url = url.rstrip("/")
        self._user, self._password, self._given, self._clock = user, password, token, clock
        self._lock = Lock()
        self._fetched: tuple[str, float] | None = None

    def is_reachable(self) -> bool:
        """Return whether the API server answers and its scheduler is healthy."""
        import requests

        try:
            report = self._send("GET", "monitor/health", signed=False).json()
            return bool(report["scheduler"]["status"] == "healthy")
        except (requests.RequestException, ValueError, KeyError, TypeError):
            return False

    def is_paused(self, dag_id: str) -> bool:
        """Return whether a DAG is paused.

        Raises:
            ConfigurationError: Airflow does not have it, or refuses us.
            TransientError: No answer.
        """
        return bool(self._call("GET", f"dags/{quote(dag_id, safe='')}")["is_paused"])

    def running_backfills(self, dag_id: str) -> list[Backfill]:
        """Return the backfills of a DAG that have not ended.

        Raises:
            IntegrationError: As ``is_paused``.
        """
        told = self._call("GET", "backfills", params={"dag_id": dag_id, "limit": PAGE, "order_by": "-id"})
        return [found for found in map(Backfill.of, told["backfills"]) if not found.completed]

    def create_backfill(self, dag_id: str, start: datetime, end: datetime) -> Backfill:
        """Start a backfill of every interval that begins from ``start`` to ``end``, both inclusive.

        Intervals that have a run are run again.

        Raises:
            NothingToRunError: No interval begins there.
            ConfigurationError: Airflow refuses it.
            TransientError: No answer; whether it was started is not known, asking again finds out.
        """
        body = {
            "dag_id": dag_id,
            "from_date": start.isoformat(),
            "to_date": end.isoformat(),
            "reprocess_behavior": "completed",
            "max_active_runs": 1,
        }
        return Backfill.of(self._call("POST", "backfills", json=body))

    def backfill(self, backfill_id: int) -> Backfill:
        """Return a backfill as it is now.

        Raises:
            IntegrationError: As ``is_paused``.
        """
        return Backfill.of(self._call("GET", f"backfills/{backfill_id}"))

    def backfill_runs(self, dag_id: str, start: datetime, end: datetime) -> dict[datetime, str]:
        """Return the state of each backfill run with a logical date in a stretch, the first 20,000 by date.

        Raises:
            IntegrationError: As ``is_paused``.
        """
        params = {
            "run_type": "backfill",
            "logical_date_gte": start.isoformat(),
            "logical_date_lte": end.isoformat(),
            "order_by": "logical_date",
            "limit": PAGE,
        }
        states: dict[datetime, str] = {}
        for page in range(MAX_PAGES):
            told = self._call(
                "GET",
                f"dags/{quote(dag_id, safe='')}/dagRuns",
                params=params | {"offset": page * PAGE},
            )
            for run in told["dag_runs"]:
                states[datetime.fromisoformat(run["logical_date"])] = run["state"]
            if len(told["dag_runs"]) < PAGE:
                break
        return states

    def _call(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        params: Mapping[str, object] | None = None,
    ) -> Any:
        import requests

        try:
            answer = self._send(method, path, json=json, params=params)
            if answer.status_code == _UNAUTHORIZED and not self._given:
                self._fetched = None  # it has expired sooner than we thought
                answer = self._send(method, path, json=json, params=params)
        except requests.RequestException as error:
            raise TransientError(
                f"Airflow at {self.url} does not answer ({type(error).__name__}); see whether it runs, or "
                "use --local",
                subject="airflow",
            ) from None
        if answer.status_code >= _CLIENT_ERROR:
            raise _refusal(answer, method, path)
        return answer.json()

    def _send(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        params: Mapping[str, object] | None = None,
        signed: bool = True,
    ) -> requests.Response:
        import requests

        with requests.Session() as session:  # one a call: sessions are not for several threads
            session.trust_env = False  # a proxy for the outside world is no way to Airflow
            return session.request(
                method,
                f"{self.url}/api/v2/{path}",
                json=json,
                params={name: str(value) for name, value in (params or {}).items()},
                headers={"Authorization": f"Bearer {self._token()}"} if signed else {},
                timeout=TIMEOUT,
                allow_redirects=False,
            )

    def _token(self) -> str:
        import requests

        if self._given:
            return self._given
        with self._lock:
            if self._fetched is not None and self._clock() - self._fetched[1] < TOKEN_LIFE:
                return self._fetched[0]
            with requests.Session() as session:
                session.trust_env = False
                answer = session.post(
                    f"{self.url}/auth/token",
                    json={"username": self._user, "password": self._password},
                    timeout=TIMEOUT,
                    allow_redirects=False,
                )
            if answer.status_code != _CREATED:
                raise ConfigurationError(
                    f"Airflow at {self.url} refused to log {self._user!r} in ({answer.status_code}); check "
                    "SPOTLIGHT_AIRFLOW_USER and SPOTLIGHT_AIRFLOW_PASSWORD, or give SPOTLIGHT_AIRFLOW_TOKEN",
                    subject="airflow",
                )
            self._fetched = answer.json()["access_token"], self._clock()
            return self._fetched[0]


def _refusal(answer: requests.Response, method: str, path: str) -> ConfigurationError | TransientError:
    status, told = answer.status_code, f"Airflow: {method} {path}: {answer.status_code}"
    if status >= _SERVER_ERROR:
        return TransientError(f"{told}; it is unwell, try again", subject="airflow")
    if status == _UNPROCESSABLE and "backfills" in path:
        return NothingToRunError(
            "no whole interval of the schedule lies in it; take a longer stretch, or --local, which needs no "
            "schedule",
            subject="airflow",
        )
    advice = {
        _UNAUTHORIZED: "the token is not valid",
        _FORBIDDEN: "this user may not; ask for the right to create backfills",
        _NOT_FOUND: "Airflow does not have it (yet); a row must be active for its DAG to be there",
        _CONFLICT: "another backfill of this DAG is under way",
    }.get(status, "refused")
    return ConfigurationError(f"{told}: {advice}", subject="airflow")

"""A small client of Airflow's public REST API: what the flows and the end-to-end test ask of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import requests

from include.sandbox.airflow.config import ADMIN_USER
from include.sandbox.stack.errors import StackError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

COMPONENTS = ("metadatabase", "scheduler", "dag_processor", "triggerer")
TOKEN_LIFE = 3600.0  # seconds; Airflow's own default is a day
PAGE = 100


class AirflowApi:
    """Talks to one API server as the admin.

    Args:
        url: ``http://127.0.0.1:<port>``.
        password: The admin's.
        timeout: Seconds for connect and between two reads.
        clock: Monotonic seconds, for the age of the token.
    """

    def __init__(
        self, url: str, password: str, *, timeout: float = 30, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.url = url
        self._password = password
        self._timeout = timeout
        self._clock = clock
        self._session = requests.Session()
        self._session.trust_env = False  # a proxy for the outside world is no way to the loopback
        self._token_from: float | None = None

    def health(self) -> dict[str, str]:
        """Return the state of each component (``healthy`` ...); empty while the server does not answer."""
        try:
            answer = self._session.get(f"{self.url}/api/v2/monitor/health", timeout=5)
            answer.raise_for_status()
            report = answer.json()
        except (requests.RequestException, ValueError):
            return {}
        return {name: str((report.get(name) or {}).get("status")) for name in COMPONENTS}

    def get(self, path: str, **params: object) -> Any:
        """Return the JSON answer of ``GET /api/v2/<path>``."""
        return self.call("GET", path, params=params)

    def call(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        params: Mapping[str, object] | None = None,
    ) -> Any:
        """Return the JSON answer of a call.

        Raises:
            StackError: Not reachable, refused, or an answer of 400 and above; the message names the call.
        """
        try:
            self._log_in()
            answer = self._session.request(
                method,
                f"{self.url}/api/v2/{path}",
                json=json,
                params={name: str(value) for name, value in (params or {}).items()},
                timeout=self._timeout,
            )
        except requests.RequestException as error:
            raise StackError(f"Airflow's API at {self.url}: {method} {path}: {error}") from error
        if answer.status_code >= requests.codes.bad_request:
            raise StackError(f"Airflow: {method} {path}: {answer.status_code} {answer.text[:500]}")
        return answer.json() if answer.content else None

    def dags(self, *, tag: str | None = None) -> list[dict[str, Any]]:
        """Return the active DAGs, at most ``PAGE``, sorted by id."""
        params = {"limit": PAGE, "order_by": "dag_id", "exclude_stale": "true"} | (
            {"tags": tag} if tag else {}
        )
        found: list[dict[str, Any]] = self.get("dags", **params)["dags"]
        return found

    def dag(self, dag_id: str) -> dict[str, Any] | None:
        """Return one DAG, ``None`` when Airflow does not list it (any more)."""
        return next((dag for dag in self.dags() if dag["dag_id"] == dag_id), None)

    def runs(self, dag_id: str, *, limit: int = PAGE) -> list[dict[str, Any]]:
        """Return the DAG's latest runs, newest first."""
        found: list[dict[str, Any]] = self.get(f"dags/{dag_id}/dagRuns", limit=limit, order_by="-run_after")[
            "dag_runs"
        ]
        return found

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Return the task instances of one run."""
        found: list[dict[str, Any]] = self.get(f"dags/{dag_id}/dagRuns/{run_id}/taskInstances", limit=PAGE)[
            "task_instances"
        ]
        return found

    def trigger(self, dag_id: str, run_id: str, *, logical_date: datetime | None = None) -> dict[str, Any]:
        """Start a run by hand, for a logical date or for none.

        One for a date is due from that date on: of runs that wait, the scheduler takes the one first that
        has been due for longest.
        """
        body: dict[str, object] = {"dag_run_id": run_id, "logical_date": None}
        if logical_date is not None:
            body |= {"logical_date": logical_date.isoformat(), "run_after": logical_date.isoformat()}
        run: dict[str, Any] = self.call("POST", f"dags/{dag_id}/dagRuns", json=body)
        return run

    def give_up(self, dag_id: str, run_id: str) -> None:
        """Fail a run that has not ended; nothing more of it starts."""
        self.call("PATCH", f"dags/{dag_id}/dagRuns/{run_id}", json={"state": "failed"})

    def run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """Return one run."""
        run: dict[str, Any] = self.get(f"dags/{dag_id}/dagRuns/{run_id}")
        return run

    def pause(self, dag_id: str, *, paused: bool = True) -> None:
        """Pause a DAG or let it go on; nothing of a paused one starts, not even by hand."""
        self.call("PATCH", f"dags/{dag_id}", json={"is_paused": paused})

    def clear(self, dag_id: str, run_id: str) -> None:
        """Clear every task of a run, so that it runs again from its start."""
        self.call(
            "POST", f"dags/{dag_id}/dagRuns/{run_id}/clear", json={"dry_run": False, "only_failed": False}
        )

    def import_errors(self) -> list[str]:
        """Return the DAG files Airflow could not load, each with the last line of the reason."""
        errors = self.get("importErrors", limit=PAGE)["import_errors"]
        return [f"{e['filename']}: {e['stack_trace'].strip().splitlines()[-1]}" for e in errors]

    def overwrite(self, resource: str, entities: Sequence[Mapping[str, object]]) -> None:
        """Create or replace connections, pools or variables in one call.

        Raises:
            StackError: Airflow refused one of them; it names which.
        """
        if not entities:
            return
        action = {"action": "create", "action_on_existence": "overwrite", "entities": list(entities)}
        outcome = (self.call("PATCH", resource, json={"actions": [action]}) or {}).get("create") or {}
        if errors := outcome.get("errors"):
            raise StackError(f"Airflow refused {resource}: {errors[0].get('error', errors[0])}")

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def _log_in(self) -> None:
        now = self._clock()
        if self._token_from is not None and now - self._token_from < TOKEN_LIFE:
            return
        answer = self._session.post(
            f"{self.url}/auth/token",
            json={"username": ADMIN_USER, "password": self._password},
            timeout=self._timeout,
        )
        if answer.status_code != requests.codes.created:
            raise StackError(f"Airflow at {self.url} refused the admin's password ({answer.status_code})")
        self._session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        self._token_from = now

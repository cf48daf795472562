"""Talks to the stand-in's admin endpoints, and starts one as a process of its own; for tests and demos."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import threading
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

ROOT = Path(__file__).resolve().parents[3]
SECONDS_TO_START = 60
SECONDS_TO_STOP = 15
CLIENT_ID = "spotlight"


class TcsSandbox:
    """The running stand-in.

    Attributes:
        url: Its base address.
        client_secret: Of the client ``spotlight``.
        pid: Its process, when it was started here.
    """

    def __init__(self, url: str, admin_token: str, client_secret: str, pid: int | None = None) -> None:
        self.url = url
        self.client_secret = client_secret
        self.pid = pid
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers["X-Admin-Token"] = admin_token

    def admin(self, method: str, path: str, body: Any = None, **params: Any) -> Any:
        """Call ``/_admin/<path>`` and return the JSON of the answer.

        Raises:
            requests.HTTPError: It was refused.
        """
        answer = self._session.request(
            method, f"{self.url}/_admin/{path}", json=body, params=params, timeout=120
        )
        answer.raise_for_status()
        return answer.json()

    def reset(self) -> None:
        """Forget everything that was told, loaded and broken."""
        self.admin("POST", "reset")

    def misbehave(self, *rules: dict[str, Any]) -> None:
        """Add fault rules, such as ``{"call": "^PATCH", "kind": "status", "status": 503, "times": 2}``."""
        self.admin("POST", "faults", list(rules))

    def behave(self) -> None:
        """Remove all fault rules."""
        self.admin("DELETE", "faults")

    def expire_tokens(self, seconds: float | None = None) -> None:
        """End all tokens; new ones are good for ``seconds``, when given."""
        self.admin("POST", "expire-tokens", **({} if seconds is None else {"seconds": seconds}))

    def load_posts(self, *posts: dict[str, Any]) -> list[dict[str, Any]]:
        """Load posts (``nationalPostNumber``, perhaps ``id``, ``status``, ``owner``); return them."""
        return list(self.admin("POST", "posts", list(posts)))

    def remove_post(self, post_id: int) -> None:
        """Take a post away."""
        self.admin("DELETE", f"posts/{post_id}")

    def load_placements(self, *placements: dict[str, Any]) -> list[dict[str, Any]]:
        """Load placements (``traineeId``, ``postId`` and what else differs); return them."""
        return list(self.admin("POST", "placements", list(placements)))

    def remove_placement(self, placement_id: int) -> None:
        """Take a placement away."""
        self.admin("DELETE", f"placements/{placement_id}")

    def placement(self, placement_id: int) -> dict[str, Any] | None:
        """Return a placement as the API gives it; ``None`` when there is none."""
        found = self.get(f"placements/{placement_id}")
        return None if found is None else dict(found)

    def change_placement(self, placement_id: int, **fields: Any) -> dict[str, Any]:
        """Change fields of a placement that is there (``dateFrom``, ``siteCode`` ...); return it.

        Raises:
            KeyError: There is no such placement.
        """
        known = self.placement(placement_id)
        if known is None:
            raise KeyError(placement_id)
        keys = {"id": placement_id, "traineeId": known["traineeId"], "postId": known["postId"]}
        [changed] = self.load_placements(keys | fields)
        return changed

    def approve_placement(self, placement_id: int, *, approved: bool = True) -> None:
        """Take a placement from DRAFT to APPROVED, or back."""
        self.change_placement(placement_id, lifecycleState="APPROVED" if approved else "DRAFT")

    def move_placement(self, placement_id: int, start: date, end: date | None = None) -> None:
        """Give a placement another start and, when told, another end."""
        moved = {"dateFrom": start.isoformat()} | ({"dateTo": end.isoformat()} if end else {})
        self.change_placement(placement_id, **moved)

    def add_placement(self, trainee_id: int, post_id: int, start: date, end: date, **fields: Any) -> int:
        """Load an approved placement, unless ``fields`` say otherwise; return its id."""
        days = {"dateFrom": start.isoformat(), "dateTo": end.isoformat()}
        [added] = self.load_placements({"traineeId": trainee_id, "postId": post_id, **days, **fields})
        return int(added["id"])

    def load_people(self, *people: dict[str, Any]) -> list[dict[str, Any]]:
        """Load people (``gmcNumber``, ``gdcNumber``, ``contactDetails``, ``personalDetails``)."""
        return list(self.admin("POST", "people", list(people)))

    def told(self, kind: str = "") -> list[dict[str, Any]]:
        """Return every change in order, or those of a kind: ``event``, ``patch``, ``absence`` ..."""
        return list(self.admin("GET", "told", kind=kind))

    def post_events(self) -> dict[int, list[dict[str, Any]]]:
        """Return what ``esr-changed`` was told, in order, by post id."""
        return self._events("post")

    def placement_events(self) -> dict[int, list[dict[str, Any]]]:
        """Return what ``esr-exported`` was told, in order, by placement id."""
        return self._events("placement")

    def exported(self) -> Counter[tuple[str, int, str]]:
        """Return how often ``esr-exported`` was told of each file, position id and status."""
        return Counter(
            (body["filename"], body["positionId"], body["status"])
            for bodies in self.placement_events().values()
            for body in bodies
        )

    def _events(self, of: str) -> dict[int, list[dict[str, Any]]]:
        events: dict[int, list[dict[str, Any]]] = {}
        for entry in self.told("event"):
            if entry["of"] == of:
                events.setdefault(entry["key"], []).append(entry["body"])
        return events

    def final(self) -> dict[str, Any]:
        """Return all that was told, without what depends on order or clock."""
        return dict(self.admin("GET", "state"))

    def digest(self) -> str:
        """Return the SHA-256 of :meth:`final`."""
        return str(self.admin("GET", "digest")["sha256"])

    def calls(self) -> dict[str, int]:
        """Return how often each endpoint was called, such as ``{"GET posts/*": 3}``."""
        return dict(self.admin("GET", "calls")["by_endpoint"])

    def token(self) -> str:
        """Return a fresh bearer token."""
        form = {
            "grant_type": "client_credentials",
            "client_id": CLIENT_ID,
            "client_secret": self.client_secret,
        }
        answer = self._session.post(f"{self.url}/oauth/token", data=form, timeout=30)
        answer.raise_for_status()
        return str(answer.json()["access_token"])

    def get(self, path: str) -> Any:
        """Return the JSON of a GET of ``/api/<path>``; ``None`` for 404."""
        headers = {"Authorization": f"Bearer {self.token()}"}
        answer = self._session.get(f"{self.url}/api/{path}", headers=headers, timeout=30)
        if answer.status_code == requests.codes.not_found:
            return None
        answer.raise_for_status()
        return answer.json()

    def close(self) -> None:
        """Close the connections."""
        self._session.close()


@contextmanager
def running(state_dir: Path, *options: str, port: int = 0) -> Iterator[TcsSandbox]:
    """Run the stand-in on a free port of 127.0.0.1 until the block ends.

    Args:
        state_dir: Folder for its journal and its log.
        options: Further command line options (``"--people", "60000"``).
        port: A given port instead of any free one.

    Raises:
        RuntimeError: It did not start; the message holds what it said.
    """
    admin_token, client_secret = secrets.token_hex(16), secrets.token_hex(16)
    state_dir.mkdir(parents=True, exist_ok=True)
    log = state_dir / "tcs.log"
    command = [sys.executable, "-m", "include.sandbox.tcs", "--port", str(port)]
    command += ["--state-dir", str(state_dir), *options]
    env = {"SPOTLIGHT_SANDBOX_ADMIN_TOKEN": admin_token, "SPOTLIGHT_TCS_CLIENT_SECRET": client_secret}
    with log.open("w", encoding="utf-8") as errors:
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **env}, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    try:
        sandbox = TcsSandbox(_address(process, log), admin_token, client_secret, process.pid)
        yield sandbox
        sandbox.close()
    finally:
        _end(process)


def _address(process: subprocess.Popen[str], log: Path) -> str:
    """Return the address of the ready line; a process that stays silent is ended."""
    timer = threading.Timer(SECONDS_TO_START, process.kill)
    timer.start()
    try:
        line = process.stdout.readline() if process.stdout is not None else ""
    finally:
        timer.cancel()
    if not line:
        raise RuntimeError(f"the stand-in for TCS did not start: {log.read_text('utf-8')[-2000:].strip()}")
    return str(json.loads(line)["url"])


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(SECONDS_TO_STOP)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()

"""Starts the partners as a process of its own and talks to their admin endpoints; for tests and demos."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parents[3]
SECONDS_TO_START = 60
SECONDS_TO_STOP = 15


@dataclass(frozen=True)
class Sandbox:
    """The running partners.

    Attributes:
        process: Their process.
        urls: Base address by partner.
        admin_token: What the admin endpoints want.
    """

    process: subprocess.Popen[str]
    urls: dict[str, str]
    admin_token: str = field(repr=False)

    def admin(self, npo: str, method: str, path: str, body: Any = None) -> Any:
        """Call ``/_admin/<path>`` of one partner and return the JSON of the answer.

        Raises:
            requests.HTTPError: The partner refused.
        """
        answer = requests.request(
            method,
            f"{self.urls[npo]}/_admin/{path}",
            json=body,
            headers={"X-Admin-Token": self.admin_token},
            timeout=120,
        )
        answer.raise_for_status()
        return answer.json()

    def truth(self, npo: str) -> Any:
        """Return what a correct reader of this partner must end with now."""
        return self.admin(npo, "GET", "truth")

    def advance(self, days: int) -> str:
        """Move the simulated day of all partners; return the new one."""
        return str(self.admin("hopeworks", "POST", "clock", {"advance_days": days})["today"])

    def misbehave(self, npo: str, *rules: dict[str, Any]) -> None:
        """Add fault rules to one partner."""
        self.admin(npo, "POST", "faults", list(rules))


@contextmanager
def running(state_dir: Path, *options: str, ports: Sequence[int] = (0, 0, 0)) -> Iterator[Sandbox]:
    """Run the partners on free ports of 127.0.0.1 (or the given ones) until the block ends.

    Args:
        state_dir: Folder for their state and their log.
        options: Further command line options (``"--today", "2026-03-01"``).
        ports: Ports of hopeworks, codebridge and mentornet.

    Raises:
        RuntimeError: They did not start; the message holds what they said.
    """
    token = secrets.token_hex(16)
    state_dir.mkdir(parents=True, exist_ok=True)
    log = state_dir / "npos.log"
    names = ("hopeworks", "codebridge", "mentornet")
    asked = [part for name, port in zip(names, ports, strict=True) for part in (f"--{name}-port", str(port))]
    command = [sys.executable, "-m", "include.sandbox.npos", *asked, "--state-dir", str(state_dir), *options]
    with log.open("w", encoding="utf-8") as errors:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "SPOTLIGHT_SANDBOX_ADMIN_TOKEN": token},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        yield Sandbox(process, _addresses(process, log, names), token)
    finally:
        process.terminate()
        try:
            process.wait(SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _addresses(process: subprocess.Popen[str], log: Path, names: Sequence[str]) -> dict[str, str]:
    """Return the addresses of the ready line; a process that stays silent is ended."""
    timer = threading.Timer(SECONDS_TO_START, process.kill)
    timer.start()
    try:
        line = process.stdout.readline() if process.stdout is not None else ""
    finally:
        timer.cancel()
    if not line:
        raise RuntimeError(f"the sandbox partners did not start: {log.read_text('utf-8')[-2000:].strip()}")
    ready = json.loads(line)
    return {name: ready[name] for name in names}

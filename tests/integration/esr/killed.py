"""Runs ``esr_inbound`` in processes that are killed right after a chosen side effect.

A warm process (``Nursery``) has imported what costs seconds, and forks a child for each run.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import json
import os
import signal
import subprocess
import sys
import traceback
from collections import Counter
from typing import Any

from include.settings import PROJECT_ROOT

POINTS = {
    "landed": ("include.storage.landing", "LandingZone", "put_file"),
    "committed": ("include.storage.mongo", "IntegrationStore", "commit"),
    "moved": ("include.esr.files.sftp", "EsrFolder", "move"),
    "told": ("include.esr.tcs.session", "TcsSession", "tell"),
    "changed": ("include.esr.tcs.session", "TcsSession", "change"),
    "sent": ("include.events.publisher", "Publisher", "send"),
}
NOWHERE = ("nowhere", 0)
STAGES = (
    "include.esr.inline",
    "include.esr.split",
    "include.esr.save",
    "include.esr.positions.reconcile",
    "include.esr.people.updates",
    "include.esr.tcs.calls",
    "include.events.drain",
)


class Nursery:
    """The warm process; ``run`` has it fork a child."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.esr.killed"],
            cwd=PROJECT_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, environment: dict[str, str], point: str, number: int) -> dict[str, Any]:
        """Run ``esr_inbound`` once, killed after the ``number``-th time of a point.

        Returns:
            ``signal`` that ended it, or what it reported: ``passed``, ``done``, ``waiting``, ``failed``.
        """
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps([environment, point, number]) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


def main() -> None:
    """Fork a child for each line of the standard input, and answer with what became of it."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries and stages print is no answer
    _warm()
    for line in sys.stdin:
        environment, point, number = json.loads(line)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            _child(environment, (point, number), writing)
        os.close(writing)
        with os.fdopen(reading) as answer:
            said = answer.read()
        _, status = os.waitpid(child, 0)
        ended = {"signal": os.WTERMSIG(status)} if os.WIFSIGNALED(status) else json.loads(said)
        answers.write(json.dumps(ended) + "\n")
        answers.flush()


def _child(environment: dict[str, str], fatal: tuple[str, int], writing: int) -> None:
    from include.esr.inline import run_inbound
    from include.settings import get_settings

    try:
        os.environ.update(environment)
        get_settings.cache_clear()
        passed: Counter[str] = Counter()
        for name, (module, owner, method) in POINTS.items():
            _watch(getattr(importlib.import_module(module), owner), method, name, passed, fatal)
        report = run_inbound("test__esr", None, lambda _line: None)
        os.write(writing, json.dumps({"passed": passed, **report.to_dict()}).encode())
    except BaseException:  # noqa: BLE001 - a forked child must not go on as its parent
        os.write(writing, json.dumps({"crashed": traceback.format_exc()}).encode())
    finally:
        os._exit(0)


def _watch(owner: Any, method: str, name: str, passed: Counter[str], fatal: tuple[str, int]) -> None:
    """Replace a method by one that counts its returns and kills the process at the chosen one."""
    original = getattr(owner, method)

    def note() -> None:
        passed[name] += 1
        if (name, passed[name]) == fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    @functools.wraps(original)
    async def awaited(*args: Any, **kwargs: Any) -> Any:
        result = await original(*args, **kwargs)
        note()
        return result

    @functools.wraps(original)
    def called(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        note()
        return result

    setattr(owner, method, awaited if inspect.iscoroutinefunction(original) else called)


def _warm() -> None:
    import aiohttp  # noqa: F401
    import asyncssh  # noqa: F401
    import boto3  # noqa: F401
    import pandas as pd
    import pyarrow.csv  # noqa: F401
    import pymongo  # noqa: F401

    from include.quality.gate import run_suite

    for name in (*STAGES, *(module for module, _, _ in POINTS.values())):
        importlib.import_module(name)
    facts = ("has_lines", "has_header", "header_is_name", "has_footer", "footer_counts", "has_records")
    run_suite("esr_frame", pd.DataFrame({name: [True] for name in (*facts, "mostly_readable")}))


if __name__ == "__main__":
    main()

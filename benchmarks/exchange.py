"""What the benchmarks of the exchange share: servers, environments, stages in warm forked workers."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource as rusage
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from include.sandbox.stack.stack import LocalStack
from include.sandbox.tcs.process import running
from include.settings import PROJECT_ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from include.sandbox.tcs.process import TcsSandbox

HOME = PROJECT_ROOT / ".local" / "bench"


@contextmanager
def servers(people: int) -> Iterator[tuple[dict[str, str], TcsSandbox]]:
    """Run the stack, and TCS with so many people beside it."""
    stack = LocalStack(HOME, services=("mongo", "s3", "events", "sftp"))
    tell(f"stack in {HOME}")
    stack.up()
    try:
        with (
            tempfile.TemporaryDirectory() as state,
            running(Path(state), "--people", str(people), "--token-seconds", "3600") as sandbox,
        ):
            yield (
                os.environ
                | stack.env()
                | {
                    "SPOTLIGHT_TCS_URL": sandbox.url,
                    "SPOTLIGHT_TCS_TOKEN_URL": f"{sandbox.url}/oauth/token",
                    "SPOTLIGHT_TCS_CLIENT_SECRET": sandbox.client_secret,
                },
                sandbox,
            )
    finally:
        stack.down()


def fresh(environment: dict[str, str]) -> dict[str, str]:
    """Return an environment with a store, events and SFTP folders of its own, prepared."""
    mine = f"bench-{uuid4().hex[:8]}"
    values = environment | {
        "SPOTLIGHT_MONGO_DATABASE": mine,
        "SPOTLIGHT_EVENTS_PREFIX": mine,
        "SPOTLIGHT_ESR_INBOUND_FOLDER": mine,
        "SPOTLIGHT_ESR_OUTBOUND_FOLDER": f"{mine}-out",
    }
    code = (
        "from include.settings import get_settings as s\n"
        "from include.events.topics import ensure_topics\n"
        "from include.storage.landing import LandingZone\n"
        "from include.storage.mongo import IntegrationStore\n"
        "IntegrationStore(s()).prepare(); LandingZone(s()).prepare(); ensure_topics(s())"
    )
    subprocess.run([sys.executable, "-c", code], env=values, cwd=PROJECT_ROOT, check=True)
    return values


def run_child(module: str, name: str, environment: dict[str, str], *arguments: str) -> dict[str, Any]:
    """Run one side of a benchmark in a process of its own and return its figures."""
    tell(name)
    argv = [sys.executable, "-m", module, "--child", name, *arguments]
    answer = subprocess.run(
        argv, env=environment, cwd=PROJECT_ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    figures: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    tell(json.dumps(figures))
    return figures


def in_process(what: str, work: Callable[[], dict[str, int]]) -> dict[str, int]:
    """Do work in a process forked from this warm one, as LocalExecutor's workers are; return its counts."""
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe(duplex=False)
    process = fork.Process(target=_answer, args=(work, theirs))
    began = time.perf_counter()
    process.start()
    theirs.close()
    try:
        counts: dict[str, int] = ours.recv()
    except EOFError:
        raise RuntimeError(f"{what} failed") from None
    finally:
        process.join()
    tell(f"{what}: {time.perf_counter() - began:.1f} s")
    return counts


def _answer(work: Callable[[], dict[str, int]], answer: Any) -> None:
    answer.send(work())


def warm() -> None:
    """Load what a warm Airflow worker has loaded: Great Expectations alone costs seconds."""
    import aiohttp  # noqa: F401
    import asyncssh  # noqa: F401
    import boto3  # noqa: F401
    import pandas as pd
    import pyarrow.csv  # noqa: F401
    import pymongo  # noqa: F401

    from include.quality.gate import run_suite

    facts = ("has_lines", "has_header", "header_is_name", "has_footer", "footer_counts", "has_records")
    run_suite("esr_frame", pd.DataFrame({name: [True] for name in (*facts, "mostly_readable")}))


def peak_mib(who: int = rusage.RUSAGE_SELF) -> float:
    """Return the peak resident memory of this process, or of the largest of its children, in MiB."""
    return round(rusage.getrusage(who).ru_maxrss / 1024, 1)


def tell(line: str) -> None:
    """Show progress on standard error; standard output is the figures' own."""
    print(line, file=sys.stderr)

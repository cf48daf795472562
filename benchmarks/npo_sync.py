"""How fast one NPO is synchronised, beside dlt's own ``rest_api`` source on the same API.

Prints one JSON line. Ours: the first four stages without Airflow on the local stack's real servers,
and, apart and on the second size, ``publish``, which the local queue server bounds. The peer: dlt's
``rest_api`` source loading the same resources to local JSONL files. Each run is a process of its
own, so that peak memory is its own.

    .venv/bin/python -m benchmarks.npo_sync [--records 100000] [--small 10000]
"""

from __future__ import annotations

import argparse
import json
import os
import resource as rusage
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse
from uuid import uuid4

import psutil
import requests

from include.sandbox.stack.stack import LocalStack
from include.settings import PROJECT_ROOT, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HOME = PROJECT_ROOT / ".local" / "bench"
ASSIGNMENTS_AT_SCALE_ONE = 600
ADMIN_TOKEN = "benchmark"  # noqa: S105 - of a loopback server that lives as long as this process
LOGIN, PASSWORD = "hopeworks-client", "hopeworks-sandbox-secret"  # the sandbox partner's own


def main() -> None:
    """Run the benchmark, or one measured child of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument(
        "--small", type=int, default=10_000, help="second size: to compare peak memory, and to publish"
    )
    parser.add_argument("--child", choices=("ours", "publish", "dlt"), help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--store-pid", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        children: dict[str, Callable[[str], dict[str, Any]]] = {
            "ours": partial(measure_ours, store_pid=options.store_pid),
            "publish": partial(measure_ours, store_pid=options.store_pid, publish=True),
            "dlt": measure_dlt,
        }
        print(json.dumps(children[options.child](options.url) | {"peak_mib": peak_mib()}))
        return
    print(json.dumps(compare(options.records, options.small)))


def compare(records: int, small: int) -> dict[str, Any]:
    """Measure both sides and return the figures and ratios."""
    stack = LocalStack(HOME, services=("postgres", "mongo", "s3", "events"))
    tell(f"stack in {HOME}")
    stack.up()
    environment = os.environ | stack.env()
    mongod = next(service.pid for service in stack.status() if service.name == "mongo")
    try:
        with partner(small) as url:
            ours_small = run_child("ours", url, environment, mongod)
            published = run_child("publish", url, environment, mongod)
        with partner(records) as url:
            ours = run_child("ours", url, environment, mongod)
            peer = run_child("dlt", url, environment, mongod)
    finally:
        stack.down()
    ours["records_per_second_four_stages"] = round(ours["records"] / ours["seconds_four_stages"])
    peer["records_per_second"] = round(peer["records"] / peer["seconds"])
    return {
        "benchmark": "npo_sync",
        "ours": ours,
        "ours_small": {"records": ours_small["records"], "peak_mib": ours_small["peak_mib"]},
        "publish": {
            "events": published["events"],
            "seconds": published["stages"]["publish"],
            "events_per_second": round(published["events"] / published["stages"]["publish"]),
        },
        "dlt": peer,
        "speed_to_dlt": round(ours["records_per_second_four_stages"] / peer["records_per_second"], 2),
        "memory_growth": round(ours["peak_mib"] / ours_small["peak_mib"], 2),
    }


def run_child(name: str, url: str, environment: dict[str, str], store_pid: int | None) -> dict[str, Any]:
    """Run one side in a process of its own and return its figures."""
    tell(f"{name} on {url}")
    argv = [sys.executable, "-m", "benchmarks.npo_sync", "--child", name, "--url", url]
    argv += ["--store-pid", str(store_pid)] if store_pid else []
    answer = subprocess.run(
        argv, env=environment, cwd=PROJECT_ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    figures: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    tell(json.dumps(figures))
    return figures


@contextmanager
def partner(records: int) -> Iterator[str]:
    """Serve about ``records`` assignments from a local API, data made before the clock starts."""
    ports = {name: str(free_port()) for name in ("hopeworks", "codebridge", "mentornet")}
    with tempfile.TemporaryDirectory() as state:
        argv = [sys.executable, "-m", "include.sandbox.npos", "--host", "127.0.0.1", "--state-dir", state]
        argv += ["--scale", str(records / ASSIGNMENTS_AT_SCALE_ONE)]
        for name, port in ports.items():
            argv += [f"--{name}-port", port]
        server = subprocess.Popen(
            argv,
            cwd=PROJECT_ROOT,
            env=os.environ | {"SPOTLIGHT_SANDBOX_ADMIN_TOKEN": ADMIN_TOKEN},
            stdout=subprocess.DEVNULL,
        )
        try:
            url = f"http://127.0.0.1:{ports['hopeworks']}"
            wait_until_served(url)
            yield url
        finally:
            server.terminate()
            server.wait(timeout=20)


def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_served(url: str) -> None:
    """Wait until the partner has made its data."""
    give_up = time.monotonic() + 300
    while time.monotonic() < give_up:
        try:
            if requests.get(f"{url}/_admin/health", timeout=120).ok:
                return
        except requests.ConnectionError:
            time.sleep(0.2)
    raise TimeoutError(f"{url} does not answer")


def fresh_settings() -> Settings:
    """Return settings with a store and queues nobody has used."""
    return Settings(
        mongo_database=f"bench_{uuid4().hex[:8]}",
        events_prefix=f"bench-{uuid4().hex[:8]}",
        allow_loopback=True,  # the partner of the measurement lives on this machine
    )


def measure_ours(url: str, *, store_pid: int | None, publish: bool = False) -> dict[str, Any]:
    """Run four stages, or all five, on a fresh store and return seconds a stage, ours and the store's."""
    from include.connectors.open import open_connector
    from include.events.topics import ensure_topics
    from include.npo import publish as publish_stage
    from include.npo.context import RunContext, RunRef, settle_memory
    from include.npo.extract import extract
    from include.npo.land import land_raw
    from include.npo.transform import transform
    from include.npo.validate import validate
    from include.quality.gate import run_suite
    from include.registry.models import Credential
    from include.storage.landing import LandingZone
    from include.storage.mongo import IntegrationStore

    settings = fresh_settings()
    store, landing = IntegrationStore(settings), LandingZone(settings)
    store.prepare()
    landing.prepare()
    ensure_topics(settings)
    warm(run_suite)
    settle_memory()
    npo = npo_row(url)
    connector = open_connector(npo, Credential(LOGIN, PASSWORD), settings)
    ctx = RunContext(npo, f"bench-{uuid4().hex[:8]}", connector, store, landing, settings, progress=tell)
    seconds: dict[str, float] = {}
    cpu: dict[str, float] = {}
    store_cpu: dict[str, float] = {}
    peaks: dict[str, float] = {}
    ref: RunRef | None = RunRef(npo.npo_id, ctx.run_id)
    stages: dict[str, Any] = {
        "extract": lambda ctx, _ref: extract(ctx),
        "land_raw": land_raw,
        "validate": validate,
        "transform": transform,
    }
    if publish:
        stages["publish"] = publish_stage.publish
    for name, stage in stages.items():
        began, worked, stored = time.perf_counter(), time.process_time(), worked_by(store_pid)
        ref = stage(ctx, ref)
        seconds[name] = round(time.perf_counter() - began, 2)
        cpu[name] = round(time.process_time() - worked, 2)
        store_cpu[name] = round(worked_by(store_pid) - stored, 2)
        peaks[name] = peak_mib()
        if ref is None:
            raise RuntimeError("the benchmark's store was not fresh")
    store.client.drop_database(settings.mongo_database)
    if ref is None:
        raise RuntimeError("no stage ran")
    return {
        "records": ref.counts["extract.records"],
        "events": ref.counts["transform.events"],
        "stages": seconds,
        "cpu_seconds": cpu,  # of this process; a busy machine distorts these less than the others
        "cpu_seconds_of_store": store_cpu,
        "peak_mib_after": peaks,
        "seconds_four_stages": round(sum(seconds.values()) - seconds.get("publish", 0), 2),
    }


def worked_by(pid: int | None) -> float:
    """Return the CPU seconds of a process so far; 0 for a store that runs elsewhere."""
    if pid is None:
        return 0.0
    spent = psutil.Process(pid).cpu_times()
    return float(spent.user + spent.system)


def warm(run_suite: Any) -> None:
    """Load what a warm Airflow worker has loaded: Great Expectations costs seconds, HTTP half a one."""
    import pandas as pd

    import_module("dlt.sources.helpers.rest_client")

    run_suite("npo_raw", pd.DataFrame({"external_id": ["a"], "is_object": [True], "payload_bytes": [2]}))


def npo_row(url: str) -> Any:
    """Return the config row of the benchmark's NPO: the product's own connector."""
    from include.registry.models import NpoConfig

    return NpoConfig.model_validate(
        {
            "npo_id": "bench",
            "name": "Benchmark",
            "owner_email": "bench@example.org",
            "status": "active",
            "connector": "hopeworks",
            "base_url": url,
            "allowed_hosts": [urlparse(url).netloc],
            "schedule": "@daily",
            "start_date": "2026-01-01",
            "requests_per_minute": 100_000,
        }
    )


def measure_dlt(url: str) -> dict[str, Any]:
    """Load the same resources with dlt's ``rest_api`` source to JSONL files and return seconds."""
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    os.environ["DATA_WRITER__DISABLE_COMPRESSION"] = "true"
    import dlt
    from dlt.sources.rest_api import rest_api_source

    with tempfile.TemporaryDirectory() as folder:
        source = rest_api_source(
            {
                "client": {
                    "base_url": url,
                    "auth": {
                        "type": "oauth2_client_credentials",
                        "access_token_url": f"{url}/oauth/token",
                        "client_id": LOGIN,
                        "client_secret": PASSWORD,
                    },
                    "paginator": {"type": "page_number", "base_page": 1, "total_path": "total_pages"},
                },
                "resources": [
                    dlt_resource("services", per_page=500),
                    dlt_resource("learner-progress", per_page=1000),
                ],
            }
        )
        pipeline = dlt.pipeline(
            pipeline_name="bench",
            pipelines_dir=f"{folder}/pipelines",
            destination=dlt.destinations.filesystem(bucket_url=f"file://{folder}/out"),
            dataset_name="bench",
        )
        began = time.perf_counter()
        pipeline.run(source, loader_file_format="jsonl")
        seconds = time.perf_counter() - began
        tables = ("services", "learner_progress")
        records = sum(count_lines(Path(folder) / "out" / "bench" / table) for table in tables)
    return {"records": records, "seconds": round(seconds, 2)}


def dlt_resource(path: str, *, per_page: int) -> dict[str, Any]:
    """Return one resource in the words of dlt's ``rest_api`` source."""
    return {
        "name": path.replace("-", "_"),
        "endpoint": {"path": path, "params": {"per_page": per_page}, "data_selector": "contents"},
    }


def count_lines(folder: Path) -> int:
    """Return how many records the peer wrote to a table's folder."""
    return sum(path.read_bytes().count(b"\n") + 1 for path in folder.glob("*.jsonl"))


def peak_mib() -> float:
    """Return the peak resident memory of this process in MiB."""
    return round(rusage.getrusage(rusage.RUSAGE_SELF).ru_maxrss / 1024, 1)


def tell(line: str) -> None:
    """Show progress on standard error; standard output is the figures' own."""
    print(line, file=sys.stderr)


if __name__ == "__main__":
    main()

"""How fast ESR's files go in: reading, a national day, and the seed's design on the same data.

Prints one JSON line:

    ``reading``      one RMF of a million lines: parse, split, validate; beside csv.reader and pandas
    ``day``          13 RMFs at once from SFTP to positions reconciled and TCS updated, warm forked workers
                     as LocalExecutor has them; publishing to the (slow) local event stream apart
    ``seed_design``  one message and one REST call a record, on 10,000 of the same records
    ``memory``       peak memory of one file's reading task, small and large

    .venv/bin/python -m benchmarks.esr_inbound [--lines 20000] [--reading-lines 1000000]
"""

from __future__ import annotations

import argparse
import json
import resource as rusage
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from benchmarks.exchange import fresh, in_process, peak_mib, run_child, servers, tell, warm
from include.sandbox.esr.files import write_rmf
from include.sandbox.esr.upload import sftp_folder
from include.sandbox.esr.words import DEANERIES
from include.sandbox.esr.world import World
from include.settings import Settings

MODULE = "benchmarks.esr_inbound"
PEOPLE = 60_000
DAY = date(2026, 3, 4)
SEQUENCE = 17
FILES_AT_ONCE = 4
SEED_RECORDS = 10_000
SIZES = (5, 50)
"""How much larger than a day's file those of the memory comparison are."""


def main() -> None:
    """Run the benchmark, or one measured child of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--lines", type=int, default=20_000, help="of each of the 13 files")
    parser.add_argument("--reading-lines", type=int, default=1_000_000)
    parser.add_argument("--seed-records", type=int, default=SEED_RECORDS)
    parser.add_argument("--skip-reading", action="store_true")
    parser.add_argument("--child", choices=("day", "seed", "read"), help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child == "day":
        print(json.dumps(run_day()))
    elif options.child == "read":
        print(json.dumps(run_reading_task()))
    elif options.child == "seed":
        from benchmarks.esr_seed_design import measure

        print(json.dumps(measure(Settings(), options.file, options.seed_records)))
    else:
        print(json.dumps(compare(options)))


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """Measure everything and return figures and ratios."""
    answer: dict[str, Any] = {"benchmark": "esr_inbound"}
    if not options.skip_reading:
        from benchmarks.esr_reading import measure

        tell("reading")
        answer["reading"] = measure(options.reading_lines)
    with servers(PEOPLE) as (environment, sandbox), tempfile.TemporaryDirectory() as folder:
        files = make_files(Path(folder), options.lines)
        day = fresh(environment)
        upload(day, files)
        answer["day"] = run_child(MODULE, "day", day)
        answer["day"]["http_calls"] = dict(sorted(sandbox.calls().items()))
        answer["day"]["http_calls_total"] = sum(sandbox.calls().values())
        tell(json.dumps(answer["day"]))
        sandbox.reset()
        seed = ["--file", str(files[0]), "--seed-records", str(options.seed_records)]
        answer["seed_design"] = run_child(MODULE, "seed", fresh(environment), *seed)
        answer["memory"] = memory(environment, Path(folder), options.lines)
    answer["day_to_seed_design"] = round(
        answer["day"]["lines_per_second"] / answer["seed_design"]["records_per_second"], 1
    )
    return answer


def make_files(folder: Path, lines: int) -> list[Path]:
    """Write one RMF a deanery; not timed."""
    world = World(people=PEOPLE)
    tell(f"writing 13 files of {lines:,} lines")
    return [
        folder / write_rmf(folder, deanery, DAY, SEQUENCE, world=world, lines=lines) for deanery in DEANERIES
    ]


def upload(environment: dict[str, str], files: list[Path]) -> None:
    """Put the files on the SFTP server, as ESR does."""
    with sftp_folder(
        environment["SPOTLIGHT_SFTP_HOST"],
        int(environment["SPOTLIGHT_SFTP_PORT"]),
        environment["SPOTLIGHT_SFTP_USER"],
        environment["SPOTLIGHT_SFTP_PASSWORD"],
        environment["SPOTLIGHT_ESR_INBOUND_FOLDER"],
    ) as folder:
        for file in files:
            folder.put(file.name, file.read_bytes())


def run_day() -> dict[str, Any]:
    """Take everything on the SFTP server through the stages, four files at once, and return figures."""
    from include.esr.run import discover_subjects

    warm()
    run_id = f"bench-{uuid4().hex[:8]}"
    began = time.perf_counter()
    subjects, unsettled = discover_subjects(run_id=run_id, progress=tell)
    discovered = time.perf_counter() - began
    if unsettled:
        raise RuntimeError("a file was not there whole")
    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        counts = list(pool.map(lambda subject: stages(subject, run_id), subjects))
    seconds = time.perf_counter() - began
    lines = sum(each["records"] + each["quarantined"] for each in counts)
    publish_began = time.perf_counter()
    published = forked("publish", subjects[0], run_id)["published"]
    published_in = time.perf_counter() - publish_began
    return {
        "files": len(subjects),
        "lines": lines,
        "matched": sum(each["matched"] for each in counts),
        "unmatched": sum(each["unmatched"] for each in counts),
        "tcs_updates": sum(each["tcs_updates"] for each in counts),
        "discover_seconds": round(discovered, 2),
        "seconds": round(seconds, 2),
        "lines_per_second": round(lines / seconds),
        "peak_mib_of_a_task": peak_mib(rusage.RUSAGE_CHILDREN),
        "publish_one_deanery": {"events": published, "seconds": round(published_in, 2)},
    }


def stages(subject: str, run_id: str) -> dict[str, int]:
    """Run a file's stages up to the updated TCS, each in a process of its own as Airflow does."""
    forked("read", subject, run_id)
    return forked("reconcile", subject, run_id)


def forked(stage: str, subject: str, run_id: str) -> dict[str, int]:
    """Run a stage in a process of its own."""
    return in_process(f"{stage} {subject}", partial(_stage, stage, subject, run_id))


def _stage(stage: str, subject: str, run_id: str) -> dict[str, int]:
    from include.esr.run import run_stage

    return run_stage(stage, subject, run_id=run_id, progress=lambda _line: None)


def memory(environment: dict[str, str], folder: Path, lines: int) -> dict[str, Any]:
    """Return the peak memory of the reading task of a small and of a large file."""
    peaks = {}
    for size in (factor * lines for factor in SIZES):
        name = write_rmf(folder, DEANERIES[0], DAY, SEQUENCE + size, world=World(people=PEOPLE), lines=size)
        mine = fresh(environment)
        upload(mine, [folder / name])
        figures = run_child(MODULE, "read", mine)
        peaks[size] = figures | {"lines": size}
    small, large = peaks.values()
    return {"small": small, "large": large, "growth": round(large["peak_mib"] / small["peak_mib"], 2)}


def run_reading_task() -> dict[str, Any]:
    """Discover and read the one file there is, in this process."""
    from include.esr.run import discover_subjects, run_stage

    warm()
    before = peak_mib()
    [subject], _ = discover_subjects(run_id="bench", progress=tell)
    began = time.perf_counter()
    run_stage("read", subject, run_id="bench", progress=tell)
    return {
        "seconds": round(time.perf_counter() - began, 2),
        "libraries_mib": before,
        "peak_mib": peak_mib(),
    }


if __name__ == "__main__":
    main()

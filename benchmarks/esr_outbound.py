"""How fast ESR is told: 60,000 placements of 13 deaneries generated, exported and confirmed.

Prints one JSON line:

    ``generate``     every post looked at in TCS, AppRecords and notifications made, when nothing is known
                     before; ``generate_again``: when nothing has changed since
    ``export``       two files a deanery: picked, written, checked, archived, sent, TCS told
    ``confirm``      ESR's answers read and applied, TCS told; ESR (the sandbox) is not timed
    ``one_by_one``   generating record by record, one REST call and one write at a time, on a sample

    .venv/bin/python -m benchmarks.esr_outbound [--placements 60000]
"""

from __future__ import annotations

import argparse
import json
import resource as rusage
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from benchmarks.exchange import fresh, in_process, peak_mib, run_child, servers, tell, warm
from include.sandbox.esr.answering import EsrSide
from include.sandbox.esr.upload import sftp_folder
from include.sandbox.esr.words import DEANERIES
from include.sandbox.esr.world import FIRST_POST, TURNOVER, World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from include.sandbox.esr.upload import SftpFolder
    from include.sandbox.tcs.process import TcsSandbox

MODULE = "benchmarks.esr_outbound"
PLACEMENTS_A_PERSON = 0.9 + 1 / 3
"""Nine in ten people are in a post now, one in three goes to another."""
DAY = TURNOVER - timedelta(days=30)
MOMENT = datetime(DAY.year, DAY.month, DAY.day, 15, tzinfo=UTC)
FIRST_POSITION = 30_000_000
LEAD_EVERY = 12
"""One post in twelve has a lead position besides its host position."""
AT_ONCE = 2
SAMPLE = 400


def main() -> None:
    """Run the benchmark, or one measured child of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--placements", type=int, default=60_000)
    parser.add_argument("--child", choices=("positions", "generate", "export", "confirm", "one"))
    options = parser.parse_args()
    people = round(options.placements / PLACEMENTS_A_PERSON)
    children: dict[str, Callable[[], dict[str, Any]]] = {
        "positions": partial(insert_positions, World(people=people)),
        "generate": partial(each_deanery, ("sweep",)),
        "export": partial(each_deanery, ("export_app", "export_dnc")),
        "confirm": confirm,
        "one": partial(one_by_one, World(people=people)),
    }
    print(json.dumps(children[options.child]() if options.child else measure(people)))


def measure(people: int) -> dict[str, Any]:
    """Measure everything and return the figures."""
    answer: dict[str, Any] = {"benchmark": "esr_outbound", "deaneries": len(DEANERIES)}
    with servers(people) as (environment, sandbox):
        mine = fresh(environment)
        arguments = ("--placements", str(round(people * PLACEMENTS_A_PERSON)))
        answer["placements"] = placements(World(people=people))
        answer |= run_child(MODULE, "positions", mine, *arguments)
        with folders(mine):
            pass  # ESR has made its two folders
        for stage in ("generate", "generate_again", "export"):
            answer[stage] = counted(sandbox, mine, stage.removesuffix("_again"), *arguments)
        answer["esr"] = play_esr(mine)
        answer["confirm"] = counted(sandbox, mine, "confirm", *arguments)
        answer["told_twice"] = told_twice(sandbox)
        one = fresh(environment)
        answer["one_by_one"] = run_child(MODULE, "one", one, *arguments)
    timed = [answer[stage] for stage in ("generate", "export", "confirm")]
    answer["seconds_in_all"] = round(sum(stage["seconds"] for stage in timed), 2)
    answer["http_calls_in_all"] = sum(stage["http_calls_total"] for stage in timed)
    answer["peak_mib"] = max(stage["peak_mib_of_a_task"] for stage in timed)
    ours = answer["placements"] / answer["generate"]["seconds"]
    answer["generate_to_one_by_one"] = round(ours / answer["one_by_one"]["placements_per_second"], 1)
    return answer


def counted(sandbox: TcsSandbox, environment: dict[str, str], child: str, *arguments: str) -> dict[str, Any]:
    """Run a stage and add how often TCS was called."""
    before = sandbox.calls()
    figures = run_child(MODULE, child, environment, *arguments)
    calls = {name: number - before.get(name, 0) for name, number in sorted(sandbox.calls().items())}
    figures["http_calls"] = {name: number for name, number in calls.items() if number}
    figures["http_calls_total"] = sum(calls.values())
    return figures


def placements(world: World) -> int:
    """Return how many placements there are."""
    return sum(len(world.placements_of_person(person)) for person in range(world.people))


def insert_positions(world: World) -> dict[str, int]:
    """Put a matched position for every post into the store, as inbound leaves them; not timed."""
    from include.settings import get_settings
    from include.storage.mongo import IntegrationStore

    documents = list(_positions(world))
    IntegrationStore(get_settings())["esr_position"].insert_many(documents, ordered=False)
    return {"positions": len(documents)}


def _positions(world: World) -> Iterator[dict[str, Any]]:
    at = datetime(2026, 7, 1, tzinfo=UTC)
    for post in range(world.people):
        for lead in (False, True) if post % LEAD_EVERY == 0 else (False,):
            deanery = DEANERIES[post % len(DEANERIES)]
            file = f"DE_{deanery}_RMF_20260701_00000100.DAT#1"
            about = {"order": "20260701-00000100-RMF-001", "deanery": deanery, "indicator": "C"}
            yield {
                "_id": FIRST_POSITION + 2 * post + lead,
                "deanery": deanery,
                "number": world.post_number(post),
                "deleted": False,
                "revision": 1,
                "hash": "0",
                "file_id": file,
                "pending": False,
                "match": {"status": "MATCHED", "post_id": FIRST_POST + post, "at": at},
                "pos": about
                | {"position_number": str(1_000_000 + 2 * post + lead), "managing_office": deanery},
                "por": about
                | {
                    "host_lead_indicator": "Lead Employer" if lead else "Host Employer",
                    "employing_org_vpd_code": f"{post % 400:03d}",
                },
            }


def each_deanery(stages: tuple[str, ...]) -> dict[str, Any]:
    """Take every deanery through stages, two at once, each in a process of its own as Airflow does."""
    warm()
    began = time.perf_counter()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        counts = list(pool.map(partial(_stages, stages), DEANERIES))
    seconds = time.perf_counter() - began
    return _figures(counts, seconds)


def _stages(stages: tuple[str, ...], deanery: str) -> dict[str, int]:
    totals: dict[str, int] = {}
    for stage in stages:
        counts = in_process(f"{stage} {deanery}", partial(_stage, stage, deanery))
        totals |= {f"{stage}_{name}": number for name, number in counts.items()}
    return totals


def _stage(stage: str, subject: str) -> dict[str, int]:
    from include.esr.outbound_run import run_stage

    run_id = f"bench-{uuid4().hex[:8]}"
    return run_stage(stage, subject, run_id=run_id, moment=MOMENT, progress=lambda _line: None)


def confirm() -> dict[str, Any]:
    """Find ESR's answers and apply them, two files at once."""
    from include.esr.outbound_run import answer_files

    warm()
    began = time.perf_counter()
    files: list[str] = []
    unsettled = 1
    while unsettled:
        files, unsettled = answer_files(run_id="bench", progress=tell)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        counts = list(pool.map(partial(_stages, ("confirm",)), files))
    return {"files": len(files)} | _figures(counts, time.perf_counter() - began)


def _figures(counts: list[dict[str, int]], seconds: float) -> dict[str, Any]:
    names = sorted({name for each in counts for name in each})
    totals = {name: sum(each.get(name, 0) for each in counts) for name in names}
    return {
        "seconds": round(seconds, 2),
        "counts": {name: number for name, number in totals.items() if number},
        "peak_mib_of_a_task": peak_mib(rusage.RUSAGE_CHILDREN),
    }


def play_esr(environment: dict[str, str]) -> dict[str, Any]:
    """Have the sandbox's ESR take our files and answer them; not timed."""
    with folders(environment) as (out, back):
        played = EsrSide(out, back).play(DAY)
    return {
        "files_taken": len(played.taken),
        "files_set_aside": len(played.set_aside),
        "verdicts": dict(played.verdicts),
    }


@contextmanager
def folders(environment: dict[str, str]) -> Iterator[tuple[SftpFolder, SftpFolder]]:
    """Open the folder of our files and that of ESR's answers."""
    about = (
        environment["SPOTLIGHT_SFTP_HOST"],
        int(environment["SPOTLIGHT_SFTP_PORT"]),
        environment["SPOTLIGHT_SFTP_USER"],
        environment["SPOTLIGHT_SFTP_PASSWORD"],
    )
    with (
        sftp_folder(*about, environment["SPOTLIGHT_ESR_OUTBOUND_FOLDER"]) as out,
        sftp_folder(*about, environment["SPOTLIGHT_ESR_INBOUND_FOLDER"]) as back,
    ):
        yield out, back


def told_twice(sandbox: TcsSandbox) -> int:
    """Return how many events TCS has more than once."""
    events = [
        (placement, event["positionId"], event["status"], event["exportedAt"])
        for placement, several in sandbox.placement_events().items()
        for event in several
    ]
    return len(events) - len(set(events))


def one_by_one(world: World) -> dict[str, Any]:
    """Make a record a placement, each with its own calls and its own write, the seed's way; on a sample."""
    from benchmarks.esr_seed_design import tcs_session
    from include.settings import get_settings
    from include.storage.mongo import IntegrationStore

    settings = get_settings()
    tcs = tcs_session(settings)
    collection = IntegrationStore(settings)["one_by_one"]

    def ask(path: str) -> Any:
        answer = tcs.get(f"{settings.tcs_url}/api/{path}", timeout=30)
        answer.raise_for_status()
        return answer.json()

    done = post = 0
    began = time.perf_counter()
    while done < SAMPLE and post < world.people:
        for summary in ask(f"posts/{FIRST_POST + post}/placements/new"):
            full = ask(f"placements/{summary['placementId']}")
            person = ask(f"people/{summary['traineeId']}")
            record = {"_id": f"{full['id']}-{post}", "placement": full, "person": person}
            collection.replace_one({"_id": record["_id"]}, record, upsert=True)
            done += 1
        post += 1
    seconds = time.perf_counter() - began
    return {
        "placements": done,
        "seconds": round(seconds, 2),
        "placements_per_second": round(done / seconds, 1),
    }


if __name__ == "__main__":
    main()

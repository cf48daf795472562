"""``spotlight esr`` and ``spotlight run esr_inbound``: what a person sees and may do, as text and as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from include.cli import app
from include.sandbox.esr.dirt import Dirt
from include.sandbox.esr.files import MadeFile, rmf
from tests.integration.esr.inbound import DAY, WORLD, Exchange

Spotlight = Callable[..., Result]
GOOD = rmf("KSS", DAY, 17, world=WORLD, posts=6, dirt=(Dirt.BAD_ID,))
BAD = rmf("LDN", DAY + timedelta(days=1), 5, world=WORLD, posts=3, dirt=(Dirt.WRONG_FOOTER,))


@pytest.fixture
def spotlight(esr: Exchange) -> Spotlight:
    """Return a function that runs ``spotlight <words>``."""
    return lambda *words: CliRunner().invoke(app, list(words))


def answer(result: Result) -> Any:
    """Return the one JSON line of a command."""
    return json.loads(result.stdout)


@pytest.fixture
def two_files(esr: Exchange, spotlight: Spotlight) -> Result:
    """The answer of a run over a good and a bad file."""
    for file in (GOOD, BAD):
        esr.sftp.put(file.name, file.body)
    return spotlight("run", "esr_inbound", "--json")


def file_id(file: MadeFile) -> str:
    return f"{file.name}#1"


def test_a_run_tells_what_it_did_and_fails_when_a_file_did(two_files: Result):
    told = answer(two_files)
    assert two_files.exit_code == 1
    assert told["dag_id"] == "esr_inbound"
    assert told["done"][file_id(GOOD)]["matched"] == len(GOOD.truth.matched)
    assert list(told["failed"]) == [file_id(BAD)]
    assert told["waiting"] == {}
    assert "footer" in told["failed"][file_id(BAD)]


def test_a_run_without_anything_to_do_says_so(spotlight: Spotlight):
    done = spotlight("run", "esr_inbound")
    assert (done.exit_code, done.stdout) == (0, "esr_inbound: no new file and nothing pending\n")


def test_a_run_with_a_date_does_the_files_of_that_day_again(two_files: Result, spotlight: Spotlight):
    done = spotlight("run", "esr_inbound", "--date", f"{DAY}", "--json")
    assert done.exit_code == 0
    assert list(answer(done)["done"]) == [file_id(GOOD)]
    assert answer(done)["done"][file_id(GOOD)]["published"] == 0


@pytest.mark.parametrize(
    ("start", "end", "found"),
    [
        ("2026-03-04T00:00:00", "2026-03-04T00:15:00", [GOOD]),
        ("2026-03-04T00:15:00", "2026-03-05T00:00:00", []),
        ("2026-03-03", "2026-03-04", []),
        ("2026-03-04", "2026-03-06", [GOOD, BAD]),
    ],
)
def test_an_interval_takes_the_files_whose_day_begins_in_it(
    two_files: Result, spotlight: Spotlight, start: str, end: str, found: list[MadeFile]
):
    done = spotlight("run", "esr_inbound", "--from", start, "--to", end, "--json")
    told = answer(done)
    assert sorted(told["done"] | told["failed"]) == [file_id(file) for file in found]


def test_an_interval_leaves_new_files_to_the_next_ordinary_run(
    two_files: Result, esr: Exchange, spotlight: Spotlight
):
    new = rmf("WES", DAY, 3, world=WORLD, posts=3)
    esr.sftp.put(new.name, new.body)
    spotlight("run", "esr_inbound", "--date", f"{DAY}", "--json")
    assert new.name in esr.names("")
    assert list(answer(spotlight("run", "esr_inbound", "--json"))["done"]) == [file_id(new)]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ((), [BAD, GOOD]),
        (("--deanery", "kss"), [GOOD]),
        (("--state", "rejected"), [BAD]),
        (("--since", f"{DAY + timedelta(days=1)}"), [BAD]),
        (("--deanery", "EMD"), []),
    ],
)
def test_files_are_listed_with_state_counts_and_reason(
    two_files: Result, spotlight: Spotlight, options: tuple[str, ...], found: list[MadeFile]
):
    rows = {row["file"]: row for row in answer(spotlight("esr", "files", *options, "--json"))}
    assert sorted(rows) == sorted(file_id(file) for file in found)
    if GOOD in found:
        assert rows[file_id(GOOD)]["state"] == "published"
        assert rows[file_id(GOOD)]["counts"]["quarantined"] == 1
    if BAD in found:
        assert rows[file_id(BAD)]["reason"]["code"] == "footer_count"


def test_the_list_for_people_has_the_reason_too(two_files: Result, spotlight: Spotlight):
    text = spotlight("esr", "files").stdout
    assert "REJECTED footer_count" in text
    assert f"matched {len(GOOD.truth.matched)}" in text


def test_a_replayed_file_is_done_by_the_next_run(two_files: Result, spotlight: Spotlight):
    replayed = spotlight("esr", "replay", GOOD.name, "--json")
    assert answer(replayed) == {"file": file_id(GOOD), "state": "landed"}
    assert list(answer(spotlight("run", "esr_inbound", "--json"))["done"]) == [file_id(GOOD)]


def test_records_show_what_was_read(two_files: Result, spotlight: Spotlight):
    shown = answer(spotlight("esr", "records", GOOD.name, "--type", "pos", "--limit", "2", "--json"))
    assert shown["counts"] == dict(GOOD.truth.records)
    assert [row["type"] for row in shown["records"]] == ["POS", "POS"]
    assert f"{file_id(GOOD)}: " in spotlight("esr", "records", GOOD.name).stdout


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("files", "--state", "lost"), 2, "there is no state 'lost'"),
        (("files", "--deanery", "XXX"), 2, "there is no deanery 'XXX'"),
        (("release", "--deanery", "XXX"), 2, "there is no deanery 'XXX'"),
        (("records", GOOD.name, "--type", "XYZ"), 2, "there is no record type 'XYZ'"),
        (("records", "DE_KSS_RMF_20260304_00000099.DAT"), 1, "this file never came"),
        (("replay", "DE_KSS_RMF_20260304_00000099.DAT"), 1, "this file never came"),
        (("replay", f"{GOOD.name}#2"), 1, "this file never came"),
    ],
)
def test_what_is_not_known_is_one_clear_error(
    two_files: Result, spotlight: Spotlight, words: tuple[str, ...], code: int, told: str
):
    done = spotlight("esr", *words)
    assert done.exit_code == code
    assert told in " ".join(done.output.replace("│", " ").split())
    assert "Traceback" not in done.output


@pytest.mark.parametrize("dag_id", ["esr_exports", "esr", "inbound"])
def test_a_dag_that_cannot_be_run_here_is_one_clear_error(spotlight: Spotlight, dag_id: str):
    done = spotlight("run", dag_id)
    assert done.exit_code == 1
    assert f"no DAG {dag_id!r}" in done.output


def refuse_everything(esr: Exchange) -> None:
    """Let TCS refuse each change of a person and each change of a post."""
    for call in ("PATCH", "esr-changed", "POST /api/absence"):
        esr.tcs.misbehave({"call": call, "kind": "status", "status": 400})


def test_what_tcs_refused_is_told_again_when_a_person_releases_it(esr: Exchange, spotlight: Spotlight):
    refuse_everything(esr)
    esr.sftp.put(GOOD.name, GOOD.body)
    spotlight("run", "esr_inbound")
    esr.tcs.behave()
    spotlight("run", "esr_inbound")
    assert esr.tcs.told() == []

    refused = esr.store["esr_person"].count_documents({"outcome.status": "refused"})
    released = answer(spotlight("esr", "release", "--deanery", "kss", "--json"))
    assert released == {"deanery": "KSS", "people": refused, "calls": len(GOOD.truth.matched)}
    assert refused > 0

    assert list(answer(spotlight("run", "esr_inbound", "--json"))["done"]) == ["KSS"]
    assert sum(map(len, esr.tcs.post_events().values())) == len(GOOD.truth.matched)
    for person_id, fields in GOOD.truth.fields.items():
        assert fields["contact"].items() <= esr.tcs.get(f"people/{person_id}")["contactDetails"].items()
    assert spotlight("esr", "release", "--deanery", "KSS").stdout == "KSS: TCS has refused nothing\n"

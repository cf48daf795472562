"""``spotlight esr`` and ``spotlight run`` for the way out: what a person sees and may do."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from include.cli import app
from include.sandbox.demo.outbound import esr_side
from include.sandbox.esr.files import rmf
from tests.integration.esr.inbound import WORLD, Exchange

Spotlight = Callable[..., Result]
DAY = date(2026, 7, 6)
SENT_LATER = ("--why", "asked by ESR", "--by", "a.name")


@pytest.fixture
def spotlight(esr: Exchange) -> Spotlight:
    """Return a function that runs ``spotlight <words>``, after a day's file of a small deanery."""
    made = rmf("KSS", DAY, 17, world=WORLD, posts=12)
    esr.sftp.put(made.name, made.body)
    assert not esr.run().failed
    with esr_side(esr.settings):
        pass  # ESR has made its two folders
    return lambda *words: CliRunner().invoke(app, list(words))


def answer(result: Result) -> Any:
    """Return the one JSON line of a command."""
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def run(spotlight: Spotlight, dag_id: str, *words: str) -> Any:
    told = answer(spotlight("run", dag_id, *words, "--json"))
    assert told["failed"] == {}
    return told


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_a_dry_run_writes_the_days_files_locally_and_changes_nothing(esr, spotlight, tmp_path):
    run(spotlight, "esr_generation", "--date", f"{DAY}")
    before = [list(esr.store[name].find()) for name in ("esr_app_record", "esr_notification", "esr_export")]
    shown = spotlight("run", "esr_outbound", "--date", f"{DAY}", "--dry-run", str(tmp_path))
    assert shown.exit_code == 0
    assert shown.stdout.count("would be sent; written to") == 2
    assert names(tmp_path) == ["DE_KSS_APP_20260706_00000001.DAT", "DE_KSS_DNC_20260706_00000001.DAT"]
    after = [list(esr.store[name].find()) for name in ("esr_app_record", "esr_notification", "esr_export")]
    assert after == before
    with esr_side(esr.settings) as side:
        assert side.play(DAY).taken == []


def test_a_day_is_sent_answered_and_shown_and_one_record_goes_out_again(esr, spotlight, tmp_path):
    run(spotlight, "esr_generation", "--date", f"{DAY}")
    sent = run(spotlight, "esr_outbound", "--date", f"{DAY}")
    assert sent["done"]["KSS"]["export_app_files"] == 1
    again = run(spotlight, "esr_outbound", "--date", f"{DAY}", "--deanery", "kss")
    assert again["done"]["KSS"]["export_app_files"] == 0
    listed = answer(spotlight("esr", "applicants", "--deanery", "KSS", "--json"))
    assert listed["counts"] == {"EXPORTED": len(listed["records"])}
    shown = spotlight("run", "esr_outbound", "--date", f"{DAY}", "--dry-run", str(tmp_path))
    assert "is sent and would not go out again" in shown.stdout

    with esr_side(esr.settings) as side:
        assert len(side.play(DAY).taken) == 2
    run(spotlight, "esr_confirmations")
    files = answer(spotlight("esr", "exports", "--day", f"{DAY}", "--json"))
    assert [row["state"] for row in files] == ["answered", "answered"]
    assert "ESR: " in spotlight("esr", "exports", "--deanery", "KSS").stdout

    first = listed["records"][0]["id"]
    done = spotlight("esr", "record", "resend", first, *SENT_LATER)
    assert done.stdout == f"{first} is TO_EXPORT now\n"
    history = answer(spotlight("esr", "record", "show", first, "--json"))["history"]
    assert (history[-1]["why"], history[-1]["by"]) == ("asked by ESR", "a.name")
    assert spotlight("esr", "record", "withdraw", first, *SENT_LATER).exit_code == 0
    assert "WITHDRAWN" in spotlight("esr", "applicants", "--state", "withdrawn").stdout
    assert spotlight("esr", "record", "reopen", first, *SENT_LATER).exit_code == 0
    later = date(2026, 7, 7)
    run(spotlight, "esr_outbound", "--date", f"{later}")
    assert answer(spotlight("esr", "record", "show", first, "--json"))["state"] == "EXPORTED"


def test_lists_show_no_personal_data(esr, spotlight):
    run(spotlight, "esr_generation", "--date", f"{DAY}")
    record = esr.store["esr_app_record"].find_one({})
    shown = spotlight("esr", "applicants").stdout + spotlight("esr", "notifications").stdout
    assert record["_id"] in shown
    assert record["fields"]["last_name"] not in shown
    assert record["fields"]["applicant_email_address"] not in shown


def test_a_snapshot_of_a_deanery_goes_out_at_once(esr, spotlight):
    told = answer(spotlight("esr", "snapshot", "--deanery", "kss", "--json"))
    assert told["counts"]["files"] == 1
    today = date.fromisoformat(told["day"])
    with esr_side(esr.settings) as side:
        [taken] = side.play(today).taken
    assert taken.name.kind == "DNF"
    positions = esr.store["esr_position"].count_documents({"match.status": "MATCHED", "deleted": False})
    assert len(taken.rows) >= positions


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("esr", "applicants", "--state", "SENT"), "there is no state 'SENT'"),
        (("esr", "applicants", "--deanery", "XXX"), "there is no deanery 'XXX'"),
        (("esr", "record", "show", "1-1"), "there is no such record"),
        (("esr", "record", "resend", "1-1", *SENT_LATER), "there is no record"),
        (("esr", "abandon", "DE_KSS_APP_20260707_00000099.DAT", *SENT_LATER), "DE_KSS_APP_20260707_00000099"),
        (("run", "esr_outbound", "--from", "2026-07-01", "--to", "2026-07-02"), "use --date"),
        (("run", "esr_inbound", "--dry-run", "x"), "--dry-run and --deanery are for esr_outbound"),
        (("run", "esr_nothing"), "no DAG 'esr_nothing'"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(esr, words, said):
    refused = CliRunner().invoke(app, list(words))
    assert refused.exit_code != 0
    assert said in " ".join(refused.output.replace("│", " ").split())
    assert "Traceback" not in refused.output

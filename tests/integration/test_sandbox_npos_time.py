"""The partners' data over simulated time, restarts and injected records."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from typing import Any

import pytest
import requests

from include.sandbox.npos.process import ROOT, Sandbox, running
from include.sandbox.npos.reader import PATHS, external_id, read, session_for

NPOS = ("hopeworks", "codebridge", "mentornet")
START = ("--today", "2026-03-01", "--mentornet-rate", "0")
each_npo = pytest.mark.parametrize("npo", NPOS)
ORDER = ("requested", "waitlisted", "accepted", "enrolled", "in_progress", "on_hold")
FINAL = {"rejected", "completed", "failed", "withdrawn", "cancelled", "expired"}


def by_id(sandbox: Sandbox, npo: str, resource: str, since: str | None = None) -> dict[Any, Any]:
    found = read(npo, sandbox.urls[npo], resource, size=1000, since=since)
    return {external_id(npo, record): record for record in found}


def body(sandbox: Sandbox, npo: str, resource: str) -> bytes:
    with session_for(npo, sandbox.urls[npo]) as session:
        params = {"per_page": 1000, "limit": 1000, "count": 1000}
        return session.get(sandbox.urls[npo] + PATHS[npo, resource], params=params, timeout=30).content


def everything(sandbox: Sandbox) -> list[bytes]:
    return [body(sandbox, npo, resource) for npo, resource in PATHS]


def test_the_same_seed_and_day_give_the_same_bytes_whatever_the_way_there(tmp_path):
    with running(tmp_path / "a", *START, "--seed", "3") as one:
        before = everything(one)
        one.advance(4)
        one.advance(3)
        after = everything(one)
    with running(tmp_path / "b", *START, "--seed", "3") as two:
        assert everything(two) == before
        two.advance(7)
        assert everything(two) == after
        two.admin("codebridge", "POST", "reset")
        assert everything(two) == before
    with running(tmp_path / "c", *START, "--seed", "4") as other:
        assert all(left != right for left, right in zip(everything(other), before, strict=True))


@each_npo
def test_each_day_brings_new_and_changed_assignments_and_loses_none(tmp_path, npo):
    with running(tmp_path, *START) as sandbox:
        before = by_id(sandbox, npo, "assignments")
        for _ in range(3):
            sandbox.advance(1)
            after = by_id(sandbox, npo, "assignments")
            assert set(before) < set(after)
            assert sum(before[key] != after[key] for key in before) >= 5
            before = after


@each_npo
def test_offerings_appear_daily_and_some_are_withdrawn(tmp_path, npo):
    with running(tmp_path, *START) as sandbox:
        first, truth = by_id(sandbox, npo, "offerings"), sandbox.truth(npo)
        sandbox.advance(1)
        later = sandbox.truth(npo)
        assert len(set(later["offerings"]) - set(truth["offerings"])) == 1
        gone = set(later["deleted"]["offerings"]) - set(truth["deleted"]["offerings"])
        vanished = set(later["vanished"]["offerings"])
        assert len(gone | vanished) == 1
        records = by_id(sandbox, npo, "offerings")
        if npo == "mentornet":
            assert vanished <= set(first) - set(records)
        else:
            assert {records[key]["status"] for key in gone} == {
                "defunct" if npo == "hopeworks" else "tobedeleted"
            }


@pytest.mark.parametrize(("npo", "field"), [("hopeworks", "modified_at"), ("codebridge", "dateLastModified")])
def test_the_time_filter_finds_exactly_what_a_day_changed(tmp_path, npo, field):
    with running(tmp_path, *START) as sandbox:
        for resource in ("offerings", "assignments"):
            before = by_id(sandbox, npo, resource)
            day = sandbox.truth(npo)["today"]
            sandbox.advance(5)
            after = by_id(sandbox, npo, resource)
            changed = {key: record for key, record in after.items() if before.get(key) != record}
            assert by_id(sandbox, npo, resource, since=f"{day}T00:00:00.000Z") == changed
    assert field in next(iter(changed.values()))


def test_progress_moves_forward_only(tmp_path):
    with running(tmp_path, *START) as sandbox:
        before = by_id(sandbox, "codebridge", "assignments")
        for _ in range(8):
            sandbox.advance(4)
            after = by_id(sandbox, "codebridge", "assignments")
            for key, old in before.items():
                was, now = old["metadata"], after[key]["metadata"]
                assert now["progressPercent"] >= was["progressPercent"]
                assert after[key]["dateLastModified"] >= old["dateLastModified"]
                left, right = was["state"].lower(), now["state"].lower()
                if left in FINAL:
                    assert right == left
                elif right not in FINAL and "on_hold" not in {left, right}:
                    assert ORDER.index(right) >= ORDER.index(left)
            before = after


@each_npo
def test_the_bad_records_stay_as_they_are(tmp_path, npo):
    with running(tmp_path, *START) as sandbox:
        before = sandbox.truth(npo)["bad"]
        sandbox.advance(40)
        assert sandbox.truth(npo)["bad"] == before
    expected = {
        "hopeworks": {"offerings": [None], "assignments": [None, "lp-bad-percent"]},
        "codebridge": {"offerings": [], "assignments": []},
        "mentornet": {"offerings": [None], "assignments": [None, "MN-BAD-DATE", "MN-BAD-PERCENT"]},
    }
    assert before == expected[npo]


def test_day_and_injected_records_survive_a_restart(tmp_path):
    record = {"id": "svc-extra", "name": "Extra", "status": "active"}
    with running(tmp_path, *START, "--scale", "0.5") as sandbox:
        sandbox.advance(9)
        sandbox.admin("hopeworks", "POST", "records", {"resource": "offerings", "record": record})
        before = everything(sandbox)
    with running(tmp_path) as sandbox:
        assert sandbox.truth("hopeworks")["today"] == "2026-03-10"
        assert "svc-extra" in sandbox.truth("hopeworks")["offerings"]
        assert everything(sandbox) == before


def test_an_injected_record_overrides_the_one_with_its_id_and_reset_drops_it(tmp_path):
    with running(tmp_path, *START) as sandbox:
        original = by_id(sandbox, "codebridge", "assignments")
        key = min(original)
        changed = {**original[key], "status": "tobedeleted", "dateLastModified": "2026-03-01T00:00:00.000Z"}
        sandbox.admin("codebridge", "POST", "records", {"resource": "assignments", "record": changed})
        now = by_id(sandbox, "codebridge", "assignments")
        assert now[key] == changed
        assert len(now) == len(original)
        assert key in sandbox.truth("codebridge")["deleted"]["assignments"]
        nameless: dict[str, Any] = {"resource": "assignments", "record": {"status": "active"}}
        sandbox.admin("codebridge", "POST", "records", nameless)
        assert sandbox.truth("codebridge")["bad"]["assignments"] == [None]
        sandbox.admin("codebridge", "POST", "reset")
        assert by_id(sandbox, "codebridge", "assignments") == original


def test_scale_multiplies_the_assignments(tmp_path):
    with running(tmp_path, *START, "--scale", "5") as sandbox:
        for npo in NPOS:
            assert 3000 <= sandbox.admin(npo, "GET", "health")["assignments"] <= 3010


def test_sigterm_ends_it_cleanly_even_with_a_connection_open(tmp_path):
    with running(tmp_path, *START) as sandbox, requests.Session() as session:
        session.get(sandbox.urls["codebridge"] + "/_admin/health", timeout=20)
        sandbox.process.send_signal(signal.SIGTERM)
        assert sandbox.process.wait(10) == 0
    assert (tmp_path / "npos.log").read_text() == ""


def test_sigterm_ends_it_while_a_body_without_end_is_being_read(tmp_path):
    with (
        running(tmp_path, *START) as sandbox,
        session_for("codebridge", sandbox.urls["codebridge"]) as session,
    ):
        sandbox.misbehave("codebridge", {"path_regex": "classes", "kind": "endless"})
        url = sandbox.urls["codebridge"] + PATHS["codebridge", "offerings"]
        with session.get(url, stream=True, timeout=20) as answer:
            next(answer.iter_content(1024))
            sandbox.process.send_signal(signal.SIGTERM)
            assert sandbox.process.wait(10) == 0


def test_the_partners_share_no_code_with_the_product():
    command = (
        "import sys, include.sandbox.npos.__main__\n"
        "print([name for name in sys.modules if name.startswith('include.') "
        "and not name.startswith('include.sandbox')])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ended.stdout.strip() == "[]"


def start(tmp_path: Any, *options: str, admin: str = "t") -> subprocess.CompletedProcess[str]:
    ports = ("--hopeworks-port", "0", "--codebridge-port", "0", "--mentornet-port", "0")
    command = [sys.executable, "-m", "include.sandbox.npos", *ports, "--state-dir", str(tmp_path), *options]
    env = {**os.environ, "SPOTLIGHT_SANDBOX_ADMIN_TOKEN": admin}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)


def test_it_refuses_to_listen_elsewhere_or_without_an_admin_token(tmp_path):
    assert "127.0.0.1 only" in start(tmp_path, "--host", "0.0.0.0").stderr  # noqa: S104 - it must be refused
    assert "SPOTLIGHT_SANDBOX_ADMIN_TOKEN" in start(tmp_path, admin="").stderr


def test_a_taken_port_is_named_in_one_line(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = start(tmp_path, "--codebridge-port", str(port))
    assert ended.returncode == 1
    assert ended.stderr.strip().count("\n") == 0
    assert f"codebridge: port {port}" in ended.stderr

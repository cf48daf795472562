"""The stand-in for TCS fails on request, and each failure does what its name says."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from include.sandbox.esr.world import FIRST_POST
from include.sandbox.tcs.process import TcsSandbox, running

POST = FIRST_POST + 1
EVENT = {
    "eventDateTime": "2026-03-04T14:31:00.123Z",
    "filename": "DE_KSS_RMF_20260304_00000017.DAT",
    "postId": POST,
    "positionNumber": "20000002",
    "positionId": 20000002,
    "status": "RECONCILED",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[TcsSandbox]:
    with running(tmp_path_factory.mktemp("tcs"), "--people", "50") as started:
        yield started


@pytest.fixture
def tcs(server: TcsSandbox) -> TcsSandbox:
    server.reset()
    return server


def get(tcs: TcsSandbox, token: str, **kwargs: Any) -> requests.Response:
    headers = {"Authorization": f"Bearer {token}"}
    return requests.get(f"{tcs.url}/api/posts/{POST}", headers=headers, timeout=10, **kwargs)


def tell(tcs: TcsSandbox, token: str) -> requests.Response:
    headers = {"Authorization": f"Bearer {token}"}
    return requests.post(f"{tcs.url}/api/posts/{POST}/esr-changed", json=EVENT, headers=headers, timeout=10)


def test_an_outage_lasts_for_so_many_calls(tcs):
    token = tcs.token()
    rule = {"call": "^GET /api/", "kind": "status", "status": 503, "headers": {"Retry-After": "2"}}
    tcs.misbehave(rule | {"after": 1, "times": 2})
    answers = [get(tcs, token) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 503, 503, 200]
    assert answers[1].headers["Retry-After"] == "2"
    assert tcs.admin("GET", "faults")[0]["hits"] == 2


def test_a_failed_call_is_counted_too(tcs):
    token = tcs.token()
    tcs.misbehave({"call": "^GET /api/", "kind": "status", "times": 1})
    assert [get(tcs, one).status_code for one in (token, token, "wrong")] == [503, 200, 401]
    counts = tcs.admin("GET", "calls")
    assert (counts["total"], counts["by_endpoint"]) == (3, {"GET posts/*": 3})
    assert counts["notes"] == {"failed on request": 1, "refused token": 1}


def test_an_outage_without_end_lasts_until_it_is_cleared(tcs):
    token = tcs.token()
    tcs.misbehave({"kind": "status"})
    assert {get(tcs, token).status_code for _ in range(5)} == {503}
    tcs.behave()
    assert get(tcs, token).status_code == 200


def test_a_fault_hits_only_the_calls_it_names(tcs):
    token = tcs.token()
    tcs.misbehave({"call": "^POST .*/esr-changed$", "kind": "status", "status": 500})
    assert get(tcs, token).status_code == 200
    assert tell(tcs, token).status_code == 500
    assert tcs.post_events() == {}


def test_a_status_afterwards_hides_that_the_call_was_carried_out(tcs):
    tcs.misbehave({"call": "esr-changed", "kind": "status_after", "status": 504, "times": 1})
    assert tell(tcs, tcs.token()).status_code == 504
    assert tcs.post_events() == {POST: [EVENT]}


@pytest.mark.parametrize(("kind", "carried_out"), [("drop", {}), ("drop_after", {POST: [EVENT]})])
def test_a_connection_is_cut_before_or_after_the_call_is_carried_out(tcs, kind, carried_out):
    tcs.misbehave({"call": "esr-changed", "kind": kind, "times": 1})
    with pytest.raises(requests.ConnectionError):
        tell(tcs, tcs.token())
    assert tcs.post_events() == carried_out


@pytest.mark.parametrize("kind", ["delay", "delay_after"])
def test_a_slow_answer_comes_late_and_right(tcs, kind):
    token = tcs.token()
    tcs.misbehave({"call": "^GET", "kind": kind, "seconds": 0.3})
    began = time.monotonic()
    assert get(tcs, token).status_code == 200
    assert time.monotonic() - began >= 0.3


def test_a_caller_that_gives_up_on_a_slow_answer_does_not_know_that_it_was_heard(tcs):
    token = tcs.token()
    tcs.misbehave({"call": "esr-changed", "kind": "delay_after", "seconds": 2})
    headers = {"Authorization": f"Bearer {token}"}
    with pytest.raises(requests.Timeout):
        requests.post(f"{tcs.url}/api/posts/{POST}/esr-changed", json=EVENT, headers=headers, timeout=0.3)
    assert tcs.post_events() == {POST: [EVENT]}


def test_a_delay_goes_together_with_another_fault(tcs):
    token = tcs.token()
    tcs.misbehave({"kind": "delay", "seconds": 0.2}, {"kind": "status", "status": 502})
    began = time.monotonic()
    assert get(tcs, token).status_code == 502
    assert time.monotonic() - began >= 0.2


def test_tokens_end_in_the_middle_of_the_work(tcs):
    token = tcs.token()
    tcs.misbehave({"call": "/api/", "kind": "expire_tokens", "after": 1, "times": 1})
    assert [get(tcs, token).status_code for _ in range(3)] == [200, 401, 401]
    assert get(tcs, tcs.token()).status_code == 200


def test_the_token_endpoint_can_fail_too(tcs):
    tcs.misbehave({"call": "^POST /oauth/token", "kind": "status", "status": 500, "times": 1})
    with pytest.raises(requests.HTTPError):
        tcs.token()
    assert tcs.token()


def test_an_answer_may_have_the_wrong_shape(tcs):
    token = tcs.token()
    tcs.misbehave({"kind": "body", "body": [], "times": 1}, {"kind": "not_json", "times": 1})
    assert get(tcs, token).json() == []
    assert "Back soon" in get(tcs, token).text
    assert get(tcs, token).json()["id"] == POST


def test_an_answer_may_lead_elsewhere(tcs):
    tcs.misbehave({"call": "/api/", "kind": "redirect", "url": "http://127.0.0.2:9/x"})
    answer = get(tcs, tcs.token(), allow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (302, "http://127.0.0.2:9/x")


def test_an_answer_may_be_larger_than_anyone_wants(tcs):
    tcs.misbehave({"call": "/api/", "kind": "endless", "megabytes": 3})
    with get(tcs, tcs.token(), stream=True) as answer:
        assert sum(map(len, answer.iter_content(65536))) > 2_500_000


@pytest.mark.parametrize(
    "rule",
    [
        {"kind": "explode"},
        {"kind": "status", "status": 200},
        {"kind": "status", "call": "["},
        {"kind": "status", "typo": 1},
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(tcs, rule):
    with pytest.raises(requests.HTTPError):
        tcs.misbehave(rule)
    assert tcs.admin("GET", "faults") == []


def test_a_reset_ends_all_faults(tcs):
    tcs.misbehave({"kind": "status"})
    tcs.reset()
    assert get(tcs, tcs.token()).status_code == 200

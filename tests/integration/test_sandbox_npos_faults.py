"""Each fault does what the documentation says, to the requests it is meant for and no others."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
import requests

from include.sandbox.npos.process import Sandbox, running
from include.sandbox.npos.reader import PATHS, external_id, read, session_for

NPOS = ("hopeworks", "codebridge", "mentornet")
KEYS = {"hopeworks": ["contents"], "codebridge": ["enrollments"], "mentornet": ["result", "matches"]}
each_npo = pytest.mark.parametrize("npo", NPOS)


@pytest.fixture(scope="module")
def running_sandbox(tmp_path_factory):
    with running(tmp_path_factory.mktemp("npos"), "--mentornet-rate", "0") as started:
        yield started


@pytest.fixture
def sandbox(running_sandbox):
    yield running_sandbox
    for npo in NPOS:
        running_sandbox.admin(npo, "POST", "reset")


def ask(sandbox: Sandbox, npo: str, **params: Any) -> requests.Response:
    """Ask for a page of assignments."""
    with session_for(npo, sandbox.urls[npo]) as session:
        url = sandbox.urls[npo] + PATHS[npo, "assignments"]
        return session.get(url, params=params, timeout=20, allow_redirects=False)


def strike(sandbox: Sandbox, npo: str, kind: str, **arguments: Any) -> None:
    sandbox.misbehave(npo, {"path_regex": PATHS[npo, "assignments"], "kind": kind, **arguments})


def records(npo: str, answer: requests.Response) -> list[Any]:
    body = answer.json()
    for key in KEYS[npo]:
        body = body[key]
    return list(body)


def next_page(npo: str, answer: requests.Response) -> Any:
    """Return whatever tells a reader that there is another page."""
    if npo == "codebridge":
        return answer.links.get("next", {}).get("url")
    body = answer.json()
    return body["next_cursor"] if npo == "mentornet" else not body["last_page"]


@each_npo
def test_a_status_comes_with_its_headers_and_ends_after_its_times(sandbox, npo):
    strike(sandbox, npo, "status", status=429, headers={"Retry-After": "2"}, after=1, times=2)
    statuses = [ask(sandbox, npo).status_code for _ in range(4)]
    assert statuses == [200, 429, 429, 200]
    assert sandbox.admin(npo, "GET", "faults")[0]["hits"] == 2
    strike(sandbox, npo, "status", status=503, headers={"Retry-After": "7"})
    assert ask(sandbox, npo).headers["Retry-After"] == "7"
    sandbox.admin(npo, "DELETE", "faults")
    assert ask(sandbox, npo).status_code == 200


def test_a_rule_hits_only_the_requests_its_expression_finds(sandbox):
    sandbox.misbehave("hopeworks", {"path_regex": r"/learner-progress\?.*page=2\b", "kind": "status"})
    assert [ask(sandbox, "hopeworks", page=page).status_code for page in (1, 2, 3)] == [200, 500, 200]
    assert read("hopeworks", sandbox.urls["hopeworks"], "offerings")
    assert ask(sandbox, "codebridge").status_code == 200


@each_npo
def test_a_delay_goes_together_with_another_fault(sandbox, npo):
    strike(sandbox, npo, "delay", seconds=0.4, times=2)
    strike(sandbox, npo, "html", after=1, times=1)
    started = time.monotonic()
    assert ask(sandbox, npo).status_code == 200
    assert time.monotonic() - started >= 0.4
    started = time.monotonic()
    assert ask(sandbox, npo).text.startswith("<!DOCTYPE html>")
    assert time.monotonic() - started >= 0.4


@each_npo
def test_a_truncated_body_is_half_a_json(sandbox, npo):
    whole = ask(sandbox, npo).content
    strike(sandbox, npo, "truncate", times=1)
    half = ask(sandbox, npo).content
    assert half == whole[: len(whole) // 2]
    strike(sandbox, npo, "truncate", close=True, times=1)
    with pytest.raises((requests.exceptions.ChunkedEncodingError, requests.exceptions.ConnectionError)):
        ask(sandbox, npo)


@each_npo
def test_a_bad_record_stands_between_good_ones(sandbox, npo):
    good = records(npo, ask(sandbox, npo))
    strike(sandbox, npo, "bad_record", position=2, times=1)
    spoiled = records(npo, ask(sandbox, npo))
    assert external_id(npo, spoiled[2]) is None
    assert spoiled[:2] + spoiled[3:] == good
    strike(sandbox, npo, "bad_record", record="not an object", times=1)
    assert records(npo, ask(sandbox, npo))[0] == "not an object"


@each_npo
def test_html_error_bodies_and_plain_text_come_with_status_200(sandbox, npo):
    for kind in ("html", "error_body", "not_json"):
        strike(sandbox, npo, kind, times=1)
    html, error, text = (ask(sandbox, npo) for _ in range(3))
    assert [answer.status_code for answer in (html, error, text)] == [200, 200, 200]
    assert html.headers["Content-Type"].startswith("text/html")
    assert error.json()["error"]["code"] == "internal"
    assert text.headers["Content-Type"] == "application/json"
    with pytest.raises(requests.exceptions.JSONDecodeError):
        text.json()


@each_npo
def test_the_next_link_can_lead_to_another_host(sandbox, npo):
    strike(sandbox, npo, "next_link", url="http://127.0.0.2:9/steal", times=1)
    answer = ask(sandbox, npo)
    assert len(records(npo, answer)) > 1
    if npo == "mentornet":
        assert answer.json()["next_cursor"] == "http://127.0.0.2:9/steal"
    else:
        assert answer.links["next"]["url"] == "http://127.0.0.2:9/steal"


@each_npo
def test_a_page_loop_never_ends_and_never_changes(sandbox, npo):
    strike(sandbox, npo, "page_loop")
    first = ask(sandbox, npo)
    for params in ({"page": 5, "offset": 200}, {"page": 10**5, "offset": 10**6}):
        again = ask(sandbox, npo, **params)
        assert again.content == first.content
        assert next_page(npo, again)


@each_npo
def test_an_expired_token_is_refused_like_a_bad_one(sandbox, npo):
    with session_for(npo, sandbox.urls[npo]) as session:
        url = sandbox.urls[npo] + PATHS[npo, "assignments"]
        assert session.get(url, timeout=20).status_code == 200
        strike(sandbox, npo, "expire_token", times=1)
        assert session.get(url, timeout=20).status_code == (403 if npo == "mentornet" else 401)
        # A static credential works again; hopeworks' token is void for good, a new one works.
        assert session.get(url, timeout=20).status_code == (401 if npo == "hopeworks" else 200)
    assert ask(sandbox, npo).status_code == 200


@each_npo
def test_a_redirect_names_another_host(sandbox, npo):
    strike(sandbox, npo, "redirect", url="http://127.0.0.2:9/x", times=1)
    answer = ask(sandbox, npo)
    assert (answer.status_code, answer.headers["Location"]) == (302, "http://127.0.0.2:9/x")


@each_npo
def test_an_endless_body_goes_on_for_longer_than_any_page(sandbox, npo):
    strike(sandbox, npo, "endless", times=1)
    with session_for(npo, sandbox.urls[npo]) as session:
        url = sandbox.urls[npo] + PATHS[npo, "assignments"]
        with session.get(url, stream=True, timeout=20) as answer:
            read_so_far = 0
            for chunk in answer.iter_content(2**20):
                read_so_far += len(chunk)
                if read_so_far > 20 * 2**20:
                    break
    assert read_so_far > 20 * 2**20
    assert ask(sandbox, npo).status_code == 200


@each_npo
def test_endless_pages_always_hold_new_ids(sandbox, npo):
    strike(sandbox, npo, "endless", mode="pages")
    answers = [ask(sandbox, npo, **params) for params in ({}, {"page": 2, "offset": 100}, {"page": 900})]
    ids = [external_id(npo, record) for answer in answers for record in records(npo, answer)]
    assert len(ids) == len(set(ids)) == 3 * len(records(npo, answers[0]))
    assert all(next_page(npo, answer) for answer in answers)


@each_npo
def test_duplicate_ids_stand_on_one_page(sandbox, npo):
    good = records(npo, ask(sandbox, npo))
    strike(sandbox, npo, "duplicate_ids", count=3, times=1)
    assert records(npo, ask(sandbox, npo)) == good + good[:3]


@each_npo
def test_a_wrong_charset_claims_to_be_utf_8(sandbox, npo):
    good = ask(sandbox, npo).json()
    strike(sandbox, npo, "wrong_charset", times=1)
    answer = ask(sandbox, npo)
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    with pytest.raises(UnicodeDecodeError):
        answer.content.decode("utf-8")
    assert json.loads(answer.content.decode("utf-16")) == good


@each_npo
def test_an_empty_list_says_there_is_nothing_more(sandbox, npo):
    strike(sandbox, npo, "empty_list", times=1)
    answer = ask(sandbox, npo)
    assert records(npo, answer) == []
    assert not next_page(npo, answer)


def test_a_token_endpoint_can_fail_too(sandbox):
    sandbox.misbehave(
        "hopeworks", {"path_regex": "/oauth/token", "kind": "status", "status": 503, "times": 1}
    )
    with pytest.raises(requests.HTTPError, match="503"):
        ask(sandbox, "hopeworks")
    assert ask(sandbox, "hopeworks").status_code == 200


@pytest.mark.parametrize(
    "rule",
    [
        {"path_regex": "(", "kind": "status"},
        {"path_regex": "/", "kind": "nonsense"},
        {"path_regex": "/", "kind": "status", "statsu": 500},
        {"path_regex": "/", "kind": "wrong_charset", "charset": "utf-99"},
    ],
)
def test_a_rule_with_a_mistake_is_refused(sandbox, rule):
    with pytest.raises(requests.HTTPError, match="422"):
        sandbox.admin("hopeworks", "POST", "faults", [rule])
    assert sandbox.admin("hopeworks", "GET", "faults") == []


@each_npo
def test_admin_endpoints_need_their_token_and_no_fault_touches_them(sandbox, npo):
    sandbox.misbehave(npo, {"path_regex": ".", "kind": "status"})
    for path in ("truth", "faults", "requests", "clock"):
        url = f"{sandbox.urls[npo]}/_admin/{path}"
        assert requests.get(url, timeout=20).status_code == 403
        assert requests.get(url, headers={"X-Admin-Token": "guess"}, timeout=20).status_code == 403
        assert sandbox.admin(npo, "GET", path) is not None


@each_npo
def test_the_request_log_keeps_status_and_hides_secrets(sandbox, npo):
    sandbox.admin(npo, "DELETE", "requests")
    strike(sandbox, npo, "status", status=503, times=1)
    ask(sandbox, npo)
    ask(sandbox, npo)
    log = [entry for entry in sandbox.admin(npo, "GET", "requests") if entry["path"] != "/oauth/token"]
    assert [(entry["method"], entry["path"], entry["status"]) for entry in log] == [
        ("GET", PATHS[npo, "assignments"], 503),
        ("GET", PATHS[npo, "assignments"], 200),
    ]
    assert "sandbox" not in json.dumps(log)
    if npo == "mentornet":
        assert log[0]["query"] == "apikey=***"

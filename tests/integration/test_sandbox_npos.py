"""The sandbox partners answer as their documentation says: pages, filters, credentials, content."""

from __future__ import annotations

import re
import socket
from collections import Counter
from datetime import datetime
from itertools import pairwise
from typing import Any

import pytest
import requests

from include.sandbox.npos.process import Sandbox, running
from include.sandbox.npos.reader import (
    PATHS,
    ROSTERING,
    external_id,
    hopeworks_token,
    pages,
    read,
    session_for,
)

NPOS = ("hopeworks", "codebridge", "mentornet")
STAMPS = {
    ("hopeworks", "offerings"): "last_modified",
    ("hopeworks", "assignments"): "modified_at",
    ("codebridge", "offerings"): "dateLastModified",
    ("codebridge", "assignments"): "dateLastModified",
}


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory):
    options = ("--today", "2026-10-20", "--mentornet-rate", "0")
    with running(tmp_path_factory.mktemp("npos"), *options) as started:
        yield started


def get(sandbox: Sandbox, npo: str, path: str, **params: Any) -> requests.Response:
    with session_for(npo, sandbox.urls[npo]) as session:
        return session.get(sandbox.urls[npo] + path, params=params, timeout=30)


@pytest.mark.parametrize("size", [1, 7, 50, 1000])
@pytest.mark.parametrize(("npo", "resource"), list(PATHS))
def test_pages_of_any_size_hold_every_record_once(sandbox, npo, resource, size):
    if size == 1 and resource == "assignments":
        size = 3
    truth = sandbox.truth(npo)
    found = Counter(external_id(npo, record) for record in read(npo, sandbox.urls[npo], resource, size=size))
    assert found == Counter([*truth[resource], *truth["bad"][resource]])


@pytest.mark.parametrize("npo", NPOS)
def test_the_default_volume_is_about_40_offerings_and_600_assignments(sandbox, npo):
    health = sandbox.admin(npo, "GET", "health")
    assert 36 <= health["offerings"] <= 44
    assert 595 <= health["assignments"] <= 610


@pytest.mark.parametrize("npo", NPOS)
def test_two_readings_on_one_day_give_the_same_bytes(sandbox, npo):
    for resource in ("offerings", "assignments"):
        first = get(sandbox, npo, PATHS[npo, resource])
        second = get(sandbox, npo, PATHS[npo, resource])
        assert first.content == second.content


@pytest.mark.parametrize("npo", NPOS)
def test_every_assignment_names_an_offering_of_the_partner(sandbox, npo):
    truth = sandbox.truth(npo)
    known = {*truth["offerings"], *truth["vanished"]["offerings"]}
    field = {"hopeworks": "service_id", "codebridge": "class", "mentornet": "prog"}[npo]
    for record in read(npo, sandbox.urls[npo], "assignments"):
        reference = record[field]["sourcedId"] if npo == "codebridge" else str(record[field])
        # mentornet no longer lists what was withdrawn before the first day.
        assert reference in known or (npo == "mentornet" and int(reference) - 1000 in {3, 7, 11})


@pytest.mark.parametrize(("npo", "resource"), list(STAMPS))
def test_the_time_filter_is_inclusive_and_exact(sandbox, npo, resource):
    url, field = sandbox.urls[npo], STAMPS[npo, resource]
    everything = read(npo, url, resource)
    for since in sorted({record[field] for record in everything})[::25]:
        wanted = sorted(str(external_id(npo, record)) for record in everything if record[field] >= since)
        got = sorted(str(external_id(npo, record)) for record in read(npo, url, resource, since=since))
        assert got == wanted


def test_a_filter_with_an_offset_means_the_same_moment(sandbox):
    url = sandbox.urls["hopeworks"]
    utc = read("hopeworks", url, "assignments", since="2026-10-10T11:30:00Z")
    assert utc == read("hopeworks", url, "assignments", since="2026-10-10T12:30:00+01:00")
    assert utc


@pytest.mark.parametrize(("npo", "resource"), [key for key in STAMPS if key[1] == "assignments"])
def test_records_share_a_stamp_across_page_edges(sandbox, npo, resource):
    field = STAMPS[npo, resource]
    several = list(pages(npo, sandbox.urls[npo], resource, size=50))
    edges = [(before[-1][field], after[0][field]) for before, after in pairwise(several)]
    assert sum(left == right for left, right in edges) >= 2


def test_hopeworks_lists_the_oldest_change_first_and_codebridge_the_newest(sandbox):
    ascending = [r["modified_at"] for r in read("hopeworks", sandbox.urls["hopeworks"], "assignments")]
    descending = [
        r["dateLastModified"] for r in read("codebridge", sandbox.urls["codebridge"], "assignments")
    ]
    assert ascending == sorted(ascending)
    assert descending == sorted(descending, reverse=True)


def test_no_stamp_lies_after_the_simulated_midnight(sandbox):
    for (npo, resource), field in STAMPS.items():
        assert max(r[field] for r in read(npo, sandbox.urls[npo], resource)) < "2026-10-20"


def test_the_hsds_envelope_counts_right(sandbox):
    body = get(sandbox, "hopeworks", "/learner-progress", page=13, per_page=50).json()
    assert {key: body[key] for key in body if key != "contents"} == {
        "total_items": 603,
        "total_pages": 13,
        "page_number": 13,
        "size": 3,
        "first_page": False,
        "last_page": True,
        "empty": False,
    }
    after = get(sandbox, "hopeworks", "/learner-progress", page=14, per_page=50).json()
    assert after["empty"]
    assert after["last_page"]
    assert after["contents"] == []


@pytest.mark.parametrize(
    "params", [{"page": "0"}, {"page": "x"}, {"per_page": "1001"}, {"modified_after": "yesterday"}]
)
def test_hopeworks_refuses_what_it_does_not_understand(sandbox, params):
    assert get(sandbox, "hopeworks", "/services", **params).status_code == 400


def test_onerosters_links_and_count_lead_through_the_list(sandbox):
    answer = get(sandbox, "codebridge", f"{ROSTERING}/enrollments", limit=250, offset=250)
    assert answer.headers["X-Total-Count"] == "600"
    offsets = {name: link["url"].partition("offset=")[2] for name, link in answer.links.items()}
    assert offsets == {"first": "0", "prev": "0", "next": "500", "last": "500"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("status='tobedeleted'", lambda r: r["status"] == "tobedeleted"),
        ("status!='tobedeleted'", lambda r: r["status"] == "active"),
        (
            "dateLastModified>='2026-09-01T00:00:00.000Z' AND dateLastModified<'2026-10-01T00:00:00.000Z'",
            lambda r: "2026-09-01" <= r["dateLastModified"] < "2026-10-01",
        ),
    ],
)
def test_onerosters_filters_select_exactly(sandbox, text, expected):
    path = f"{ROSTERING}/enrollments"
    everything = get(sandbox, "codebridge", path, limit=5000).json()["enrollments"]
    got = get(sandbox, "codebridge", path, limit=5000, filter=text).json()["enrollments"]
    assert got == [record for record in everything if expected(record)]
    assert got


@pytest.mark.parametrize(
    "text", ["title='x'", "dateLastModified>=2026", "dateLastModified>='soon'", "x OR y"]
)
def test_an_unknown_onerosters_filter_is_refused(sandbox, text):
    answer = get(sandbox, "codebridge", f"{ROSTERING}/classes", filter=text)
    assert answer.status_code == 400
    assert answer.json()["imsx_codeMajor"] == "failure"


def test_results_tell_what_the_finished_enrollments_tell(sandbox):
    path = "/ims/oneroster/gradebook/v1p2/results"
    results = get(sandbox, "codebridge", path, limit=5000).json()["results"]
    enrollments = read("codebridge", sandbox.urls["codebridge"], "assignments")
    scores = Counter(
        e["metadata"]["finalScore"] for e in enrollments if e["metadata"]["finalScore"] is not None
    )
    assert Counter(int(r["score"]) for r in results) == scores


def test_mentornet_ends_its_lists_with_null_or_nothing(sandbox):
    assert get(sandbox, "mentornet", "/api/v1/list_programs", count=1000).json()["next_cursor"] is None
    assert get(sandbox, "mentornet", "/api/v1/list_matches", count=1000).json()["next_cursor"] == ""
    assert get(sandbox, "mentornet", "/api/v1/list_matches", cursor="nonsense").status_code == 400


def test_mentornet_writes_percent_and_dates_as_people_type_them(sandbox):
    matches = read("mentornet", sandbox.urls["mentornet"], "assignments")
    shapes = {re.sub(r"\d+", "9", match["progress"]) for match in matches}
    assert shapes == {"9 %", "9%", "n/a", "about half"}
    dates = {re.sub(r"[A-Z][a-z]{2}", "Mon", re.sub(r"\d", "9", m["requested"])) for m in matches}
    assert {"99/99/9999", "9999-99-99 99:99", "9 Mon 9999"} <= dates
    texts = [p["descr"] for p in read("mentornet", sandbox.urls["mentornet"], "offerings")]
    assert any("<script>" in text for text in texts)


@pytest.mark.parametrize("npo", ["hopeworks", "codebridge"])
def test_progress_and_state_agree(sandbox, npo):
    for record in read(npo, sandbox.urls[npo], "assignments"):
        if npo == "hopeworks" and not str(record.get("id", "")).startswith("lp-3"):
            continue
        fields = record["metadata"] if npo == "codebridge" else record
        state = fields["state"].lower()
        percent = fields["progressPercent" if npo == "codebridge" else "percent"]
        assert 0 <= percent <= 100
        if state == "completed":
            assert percent == 100
        if state in {"requested", "applied", "accepted", "rejected", "declined"}:
            assert percent == 0
        order = [
            k for k in fields if k in {"requestedAt", "acceptedAt", "enrolledAt", "startedAt", "completedAt"}
        ]
        moments = [datetime.fromisoformat(fields[k]) for k in order if fields[k]]
        assert moments == sorted(moments)


def test_hopeworks_tokens_are_given_to_the_right_client_only(sandbox):
    url = sandbox.urls["hopeworks"]
    right = {"client_id": "hopeworks-client", "client_secret": "hopeworks-sandbox-secret"}
    grant = {"grant_type": "client_credentials"}

    def ask(**call: Any) -> requests.Response:
        return requests.post(f"{url}/oauth/token", timeout=30, **call)

    assert ask(data=grant | right).json()["token_type"] == "Bearer"
    assert ask(data=grant, auth=tuple(right.values())).status_code == 200
    assert ask(data=grant | right | {"client_secret": "guess"}).status_code == 401
    assert ask(data=right | {"grant_type": "password"}).status_code == 400
    assert ask(json=grant | right).status_code == 400
    assert hopeworks_token(url) != hopeworks_token(url)


@pytest.mark.parametrize(("npo", "status"), [("hopeworks", 401), ("codebridge", 401), ("mentornet", 403)])
@pytest.mark.parametrize("resource", ["offerings", "assignments"])
def test_a_missing_or_wrong_credential_is_refused(sandbox, npo, resource, status):
    url = sandbox.urls[npo] + PATHS[npo, resource]
    wrong: dict[str, Any] = {"headers": {"Authorization": "Bearer guess"}, "params": {"apikey": "guess"}}
    for call in ({}, wrong):
        answer = requests.get(url, timeout=30, **call)
        assert answer.status_code == status
        assert "contents" not in answer.text
    if npo == "mentornet":
        assert answer.json()["error"]["code"] == "bad_key"


def test_mentornet_throttles_with_403(tmp_path):
    with running(tmp_path, "--mentornet-rate", "5") as sandbox:
        answers = [get(sandbox, "mentornet", "/api/v1/list_programs") for _ in range(8)]
    assert [a.status_code for a in answers[:5]] == [200] * 5
    assert answers[5].status_code == 403
    assert answers[5].json()["error"]["code"] == "throttled"


def test_the_servers_are_bound_to_loopback_only(sandbox):
    for url in sandbox.urls.values():
        port = int(url.rsplit(":", 1)[1])
        assert url.startswith("http://127.0.0.1:")
        # Another loopback address would answer too if the server were bound to 0.0.0.0.
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", port), timeout=2).close()

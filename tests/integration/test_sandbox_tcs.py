"""The stand-in for TCS answers as its documentation says, the traps of the real one included."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from datetime import date
from typing import Any
from urllib.parse import quote

import pytest
import requests

from include.sandbox.esr import words
from include.sandbox.esr.world import FIRST_PERSON, FIRST_PLACEMENT, FIRST_POST, World
from include.sandbox.tcs.process import TcsSandbox, running
from include.sandbox.tcs.state import as_told

PEOPLE = 300
WORLD = World(people=PEOPLE)
PERSON = FIRST_PERSON + 1
POST = FIRST_POST + 1
ABSENCE = {
    "id": None,
    "personId": PERSON,
    "startDate": "2026-01-05",
    "endDate": "2026-01-07",
    "durationInDays": 3,
    "absenceAttendanceId": "900001",
}
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
    with running(tmp_path_factory.mktemp("tcs"), "--people", str(PEOPLE)) as started:
        yield started


class Client:
    """A client with a token; answers are not checked."""

    def __init__(self, tcs: TcsSandbox) -> None:
        self._url = tcs.url
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.headers["Authorization"] = f"Bearer {tcs.token()}"

    def __call__(self, method: str, path: str, body: Any = None, **kwargs: Any) -> requests.Response:
        return self.session.request(method, f"{self._url}/api/{path}", json=body, timeout=30, **kwargs)

    def json(self, path: str) -> Any:
        answer = self("GET", path)
        assert answer.status_code == 200
        return answer.json()


@pytest.fixture
def tcs(server: TcsSandbox) -> TcsSandbox:
    server.reset()
    return server


@pytest.fixture
def call(tcs: TcsSandbox) -> Iterator[Client]:
    client = Client(tcs)
    yield client
    client.session.close()


def numbers(count: int) -> list[str]:
    return [WORLD.post_number(post) for post in range(count)]


# -- tokens


@pytest.mark.parametrize("header", [None, "Bearer wrong", "Basic c3BvdGxpZ2h0Og=="])
def test_every_call_wants_a_token(tcs, header):
    headers = {"Authorization": header} if header else {}
    assert requests.get(f"{tcs.url}/api/posts/{POST}", headers=headers, timeout=10).status_code == 401


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"grant_type": "client_credentials", "client_id": "spotlight", "client_secret": "wrong"}, 401),
        ({"grant_type": "password", "client_id": "spotlight"}, 401),
        (None, 400),
    ],
)
def test_a_token_is_for_the_right_client_only(tcs, form, status):
    assert requests.post(f"{tcs.url}/oauth/token", data=form, timeout=10).status_code == status


def test_a_client_may_name_itself_by_basic_authentication(tcs):
    answer = requests.post(
        f"{tcs.url}/oauth/token",
        data={"grant_type": "client_credentials"},
        auth=("spotlight", tcs.client_secret),
        timeout=10,
    )
    assert answer.json()["token_type"] == "Bearer"
    assert answer.json()["expires_in"] == 300


def test_a_token_comes_to_its_end(tcs, call):
    tcs.expire_tokens()
    assert call("GET", f"posts/{POST}").status_code == 401
    tcs.expire_tokens(seconds=0)
    assert Client(tcs)("GET", f"posts/{POST}").status_code == 401


# -- posts


def test_posts_are_found_in_bulk_by_exact_number(call):
    wanted = [WORLD.post_number(3), WORLD.post_number(4).lower(), "NTH/NO/SUCH/POST"]
    page = call("POST", "posts/filter/deanery", wanted).json()
    assert [post["nationalPostNumber"] for post in page["content"]] == [WORLD.post_number(3)]
    assert set(page["content"][0]) == {"id", "nationalPostNumber", "status", "owner"}
    assert page["content"][0]["owner"] == words.OWNERS["WMD"]


def test_who_does_not_ask_for_a_size_gets_twenty(call):
    page = call("POST", "posts/filter/deanery", numbers(45)).json()
    assert (len(page["content"]), page["totalElements"], page["totalPages"]) == (20, 45, 3)
    assert not page["last"]


def test_the_pages_together_hold_every_post_once(call):
    pages = [call("POST", f"posts/filter/deanery?page={n}&size=20", numbers(45)).json() for n in range(4)]
    ids = [post["id"] for page in pages for post in page["content"]]
    assert sorted(ids) == [FIRST_POST + n for n in range(45)]
    assert [page["last"] for page in pages] == [False, False, True, True]


def test_no_page_is_larger_than_two_thousand(call):
    assert call("POST", "posts/filter/deanery?size=100000", numbers(3)).json()["size"] == 2000


def test_posts_by_number_want_their_slashes_encoded(call):
    some = numbers(2)
    encoded = ",".join(quote(number, safe="") for number in some)
    assert [post["nationalPostNumber"] for post in call.json(f"posts/in/{encoded}")] == some
    assert call("GET", f"posts/in/{some[0]}").status_code == 404


def test_a_target_longer_than_8000_bytes_is_refused(call):
    path = "gmc-details/in/" + ",".join(str(n) for n in range(6_000_000, 6_001_100))
    assert call("GET", path).status_code == 414


@pytest.mark.parametrize(
    "path", ["posts/1", "placements/1", "people/1", "people/1/placements/new", "nothing"]
)
def test_an_unknown_id_is_404(call, path):
    assert call("GET", path).status_code == 404


@pytest.mark.parametrize("path", ["posts/x", "people/99999999999999999999"])
def test_an_id_that_is_no_number_is_400(call, path):
    assert call("GET", path).status_code == 400


def test_a_placement_is_the_same_seen_from_post_and_person(call):
    post, person, future = FIRST_POST + 13, FIRST_PERSON + 13, FIRST_PERSON
    of_post = call.json(f"posts/{post}/placements/new")
    assert [one["traineeId"] for one in of_post] == [person, future]
    assert of_post[0] in call.json(f"people/{person}/placements/new")
    assert of_post[1] in call.json(f"people/{future}/placements/new")
    assert of_post[0]["nationalPostNumber"] == WORLD.post_number(13)


def test_a_placement_by_id_says_more_than_the_summary(call):
    placement = call.json(f"placements/{FIRST_PLACEMENT}")
    assert placement["lifecycleState"] in {"APPROVED", "DRAFT"}
    assert placement["traineeGmcNumber"] == WORLD.gmc_number(0)
    assert placement["postId"] == FIRST_POST


def test_some_people_have_no_placement(call):
    assert call.json(f"people/{FIRST_PERSON + 17}/placements/new") == []


# -- telling


def test_esr_changed_appends_and_never_deduplicates(tcs, call):
    for _ in range(2):
        assert call("POST", f"posts/{POST}/esr-changed", EVENT).status_code == 201
    events = call.json(f"posts/{POST}")["esrEvents"]
    assert [{name: event[name] for name in EVENT} for event in events] == [EVENT, EVENT]
    assert tcs.post_events() == {POST: [EVENT, EVENT]}


def test_esr_exported_appends_and_never_deduplicates(tcs, call):
    key = FIRST_PLACEMENT
    body = {
        "exportedAt": "2026-03-04T14:31:00Z",
        "filename": "DE_KSS_APP_20260304_00000017.DAT",
        "placementId": key,
        "positionNumber": "20000002",
        "positionId": 20000002,
        "status": "EXPORTED",
    }
    for _ in range(2):
        assert call("POST", f"placements/{key}/esr-exported", body).status_code == 201
    summary = call.json(f"people/{FIRST_PERSON}/placements/new")[0]
    assert len(summary["esrEvents"]) == 2
    assert tcs.placement_events() == {key: [body, body]}


@pytest.mark.parametrize(
    "change",
    [{"postId": POST + 1}, {"status": "MATCHED"}, {"eventDateTime": "yesterday"}, {"positionId": None}],
)
def test_a_wrong_event_is_refused_and_not_kept(tcs, call, change):
    assert call("POST", f"posts/{POST}/esr-changed", EVENT | change).status_code == 400
    assert tcs.post_events() == {}


# -- people


def test_a_registration_leads_to_the_person(call):
    assert call.json("gmc-details/in/6000001,1,6000002") == [
        {"id": FIRST_PERSON + n, "gmcNumber": f"{6_000_000 + n}", "gmcStatus": "Registered with Licence"}
        for n in (1, 2)
    ]
    assert [one["id"] for one in call.json("gdc-details/in/100013")] == [FIRST_PERSON + 13]


def test_one_number_may_be_that_of_two_people(call):
    assert [one["id"] for one in call.json("gmc-details/in/6000004")] == [FIRST_PERSON + 4, FIRST_PERSON + 5]


def test_a_patch_changes_whom_its_body_names_whatever_the_path_says(call):
    other = PERSON + 1
    answer = call("PATCH", f"contact-details/{PERSON}", {"id": other, "mobileNumber": "07700 1"})
    assert answer.status_code == 200
    assert call.json(f"people/{PERSON}")["contactDetails"]["mobileNumber"] != "07700 1"
    assert call.json(f"people/{other}")["contactDetails"]["mobileNumber"] == "07700 1"


def test_null_in_a_patch_never_clears(call):
    call("PATCH", f"personal-details/{PERSON}", {"id": PERSON, "disabilityDetails": "Other"})
    answer = call("PATCH", f"personal-details/{PERSON}", {"id": PERSON, "disabilityDetails": None})
    assert answer.json()["disabilityDetails"] == "Other"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"mobileNumber": "1"}, 400),
        ({"id": 1, "mobileNumber": "1"}, 404),
        ({"id": PERSON, "county": "Kent"}, 400),
        ({"id": PERSON, "mobileNumber": 7700}, 400),
        ([], 400),
    ],
)
def test_a_wrong_patch_is_refused(tcs, call, body, status):
    assert call("PATCH", f"contact-details/{PERSON}", body).status_code == status
    assert tcs.told() == []


def test_a_date_of_birth_is_a_date(call):
    answer = call("PATCH", f"personal-details/{PERSON}", {"id": PERSON, "dateOfBirth": "19800101x"})
    assert answer.status_code == 400


def test_a_body_must_say_that_it_is_json(call):
    answer = call("PATCH", f"contact-details/{PERSON}", headers={"Content-Type": "text/plain"}, data=b"{}")
    assert answer.status_code == 415


# -- absences


def test_an_absence_that_is_not_there_is_404(call):
    assert call("GET", "absence/absenceId/900001").status_code == 404


def test_a_new_absence_must_not_have_an_id(tcs, call):
    assert call("POST", "absence", ABSENCE | {"id": 5}).status_code == 400
    assert tcs.told() == []


def test_an_absence_posted_twice_is_there_twice(tcs, call):
    made = [call("POST", "absence", ABSENCE).json() for _ in range(2)]
    assert made[0]["id"] != made[1]["id"]
    assert call.json("absence/absenceId/900001") == made[0]
    assert len(tcs.final()["absences"]) == 2


@pytest.mark.parametrize(
    "change",
    [{"personId": 1}, {"absenceAttendanceId": None}, {"startDate": "20260105"}, {"endDate": 5}, {"days": 3}],
)
def test_a_wrong_absence_is_refused(tcs, call, change):
    assert call("POST", "absence", ABSENCE | change).status_code == 400
    assert tcs.told() == []


def test_a_stale_put_of_an_absence_is_refused(call):
    first = call("POST", "absence", ABSENCE).json()
    path = f"absence/{first['id']}"
    second = call("PUT", path, first | {"durationInDays": 4})
    assert second.status_code == 200
    assert call("PUT", path, first | {"durationInDays": 5}).status_code == 409
    assert call("PUT", path, second.json() | {"endDate": None}).json()["endDate"] is None


def test_a_put_without_amended_date_is_refused(call):
    first = call("POST", "absence", ABSENCE).json()
    del first["amendedDate"]
    assert call("PUT", f"absence/{first['id']}", first).status_code == 409


def test_a_patch_of_an_absence_leaves_amended_date_out(call):
    first = call("POST", "absence", ABSENCE).json()
    path = f"absence/{first['id']}"
    assert call("PATCH", path, {"durationInDays": 4, "endDate": None}).json()["endDate"] == "2026-01-07"
    stale = {"durationInDays": 5, "amendedDate": first["amendedDate"]}
    assert call("PATCH", path, stale).status_code == 409
    assert call.json("absence/absenceId/900001")["durationInDays"] == 4


# -- loading and reading back


def test_a_loaded_post_is_found_until_it_is_removed(tcs, call):
    number = "KSS/NEW01/080/STR/001"
    (post,) = tcs.load_posts({"nationalPostNumber": number})
    path = f"posts/in/{quote(number, safe='')}"
    assert [one["id"] for one in call.json(path)] == [post["id"]]
    tcs.remove_post(post["id"])
    assert call.json(path) == []
    assert call("GET", f"posts/{post['id']}").status_code == 404


def test_a_post_that_gets_another_number_is_no_longer_found_under_the_old_one(tcs, call):
    tcs.load_posts({"id": POST, "nationalPostNumber": "KSS/NEW02/080/STR/001"})
    wanted = [WORLD.post_number(1), "KSS/NEW02/080/STR/001"]
    page = call("POST", "posts/filter/deanery", wanted).json()
    assert [one["nationalPostNumber"] for one in page["content"]] == [wanted[1]]


def test_a_loaded_person_and_placement_belong_together(tcs, call):
    (person,) = tcs.load_people({"gmcNumber": "7777777", "contactDetails": {"legalSurname": "Fry"}})
    (placement,) = tcs.load_placements({"traineeId": person["id"], "postId": POST})
    assert [one["id"] for one in call.json("gmc-details/in/7777777")] == [person["id"]]
    (seen,) = call.json(f"people/{person['id']}/placements/new")
    assert (seen["placementId"], seen["legalsurname"]) == (placement["id"], "Fry")
    assert seen in call.json(f"posts/{POST}/placements/new")
    tcs.remove_placement(placement["id"])
    assert call.json(f"people/{person['id']}/placements/new") == []


def test_calls_are_counted_by_endpoint(tcs, call):
    call("GET", f"posts/{POST}")
    call("GET", f"posts/{POST + 1}")
    call("GET", f"people/{PERSON}")
    assert tcs.calls() == {"GET posts/*": 2, "GET people/*": 1}


def test_the_digest_tells_what_was_told_and_not_when_or_in_which_order(tcs: TcsSandbox):
    def tell(order: int) -> str:
        tcs.reset()
        call = Client(tcs)
        bodies = [
            (
                "POST",
                f"posts/{POST}/esr-changed",
                EVENT | {"eventDateTime": f"2026-03-0{order + 4}T00:00:00Z"},
            ),
            ("POST", f"posts/{POST}/esr-changed", EVENT | {"positionId": 20000003}),
            ("POST", "absence", ABSENCE),
            ("POST", "absence", ABSENCE | {"absenceAttendanceId": "900002"}),
            ("PATCH", f"contact-details/{PERSON}", {"id": PERSON, "mobileNumber": "07700 1"}),
        ]
        for method, path, body in bodies[:: -1 if order else 1]:
            assert call(method, path, body).status_code in {200, 201}
        return tcs.digest()

    first = tell(0)
    assert tell(1) == first
    Client(tcs)("POST", f"posts/{POST}/esr-changed", EVENT)
    assert tcs.digest() != first


def test_what_it_was_told_survives_a_kill_and_half_a_line(tmp_path):
    with running(tmp_path, "--people", "20") as first:
        Client(first)("POST", f"posts/{POST}/esr-changed", EVENT)
        Client(first)("POST", "absence", ABSENCE)
        before = first.final()
    with (tmp_path / "journal.jsonl").open("ab") as file:
        file.write(b'{"kind":"absence","bo')
    with running(tmp_path, "--people", "20") as second:
        assert second.final() == before
        Client(second)("POST", "absence", ABSENCE | {"absenceAttendanceId": "900003"})
        assert len(second.final()["absences"]) == 2
    with running(tmp_path, "--people", "21") as other:
        assert other.told() == []


def test_sixty_thousand_people_are_there_in_seconds(tmp_path):
    began = time.monotonic()
    with running(tmp_path, "--people", "60000") as large:
        assert large.get(f"people/{FIRST_PERSON + 59_999}")["gmcDetails"]["gmcNumber"] == "6059999"
        assert large.get(f"people/{FIRST_PERSON + 60_000}") is None
    assert time.monotonic() - began < 20


def test_ctrl_c_ends_it_in_order(tmp_path):
    with running(tmp_path, "--people", "10") as small:
        assert small.pid is not None
        os.kill(small.pid, signal.SIGINT)
        for _ in range(100):
            try:
                small.admin("GET", "health")
            except requests.ConnectionError:
                break
            time.sleep(0.05)
    assert "Traceback" not in (tmp_path / "tcs.log").read_text()


def test_the_admin_endpoints_want_their_token(tcs):
    for method, path in (("GET", "told"), ("POST", "reset"), ("POST", "faults"), ("GET", "digest")):
        answer = requests.request(method, f"{tcs.url}/_admin/{path}", json=[], timeout=10)
        assert answer.status_code == 403


def test_the_stack_runs_one_with_three_thousand_people(tcs_sandbox):
    assert tcs_sandbox.admin("GET", "health") == {"people": 3000, "seed": 7, "changes": 0}
    assert tcs_sandbox.get(f"posts/{FIRST_POST + 2999}")["nationalPostNumber"] == World().post_number(2999)


# -- placements that change


def first_future() -> int:
    """The id of a coming placement."""
    return next(one.id for person in range(PEOPLE) if (one := WORLD.future(person)) is not None)


def test_a_placement_is_moved_and_unapproved_and_everything_else_of_it_stays(tcs: TcsSandbox):
    before = tcs.placement(first_future())
    assert before is not None
    tcs.move_placement(before["id"], date(2026, 8, 12))
    tcs.approve_placement(before["id"], approved=False)
    changed = {"dateFrom": "2026-08-12", "lifecycleState": "DRAFT"}
    assert tcs.placement(before["id"]) == before | changed


def test_a_placement_that_goes_to_another_post_leaves_the_first(tcs: TcsSandbox):
    before = tcs.placement(first_future())
    assert before is not None
    tcs.load_placements({"id": before["id"], "traineeId": before["traineeId"], "postId": POST})

    def ids(post: int) -> set[int]:
        return {one["placementId"] for one in tcs.get(f"posts/{post}/placements/new")}

    assert before["id"] in ids(POST)
    assert before["id"] not in ids(before["postId"])


def test_a_placement_is_added_and_one_that_is_not_there_cannot_change(tcs: TcsSandbox):
    added = tcs.add_placement(PERSON, POST, date(2026, 8, 5), date(2027, 8, 3), placementType="Suspended")
    found = tcs.placement(added)
    assert found is not None
    assert (found["traineeId"], found["postId"], found["placementType"]) == (PERSON, POST, "Suspended")
    tcs.remove_placement(added)
    with pytest.raises(KeyError):
        tcs.move_placement(added, date(2026, 8, 5))


def test_what_tcs_was_told_of_exports_is_counted(tcs: TcsSandbox, call: Client):
    placement, file = first_future(), "DE_KSS_APP_20260708_00000001.DAT"
    body = {
        "exportedAt": "2026-07-08T13:00:00.000Z",
        "filename": file,
        "placementId": placement,
        "positionNumber": "20000002",
        "positionId": 20000002,
        "status": "EXPORTED",
    }
    for _ in range(2):
        assert call("POST", f"placements/{placement}/esr-exported", body).status_code == 201
    assert tcs.exported() == {(file, 20000002, "EXPORTED"): 2}


def test_what_tcs_knows_can_be_known_from_what_it_was_told(tcs: TcsSandbox):
    added = tcs.add_placement(PERSON, POST, date(2026, 8, 5), date(2027, 8, 3))
    tcs.approve_placement(first_future(), approved=False)
    known = as_told(WORLD, tcs.told())
    for placement_id in (added, first_future()):
        known_one, theirs = known.placement(placement_id), tcs.placement(placement_id)
        assert known_one is not None
        assert theirs is not None
        assert known_one.items() <= theirs.items()


def test_the_turnover_is_when_it_is_told_to_be(tmp_path):
    with running(tmp_path, "--people", "30", "--turnover", "2027-02-03") as started:
        ends, starts = set(), set()
        for one in started.get(f"posts/{FIRST_POST + 13}/placements/new"):
            ends.add(one["dateTo"])
            starts.add(one["dateFrom"])
    world = World(people=30, turnover=date(2027, 2, 3))
    details = [world.placement_details(one) for one in world.placements_of_post(13)]
    assert (starts, ends) == ({one["dateFrom"] for one in details}, {one["dateTo"] for one in details})
    assert "2027-02-03" in starts
    assert "2027-02-02" not in starts

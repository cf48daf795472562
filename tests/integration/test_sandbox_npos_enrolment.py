"""The sandbox partners enrol as their documentation says, and count what they were asked."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from include.sandbox.npos.enrolments import Application, Enrolments, declines
from include.sandbox.npos.process import Sandbox, running
from include.sandbox.npos.reader import PATHS, ROSTERING, external_id, read, session_for

NPOS = ("hopeworks", "codebridge", "mentornet")
POST = {
    "codebridge": f"{ROSTERING}/enrollments",
    "hopeworks": "/services/{offering}/applications",
    "mentornet": "/api/v1/sign_up",
}
each_npo = pytest.mark.parametrize("npo", NPOS)
AGREED = next(f"ref-{n}" for n in range(9) if not declines(f"ref-{n}"))
DECLINED = next(f"ref-{n}" for n in range(9) if declines(f"ref-{n}"))


@pytest.fixture(scope="module")
def running_sandbox(tmp_path_factory):
    options = ("--today", "2026-10-20", "--mentornet-rate", "0")
    with running(tmp_path_factory.mktemp("npos"), *options) as started:
        yield started


@pytest.fixture
def sandbox(running_sandbox):
    yield running_sandbox
    for npo in NPOS:
        running_sandbox.admin(npo, "POST", "reset")


def counts(sandbox: Sandbox, npo: str) -> Any:
    return sandbox.admin(npo, "GET", "enrolments")


def an_offering(sandbox: Sandbox, npo: str, place: str = "open") -> str:
    places: dict[str, str] = counts(sandbox, npo)["places"]
    return next(key for key, word in places.items() if word == place)


def body_of(npo: str, offering: str, reference: str) -> dict[str, Any]:
    if npo == "codebridge":
        user = {"givenName": "Zebedee", "familyName": "Quill", "email": f"{reference}@planted.example"}
        enrollment = {"class": {"sourcedId": offering}, "user": user, "role": "student"}
        return {"json": {"enrollment": {**enrollment, "metadata": {"externalReference": reference}}}}
    if npo == "hopeworks":
        learner = {"first_name": "Zebedee", "last_name": "Quill", "email": f"{reference}@planted.example"}
        return {"json": {"learner": learner, "external_reference": reference}}
    form = {"prog": offering, "first_name": "Zebedee", "surname": "Quill", "ref": reference}
    return {"data": {**form, "mail": f"{reference}@planted.example", "tel": ""}}


def call(sandbox: Sandbox, npo: str, method: str, path: str, **more: Any) -> requests.Response:
    with session_for(npo, sandbox.urls[npo]) as session:
        return session.request(method, sandbox.urls[npo] + path, timeout=5, **more)


def enrol(
    sandbox: Sandbox, npo: str, reference: str = AGREED, offering: str | None = None, timeout: float = 5
) -> requests.Response:
    offering = offering or an_offering(sandbox, npo)
    with session_for(npo, sandbox.urls[npo]) as session:
        return session.post(
            sandbox.urls[npo] + POST[npo].format(offering=offering),
            headers={"Idempotency-Key": reference},
            timeout=timeout,
            **body_of(npo, offering, reference),
        )


def id_in(npo: str, answer: requests.Response) -> Any:
    body = answer.json()
    if npo == "codebridge":
        return body["enrollment"]["sourcedId"]
    return body["id"] if npo == "hopeworks" else body["result"]["match_no"]


def refusal(npo: str, answer: requests.Response) -> tuple[int, str]:
    body = answer.json()
    if npo == "codebridge":
        code = body["imsx_CodeMinor"]["imsx_codeMinorField"][0]["imsx_codeMinorFieldValue"]
    else:
        code = body["error"] if npo == "hopeworks" else body["error"]["code"]
    return answer.status_code, code


def misbehave(sandbox: Sandbox, npo: str, kind: str, **arguments: Any) -> None:
    path = POST[npo].partition("{")[0]
    sandbox.misbehave(npo, {"path_regex": path, "method": "POST", "kind": kind, **({"times": 1} | arguments)})


@each_npo
def test_who_is_enrolled_stands_in_the_list_and_in_the_truth_from_then_on(sandbox, npo):
    before = len(read(npo, sandbox.urls[npo], "assignments"))
    answer = enrol(sandbox, npo)
    assert answer.status_code == {"codebridge": 201, "hopeworks": 202, "mentornet": 200}[npo]
    listed = {external_id(npo, record): record for record in read(npo, sandbox.urls[npo], "assignments")}
    assert len(listed) >= before - 1
    assert id_in(npo, answer) in listed
    assert id_in(npo, answer) in sandbox.truth(npo)["assignments"]
    if npo == "codebridge":
        assert listed[id_in(npo, answer)]["metadata"]["externalReference"] == AGREED
    if npo == "hopeworks":
        assert listed[id_in(npo, answer)]["external_reference"] == AGREED


@pytest.mark.parametrize(("npo", "field"), [("hopeworks", "modified_at"), ("codebridge", "dateLastModified")])
def test_a_reading_of_changes_finds_who_was_enrolled_since(sandbox, npo, field):
    since = max(record[field] for record in read(npo, sandbox.urls[npo], "assignments"))
    ident = id_in(npo, enrol(sandbox, npo))
    changed = [external_id(npo, r) for r in read(npo, sandbox.urls[npo], "assignments", since=since)]
    assert ident in changed


@each_npo
def test_a_repeated_request_enrols_once_and_answers_the_same(sandbox, npo):
    first, second = enrol(sandbox, npo), enrol(sandbox, npo)
    assert (first.status_code, first.json()) == (second.status_code, second.json())
    seen = counts(sandbox, npo)
    assert (seen["received"], seen["enrolled"], seen["doubled"]) == (2, 1, 0)
    assert seen["by_reference"][AGREED]["received"] == 2


@each_npo
def test_a_partner_that_forgets_the_key_enrols_twice_and_says_so(sandbox, npo):
    enrol(sandbox, npo)
    misbehave(sandbox, npo, "forget_key")
    enrol(sandbox, npo)
    seen = counts(sandbox, npo)
    assert (seen["enrolled"], seen["doubled"]) == (1, 1)
    assert len(seen["by_reference"][AGREED]["ids"]) == 2


@pytest.mark.parametrize(
    ("npo", "place", "expected"),
    [
        ("codebridge", "full", (422, "class_full")),
        ("codebridge", "closed", (422, "class_closed")),
        ("hopeworks", "full", (422, "service_full")),
        ("hopeworks", "closed", (422, "service_closed")),
        ("mentornet", "closed", (200, "programme_closed")),
    ],
)
def test_a_full_or_closed_offering_takes_nobody(sandbox, npo, place, expected):
    answer = enrol(sandbox, npo, offering=an_offering(sandbox, npo, place))
    assert refusal(npo, answer) == expected
    assert (counts(sandbox, npo)["refused"], counts(sandbox, npo)["enrolled"]) == (1, 0)


@pytest.mark.parametrize(
    ("npo", "expected"),
    [
        ("codebridge", (422, "unknown_class")),
        ("hopeworks", (422, "unknown_service")),
        ("mentornet", (200, "no_such_programme")),
    ],
)
def test_an_unknown_offering_is_refused(sandbox, npo, expected):
    assert refusal(npo, enrol(sandbox, npo, offering="77777")) == expected


@each_npo
def test_a_wrong_credential_enrols_nobody(sandbox, npo):
    offering = an_offering(sandbox, npo)
    path = POST[npo].format(offering=offering)
    answer = requests.post(sandbox.urls[npo] + path, timeout=5, **body_of(npo, offering, "x"))
    assert answer.status_code == (403 if npo == "mentornet" else 401)
    assert counts(sandbox, npo)["received"] == 0


@each_npo
def test_a_form_without_a_name_is_refused(sandbox, npo):
    offering = an_offering(sandbox, npo)
    more = body_of(npo, offering, "x")
    person = {
        "codebridge": lambda: more["json"]["enrollment"]["user"],
        "mentornet": lambda: more["data"],
    }.get(npo, lambda: more["json"]["learner"])()
    person[{"codebridge": "givenName"}.get(npo, "first_name")] = " "
    answer = call(sandbox, npo, "POST", POST[npo].format(offering=offering), **more)
    assert refusal(npo, answer) in {(400, "invaliddata"), (400, "bad_request"), (200, "bad_form")}
    assert counts(sandbox, npo)["enrolled"] == 0


def look_up(sandbox: Sandbox, npo: str, reference: str) -> list[Any]:
    if npo == "codebridge":
        params = {"filter": f"metadata.externalReference='{reference}'"}
        found: list[Any] = call(sandbox, npo, "GET", POST[npo], params=params).json()["enrollments"]
    elif npo == "hopeworks":
        params = {"external_reference": reference}
        found = call(sandbox, npo, "GET", "/applications", params=params).json()["contents"]
    else:
        answer = call(sandbox, npo, "GET", "/api/v1/find_match", params={"ref": reference})
        found = answer.json()["result"]["matches"]
    return found


@each_npo
def test_a_lost_answer_leaves_an_enrolment_that_can_be_looked_up(sandbox, npo):
    assert look_up(sandbox, npo, AGREED) == []
    misbehave(sandbox, npo, "lost")
    with pytest.raises(requests.ConnectionError):
        enrol(sandbox, npo)
    (found,) = look_up(sandbox, npo, AGREED)
    assert external_id(npo, found) == counts(sandbox, npo)["by_reference"][AGREED]["ids"][0]
    assert look_up(sandbox, npo, "another") == []


@each_npo
def test_an_answer_can_come_after_the_senders_patience(sandbox, npo):
    misbehave(sandbox, npo, "slow_answer", seconds=2)
    with pytest.raises(requests.ReadTimeout):
        enrol(sandbox, npo, timeout=0.5)
    assert len(look_up(sandbox, npo, AGREED)) == 1


@each_npo
def test_a_duplicate_is_told_in_the_partners_own_way(sandbox, npo):
    misbehave(sandbox, npo, "duplicate")
    expected = (200, "already") if npo == "mentornet" else (409, "duplicate")
    assert refusal(npo, enrol(sandbox, npo)) == expected
    assert (counts(sandbox, npo)["enrolled"], counts(sandbox, npo)["doubled"]) == (1, 0)


@pytest.mark.parametrize("kind", ["odd_body", "no_id"])
@each_npo
def test_an_answer_without_an_id_comes_from_one_who_has_enrolled(sandbox, npo, kind):
    misbehave(sandbox, npo, kind)
    answer = enrol(sandbox, npo)
    assert answer.status_code < 300
    with pytest.raises(KeyError):
        id_in(npo, answer)
    assert counts(sandbox, npo)["enrolled"] == 1


@each_npo
def test_a_refusal_can_be_asked_for(sandbox, npo):
    for reason in ("closed", "full"):
        misbehave(sandbox, npo, "refuse", reason=reason)
        assert refusal(npo, enrol(sandbox, npo))[1].endswith(f"_{reason}")
    assert enrol(sandbox, npo).status_code < 300


def test_a_rule_for_one_method_leaves_the_others_alone(sandbox):
    misbehave(sandbox, "codebridge", "status", status=503)
    assert call(sandbox, "codebridge", "GET", PATHS["codebridge", "assignments"]).status_code == 200
    assert enrol(sandbox, "codebridge").status_code == 503


def state_of(sandbox: Sandbox, ident: str) -> Any:
    return call(sandbox, "hopeworks", "GET", f"/applications/{ident}").json()["state"]


@pytest.mark.parametrize(("reference", "word"), [(AGREED, "enrolled"), (DECLINED, "declined")])
def test_hopeworks_decides_after_it_was_asked_twice(sandbox, reference, word):
    ident = id_in("hopeworks", enrol(sandbox, "hopeworks", reference))
    assert [state_of(sandbox, ident) for _ in range(3)] == ["applied", word, word]
    listed = {r.get("id"): r for r in read("hopeworks", sandbox.urls["hopeworks"], "assignments")}
    assert listed[ident]["state"] == word


def test_hopeworks_can_leave_an_application_undecided_for_ever(sandbox):
    misbehave(sandbox, "hopeworks", "stay_pending")
    ident = id_in("hopeworks", enrol(sandbox, "hopeworks"))
    assert {state_of(sandbox, ident) for _ in range(6)} == {"applied"}
    sandbox.advance(3)
    assert state_of(sandbox, ident) == "applied"


def test_a_withdrawal_is_done_once_and_repeating_it_is_harmless(sandbox):
    bridge = id_in("codebridge", enrol(sandbox, "codebridge"))
    path = f"{ROSTERING}/enrollments/{bridge}"
    assert [call(sandbox, "codebridge", "DELETE", path).status_code for _ in range(2)] == [204, 204]
    assert counts(sandbox, "codebridge")["withdrawn"] == 1
    assert bridge in sandbox.truth("codebridge")["deleted"]["assignments"]
    hope = id_in("hopeworks", enrol(sandbox, "hopeworks"))
    for _ in range(2):
        answer = call(sandbox, "hopeworks", "POST", f"/applications/{hope}/withdraw")
        assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    assert call(sandbox, "codebridge", "DELETE", f"{ROSTERING}/enrollments/none").status_code == 404


def test_progress_rises_with_the_simulated_days_to_the_end(sandbox):
    ident = id_in("codebridge", enrol(sandbox, "codebridge"))
    path = f"{ROSTERING}/enrollments/{ident}"
    seen = []
    for _ in range(6):
        record = call(sandbox, "codebridge", "GET", path).json()["enrollment"]
        seen.append((record["metadata"]["progressPercent"], record["dateLastModified"]))
        sandbox.advance(1)
    assert seen == sorted(seen)
    assert (seen[0][0], seen[-1][0]) == (0, 100)
    assert call(sandbox, "codebridge", "GET", path).json()["enrollment"]["metadata"]["state"] == "COMPLETED"


def test_enrolments_survive_a_restart_and_a_line_torn_by_a_kill(tmp_path):
    options = ("--today", "2026-10-20")
    with running(tmp_path, *options) as sandbox:
        ident = id_in("codebridge", enrol(sandbox, "codebridge"))
        before = counts(sandbox, "codebridge")
    with (tmp_path / "enrolments-codebridge.jsonl").open("a") as file:
        file.write('{"entry": {"numb')
    with running(tmp_path) as sandbox:
        assert counts(sandbox, "codebridge") == before
        assert id_in("codebridge", enrol(sandbox, "codebridge")) == ident


def test_the_file_of_enrolments_holds_no_personal_data(tmp_path):
    kept = Enrolments(tmp_path / "e.jsonl")
    asked = Application("k", "r", 3, "open", "zebedee@planted.example", ("learner.email",))
    assert kept.take(asked, moment=5).kind == "new"
    text = (tmp_path / "e.jsonl").read_text()
    assert "zebedee" not in text
    assert "learner.email" in text

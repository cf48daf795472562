"""An unwell TCS: nothing is lost, nothing is read as "not there", nothing is told twice by accident."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from include.connectors.retry import RetryPolicy
from include.errors import (
    ConfigurationError,
    FatalError,
    IntegrationError,
    NotYetError,
    RateLimitedError,
    TransientError,
)
from include.esr.tcs import Tcs
from include.esr.tcs.answers import PostChanged, UnreadableAnswerError, Verdict
from include.sandbox.esr.world import FIRST_PERSON, FIRST_POST, World
from include.sandbox.tcs.process import TcsSandbox
from include.settings import Settings
from tests.integration.esr.tcs_client import tcs_settings

WORLD = World()
QUICK = RetryPolicy(attempts=4, first_wait=0.02, longest_wait=0.1, longest_told_wait=3)
PEOPLE = range(FIRST_PERSON, FIRST_PERSON + 100)
NUMBERS = [WORLD.post_number(post) for post in range(300)]
LOOKUPS: dict[str, Callable[[Tcs], object]] = {
    "posts": lambda tcs: tcs.posts(NUMBERS),
    "registration": lambda tcs: tcs.people_by_registration("GMC", ["6000001"]),
    "people": lambda tcs: tcs.people(PEOPLE),
    "placements": lambda tcs: tcs.placements_of_people(PEOPLE),
    "absences": lambda tcs: tcs.absences(["1", "2"]),
    "events": lambda tcs: tcs.post_events([FIRST_POST]),
}


@pytest.fixture
def settings(tcs_sandbox: TcsSandbox) -> Settings:
    """Settings of the client alone: no store, no bucket, no topic is made for these tests."""
    return tcs_settings(tcs_sandbox)


@pytest.fixture
def connect(settings: Settings, tcs_sandbox: TcsSandbox) -> Iterator[Callable[..., Tcs]]:
    opened: list[Tcs] = []

    def open_tcs(**changed: Any) -> Tcs:
        patience = changed.pop("patience", QUICK)
        opened.append(Tcs(settings.model_copy(update=changed), patience=patience))
        return opened[-1]

    yield open_tcs
    for tcs in opened:
        tcs.close()


def told(at: int = 0) -> PostChanged:
    body = {"filename": "F", "postId": FIRST_POST + at, "positionNumber": "1", "positionId": 9}
    return PostChanged(
        FIRST_POST + at, {**body, "status": "RECONCILED", "eventDateTime": "2026-03-04T10:00:00.120Z"}
    )


@pytest.mark.parametrize("kind", ["status", "drop", "drop_after", "status_after"])
@pytest.mark.parametrize("lookup", LOOKUPS)
def test_a_lookup_survives_a_hiccup(
    connect: Callable[..., Tcs], tcs_sandbox: TcsSandbox, lookup: str, kind: str
) -> None:
    expected = LOOKUPS[lookup](connect())
    tcs_sandbox.misbehave({"call": "/api/", "kind": kind, "times": 2})
    assert LOOKUPS[lookup](connect()) == expected


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408])
@pytest.mark.parametrize("lookup", LOOKUPS)
def test_an_outage_is_an_outage_and_never_nothing_found(
    connect: Callable[..., Tcs], tcs_sandbox: TcsSandbox, lookup: str, status: int
) -> None:
    tcs_sandbox.misbehave({"call": "/api/", "kind": "status", "status": status})
    with pytest.raises(TransientError):
        LOOKUPS[lookup](connect())


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"kind": "not_json"}, UnreadableAnswerError),
        ({"kind": "body", "body": None}, UnreadableAnswerError),
        ({"kind": "body", "body": "nothing"}, UnreadableAnswerError),
        ({"kind": "body", "body": [7]}, UnreadableAnswerError),
        ({"kind": "body", "body": [{}]}, UnreadableAnswerError),
        ({"kind": "body", "body": {"message": "try later"}}, UnreadableAnswerError),
        ({"kind": "endless", "megabytes": 2}, UnreadableAnswerError),
        ({"kind": "status", "status": 400}, FatalError),
        ({"kind": "status", "status": 403}, ConfigurationError),
        ({"kind": "redirect"}, ConfigurationError),
    ],
    ids=str,
)
@pytest.mark.parametrize("lookup", LOOKUPS)
def test_an_answer_that_is_none_is_an_error_and_never_nothing_found(
    connect: Callable[..., Tcs],
    tcs_sandbox: TcsSandbox,
    lookup: str,
    fault: dict[str, Any],
    error: type[IntegrationError],
) -> None:
    tcs_sandbox.misbehave({"call": "/api/", **fault})
    with pytest.raises(error):
        LOOKUPS[lookup](connect(max_page_bytes=2**20))


def test_a_404_page_of_a_proxy_is_not_an_absence_that_is_not_there(
    connect: Callable[..., Tcs], tcs_sandbox: TcsSandbox, settings: Settings
) -> None:
    with pytest.raises(ConfigurationError, match="no such path"):
        connect(tcs_url=f"{settings.tcs_url}/portal").posts(NUMBERS)


NOT_TCS: dict[str, dict[str, Any]] = {
    "a page": {"body": "<!DOCTYPE html><h1>404</h1>", "headers": {"Content-Type": "text/html"}},
    "nothing": {"body": ""},
    "a gateway": {"body": {"message": "no Route matched with those values"}},
    "a gateway with a status": {"body": {"status": 404, "message": "no Route matched"}},
    "a problem of another status": {"body": {"title": "Bad Gateway", "status": 502}},
    "a list": {"body": [404]},
}


@pytest.mark.parametrize("foreign", NOT_TCS)
@pytest.mark.parametrize(
    ("what", "lookup"),
    [
        ("absence", lambda tcs: tcs.absences(["1"])),
        ("people", lambda tcs: tcs.people([FIRST_PERSON])),
        ("placements", lambda tcs: tcs.placements_of_people([FIRST_PERSON])),
        ("posts", lambda tcs: tcs.post_events([FIRST_POST])),
    ],
)
def test_a_404_that_is_not_the_word_of_tcs_is_never_not_there(
    connect: Callable[..., Tcs],
    tcs_sandbox: TcsSandbox,
    what: str,
    lookup: Callable[[Tcs], object],
    foreign: str,
) -> None:
    tcs_sandbox.misbehave({"call": what, "kind": "status", "status": 404, **NOT_TCS[foreign]})
    with pytest.raises(UnreadableAnswerError, match="not from TCS itself"):
        lookup(connect())
    assert tcs_sandbox.told() == []


@pytest.mark.parametrize(
    "problem",
    [
        {"type": "about:blank", "title": "Not Found", "status": 404},
        {"timestamp": "2026-03-04T10:00:00Z", "status": 404, "error": "Not Found", "path": "/api/absence/1"},
    ],
)
def test_a_404_in_a_form_of_spring_is_the_word_of_tcs(
    connect: Callable[..., Tcs], tcs_sandbox: TcsSandbox, problem: dict[str, Any]
) -> None:
    tcs_sandbox.misbehave({"call": "absence", "kind": "status", "status": 404, "body": problem})
    assert connect().absences(["1"]) == {"1": None}


@pytest.mark.parametrize("foreign", NOT_TCS)
def test_a_404_that_is_not_the_word_of_tcs_refuses_nothing(
    connect: Callable[..., Tcs], tcs_sandbox: TcsSandbox, foreign: str
) -> None:
    fault = {"kind": "status", "status": 404, **NOT_TCS[foreign]}
    tcs_sandbox.misbehave({"call": "PATCH", **fault}, {"call": "esr-changed", **fault})
    assert connect().tell_posts_changed([told()])[0].verdict is Verdict.UNKNOWN
    with pytest.raises(UnreadableAnswerError):
        connect().patch_contacts({FIRST_PERSON: {"title": "Dr"}})


def test_somebody_elses_absence_is_an_error(connect: Callable[..., Tcs], tcs_sandbox: TcsSandbox) -> None:
    tcs_sandbox.misbehave({"call": "absence", "kind": "body", "body": {"id": 1, "absenceAttendanceId": "2"}})
    with pytest.raises(UnreadableAnswerError, match="another absence"):
        connect().absences(["1"])


def test_a_slow_tcs_is_given_up_after_the_time_out(
    connect: Callable[..., Tcs], tcs_sandbox: TcsSandbox
) -> None:
    tcs_sandbox.misbehave({"call": "people", "kind": "delay", "seconds": 5})
    began = time.monotonic()
    with pytest.raises(TransientError, match=r"within 0.2 s .*tried 4 times"):
        connect(tcs_timeout=0.2).people([FIRST_PERSON])
    assert time.monotonic() - began < 3


def test_retry_after_is_waited_for_by_all_calls(connect: Callable[..., Tcs], tcs_sandbox: TcsSandbox) -> None:
    fault = {"kind": "status", "status": 429, "headers": {"Retry-After": "1"}, "times": 1}
    tcs_sandbox.misbehave({"call": "people", **fault})
    began = time.monotonic()
    tcs = connect()
    assert len(tcs.people(PEOPLE)) == len(PEOPLE)
    assert time.monotonic() - began >= 1
    assert tcs.calls["GET people"] == len(PEOPLE) + 1


def test_a_retry_after_longer_than_a_task_waits_is_handed_on(
    connect: Callable[..., Tcs], tcs_sandbox: TcsSandbox
) -> None:
    fault = {"kind": "status", "status": 429, "headers": {"Retry-After": "600"}}
    tcs_sandbox.misbehave({"call": "people", **fault})
    with pytest.raises(RateLimitedError) as raised:
        connect().people([FIRST_PERSON])
    assert raised.value.retry_after == 600


def test_a_token_that_expires_in_mid_run_is_renewed_once_for_all(
    connect: Callable[..., Tcs], tcs_sandbox: TcsSandbox
) -> None:
    tcs_sandbox.misbehave({"call": "people", "kind": "expire_tokens", "after": 50, "times": 1})
    assert len(connect().people(PEOPLE)) == len(PEOPLE)
    assert tcs_sandbox.admin("GET", "calls")["tokens"] == 2


def test_a_token_is_renewed_before_its_end(connect: Callable[..., Tcs], tcs_sandbox: TcsSandbox) -> None:
    tcs_sandbox.expire_tokens(seconds=1)
    tcs = connect()
    tcs.people([FIRST_PERSON])
    time.sleep(0.95)
    tcs.people([FIRST_PERSON])
    assert tcs_sandbox.calls().get("GET people/*") == 2


def test_a_telling_whose_token_has_expired_is_told_once(
    connect: Callable[..., Tcs], tcs_sandbox: TcsSandbox
) -> None:
    tcs_sandbox.misbehave({"call": "esr-changed", "kind": "expire_tokens", "times": 1})
    assert connect().tell_posts_changed([told()])[0].applied
    assert len(tcs_sandbox.post_events()[FIRST_POST]) == 1


def test_a_refused_client_is_a_matter_of_configuration_and_shows_no_secret(
    connect: Callable[..., Tcs],
) -> None:
    from pydantic import SecretStr

    with pytest.raises(ConfigurationError) as raised:
        connect(tcs_client_secret=SecretStr("hunter2hunter2")).people([FIRST_PERSON])
    assert "SPOTLIGHT_TCS_CLIENT_SECRET" in raised.value.message
    assert raised.value.pauses
    assert "hunter2" not in str(raised.value)


def test_no_credential_goes_over_the_network_in_the_clear(settings: Settings) -> None:
    for changed in ({"tcs_url": "http://tcs.example.org"}, {"tcs_token_url": "http://10.0.0.1/token"}):
        with pytest.raises(ConfigurationError, match="clear"):
            Tcs(settings.model_copy(update=changed))


def test_nobody_there_is_transient(connect: Callable[..., Tcs]) -> None:
    tcs = connect(tcs_url="http://127.0.0.1:9")
    with pytest.raises(TransientError, match="cannot be reached"):
        tcs.people([FIRST_PERSON])


def test_the_breaker_opens_leaves_tcs_alone_and_closes_by_itself(
    connect: Callable[..., Tcs], tcs_sandbox: TcsSandbox
) -> None:
    tcs = connect(tcs_breaker_failures=3, tcs_breaker_seconds=0.6)
    tcs_sandbox.misbehave({"kind": "status", "call": "/api/"})
    with pytest.raises(NotYetError):
        tcs.people(PEOPLE)
    calls = tcs.calls.total()
    for lookup in LOOKUPS.values():
        with pytest.raises(NotYetError) as raised:
            lookup(tcs)
        assert 0 < raised.value.retry_after <= 0.6
    assert tcs.calls.total() == calls, "nothing is sent while it is open"
    time.sleep(0.6)
    with pytest.raises(NotYetError):
        tcs.people(PEOPLE)
    assert tcs.calls.total() == calls + 1, "one probe, the others wait for it"
    tcs_sandbox.behave()
    time.sleep(0.6)
    assert len(tcs.people(PEOPLE)) == len(PEOPLE)


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "drop_after"},
        {"kind": "drop"},
        {"kind": "status_after", "status": 500},
        {"kind": "status", "status": 503},
        {"kind": "delay_after", "seconds": 1},
        {"kind": "not_json"},
    ],
    ids=str,
)
def test_what_may_have_been_told_is_unknown_and_not_told_again(
    connect: Callable[..., Tcs], tcs_sandbox: TcsSandbox, fault: dict[str, Any]
) -> None:
    tcs_sandbox.misbehave({"call": "esr-changed", "times": 1, **fault})
    tcs = connect(tcs_timeout=0.5)
    outcome = tcs.tell_posts_changed([told()])[0]
    assert outcome.verdict is Verdict.UNKNOWN
    assert outcome.sent
    assert tcs.calls["POST posts/esr-changed"] == 1
    expected = 1 if fault["kind"].endswith("_after") else 0
    assert len(tcs.post_events([FIRST_POST])[FIRST_POST]) == expected


def test_what_tcs_turned_away_with_429_is_told_again_and_arrives_once(
    connect: Callable[..., Tcs], tcs_sandbox: TcsSandbox
) -> None:
    tcs_sandbox.misbehave({"call": "esr-changed", "kind": "status", "status": 429, "times": 2})
    assert connect().tell_posts_changed([told()])[0].applied
    assert len(tcs_sandbox.post_events()[FIRST_POST]) == 1


def test_beside_others_what_was_not_sent_is_unknown_and_says_so(
    connect: Callable[..., Tcs], tcs_sandbox: TcsSandbox
) -> None:
    tcs_sandbox.misbehave({"call": "esr-changed", "kind": "status", "status": 500, "after": 5})
    tcs = connect(tcs_concurrency=1, tcs_breaker_failures=2)
    outcomes = tcs.tell_posts_changed([told(at) for at in range(10)])
    verdicts = [outcome.verdict for outcome in outcomes]
    assert verdicts == [Verdict.APPLIED] * 5 + [Verdict.UNKNOWN] * 5
    assert [outcome.sent for outcome in outcomes] == [True] * 7 + [False] * 3


def test_when_nothing_was_sent_at_all_it_is_raised(connect: Callable[..., Tcs]) -> None:
    with pytest.raises(TransientError, match="cannot be reached"):
        connect(tcs_url="http://127.0.0.1:9").tell_posts_changed([told()])


def test_when_the_last_try_opens_the_breaker_it_is_a_matter_of_later(connect: Callable[..., Tcs]) -> None:
    tcs = connect(tcs_url="http://127.0.0.1:9", tcs_breaker_failures=QUICK.attempts)
    with pytest.raises(NotYetError, match="cannot be reached") as raised:
        tcs.tell_posts_changed([told()])
    assert raised.value.retry_after > 0


ABSENCE = {"personId": FIRST_PERSON + 1, "absenceAttendanceId": "45", "startDate": "2026-01-01"}
SENT_ONCE: dict[str, Callable[[Tcs, float], object]] = {
    "esr-changed": lambda tcs, until: tcs.tell_posts_changed([told()], until=until),
    "absence": lambda tcs, until: tcs.create_absences([ABSENCE], until=until),
}


@pytest.mark.parametrize("what", SENT_ONCE)
def test_nothing_is_sent_after_the_caller_has_lost_the_right_to(
    connect: Callable[..., Tcs], tcs_sandbox: TcsSandbox, what: str
) -> None:
    with pytest.raises(TransientError, match="no time left"):
        SENT_ONCE[what](connect(), time.monotonic() - 1)
    assert tcs_sandbox.told() == []


def test_an_absence_that_is_tried_again_too_late_is_not_sent_beside_those_that_were(
    connect: Callable[..., Tcs], tcs_sandbox: TcsSandbox
) -> None:
    tcs_sandbox.misbehave(
        {
            "call": "POST /api/absence",
            "kind": "status",
            "status": 429,
            "after": 1,
            "times": 1,
            "headers": {"Retry-After": "1"},
        }
    )
    outcomes = connect(tcs_concurrency=1).create_absences([ABSENCE] * 2, until=time.monotonic() + 0.5)
    assert [(outcome.verdict, outcome.sent) for outcome in outcomes] == [
        (Verdict.APPLIED, True),
        (Verdict.UNKNOWN, False),
    ]
    assert len(tcs_sandbox.told("absence")) == 1


PATCHES: dict[str, Callable[[Tcs, int], dict[int, Any]]] = {
    "contact-details": lambda tcs, many: tcs.patch_contacts(
        {person: {"title": "Dr"} for person in PEOPLE[:many]}
    ),
    "personal-details": lambda tcs, many: tcs.patch_personal(
        {person: {"gender": "Female"} for person in PEOPLE[:many]}
    ),
}


@pytest.mark.parametrize("many", [1, 40])
@pytest.mark.parametrize("what", PATCHES)
def test_a_record_tcs_keeps_failing_on_is_unknown_and_the_others_are_applied(
    connect: Callable[..., Tcs], tcs_sandbox: TcsSandbox, what: str, many: int
) -> None:
    tcs_sandbox.misbehave({"call": f"PATCH /api/{what}/{FIRST_PERSON}$", "kind": "status", "status": 500})
    tcs = connect(tcs_breaker_failures=QUICK.attempts)
    for _ in range(2):
        outcomes = PATCHES[what](tcs, many)
        assert outcomes.pop(FIRST_PERSON).verdict is Verdict.UNKNOWN
        assert all(outcome.applied for outcome in outcomes.values())
    assert tcs.calls[f"PATCH {what}"] == 2 * (many - 1 + QUICK.attempts), "it is tried, but not for ever"
    assert tcs.people([FIRST_PERSON]), "the breaker is closed"


def test_an_absence_tcs_keeps_failing_on_is_unknown(
    connect: Callable[..., Tcs], tcs_sandbox: TcsSandbox
) -> None:
    tcs = connect()
    tcs.create_absences([ABSENCE])
    absence = tcs.absences(["45"])["45"]
    assert absence is not None
    tcs_sandbox.misbehave({"call": "PATCH /api/absence", "kind": "status_after", "status": 500})
    assert tcs.patch_absences({absence.id: {"durationInDays": 2}})[absence.id].verdict is Verdict.UNKNOWN


def test_a_record_whose_change_is_never_answered_is_unknown_beside_others(
    connect: Callable[..., Tcs], tcs_sandbox: TcsSandbox
) -> None:
    tcs_sandbox.misbehave({"call": f"PATCH .*/{FIRST_PERSON}$", "kind": "delay", "seconds": 2})
    outcomes = PATCHES["contact-details"](connect(tcs_timeout=0.2, tcs_breaker_failures=3), 10)
    assert [person for person, outcome in outcomes.items() if not outcome.applied] == [FIRST_PERSON]
    assert outcomes[FIRST_PERSON].verdict is Verdict.UNKNOWN


@pytest.mark.parametrize("fault", [{"kind": "drop"}, {"kind": "delay", "seconds": 2}], ids=str)
def test_changes_none_of_which_is_answered_are_raised(
    connect: Callable[..., Tcs], tcs_sandbox: TcsSandbox, fault: dict[str, Any]
) -> None:
    tcs_sandbox.misbehave({"call": "PATCH", **fault})
    with pytest.raises(TransientError):
        PATCHES["contact-details"](connect(tcs_timeout=0.2), 3)


def test_changes_all_of_which_tcs_fails_on_open_the_breaker(
    connect: Callable[..., Tcs], tcs_sandbox: TcsSandbox
) -> None:
    tcs_sandbox.misbehave({"call": "PATCH", "kind": "status", "status": 503})
    with pytest.raises(NotYetError):
        PATCHES["contact-details"](connect(), 100)


def test_who_is_asked_to_wait_longer_than_a_task_does_not_go_on_with_the_others(
    connect: Callable[..., Tcs], tcs_sandbox: TcsSandbox
) -> None:
    tcs_sandbox.misbehave({"call": "PATCH", "kind": "status", "headers": {"Retry-After": "600"}})
    with pytest.raises(RateLimitedError):
        PATCHES["contact-details"](connect(), 1)


def test_changes_cannot_reach_a_tcs_that_is_not_there(connect: Callable[..., Tcs]) -> None:
    with pytest.raises(TransientError, match="cannot be reached"):
        PATCHES["contact-details"](connect(tcs_url="http://127.0.0.1:9"), 1)


def test_a_task_that_is_interrupted_closes_at_once(
    connect: Callable[..., Tcs], tcs_sandbox: TcsSandbox
) -> None:
    import signal

    class ClearedError(Exception):
        pass

    def clear(*_: object) -> None:
        raise ClearedError

    tcs_sandbox.misbehave({"call": "people", "kind": "delay", "seconds": 20})
    before = signal.signal(signal.SIGALRM, clear)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        began = time.monotonic()
        with pytest.raises(ClearedError), connect() as tcs:
            tcs.people([FIRST_PERSON])
        assert time.monotonic() - began < 3
    finally:
        signal.signal(signal.SIGALRM, before)

"""The rules of an enrolment: commands, the allow-list, what answers mean, and which moves there are."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.connectors.answer import Answer
from include.connectors.manifest import ErrorRule
from include.connectors.manifest_enrolment import Enrolment
from include.errors import ConfigurationError, FatalError, RecordError
from include.events.envelope import ASSIGNMENT_CREATED, ASSIGNMENT_WITHDRAWN
from include.events.schema import ENROLMENT_TYPES, problem
from include.npo.enrolment import states
from include.npo.enrolment.commands import UnreadableError, parse
from include.npo.enrolment.decisions import Terms, back_off, decide, given_up, next_action
from include.npo.enrolment.outcomes import told
from include.npo.enrolment.record import ENDED, EnrolmentRecord, Reason, State
from include.npo.enrolment.records import from_document, to_document
from include.npo.enrolment.request import build_request
from include.npo.enrolment.states import MOVES, move
from include.npo.enrolment.tombstones import Tombstone
from include.npo.enrolment.verdict import Kind, Verdict, read_answer, read_withdrawal, scrubbed
from include.npo.enrolment.withdrawals import withdrawal_asked, withdrawn_after_erasure

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
TERMS = Terms(timedelta(days=3), timedelta(days=14))
CANDIDATE = {"given_name": "Zebedee", "email": "zeb@planted.example", "phone": "07700 900123"}
SECTION: dict[str, Any] = {
    "endpoint": {"path": "enrolments"},
    "request": {
        "candidate": ["given_name"],
        "fields": {"who.name": "candidate.given_name", "ref": "reference"},
    },
    "response": {
        "rejected": "code == 'full'",
        "pending": "state == 'waiting'",
        "reason": "text",
        "external_id": "id",
    },
    "lookup": {"path": "enrolments", "match": "record.ref == reference"},
    "poll": {"path": "enrolments/{external_id}"},
}
RULES = (ErrorRule(status=(403,), when={"json": "code == 'slow'"}, action="rate_limited"),)


def section(**changes: Any) -> Enrolment:
    return Enrolment.model_validate(SECTION | changes)


def event(**changes: Any) -> dict[str, Any]:
    assignment = {
        "assignment_id": "a-1",
        "candidate_id": "cand-1",
        "offering_id": "o-1",
        "requested_at": "2026-03-01T12:00:00+01:00",
    }
    return {
        "specversion": "1.0",
        "id": "ev-1",
        "type": ASSIGNMENT_CREATED,
        "npoid": "tiny",
        "time": "2026-03-01T12:00:00Z",
        "data": {"assignment": assignment, "candidate": CANDIDATE},
    } | changes


def asked_at(text: str) -> dict[str, Any]:
    made = event()
    made["data"]["assignment"]["requested_at"] = text
    return made


def record(state: State = State.POSTING, **changes: Any) -> EnrolmentRecord:
    made = states.received(
        parse(orjson.dumps(event())), reference="r-1", fingerprint="f", at=AT, give_up=TERMS.give_up
    )
    return replace(made, state=state, **changes)


def answer(status: int, body: Any = None, **headers: str) -> Answer:
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    return Answer("POST", "http://x/", "http://x/", status, headers, content, None, AT)


def test_a_command_is_read_and_shows_nobody():
    command = parse(json.dumps(event()))
    assert (command.kind, command.npo_id, command.assignment_id) == ("created", "tiny", "a-1")
    assert command.requested_at == datetime(2026, 3, 1, 11, tzinfo=UTC)
    assert "Zebedee" not in repr(command)


@pytest.mark.parametrize(
    "body",
    [
        "no json",
        "[]",
        json.dumps(event(specversion="0.3")),
        json.dumps(event(type="org.spotlight.offering.created.v1")),
        json.dumps(event(npoid="No Such")),
        json.dumps(event(npoid=None)),
        json.dumps(event(id="x" * 256)),
        json.dumps(event(id=7)),
        json.dumps(event(data={"assignment": {"assignment_id": "a-1"}})),
        json.dumps(event(data={"assignment": event()["data"]["assignment"], "candidate": "Zebedee"})),
        json.dumps(
            event(
                data={
                    "assignment": {**event()["data"]["assignment"], "assignment_id": "a 1"},
                    "candidate": {},
                }
            )
        ),
        json.dumps(
            event(
                type=ASSIGNMENT_WITHDRAWN,
                time="soon",
                data={"assignment": {"assignment_id": "a-1", "candidate_id": "cand-1"}},
            )
        ),
        json.dumps(event(npoid="tiny\n")),
        *(json.dumps(asked_at(text)) for text in ("9999-12-31T23:59:59-05:00", "0001-01-01T00:00:00+10:00")),
        *(
            json.dumps(event(data=event()["data"] | {"candidate": {"given_name": "Zebedee", **more}}))
            for more in (
                {"age": 2**63},
                {"age": [{"is": 2**64 - 1}]},
                {"a\0b": 1},
                {"in": {"$ref": "x", "$id": 1}},
                {"deep": json.loads("[" * 30 + "]" * 30)},
                {"deeper": json.loads("[" * 400 + "]" * 400)},
            )
        ),
    ],
)
def test_what_is_no_command_is_refused_without_quoting_it(body: str):
    with pytest.raises(UnreadableError) as refused:
        parse(body)
    assert "Zebedee" not in str(refused.value)


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_no_message_whatever_it_holds_raises_anything_else(body: str | bytes):
    with pytest.raises(UnreadableError):
        parse(body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@given(JSON, st.text(max_size=30) | st.datetimes().map(str))
def test_what_is_taken_for_a_command_can_be_stored(value: Any, text: str):
    import bson

    made = asked_at(text)
    made["data"]["candidate"] = {"x": value}
    try:
        command = parse(json.dumps(made))
    except UnreadableError:
        return
    made_of = states.received(command, reference="r", fingerprint="f", at=AT, give_up=TERMS.give_up)
    stored = to_document(made_of)
    assert bson.decode(bson.encode(stored)).keys() == stored.keys()


@pytest.mark.parametrize("value", ["x" * 256, "a b", "", 7])
def test_an_odd_correlation_id_is_not_handed_on(value: Any):
    assert parse(json.dumps(event(correlationid=value))).correlation_id == "ev-1"


DOCUMENT = {
    "candidate": CANDIDATE,
    "assignment": {"assignment_id": "a-1", "candidate_id": "cand-1", "requested_at": AT},
    "offering": {"external_id": "c-1", "schedule": {"starts_at": AT}},
    "reference": "r-1",
}


def request(
    fields: dict[str, Any], encoding: str = "json", allow: tuple[str, ...] = ("given_name",)
) -> dict[str, Any]:
    spec = {
        "endpoint": {"path": "e", "encoding": encoding},
        "request": {"candidate": allow, "fields": fields},
    }
    return build_request(section(**spec), DOCUMENT)


def test_a_body_holds_what_the_fields_name():
    made = request(
        {
            "who.name": "candidate.given_name",
            "who.kind": {"const": "new"},
            "from": "offering.schedule.starts_at",
        }
    )
    assert made == {"who": {"name": "Zebedee", "kind": "new"}, "from": "2026-03-01T12:00:00Z"}


@pytest.mark.parametrize(
    "path",
    [
        "candidate.email",
        "candidate.*",
        "values(candidate)",
        "to_string(@)",
        "candidate",
        "assignment.candidate_id",
    ],
)
def test_no_expression_sees_what_the_allow_list_does_not_name(path: str):
    made = request({"all": {"path": path, "required": False}})
    assert "zeb@" not in json.dumps(made)
    assert "cand-1" not in json.dumps(made)


def test_the_platforms_id_of_a_candidate_leaves_only_when_allowed():
    assert request({"id": "candidate.candidate_id"}, allow=("candidate_id",)) == {"id": "cand-1"}


def test_a_missing_field_is_named_and_a_value_never():
    with pytest.raises(RecordError, match=r"who\.mail") as failed:
        request({"who.mail": "candidate.email"})
    assert failed.value.code == "missing_field"
    assert request({"mail": {"path": "candidate.email", "required": False}, "ref": "reference"}) == {
        "ref": "r-1"
    }


def test_a_form_holds_single_values_as_text():
    assert request({"yes": {"const": True}, "a.b": {"const": 3}}, "form") == {"yes": "true", "a.b": "3"}
    with pytest.raises(RecordError):
        request({"who": "candidate"}, "form")


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, {"id": 7}, Kind.ACCEPTED),
        (201, {"id": "x"}, Kind.ACCEPTED),
        (202, {}, Kind.PENDING),
        (200, {"state": "waiting"}, Kind.PENDING),
        (200, {"code": "full"}, Kind.REJECTED),
        (409, {"code": "full"}, Kind.REJECTED),
        (409, {}, Kind.DUPLICATE),
        (400, {}, Kind.REJECTED),
        (410, {}, Kind.REJECTED),
        (422, b"", Kind.REJECTED),
        (401, {"code": "full"}, Kind.STOPPED),
        (403, {}, Kind.STOPPED),
        (403, {"code": "slow"}, Kind.LATER),
        (404, {}, Kind.STOPPED),
        (408, {}, Kind.UNKNOWN),
        (429, {}, Kind.LATER),
        (500, {"code": "full"}, Kind.UNKNOWN),
        (503, {}, Kind.UNKNOWN),
        (200, b"<html>", Kind.UNKNOWN),
        (204, b"", Kind.ACCEPTED),
        (200, {"error": "internal"}, Kind.UNKNOWN),
        (202, {"errors": [{"code": 7}]}, Kind.UNKNOWN),
        (201, {"id": 7, "error": None, "errors": []}, Kind.ACCEPTED),
    ],
)
def test_what_an_answer_means(status: int, body: Any, kind: Kind):
    assert read_answer(section(), RULES, answer(status, body), CANDIDATE).kind is kind


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (201, {"state": "enrolled"}, Kind.ACCEPTED),
        (200, {"state": "enrolled", "error": "mail not sent"}, Kind.ACCEPTED),
        (200, {"state": "maybe"}, Kind.UNKNOWN),
        (200, [], Kind.UNKNOWN),
        (204, b"", Kind.UNKNOWN),
        (202, {"state": "maybe"}, Kind.PENDING),
    ],
)
def test_where_the_manifest_says_what_a_yes_is_nothing_else_is_one(status: int, body: Any, kind: Kind):
    strict = section(response=SECTION["response"] | {"accepted": "state == 'enrolled'"})
    assert read_answer(strict, RULES, answer(status, body), CANDIDATE).kind is kind


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (204, Kind.TAKEN_BACK),
        (404, Kind.NOT_FOUND),
        (410, Kind.NOT_FOUND),
        (409, Kind.KEPT),
        (401, Kind.STOPPED),
        (503, Kind.LATER),
    ],
)
def test_what_the_answer_to_a_withdrawal_means(status: int, kind: Kind):
    assert read_withdrawal((), answer(status, {})).kind is kind


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("course is full", "course is full"),
        ("ZEBEDEE is too young", "*** is too young"),
        ("ask other@example.org\n\x1b[31m", "ask *** [31m"),
        ("call +44 20 7946 0000 now", "call *** now"),
        ({"who": "Zebedee"}, ""),
        (None, ""),
    ],
)
def test_a_partners_words_are_told_without_the_candidate(words: Any, shown: str):
    assert scrubbed(words, CANDIDATE, 200) == shown


@pytest.mark.parametrize("start", State)
@pytest.mark.parametrize("end", State)
def test_only_the_moves_of_the_table_are_made(start: State, end: State):
    if end in MOVES[start]:
        assert move(record(start), end, at=AT).state is end
    else:
        with pytest.raises(FatalError):
            move(record(start), end, at=AT)


@pytest.mark.parametrize("start", [state for state in State if state not in ENDED])
def test_an_outcome_can_be_reached_from_everywhere(start: State):
    reached, frontier = {start}, {start}
    while frontier:
        frontier = {after for state in frontier for after in MOVES[state]} - reached
        reached |= frontier
    assert State.ACCEPTED in reached or State.WITHDRAWN in reached
    assert reached & {State.REJECTED, State.WITHDRAWN, State.FAILED}


@pytest.mark.parametrize(
    ("state", "kind", "end"),
    [
        (State.POSTING, Kind.ACCEPTED, State.ACCEPTED),
        (State.POSTING, Kind.PENDING, State.PENDING),
        (State.POSTING, Kind.REJECTED, State.REJECTED),
        (State.POSTING, Kind.UNKNOWN, State.UNKNOWN),
        (State.POSTING, Kind.LATER, State.READY),
        (State.POSTING, Kind.STOPPED, State.READY),
        (State.POSTING, Kind.DUPLICATE, State.UNKNOWN),
    ],
)
def test_what_a_post_comes_to(state: State, kind: Kind, end: State):
    verdict = Verdict(kind, external_id="x")
    assert decide(record(state), "post", verdict, section(), at=AT, terms=TERMS).state is end


@pytest.mark.parametrize("state", [State.POSTING, State.UNKNOWN])
@pytest.mark.parametrize(
    ("kind", "changes", "end"),
    [
        (Kind.NOT_FOUND, {}, State.UNKNOWN),
        (Kind.NOT_FOUND, {"missed_at": AT - timedelta(minutes=2)}, State.READY),
        (
            Kind.NOT_FOUND,
            {"missed_at": AT - timedelta(minutes=2), "withdrawal": "changed_mind"},
            State.WITHDRAWN,
        ),
        (Kind.NOT_FOUND, {"acknowledged": True}, State.UNKNOWN),
        (Kind.NOT_FOUND, {"acknowledged": True, "tries": 5}, State.ACCEPTED),
        (Kind.NOT_FOUND, {"duplicate": True, "tries": 5}, State.FAILED),
        (Kind.NOT_FOUND, {"duplicate": True, "tries": 5, "withdrawal": "changed_mind"}, State.WITHDRAWN),
        (Kind.ACCEPTED, {"withdrawal": "changed_mind"}, State.WITHDRAWING),
        (Kind.LATER, {}, State.UNKNOWN),
        (Kind.STOPPED, {}, State.UNKNOWN),
    ],
)
def test_what_a_look_up_comes_to(state: State, kind: Kind, changes: dict[str, Any], end: State):
    after = decide(record(state, **changes), "lookup", Verdict(kind), section(), at=AT, terms=TERMS)
    assert after.state is end


def test_after_a_lost_answer_it_is_missing_twice_before_it_is_posted_again():
    lost = decide(record(), "post", Verdict(Kind.UNKNOWN), section(), at=AT, terms=TERMS)
    look = AT + timedelta(seconds=5)
    once = decide(lost, "lookup", Verdict(Kind.NOT_FOUND), section(), at=look, terms=TERMS)
    assert (once.state, once.due_at) == (State.UNKNOWN, look + timedelta(minutes=2))
    early = look + timedelta(seconds=30)  # by hand
    still = decide(once, "lookup", Verdict(Kind.NOT_FOUND), section(), at=early, terms=TERMS)
    assert (still.state, still.due_at) == (State.UNKNOWN, look + timedelta(minutes=2))
    again = look + timedelta(minutes=2)
    ready = decide(still, "lookup", Verdict(Kind.NOT_FOUND), section(), at=again, terms=TERMS)
    assert ready.state is State.READY
    assert states.posting(ready, at=again).missed_at is None  # the next lost answer is another one
    late = decide(still, "lookup", Verdict(Kind.ACCEPTED), section(), at=again, terms=TERMS)
    assert late.state is State.ACCEPTED


def test_a_look_up_that_cannot_deny_never_lets_it_be_posted_again():
    waited = record(State.UNKNOWN, missed_at=AT - timedelta(days=1))
    after = decide(waited, "lookup", Verdict(Kind.NOT_FOUND, sure=False), section(), at=AT, terms=TERMS)
    assert after.state is State.UNKNOWN


def test_a_pending_one_that_got_no_id_gets_on_by_its_look_up():
    waiting = decide(record(), "post", Verdict(Kind.PENDING), section(), at=AT, terms=TERMS)
    assert (waiting.state, next_action(waiting, section())) == (State.PENDING, "lookup")
    nothing = decide(waiting, "lookup", Verdict(Kind.NOT_FOUND), section(), at=AT, terms=TERMS)
    assert (nothing.state, nothing.due_at) == (State.PENDING, AT + timedelta(minutes=1))
    verdict = Verdict(Kind.PENDING, external_id="e-1")
    known = decide(nothing, "lookup", verdict, section(), at=AT, terms=TERMS)
    assert next_action(known, section()) == "poll"
    enrolled = Verdict(Kind.ACCEPTED, external_id="e-1")
    assert decide(nothing, "lookup", enrolled, section(), at=AT, terms=TERMS).state is State.ACCEPTED


@pytest.mark.parametrize("kind", [Kind.LATER, Kind.UNKNOWN, Kind.STOPPED])
def test_a_poll_without_an_answer_leaves_it_pending(kind: Kind):
    after = decide(record(State.PENDING), "poll", Verdict(kind), section(), at=AT, terms=TERMS)
    assert (after.state, after.due_at) == (State.PENDING, AT + timedelta(minutes=1))


def test_what_may_be_under_way_is_looked_up_first():
    assert next_action(record(State.POSTING), section()) == "lookup"
    assert next_action(record(State.POSTING), section(lookup=None)) == "post"
    assert next_action(record(State.POSTING, withdrawal="x"), section(lookup=None)) == "withdraw"


def test_a_pending_one_without_an_id_to_poll_by_is_looked_up():
    assert next_action(record(State.PENDING), section()) == "lookup"
    assert next_action(record(State.PENDING, external_id="e-1"), section()) == "poll"
    assert next_action(record(State.PENDING), section(poll={"path": "enrolments/{reference}"})) == "poll"
    assert next_action(record(State.PENDING), section(lookup=None)) == "poll"


def test_waits_double_up_to_an_hour_and_the_partners_word_counts_more():
    assert [back_off(tries, None).total_seconds() for tries in (0, 1, 2, 20)] == [5, 10, 20, 3600]
    assert back_off(0, 120).total_seconds() == 120
    assert back_off(0, 10**9) == timedelta(hours=6)


@pytest.mark.parametrize(
    ("state", "changes", "end", "code"),
    [
        (State.READY, {}, State.FAILED, "gave_up"),
        (State.UNKNOWN, {}, State.FAILED, "outcome_unknown"),
        (State.UNKNOWN, {"acknowledged": True}, State.ACCEPTED, None),
        (State.PENDING, {}, State.FAILED, "no_decision"),
        (State.WITHDRAWING, {}, State.ACCEPTED, "withdrawal_failed"),
        (State.UNKNOWN, {"withdrawal": "x"}, State.WITHDRAWN, None),
        (State.PENDING, {"withdrawal": "x"}, State.WITHDRAWN, None),
    ],
)
def test_what_is_given_up_is_told_with_a_reason(state: State, changes: Any, end: State, code: str | None):
    after = given_up(record(state, **changes), at=AT, terms=TERMS)
    assert (after.state, after.reason.code if after.reason else None) == (end, code)
    if end is State.WITHDRAWN:
        assert after.partner_informed is False  # a person has to


@pytest.mark.parametrize("state", [State.RECEIVED, State.AWAITING_APPROVAL, State.READY])
def test_what_was_never_sent_is_withdrawn_at_once(state: State):
    after = withdrawal_asked(record(state), at=AT, why="x", give_up=TERMS.give_up)
    assert (after.state, after.candidate, after.due_at) == (State.WITHDRAWN, {}, None)


@pytest.mark.parametrize(
    ("changes", "end"),
    [
        ({"attempts": 1, "external_id": "e-1"}, State.WITHDRAWING),
        ({"attempts": 1}, State.UNKNOWN),
        ({}, State.WITHDRAWN),
    ],
    ids=["its id is known", "outcome unknown", "never sent"],
)
def test_a_failed_one_that_was_sent_is_taken_back_at_the_partner(changes: dict[str, Any], end: State):
    given_up_on = record(
        State.FAILED, due_at=None, give_up_at=None, pending_since=AT, reason=Reason("no_decision"), **changes
    )
    after = withdrawal_asked(given_up_on, at=AT, why="changed_mind", give_up=TERMS.give_up)
    assert (after.state, after.reason) == (end, None)
    if end is not State.WITHDRAWN:
        assert (after.withdrawal, after.due_at, after.forget_at) == ("changed_mind", AT, None)
    if end is State.UNKNOWN:
        found = Verdict(Kind.ACCEPTED, external_id="e-1")
        assert decide(after, "lookup", found, section(), at=AT, terms=TERMS).state is State.WITHDRAWING


@pytest.mark.parametrize(
    ("sent", "end", "told_as"), [(True, State.UNKNOWN, None), (False, State.WITHDRAWN, "withdrawn")]
)
def test_a_withdrawal_after_erasure_names_nobody_and_counts_versions_on(
    sent: bool, end: State, told_as: str | None
):
    withdrawal = event(type=ASSIGNMENT_WITHDRAWN)
    command = parse(json.dumps(withdrawal | {"data": {"assignment": event()["data"]["assignment"]}}))
    left = Tombstone(State.ACCEPTED if sent else State.FAILED, version=2, sent=sent, offering_id="o-1")
    made = withdrawn_after_erasure(command, left, reference="r-1", at=AT, give_up=TERMS.give_up)
    assert (made.state, made.candidate_id, made.offering_id) == (end, "", "o-1")
    assert "cand-1" not in str(to_document(made))
    counted, event_ = told(None, made, at=AT)
    assert (event_.data["enrolment"]["status"] if event_ else None) == told_as
    assert counted.version == (3 if event_ else 2)
    if sent:
        assert next_action(made, section()) == "lookup"


def test_only_what_waits_for_approval_can_be_approved_or_refused():
    waiting = states.checked(record(State.RECEIVED), needs_approval=True, at=AT, candidate={})
    assert states.approved(waiting, at=AT, by="jo", why="ok", give_up=TERMS.give_up).history[-1].by == "jo"
    no = states.refused(waiting, at=AT, by="jo", why="not eligible")
    assert (no.state, no.reason) == (State.REJECTED, Reason("not_approved"))
    for decide_on in (states.approved, states.refused):
        options: dict[str, Any] = {"give_up": TERMS.give_up} if decide_on is states.approved else {}
        with pytest.raises(ConfigurationError):
            decide_on(record(State.READY), at=AT, by="jo", why="x", **options)


def test_a_failed_one_that_was_ever_sent_is_looked_up_when_it_is_tried_again():
    sent, fresh = record(State.FAILED, attempts=1), record(State.FAILED)
    assert states.retried(sent, at=AT, by="jo", why="x", give_up=TERMS.give_up).state is State.UNKNOWN
    assert states.retried(fresh, at=AT, by="jo", why="x", give_up=TERMS.give_up).state is State.RECEIVED
    with pytest.raises(ConfigurationError, match="data are gone"):
        states.retried(replace(fresh, candidate={}), at=AT, by="jo", why="x", give_up=TERMS.give_up)


OUTCOMES = {
    State.ACCEPTED: {"external_id": "e-1", "external_status": "ok"},
    State.REJECTED: {"reason": Reason("refused_by_npo", "full")},
    State.FAILED: {"reason": Reason("gave_up")},
    State.WITHDRAWN: {"partner_informed": True},
}


@pytest.mark.parametrize(("state", "changes"), OUTCOMES.items())
def test_every_outcome_is_told_fits_its_schema_and_names_nobody(state: State, changes: Any):
    before = record(State.WITHDRAWING if state is State.WITHDRAWN else State.POSTING, version=1)
    after, made = told(before, replace(before, state=state, decided_at=AT, **changes), at=AT)
    assert made is not None
    assert made.type in ENROLMENT_TYPES
    body = orjson.loads(made.to_json())
    assert problem(made.type, body["data"]) is None
    assert (after.version, body["data"]["version"]) == (2, 2)
    assert not [value for value in (*CANDIDATE.values(), "cand-1") if value in json.dumps(body)]


def test_requested_is_told_once_it_is_checked_and_not_when_it_goes_back_into_the_queue():
    fresh = record(State.RECEIVED)
    _, first = told(fresh, replace(fresh, state=State.READY), at=AT)
    _, again = told(record(State.POSTING), record(State.READY), at=AT)
    assert first is not None
    assert problem(first.type, orjson.loads(first.to_json())["data"]) is None
    assert again is None


@pytest.mark.parametrize("state", State)
def test_a_record_comes_back_from_the_store_as_it_was(state: State):
    full = record(state, reason=Reason("x", "y"), withdrawal="w", external_id="e", forget_at=AT, tries=3)
    assert from_document(to_document(full)) == full
    assert ("due" in to_document(replace(full, due_at=None))) is False


def test_a_long_history_keeps_its_beginning_and_its_newest_lines():
    kept = record()
    for number in range(100):
        kept = states.noted(kept, at=AT, why=f"line {number}")
    assert len(kept.history) == states.MAX_HISTORY
    assert (kept.history[0].why, kept.history[-1].why) == ("asked for by the platform", "line 99")

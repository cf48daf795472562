"""One request of an enrolment at a partner on a real port, and what its answer, or none, comes to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from include.connectors.limits import Place
from include.connectors.manifest_enrolment import Enrolment
from include.connectors.open import Api, open_api
from include.errors import IntegrationError, NotYetError, RateLimitedError
from include.npo.enrolment.partner import Partner
from include.npo.enrolment.record import EnrolmentRecord, State
from include.npo.enrolment.verdict import Kind
from include.settings import Settings
from tests.conformance.rows import CREDENTIAL, Waits, make_manifest, make_row
from tests.conformance.tiny_server import Reply, TinyServer, serving

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECTION: dict[str, Any] = {
    "endpoint": {"path": "enrolments"},
    "request": {"fields": {"ref": "reference"}},
    "response": {"accepted": "state == 'enrolled'", "external_id": "id", "external_status": "state"},
    "lookup": {"path": "enrolments", "params": {"ref": "{reference}"}, "match": "record.ref == reference"},
    "poll": {"path": "enrolments/{external_id}"},
}
RECORD = EnrolmentRecord(
    reference="r-1",
    npo_id="tiny",
    assignment_id="a-1",
    candidate_id="c-1",
    state=State.POSTING,
    received_at=AT,
    requested_at=AT,
    event_id="ev-1",
    correlation_id="co-1",
)


class Allows:
    """A budget that lets so many requests through and then refuses."""

    def __init__(self, number: int, refuses: IntegrationError) -> None:
        self.number, self.refuses = number, refuses

    def enter(self) -> Place:
        self.number -= 1
        if self.number < 0:
            raise self.refuses
        return Place()

    def keep(self, place: Place) -> None: ...

    def leave(self, place: Place) -> None: ...

    def throttled(self, seconds: float | None) -> None: ...

    def judged(self, *, well: bool) -> None: ...


@pytest.fixture
def server() -> Iterator[TinyServer]:
    with serving(Reply(500, {})) as server:
        yield server


def route(server: TinyServer, **replies: Reply) -> None:
    """Let the server answer by the last part of a path; ``root`` where it ends in a slash."""
    server.answer = lambda seen: replies[seen.path.rsplit("/", 1)[-1].replace("-", "_") or "root"]


def opened(server: TinyServer) -> Api:
    row = make_row(server.url, manifest=make_manifest())
    return open_api(row, CREDENTIAL, Settings(), retry=Waits().policy(attempts=1))


def partner(api: Api, **changes: Any) -> Partner:
    return Partner(api, Enrolment.model_validate(SECTION | changes))


def redirect(status: int) -> Reply:
    return Reply(status, b"", {"Location": "/enrolments/"})


@pytest.mark.parametrize("refused", [NotYetError("open", retry_after=30), RateLimitedError("spent")])
@pytest.mark.parametrize("status", [302, 303, 307])
def test_after_a_redirect_that_may_not_be_followed_now_the_outcome_is_unknown(
    server: TinyServer, status: int, refused: IntegrationError
):
    route(server, enrolments=redirect(status))
    api = opened(server)
    api.session._budget = Allows(1, refused)
    assert partner(api).post(RECORD, {"ref": "r-1"}, "o-1").kind is Kind.UNKNOWN
    assert partner(api).post(RECORD, {"ref": "r-1"}, "o-1").kind is Kind.LATER  # nothing sent at all
    assert [seen.path for seen in server.seen] == ["/enrolments"]


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply(200, {"id": "e-1", "state": "enrolled"}), Kind.ACCEPTED),
        (Reply(200, [{"id": "e-1"}]), Kind.UNKNOWN),
        (Reply(404, {}), Kind.UNKNOWN),
        (Reply(429, {}), Kind.UNKNOWN),
        (Reply(422, {}), Kind.UNKNOWN),
    ],
    ids=["says so", "a list", "404", "429", "422"],
)
def test_a_post_that_a_redirect_made_a_get_is_judged_by_plain_words_only(
    server: TinyServer, reply: Reply, kind: Kind
):
    route(server, enrolments=redirect(303), root=reply)
    assert partner(opened(server)).post(RECORD, {"ref": "r-1"}, "o-1").kind is kind


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, {"id": "e-1", "state": "enrolled"}, Kind.ACCEPTED),
        (200, {"state": "thinking"}, Kind.PENDING),
        (200, {"error": "down"}, Kind.LATER),
        (404, {}, Kind.LATER),
        (500, {}, Kind.LATER),
    ],
)
def test_a_poll_that_brings_no_known_word_leaves_it_pending(
    server: TinyServer, status: int, body: Any, kind: Kind
):
    route(server, e_1=Reply(status, body))
    assert partner(opened(server)).poll(replace(RECORD, external_id="e-1")).kind is kind


@pytest.mark.parametrize(
    ("state", "poll", "kind"),
    [
        ("enrolled", SECTION["poll"], Kind.ACCEPTED),
        ("thinking", SECTION["poll"], Kind.PENDING),
        ("thinking", None, Kind.ACCEPTED),
    ],
)
def test_what_is_listed_in_other_words_is_polled_where_there_is_a_poll(
    server: TinyServer, state: str, poll: Any, kind: Kind
):
    listed = [{"id": "e-9", "ref": "r-9"}, {"id": "e-1", "ref": "r-1", "state": state}]
    route(server, enrolments=Reply(200, listed))
    found = partner(opened(server), poll=poll).lookup(RECORD, {}, "o-1")
    assert (found.kind, found.external_id) == (kind, "e-1")


@pytest.mark.parametrize(
    ("lookup", "listed", "sure"),
    [
        (SECTION["lookup"], 3, True),
        (SECTION["lookup"], 1_001, False),
        ({"path": "enrolments", "match": "record.ref == reference"}, 3, False),
    ],
    ids=["asked for ours", "more than are looked at", "a page of others"],
)
def test_only_a_list_asked_for_ours_and_read_to_its_end_can_say_that_it_is_not_there(
    server: TinyServer, lookup: Any, listed: int, sure: bool
):
    route(server, enrolments=Reply(200, [{"id": f"e-{each}", "ref": "other"} for each in range(listed)]))
    found = partner(opened(server), lookup=lookup).lookup(RECORD, {}, "o-1")
    assert (found.kind, found.sure) == (Kind.NOT_FOUND, sure)

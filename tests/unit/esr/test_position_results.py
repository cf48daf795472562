"""What reconciling a position comes to: one match, each post told once, each event under a new number."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from include.esr.documents import MatchStatus
from include.esr.positions.results import (
    Decision,
    Match,
    StoredPosition,
    decide,
    to_event,
)
from include.events.schema import problem

NOW = datetime(2026, 3, 4, 14, 30, 0, 123456, tzinfo=UTC)
NEW = StoredPosition(
    id=7,
    deanery="KSS",
    number="KSS/RXC01/800/GPST/003",
    deleted=False,
    revision=1,
    hash="h",
    pending=True,
    file_id="DE_KSS_RMC_20260304_00000017.DAT#1",
    match=None,
    told=None,
    facts={"position_number": "34611829", "employing_org_vpd_code": "096"},
)


def after(decision: Decision) -> StoredPosition:
    """Return the position as it is stored once a decision is committed."""
    return replace(
        decision.position,
        match=decision.match,
        told=decision.told,
        revision=decision.revision,
        pending=False,
    )


def changed(position: StoredPosition, *, deleted: bool = False, number: str | None = None) -> StoredPosition:
    """Return a position a newer file told of."""
    revision = position.revision + 1
    number = number or position.number
    return replace(
        position, deleted=deleted, number=number, revision=revision, hash=f"h{revision}", pending=True
    )


def told(decision: Decision) -> list[tuple[int | None, str]]:
    return [(call.post_id, call.body["status"]) for call in decision.calls]


MATCHED = after(decide(NEW, 1, at=NOW))


def test_a_post_that_is_found_is_told_and_so_are_the_consumers():
    decision = decide(NEW, 1, at=NOW)
    assert decision.match == Match(MatchStatus.MATCHED, 1, NOW)
    assert decision.calls[0].body == {
        "eventDateTime": "2026-03-04T14:30:00.123Z",
        "filename": "DE_KSS_RMC_20260304_00000017.DAT",
        "postId": 1,
        "positionNumber": "34611829",
        "positionId": 7,
        "status": "RECONCILED",
    }
    assert (decision.tells_event, decision.revision, decision.unmatched) == (True, 1, False)


def test_a_position_without_a_post_is_tried_again_and_nobody_is_told():
    decision = decide(NEW, None, at=NOW)
    assert decision.match == Match(MatchStatus.UNMATCHED, None, NOW)
    assert (told(decision), decision.tells_event, decision.unmatched) == ([], False, True)


def test_trying_again_in_vain_changes_nothing():
    unmatched = after(decide(NEW, None, at=NOW))
    assert not decide(unmatched, None, at=NOW + timedelta(days=1)).changes_anything


def test_a_post_that_comes_later_gives_an_event_under_a_new_number():
    unmatched = after(decide(NEW, None, at=NOW))
    decision = decide(unmatched, 1, at=NOW)
    assert (decision.revision, decision.tells_event, told(decision)) == (2, True, [(1, "RECONCILED")])


def test_changed_content_with_the_same_post_is_an_event_and_no_call():
    decision = decide(changed(MATCHED), 1, at=NOW)
    assert (told(decision), decision.tells_event, decision.revision) == ([], True, 2)
    assert decision.match is MATCHED.match


def test_a_moved_position_tells_deleted_to_the_old_post_and_reconciled_to_the_new():
    decision = decide(changed(MATCHED, number="KSS/X"), 2, at=NOW)
    assert told(decision) == [(1, "DELETED"), (2, "RECONCILED")]
    assert to_event(decision, run_id="run", at=NOW).data["previous_post_id"] == 1
    assert told(decide(after(decision), 2, at=NOW)) == []


def test_a_position_that_lost_its_post_tells_the_old_one():
    decision = decide(changed(MATCHED, number="KSS/X"), None, at=NOW)
    assert (told(decision), decision.tells_event, decision.unmatched) == ([(1, "DELETED")], True, True)
    event = to_event(decision, run_id="run", at=NOW)
    assert event.data["position"]["match_status"] == "UNMATCHED"
    assert event.data["position"]["post_id"] is None


@pytest.mark.parametrize("post_id", [1, None])
def test_a_deleted_position_keeps_its_match_and_its_post_is_told_once(post_id):
    decision = decide(changed(MATCHED, deleted=True), post_id, at=NOW)
    assert (told(decision), decision.tells_event) == ([(1, "DELETED")], True)
    assert decision.match is MATCHED.match
    assert told(decide(changed(after(decision), deleted=True), post_id, at=NOW)) == []


def test_a_position_deleted_before_it_had_a_post_is_nobodys_business():
    decision = decide(replace(NEW, deleted=True), None, at=NOW)
    assert (told(decision), decision.tells_event, decision.unmatched) == ([], False, False)
    assert decision.match is None


def test_a_position_that_comes_back_is_told_again_at_a_later_time():
    gone = after(decide(changed(MATCHED, deleted=True), 1, at=NOW))
    back = decide(changed(gone), 1, at=NOW)
    assert told(back) == [(1, "RECONCILED")]
    first = decide(NEW, 1, at=NOW).calls[0]
    assert back.calls[0].body["eventDateTime"] > first.body["eventDateTime"]
    assert back.calls[0].id != first.id


def test_a_decision_made_again_has_the_same_calls_and_event():
    again = decide(NEW, 1, at=NOW + timedelta(minutes=5))
    first = decide(NEW, 1, at=NOW)
    assert [call.id for call in again.calls] == [call.id for call in first.calls]
    assert to_event(again, run_id="b", at=NOW).id == to_event(first, run_id="a", at=NOW).id


@pytest.mark.parametrize("deleted", [True, False])
def test_the_event_fits_its_schema(deleted):
    event = to_event(decide(changed(MATCHED, deleted=deleted), 1, at=NOW), run_id="run", at=NOW)
    body = orjson.loads(event.to_json())
    assert problem(event.type, body["data"]) is None
    assert body["partitionkey"] == body["subject"] == "position/7"
    assert int(body["sequence"]) == body["data"]["revision"] == event.sequence
    assert body["data"]["position"]["employing_org_vpd_code"] == "096"


def test_facts_are_of_the_newer_part_first_and_of_the_other_where_it_says_nothing():
    doc = {
        "_id": 7,
        "deanery": "KSS",
        "number": "n",
        "deleted": False,
        "revision": 1,
        "hash": "h",
        "file_id": "f#1",
        "pos": {"order": "20260304-2", "deanery": "KSS", "position_number": "new"},
        "por": {"order": "20260304-1", "deanery": "KSS", "position_number": "old", "ods_code": "RXC"},
    }
    assert StoredPosition.of(doc).facts == {"position_number": "new", "ods_code": "RXC"}
    # The counter of another deanery says nothing: on the same day the holder's part is the newer one.
    lead = {"position_number": "old", "ods_code": "RXC", "deanery": "NTH"}
    doc["por"] = lead | {"order": "20260304-9"}
    assert StoredPosition.of(doc).facts["position_number"] == "new"
    doc["por"] = lead | {"order": "20260305-1"}
    assert StoredPosition.of(doc).facts["position_number"] == "old"


class OnePosition(RuleBasedStateMachine):
    """Files and TCS change as they like; posts and consumers hear of it as the rules say."""

    def __init__(self) -> None:
        super().__init__()
        self.position = NEW
        self.posts: dict[str, int] = {}
        self.heard: dict[int, list[tuple[str, str]]] = {}
        self.sequences: list[int] = []

    @rule(number=st.sampled_from("ab"), deleted=st.booleans())
    def a_file_tells_of_it(self, number: str, deleted: bool) -> None:
        self.position = changed(self.position, number=number, deleted=deleted)

    @rule(number=st.sampled_from("ab"), post_id=st.sampled_from([1, 2, None]))
    def tcs_changes(self, number: str, post_id: int | None) -> None:
        if post_id is None:
            self.posts.pop(number, None)
        else:
            self.posts[number] = post_id

    @rule()
    def it_is_reconciled(self) -> None:
        decision = decide(self.position, self.posts.get(self.position.number), at=NOW)
        for call in decision.calls:
            assert call.post_id is not None
            self.heard.setdefault(call.post_id, []).append((call.body["status"], call.body["eventDateTime"]))
        if decision.tells_event:
            self.sequences.append(decision.revision)
        self.position = after(decision)
        stands = {post for post, said in self.heard.items() if said[-1][0] == "RECONCILED"}
        wanted = None if self.position.deleted else self.posts.get(self.position.number)
        assert stands == ({wanted} if wanted else set())
        assert not decide(self.position, self.posts.get(self.position.number), at=NOW).changes_anything

    @invariant()
    def a_post_never_hears_the_same_twice(self) -> None:
        for said in self.heard.values():
            words = [word for word, _ in said]
            assert words == [("RECONCILED", "DELETED")[at % 2] for at in range(len(words))]
            times = [at for _, at in said]
            assert times == sorted(set(times))

    @invariant()
    def each_event_has_a_higher_number(self) -> None:
        assert self.sequences == sorted(set(self.sequences))


TestOnePosition = OnePosition.TestCase

"""What counts as received: every entity, each version under one id, however often it is delivered."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from include.sandbox.airflow.config import AirflowPlace
from include.sandbox.demo.enrolment import EnrolmentSummary
from include.sandbox.demo.esr import EsrSummary
from include.sandbox.demo.flows import _give_up_on_failures
from include.sandbox.demo.follow import DagView
from include.sandbox.demo.outbound import OutSummary
from include.sandbox.demo.received import Received, describe_missing
from include.sandbox.demo.summary import problems, summarise
from include.sandbox.demo.truth import Truth
from include.sandbox.stack.errors import StackError

if TYPE_CHECKING:
    from include.sandbox.demo.session import Session

TRUTH = Truth(
    subjects={
        ("hopeworks", "offerings"): frozenset({"offering/1", "offering/2"}),
        ("hopeworks", "assignments"): frozenset({"assignment/7"}),
    },
    bad=1,
)


def event(event_id: str, subject: str, sequence: str = "0000000001") -> dict[str, str]:
    return {"id": event_id, "subject": subject, "sequence": sequence, "npoid": "hopeworks"}


def received(*events: dict[str, str]) -> Received:
    got = Received()
    got.add(events)
    return got


EVERYTHING = (event("a", "offering/1"), event("b", "offering/2"), event("c", "assignment/7"))


def test_an_event_delivered_twice_counts_once():
    got = received(*EVERYTHING, EVERYTHING[0])
    assert (len(got.events), problems(got, TRUTH)) == (3, [])


def test_two_versions_of_one_entity_are_two_events_and_no_conflict():
    got = received(*EVERYTHING, event("d", "offering/1", "0000000002"))
    assert (len(got.events), problems(got, TRUTH)) == (4, [])


def test_a_second_id_for_one_version_is_a_problem():
    got = received(*EVERYTHING, event("other", "offering/1"))
    assert problems(got, TRUTH) == [
        "one version, two events: offering/1 version 0000000001 has ids a and other"
    ]


def test_an_entity_without_event_is_missing_and_named_by_partner():
    got = received(*EVERYTHING[1:])
    assert got.missing(TRUTH) == {("hopeworks", "offerings"): 1}
    assert describe_missing(got.missing(TRUTH), TRUTH) == "hopeworks 1 of 2 offerings"
    assert problems(got, TRUTH) == ["no event for 1 offerings of hopeworks"]


def test_an_event_of_an_entity_no_partner_has_is_a_problem():
    got = received(*EVERYTHING, event("x", "assignment/99"))
    assert problems(got, TRUTH) == ["1 events of entities no partner has, such as assignment/99"]


def test_the_last_line_counts_entities_events_and_partners():
    out = OutSummary(
        200, 900, files_sent=12, receipts=15, confirmed=800, warnings=30, rejected=20, quarantined_by_esr=0
    )
    esr = EsrSummary(files=9, records=4_000, matched=700, unmatched=20, tcs_updates=800, out=out)
    events = received(*EVERYTHING, event("d", "offering/1", "0000000002"))
    enrolment = EnrolmentSummary(60, 40, 18, 1, 1, approved=12, doubled=0, echoed=42)
    summary = summarise([], events, enrolment, esr, seconds=61.23)
    assert summary.to_json() == (
        '{"npos": 1, "offerings": 2, "assignments": 1, "events": 4, "quarantined": 0, '
        '"enrolment": {"commands": 60, "accepted": 40, "rejected": 18, "failed": 1, "pending": 1, '
        '"approved": 12, "doubled": 0, "echoed": 42}, "esr": {"files": 9, '
        '"records": 4000, "matched": 700, "unmatched": 20, "tcs_updates": 800, '
        '"out": {"applicants": 200, "notifications": 900, "files_sent": 12, "receipts": 15, '
        '"confirmed": 800, "warnings": 30, "rejected": 20, "quarantined_by_esr": 0}}, "seconds": 61.2}'
    )


def view(npo_id: str, run_state: str, stage: str = "") -> DagView:
    return DagView(
        npo_id, run_state, stage, paused=False, offerings=0, assignments=0, events=0, quarantined=0
    )


def test_a_failed_run_ends_the_wait_at_once_and_names_stage_and_logs(tmp_path):
    session = SimpleNamespace(airflow=SimpleNamespace(place=AirflowPlace(tmp_path)))
    views = [view("codebridge", "success"), view("hopeworks", "failed", "extract")]
    with pytest.raises(
        StackError, match=r"npo__hopeworks failed at extract; task logs: .*dag_id=npo__hopeworks"
    ):
        _give_up_on_failures(cast("Session", session), views, {("hopeworks", "offerings"): 2})


def test_a_later_run_that_fails_is_no_matter_once_everything_was_received(tmp_path):
    session = SimpleNamespace(airflow=SimpleNamespace(place=AirflowPlace(tmp_path)))
    _give_up_on_failures(cast("Session", session), [view("hopeworks", "failed", "extract")], {})

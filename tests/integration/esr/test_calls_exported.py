"""``esr-exported`` is told exactly once for each thing that became of an applicant, in order."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from include.errors import NotYetError, TransientError
from include.esr.tcs import Tcs
from include.esr.tcs.answers import EsrEvent
from include.esr.tcs.calls import Call, release_calls, waiting_calls
from include.esr.tcs.exported import EXPORTED, PROCESSED, PROCESSED_WITH_ERRORS, exported_call
from include.sandbox.esr.world import FIRST_PERSON, FIRST_POST
from tests.integration.esr.tcs_client import QUICK
from tests.integration.esr.test_calls import AT, LEASE, OWNER, Telling, alerts_of, call, telling

__all__ = ["telling"]
FILE = "DE_NTH_APP_20260706_00000031.DAT"


@pytest.fixture
def placements(telling: Telling) -> list[int]:
    """Twelve placements in one post."""
    one = {"traineeId": FIRST_PERSON + 1, "postId": FIRST_POST}
    return [loaded["id"] for loaded in telling.sandbox.load_placements(*([one] * 12))]


def exported(
    placement: int,
    position: int = 1,
    *,
    status: str = EXPORTED,
    at: datetime = AT,
    file: str = FILE,
    resends: int = 0,
) -> Call:
    record = {
        "_id": f"{placement}-{position}",
        "placement_id": placement,
        "position_id": position,
        "position_number": f"{position:08d}",
        "resends": resends,
    }
    return exported_call(record, status=status, at=at, file=file)


def told(telling: Telling) -> list[tuple[int, int, str]]:
    """Placement, position and status of every event TCS has, in the order it was told."""
    entries = [entry for entry in telling.sandbox.told("event") if entry["of"] == "placement"]
    return [(each["key"], each["body"]["positionId"], each["body"]["status"]) for each in entries]


def test_tcs_is_told_in_its_own_words_with_the_time_it_was_queued(
    telling: Telling, placements: list[int]
) -> None:
    telling.queue(exported(placements[0], 7))
    assert telling.deliver() == {"told": 1, "read_back": 0, "refused": 0}
    [event] = telling.sandbox.placement_events()[placements[0]]
    assert event == event | {
        "exportedAt": "2026-03-04T14:30:00.120Z",
        "filename": FILE,
        "placementId": placements[0],
        "positionNumber": "00000007",
        "positionId": 7,
        "status": "EXPORTED",
    }
    assert telling.tcs.placement_events([placements[0], 17]) == {
        placements[0]: (EsrEvent(AT, 7, "EXPORTED", FILE, "00000007"),)
    }


def test_what_is_queued_again_is_told_once_but_a_record_sent_again_is_told_again(
    telling: Telling, placements: list[int]
) -> None:
    first = exported(placements[0])
    assert telling.queue(first) == 1
    telling.deliver()
    assert telling.queue(first, exported(placements[0], at=AT + timedelta(days=1))) == 0
    later = AT + timedelta(days=2)
    assert telling.queue(exported(placements[0], at=later, resends=1)) == 1
    telling.deliver()
    assert telling.deliver()["told"] == 0
    assert told(telling) == [(placements[0], 1, EXPORTED)] * 2


def test_what_became_of_one_applicant_is_told_in_order(telling: Telling, placements: list[int]) -> None:
    statuses = [EXPORTED, PROCESSED_WITH_ERRORS, PROCESSED]
    for place, status in enumerate(statuses):
        at = AT + timedelta(days=place)
        telling.queue(
            *(exported(each, position, status=status, at=at) for each in placements for position in (1, 2))
        )
    assert telling.deliver() == {"told": 72, "read_back": 0, "refused": 0}
    for each in placements:
        for position in (1, 2):
            assert [what for *whose, what in told(telling) if whose == [each, position]] == statuses


def test_calls_of_a_deanery_go_out_in_order_though_another_queued_the_later(
    telling: Telling, placements: list[int]
) -> None:
    telling.queue(exported(placements[0]), owner="esr/KSS")
    later = AT + timedelta(days=1)
    telling.queue(exported(placements[0], status=PROCESSED, at=later), exported(placements[1]), at=later)
    with pytest.raises(NotYetError, match="another deanery"):
        telling.deliver()
    assert told(telling) == [(placements[1], 1, EXPORTED)]
    telling.deliver("esr/KSS")
    telling.deliver()
    assert told(telling)[1:] == [(placements[0], 1, EXPORTED), (placements[0], 1, PROCESSED)]


@pytest.mark.parametrize("stuck", ["esr-changed", "esr-exported"])
def test_the_two_kinds_of_calls_of_a_position_do_not_wait_for_each_other(
    telling: Telling, placements: list[int], stuck: str
) -> None:
    telling.sandbox.misbehave({"call": stuck, "kind": "drop", "times": 1})
    telling.queue(call(1), exported(placements[0], 1))
    with pytest.raises(NotYetError):
        telling.deliver()
    states = {
        found["kind"]: found["state"]
        for found in telling.ctx.store["esr_call"].find({}, {"kind": 1, "state": 1})
    }
    other = {"esr-changed": "esr-exported", "esr-exported": "esr-changed"}[stuck]
    assert states == {stuck: "sending", other: "told"}
    time.sleep(LEASE)
    assert telling.deliver() == {"told": 1, "read_back": 0, "refused": 0}
    assert len(telling.sandbox.told("event")) == 2


def test_posts_that_cannot_be_read_back_keep_no_applicant_waiting(
    telling: Telling, placements: list[int]
) -> None:
    telling.sandbox.misbehave(
        {"call": "esr-changed", "kind": "drop", "times": 1},
        {"call": "GET /api/posts/", "kind": "body", "body": {}},
    )
    telling.queue(call(1), exported(placements[0], 1))
    with pytest.raises(TransientError):
        telling.deliver()
    assert told(telling) == [(placements[0], 1, EXPORTED)]


def test_a_placement_deleted_meanwhile_is_refused_with_the_reason_and_the_others_go_on(
    telling: Telling, placements: list[int]
) -> None:
    gone, there = placements[:2]
    telling.sandbox.remove_placement(gone)
    telling.queue(exported(gone, 7), exported(there, 7))
    with capture_logs() as lines:
        assert telling.deliver() == {"told": 1, "read_back": 0, "refused": 1}
    assert told(telling) == [(there, 7, EXPORTED)]
    assert waiting_calls(telling.ctx.store, OWNER) == 0
    assert alerts_of(lines) == [
        {
            "owner": OWNER,
            "kind": "esr-exported",
            "position_id": 7,
            "placement_id": gone,
            "status": EXPORTED,
            "reason": "404 Not Found",
        }
    ]
    assert release_calls(telling.ctx.store, OWNER) == 1


def test_a_doubtful_call_of_a_placement_deleted_meanwhile_ends_as_refused(
    telling: Telling, placements: list[int]
) -> None:
    telling.sandbox.misbehave({"call": "esr-exported", "kind": "drop", "times": 1})
    telling.queue(exported(placements[0]))
    with pytest.raises(NotYetError):
        telling.deliver()
    telling.sandbox.remove_placement(placements[0])
    time.sleep(LEASE)
    assert telling.deliver() == {"told": 0, "read_back": 0, "refused": 1}


@pytest.mark.parametrize("kind", ["drop_after", "status_after", "delay_after"])
def test_what_was_told_but_not_answered_is_read_back_and_not_told_again(
    telling: Telling, placements: list[int], kind: str
) -> None:
    """A 5xx treated as a bad message once lost the export status of 2,762 applicants."""
    telling.sandbox.misbehave({"call": "esr-exported", "kind": kind, "times": 3, "seconds": 0.8})
    telling.queue(*(exported(each, position) for each in placements for position in (1, 2)))
    assert telling.deliver() == {"told": 24, "read_back": 3, "refused": 0}
    assert len(told(telling)) == len(set(told(telling))) == 24


@pytest.mark.parametrize("fault", [{"kind": "status", "status": 503}, {"kind": "drop"}])
def test_during_an_outage_everything_waits_and_resumes_by_itself(
    telling: Telling, placements: list[int], fault: dict[str, Any]
) -> None:
    telling.queue(*(exported(each, position) for each in placements for position in range(1, 6)))
    telling.queue(call(1))
    telling.sandbox.misbehave({"call": "/api/"} | fault)
    for _ in range(3):
        with pytest.raises(TransientError):
            telling.deliver()
    telling.sandbox.behave()
    time.sleep(LEASE + 0.1)
    with Tcs(telling.settings, patience=QUICK) as telling.tcs:
        assert telling.deliver()["told"] == 61
    assert len(told(telling)) == len(set(told(telling))) == 60


def test_a_call_stored_before_there_were_two_kinds_is_told_as_ever(telling: Telling) -> None:
    telling.ctx.store["esr_call"].insert_one(
        {
            "_id": "old",
            "owner": OWNER,
            "kind": "esr-changed",
            "post_id": FIRST_POST,
            "position_id": 1,
            "body": dict(call(1).body),
            "order": "000000000001-000000",
            "pending": True,
            "state": "pending",
            "attempts": 0,
            "queued_at": datetime(2026, 3, 4, tzinfo=UTC),
        }
    )
    assert telling.deliver() == {"told": 1, "read_back": 0, "refused": 0}
    assert telling.told() == [(1, 0, "RECONCILED")]

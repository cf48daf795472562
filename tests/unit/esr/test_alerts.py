"""What is told of a file: rejections and alerts, once, and nothing of what is in it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import structlog

from include.esr.alerts import tell, tell_failed
from include.esr.documents import FileState
from include.esr.files.entry import Alert, Entry
from include.quality.gate import Reason

NOW = datetime(2026, 3, 4, 15, tzinfo=UTC)
BEFORE = NOW - timedelta(minutes=1)
ENTRY = Entry(
    "DE_KSS_RMF_20260304_00000017.DAT#1",
    "DE_KSS_RMF_20260304_00000017.DAT",
    1,
    FileState.REJECTED,
    {"landed": BEFORE, "rejected": NOW},
    reason=Reason("missing_footer", "the last line is not a footer"),
    alerts=(Alert("sequence_gap", "number 16 did not come", NOW), Alert("new_version", "came again", BEFORE)),
)


def told(entry: Entry, since: datetime) -> list[tuple[str, str, str, str]]:
    with structlog.testing.capture_logs() as logs:
        tell(entry, since=since)
    return [(log["log_level"], log["event"], log["file"], log["code"]) for log in logs]


def test_a_rejection_and_the_alerts_that_came_with_this_stage_are_told():
    assert told(ENTRY, NOW) == [
        ("error", "esr_file_rejected", ENTRY.file_id, "missing_footer"),
        ("warning", "esr_file_alert", ENTRY.file_id, "sequence_gap"),
    ]


def test_what_was_told_by_an_earlier_stage_is_not_told_again():
    assert told(ENTRY, NOW + timedelta(seconds=1)) == []


def test_a_file_in_order_says_nothing():
    assert told(replace(ENTRY, state=FileState.SPLIT, reason=None, alerts=()), BEFORE) == []


def test_a_file_that_cannot_be_taken_is_told_by_its_name():
    with structlog.testing.capture_logs() as logs:
        tell_failed([("DE_KSS\n\x1b[31m.DAT", "the server refuses to let us read it")])
    [log] = logs
    assert (log["log_level"], log["event"], log["file"]) == (
        "error",
        "esr_file_failed",
        r"DE_KSS\n\x1b[31m.DAT",
    )

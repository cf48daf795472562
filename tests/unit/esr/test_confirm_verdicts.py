"""What a line of ESR's answer means for its record."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.esr.confirmations.verdicts import (
    MAX_TEXT,
    AnswerLine,
    AnswerOutcome,
    Given,
    SentRecord,
    judge,
    state_by,
)
from include.esr.outbound import RecordState

AT = datetime(2026, 7, 8, 12, tzinfo=UTC)
RECORD = SentRecord("1-7", RecordState.EXPORTED, 7, "KSS/RTD01/001/STR/001", None)
STATUSES = ("SUCCESS", "FAIL")
TYPES = ("ERROR", "WARNING", "INFO", None)


def answer_file(day: int, version: int = 1) -> str:
    return f"DE_KSS_APC_202607{day:02d}_00000001.DAT#{version}"


def line(status: str = "SUCCESS", kind: str | None = None, text: str | None = None, **changes) -> AnswerLine:
    return replace(AnswerLine(2, 1, 7, None, status, kind, text), **changes)


def judged(answer: AnswerLine, record: SentRecord | None = RECORD, *, day: int = 8, records: int = 1):
    return judge(answer, record, records=records, file_id=answer_file(day), at=AT)


@pytest.mark.parametrize(
    ("status", "kind", "state"),
    [
        ("SUCCESS", None, "CONFIRMED"),
        ("SUCCESS", "INFO", "CONFIRMED"),
        ("SUCCESS", "WARNING", "CONFIRMED_WITH_WARNINGS"),
        ("SUCCESS", "ERROR", "REJECTED"),
        ("FAIL", None, "REJECTED"),
        ("FAIL", "INFO", "REJECTED"),
        ("FAIL", "WARNING", "REJECTED"),
        ("FAIL", "ERROR", "REJECTED"),
    ],
)
def test_status_and_type_of_message_make_the_state(status, kind, state):
    assert state_by(status, kind) == state
    verdict = judged(line(status, kind))
    assert verdict.outcome is AnswerOutcome.APPLIED
    assert verdict.history is not None
    assert verdict.history["state"] == state


@pytest.mark.parametrize(
    ("change", "record", "outcome"),
    [
        ({"ordinal": 0}, RECORD, "unknown_ordinal"),
        ({"ordinal": 2}, RECORD, "unknown_ordinal"),
        ({"ordinal": 2}, None, "unknown_ordinal"),
        ({}, None, "superseded"),
        ({"position_id": 8}, RECORD, "position_mismatch"),
        ({"position_id": 0}, RECORD, "position_mismatch"),
        ({"post_number": "KSS/RTD01/001/STR/002"}, RECORD, "position_mismatch"),
        ({"position_id": None, "post_number": None}, RECORD, "position_mismatch"),
        ({"position_id": None, "post_number": RECORD.post_number}, RECORD, "applied"),
        ({"position_id": None, "post_number": "KSS/RTD01/001/STR/002"}, RECORD, "position_mismatch"),
        ({"post_number": RECORD.post_number}, RECORD, "applied"),
    ],
)
def test_an_answer_must_fit_file_place_and_position(change, record, outcome):
    verdict = judged(line(**change), record)
    assert verdict.outcome == outcome
    assert (verdict.answer is not None) == (outcome == "applied")


@pytest.mark.parametrize("state", list(RecordState))
def test_only_a_record_that_was_sent_and_is_not_to_be_sent_again_is_answered(state):
    answerable = {"EXPORTED", "CONFIRMED", "CONFIRMED_WITH_WARNINGS", "REJECTED"}
    assert (judged(line(), replace(RECORD, state=state)).outcome == "applied") == (state in answerable)


def test_long_words_are_cut_before_they_are_compared():
    words = "x" * (MAX_TEXT + 5)
    first = judged(line("FAIL", "ERROR", words))
    assert first.answer is not None
    assert first.answer.text == words[:MAX_TEXT]
    answered = replace(RECORD, state=RecordState.REJECTED, answer=first.answer)
    assert judged(line("FAIL", "ERROR", words), answered, day=9).outcome == "repeated"


def test_no_words_of_esr_are_in_a_repr():
    said = Given("FAIL", "ERROR", "Zebedee is unknown", answer_file(8), 2, AT)
    assert "Zebedee" not in repr((said, line(text="Zebedee"), replace(RECORD, answer=said)))


def test_a_newer_version_of_a_file_counts_more_than_an_older_one():
    first = judged(line("FAIL"), day=8).answer
    answered = replace(RECORD, state=RecordState.REJECTED, answer=first)
    newer = judge(line(), answered, records=1, file_id=answer_file(8, 2), at=AT)
    assert (newer.outcome, newer.code) == ("contradicts", "newer")
    assert newer.answer is not None


def test_an_older_contradiction_is_remembered_and_changes_nothing():
    first = judged(line("FAIL", "ERROR", "no"), day=9).answer
    answered = replace(RECORD, state=RecordState.REJECTED, answer=first)
    older = judged(line(), answered, day=8)
    assert (older.outcome, older.code, older.answer) == ("contradicts", "older", None)
    assert older.history is not None
    assert (older.history["state"], older.history["answer"]["status"]) == ("REJECTED", "SUCCESS")


LINES = st.lists(
    st.tuples(st.sampled_from(STATUSES), st.sampled_from(TYPES), st.sampled_from(["", "a", "b"])), min_size=1
)


@given(lines=LINES, seed=st.randoms(use_true_random=False))
def test_whatever_order_files_come_in_the_newest_answer_counts(lines, seed):
    files = list(enumerate(lines, start=1))
    seed.shuffle(files)
    record = RECORD
    for version, (status, kind, text) in files:
        verdict = judge(
            line(status, kind, text or None), record, records=1, file_id=answer_file(8, version), at=AT
        )
        if verdict.answer:
            record = replace(record, state=verdict.answer.state, answer=verdict.answer)
    status, kind, _ = lines[-1]
    said = record.answer
    assert said is not None
    assert record.state is state_by(status, kind) is said.state
    assert (said.status, said.type, said.text or "") == lines[-1]

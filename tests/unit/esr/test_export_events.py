"""Events of our files: they fit their schemas, hold no person, and the same file gives the same id."""

from __future__ import annotations

from datetime import UTC, date, datetime

import orjson
import pytest

from include.esr.exports.events import answered_event, exported_event
from include.esr.exports.ledger import Export
from include.esr.names import Deanery, FileName, FileType
from include.esr.outbound import ExportState
from include.events.schema import problem

AT = datetime(2026, 7, 7, 13, tzinfo=UTC)
LATER = datetime(2026, 7, 8, 9, tzinfo=UTC)
ANSWER = "DE_KSS_APC_20260708_00000123.DAT#1"
ANSWERS = {"confirmed": 2, "warnings": 1, "rejected": 0}


def export_of(file_type: FileType = FileType.APP) -> Export:
    name = FileName(Deanery.KSS, file_type, date(2026, 7, 7), 123)
    return Export(
        name, "key", ExportState.SENT, date(2026, 7, 7), 3, 1, AT, sha256="ab" * 32, size=400, taken=True
    )


@pytest.mark.parametrize("file_type", [FileType.APP, FileType.DNC, FileType.DNF, FileType.RTC])
def test_the_event_of_a_sent_file_fits_its_schema(file_type: FileType):
    entry = exported_event(export_of(file_type), run_id="r", at=AT)
    assert problem(entry.type, orjson.loads(entry.body)["data"]) is None


def test_the_event_of_an_answered_file_fits_its_schema_and_comes_after_it():
    entry = answered_event(export_of(), answer=ANSWER, answers=ANSWERS, run_id="r", at=LATER)
    event = orjson.loads(entry.body)
    assert problem(entry.type, event["data"]) is None
    assert event["data"] | ANSWERS == event["data"]
    sent = exported_event(export_of(), run_id="r", at=AT)
    assert entry.partition_key == sent.partition_key
    assert entry.sequence > sent.sequence


def test_the_same_file_gives_the_same_event_and_another_answer_another():
    first = exported_event(export_of(), run_id="r", at=AT)
    assert exported_event(export_of(), run_id="again", at=LATER).id == first.id
    answers = {
        answered_event(export_of(), answer=answer, answers=ANSWERS, run_id="r", at=AT).id
        for answer in (ANSWER, ANSWER.replace("#1", "#2"))
    }
    assert len({first.id, *answers}) == 3


def test_a_name_does_not_fit_the_schema():
    event = orjson.loads(exported_event(export_of(), run_id="r", at=AT).body)
    assert problem(event["type"], event["data"] | {"last_name": "Hopper"}) is not None

"""The envelope is a CloudEvent, its data fits the published schema, its attributes hold no content."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import orjson
import pytest
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from include.events.envelope import MAX_EVENT_BYTES, POSITION_RECONCILED, Event
from include.events.schema import CANONICAL_TYPES, EVENT_TYPES, SCHEMAS, problem, schema_of
from include.npo.entity_plan import to_entity, to_event
from include.storage.raw import PendingRecord

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def event() -> Event:
    record = PendingRecord("k", "match-7", "{}", "hash", NOON, NOON, False, "page#0", "scheduled__1", NOON)
    mapped = {"status": "enrolled", "offering_external_id": "o", "external_candidate_ref": "cand-99"}
    entity = to_entity("mentornet", "assignments", record, mapped, mapping_version=1)
    return to_event("mentornet", "assignments", record, entity, before=None, recorded_at=NOON)


def test_an_independent_reader_accepts_the_event(event: Event):
    read = JSONFormat().read(CloudEvent, event.to_json())
    assert read.get_id() == event.id
    assert read.get_source() == "/npo-integration/mentornet"
    assert read.get_subject() == event.subject
    assert read.get_extension("partitionkey") == event.partition_key
    assert read.get_extension("sequence") == "0000000001"


def test_attributes_hold_no_candidate_reference(event: Event):
    attributes = orjson.loads(event.to_json())
    del attributes["data"]
    assert "cand-99" not in json.dumps(attributes)


def test_data_that_travels_by_reference_is_not_in_the_event(event: Event):
    body = orjson.loads(replace(event, data_ref="s3://bucket/key").to_json())
    assert body["dataref"] == "s3://bucket/key"
    assert "data" not in body
    assert MAX_EVENT_BYTES == 65536


def test_the_events_data_fits_its_schema(event: Event):
    assert problem(event.type, orjson.loads(event.to_json())["data"]) is None


def test_a_broken_schema_is_told_by_path_without_the_value(event: Event):
    data = orjson.loads(event.to_json())["data"]
    data["assignment"]["status"] = "secret-value"
    reason = problem(event.type, data)
    assert reason is not None
    assert "assignment/status" in reason
    assert "secret-value" not in reason


@pytest.mark.parametrize("event_type", CANONICAL_TYPES)
def test_the_schema_file_is_what_the_canonical_models_say(event_type: str):
    assert json.loads((SCHEMAS / f"{event_type}.json").read_text("utf-8")) == schema_of(event_type)


@pytest.fixture
def of_a_deanery(event: Event) -> Event:
    position = {
        "position_id": 7607373,
        "deanery": "KSS",
        "deanery_number": "KSS/RXC01/800/GPST/003",
        "match_status": "MATCHED",
        "post_id": 4711,
        "deleted": False,
        "employing_org_vpd_code": "096",
        "file": "DE_KSS_RMC_20260305_00000018.DAT",
    }
    data = {"revision": 3, "previous_post_id": None, "position": position}
    return replace(event, owner="esr/KSS", type=POSITION_RECONCILED, data=data)


def test_an_event_of_a_deanery_names_the_exchange_and_no_npo(of_a_deanery: Event):
    read = JSONFormat().read(CloudEvent, of_a_deanery.to_json())
    assert read.get_source() == "/esr-exchange/KSS"
    assert read.get_extension("deanery") == "KSS"
    assert read.get_extension("npoid") is None


def test_a_positions_data_fits_its_schema(of_a_deanery: Event):
    assert problem(of_a_deanery.type, orjson.loads(of_a_deanery.to_json())["data"]) is None


@pytest.mark.parametrize(("field", "value"), [("last_name", "Hopper"), ("employing_org_vpd_code", 96)])
def test_a_person_or_a_vpd_code_that_lost_its_zeros_does_not_fit_a_positions_schema(
    of_a_deanery: Event, field: str, value: object
):
    of_a_deanery.data["position"][field] = value
    assert problem(of_a_deanery.type, of_a_deanery.data) is not None


def test_every_type_of_event_has_a_schema():
    for event_type in EVENT_TYPES:
        schema = json.loads((SCHEMAS / f"{event_type}.json").read_text("utf-8"))
        assert schema["title"] == event_type
        assert problem(event_type, {}) is not None

"""What may travel together, and what must wait."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from include.events import envelope
from include.events.publisher import MAX_BATCH_BYTES, MAX_BATCH_EVENTS, TOPIC_OF, batches_of, waves
from include.events.schema import ENROLMENT_TYPES
from include.storage.outbox import OutboxEntry

TYPES = st.sampled_from(sorted(TOPIC_OF))
ENTRIES = st.lists(st.tuples(TYPES, st.sampled_from("abcdef"), st.integers(0, 60_000)), max_size=60).map(
    lambda items: [
        OutboxEntry(str(at), kind, key, at, b"x" * size) for at, (kind, key, size) in enumerate(items)
    ]
)


@given(ENTRIES)
def test_a_wave_holds_one_event_of_an_entity_and_waves_keep_its_order(entries: list[OutboxEntry]):
    found = waves(entries)
    for wave in found:
        keys = [entry.partition_key for entry in wave]
        assert len(keys) == len(set(keys))
    for key in "abcdef":
        sent = [entry.id for wave in found for entry in wave if entry.partition_key == key]
        assert sent == [entry.id for entry in entries if entry.partition_key == key]


@given(ENTRIES)
def test_batches_hold_every_event_once_within_what_one_call_takes(entries: list[OutboxEntry]):
    batches = list(batches_of(entries))
    assert sorted(entry.id for batch in batches for entry in batch) == sorted(entry.id for entry in entries)
    for batch in batches:
        assert 1 <= len(batch) <= MAX_BATCH_EVENTS
        assert len({TOPIC_OF[entry.type] for entry in batch}) == 1
        assert sum(len(entry.body) for entry in batch) <= MAX_BATCH_BYTES


def test_every_event_type_has_a_topic():
    assert set(TOPIC_OF) == {
        envelope.OFFERING_CREATED,
        envelope.OFFERING_UPDATED,
        envelope.OFFERING_WITHDRAWN,
        envelope.ASSIGNMENT_UPDATED,
        *ENROLMENT_TYPES,
        envelope.POSITION_RECONCILED,
        envelope.FILE_EXPORTED,
        envelope.FILE_ANSWERED,
    }

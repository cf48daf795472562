"""Content hashes and digests: equal for equal content, whatever its form."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from include.storage.documents import canonical_json, content_digest, content_hash, merge_digests

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), JSON, max_size=5))
def test_key_order_is_no_content(value):
    turned = dict(reversed(list(value.items())))
    assert content_hash(value) == content_hash(turned)


@given(st.lists(JSON, max_size=6))
def test_the_digest_of_a_bag_of_records_does_not_depend_on_their_order(records):
    digests = [content_digest(record) for record in records]
    assert merge_digests(0, digests) == merge_digests(0, reversed(digests))


def test_the_digest_counts_how_often_a_record_is_there():
    digest = content_digest({"id": 1})
    assert merge_digests(0, [digest]) != merge_digests(0, [digest, digest])


def test_json_nested_deeper_than_the_fast_writer_goes_is_written_all_the_same():
    deep: list[object] = []
    for _ in range(400):
        deep = [deep]
    assert json.loads(canonical_json({"b": deep, "a": 1})) == {"a": 1, "b": deep}

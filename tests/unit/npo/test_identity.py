"""Ids are the same in every run, and are what the standard says."""

from __future__ import annotations

from uuid import uuid5

from hypothesis import given
from hypothesis import strategies as st

from include.npo.identity import PLATFORM_NAMESPACE, entity_id, event_id, uuid5_text


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_ids_are_version_5_uuids_of_the_platforms_namespace(name: str):
    assert uuid5_text(name) == str(uuid5(PLATFORM_NAMESPACE, name))


def test_an_entitys_id_is_the_same_for_ever():
    assert entity_id("hopeworks", "offerings", "svc-1") == "31c14b6e-38bd-59bb-8682-6104054589ee"


def test_ids_of_different_records_differ():
    assert entity_id("a", "offerings", "b") != entity_id("a", "assignments", "b")
    assert event_id("a", "offerings", "b", 1, "h") != event_id("a", "offerings", "b", 2, "h")

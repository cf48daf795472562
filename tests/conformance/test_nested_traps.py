"""The traps of reading, sprung on a list that is read once for each record of another; and each can catch."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from include.connectors import rest
from include.connectors.open import open_connector
from include.npo.context import RunContext
from include.npo.extract import extract
from include.npo.land import land_raw
from include.sandbox.contract.bench import credential, opened, scripts_of
from include.sandbox.contract.nested_traps import NESTED_TRAPS
from include.sandbox.contract.parents import key_of
from include.sandbox.contract.reading_traps import CHECKPOINT, at
from include.sandbox.contract.run import TRAPS, spring
from include.sandbox.contract.server import ScriptedPartner
from include.sandbox.contract.skeleton import write_expected
from include.settings import Settings
from include.storage.landing import LandingZone
from include.storage.mongo import IntegrationStore
from tests.conformance.rows import Waits, make_row

CONNECTORS = Path(__file__).parent / "connectors"
UNTRIED = {"an_expired_token", "an_archive_that_unpacks_without_end"}
"""What courseware cannot be caught by: its token is fixed, and it sends no archives."""


@pytest.fixture
def courseware(tmp_path: Path) -> Path:
    """A copy of the connector that reads progress course by course, to be spoilt."""
    return Path(shutil.copytree(CONNECTORS / "courseware", tmp_path / "courseware"))


def spoil(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    file = folder / "connector.yaml"
    data = yaml.safe_load(file.read_text("utf-8"))
    change(data)
    file.write_text(yaml.safe_dump(data), "utf-8")


def sprung(folder: Path, trap: str) -> tuple[str, str]:
    (verdict,) = spring(folder.name, trap, folder.parent)
    return verdict.outcome, verdict.reason


@pytest.mark.parametrize("trap", TRAPS)
def test_a_nested_list_keeps_out_of(trap: str) -> None:
    (verdict,) = spring("courseware", trap, CONNECTORS)
    if trap in UNTRIED:
        assert verdict.outcome == "not applicable"
    else:
        assert verdict.outcome == "ok", verdict.reason
        assert "not for assignments" not in verdict.reason


def test_a_trap_says_for_which_resource_it_cannot_be_set_and_why() -> None:
    (verdict,) = spring("courseware", "a_parent_that_is_gone", CONNECTORS)
    assert verdict.outcome == "ok"
    assert verdict.reason == "not for offerings: it is not read for each record of another list"


def test_a_list_that_is_not_nested_says_why_the_traps_of_parents_do_not_apply() -> None:
    (verdict,) = spring("codebridge", "an_odd_id_of_a_parent")
    assert verdict.outcome == "not applicable"
    assert verdict.reason == "it is not read for each record of another list"


# --- other forms of nested lists ---


def assignments(data: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = data["resources"]["assignments"]
    return found


def _by_parameters(data: dict[str, Any]) -> None:
    assignments(data)["endpoint"] |= {
        "path": "v1/progress",
        "params": {"course": "{resources.offerings.id}", "term": "{resources.offerings.term}"},
    }


def _one_cursor(data: dict[str, Any]) -> None:
    assignments(data)["nested"]["cursors"] = "one"


def _ids_of_their_own(data: dict[str, Any]) -> None:
    assignments(data)["primary_key"] = "number"


def _one_record_each(data: dict[str, Any]) -> None:
    assignments(data)["primary_key"] = "_offerings_id"


def _tokens_and_offsets(data: dict[str, Any]) -> None:
    data["client"]["auth"] = {
        "type": "oauth2_client_credentials",
        "access_token_url": "token",
        "client_id": "{credential.login}",
        "client_secret": "{credential.password}",
    }
    data["client"]["paginator"] = {"type": "offset", "limit": 100, "total_path": None}


FORMS = [_by_parameters, _one_cursor, _ids_of_their_own, _one_record_each, _tokens_and_offsets]
ALSO = ["an_expired_token", "records_with_one_time_at_a_page_edge", "pages_without_end"]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__.strip("_"))
def test_every_form_of_nested_list_keeps_out_of_the_traps(courseware: Path, form: Any) -> None:
    spoil(courseware, form)
    for trap in [*(trap.__name__ for trap in NESTED_TRAPS), *ALSO]:
        outcome, reason = sprung(courseware, trap)
        assert outcome != "failed", f"{trap}: {reason}"


def test_a_file_for_each_parent_keeps_out_of_the_traps(courseware: Path) -> None:
    """A gzipped CSV for each course, paged by a header."""
    samples = courseware / "samples"
    rows = orjson.loads((samples / "assignments.page.json").read_bytes())["learners"]
    lines = [
        ",".join(rows[0]),
        *(",".join(str(row.get(name, "")) for name in rows[0]) for row in rows),
    ]
    (samples / "assignments.page.csv.gz").write_bytes(gzip.compress("\r\n".join([*lines, ""]).encode()))
    (samples / "assignments.page.json").unlink()
    spoil(courseware, _gzipped_csv)
    write_expected("courseware", courseware.parent)
    for trap in TRAPS:
        outcome, reason = sprung(courseware, trap)
        assert outcome != "failed", f"{trap}: {reason}"
    assert sprung(courseware, "an_archive_that_unpacks_without_end")[0] == "ok"


def _gzipped_csv(data: dict[str, Any]) -> None:
    assignments(data)["endpoint"] |= {
        "response": {"format": "csv", "archive": "gzip"},
        "paginator": {"type": "header_link"},
        "data_selector": "@",
    }


def test_an_expired_token_is_renewed_between_two_parents(courseware: Path) -> None:
    spoil(courseware, _tokens_and_offsets)
    assert sprung(courseware, "an_expired_token") == ("ok", "")


def test_parents_of_one_checkpoint_need_no_cursor_of_their_own(courseware: Path) -> None:
    spoil(courseware, _one_cursor)
    outcome, reason = sprung(courseware, "a_cursor_for_each_parent")
    assert outcome == "not applicable"
    assert "assignments: nested.cursors is 'one': all parents share the resource's checkpoint" in reason


# --- each trap can catch ---


def _key_without_the_parent(data: dict[str, Any]) -> None:
    assignments(data)["nested"]["include_from_parent"] = ["term"]
    assignments(data)["primary_key"] = ["_offerings_term", "number"]
    assignments(data)["mapping"]["fields"]["offering_external_id"] = "_offerings_term"


def _gone_is_retried(data: dict[str, Any]) -> None:
    data["errors"] = [{"status": 404, "action": "retry"}]


def _gone_is_throttling(data: dict[str, Any]) -> None:
    data["errors"] = [{"status": 404, "action": "rate_limited"}]


def _unwell_is_empty(data: dict[str, Any]) -> None:
    data["errors"] = [{"status": 503, "action": "ignore"}]


def _unwell_is_final(data: dict[str, Any]) -> None:
    data["errors"] = [{"status": 503, "action": "fail", "failure": "config"}]


def _no_lookback(data: dict[str, Any]) -> None:
    assignments(data)["incremental"] = {"cursor_path": "updated_at", "param": "since", "lookback": "PT0S"}


def _any_object_is_a_list(data: dict[str, Any]) -> None:
    assignments(data)["endpoint"]["data_selector"] = "learners || `[]`"


@pytest.mark.parametrize(
    ("trap", "mistake"),
    [
        ("records_of_several_parents", _key_without_the_parent),
        ("a_parent_that_is_gone", _gone_is_retried),
        ("a_parent_that_is_gone", _gone_is_throttling),
        ("a_parent_that_does_not_answer", _unwell_is_empty),
        ("a_parent_that_does_not_answer", _unwell_is_final),
        ("a_record_that_arrives_late", _no_lookback),
        ("an_error_body_with_status_200", _any_object_is_a_list),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else "",
)
def test_a_trap_catches_a_mistake_in_a_nested_list(courseware: Path, trap: str, mistake: Any) -> None:
    spoil(courseware, mistake)
    outcome, reason = sprung(courseware, trap)
    assert outcome == "failed"
    assert "assignments: " in reason


@pytest.mark.parametrize(
    ("trap", "name", "broken"),
    [
        ("a_cursor_for_each_parent", "window_params", lambda *_: {}),
        (
            "an_odd_id_of_a_parent",
            "with_parent",
            lambda text, values, **_: text.format(resources=_Of(values)),
        ),
        ("a_parent_nothing_can_be_asked_for", "parent_value", str),
    ],
    ids=["no_window_is_asked_for", "no_value_is_quoted", "any_value_is_taken"],
)
def test_a_trap_catches_a_kernel_that(
    courseware: Path, monkeypatch: pytest.MonkeyPatch, trap: str, name: str, broken: Any
) -> None:
    monkeypatch.setattr(rest, name, broken)
    assert sprung(courseware, trap)[0] == "failed"


class _Of:
    """Stands for ``resources`` in an endpoint's text: any resource's values are these."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.offerings = type("Values", (), values)


def test_records_that_lose_their_parent_are_caught(courseware: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest.RestConnector, "_with_parent", lambda _self, _spec, records, _parent: records)
    assert sprung(courseware, "records_of_several_parents")[0] == "failed"


def test_samples_of_a_nested_list_belong_to_the_first_usable_sample_of_its_parent(courseware: Path) -> None:
    expected = courseware / "samples" / "assignments.expected.json"
    before = expected.read_bytes()
    expected.unlink()
    write_expected("courseware", courseware.parent)
    assert expected.read_bytes() == before
    assert b'"external_id": "first-aid:1"' in before


def test_a_nested_list_without_a_sample_of_its_parent_is_told(courseware: Path) -> None:
    for sample in (courseware / "samples").glob("offerings.*"):
        sample.unlink()
    outcome, reason = sprung(courseware, "the_samples")
    assert outcome == "failed"
    assert "assignments: no sample of offerings holds a record assignments can be read for" in reason
    outcome, reason = sprung(courseware, "a_truncated_answer")
    assert outcome == "not applicable"
    assert "nothing can be read for the samples of offerings" in reason


# --- with a real store ---


def test_a_late_record_of_one_parent_is_landed_from_that_parents_own_cursor(
    empty_database: str, settings: Settings
) -> None:
    connector = opened("courseware", CONNECTORS, "http://127.0.0.1:9", [])
    scripts = scripts_of(connector, "courseware", CONNECTORS)
    script, incremental = scripts["assignments"], connector.manifest.resource("assignments").incremental
    assert incremental is not None
    courses = tuple(one.record for one in script.above)
    scripts["offerings"] = replace(scripts["offerings"], records=courses)
    # Each parent stands 30 days before the one after it.
    until = {
        parent.key: CHECKPOINT + timedelta(days=30 * place) for place, parent in enumerate(script.parents)
    }
    late, *held = (at(record, incremental, until[str(key_of(record))]) for record in script.records)
    late = at(late, incremental, until[script.parents[0].key] - incremental.lookback / 2)
    store = IntegrationStore(settings)
    with ScriptedPartner(connector, scripts, credential()) as partner:
        scripts["assignments"] = replace(script, records=tuple(held))
        _run(partner, settings, store, 1)
        partner.behave()
        scripts["assignments"] = replace(script, records=(late, *held))
        _run(partner, settings, store, 2)
        asked = {seen.parent.key: seen.asked.query["updated_since"] for seen in partner.seen if seen.parent}
    stored = {doc["external_id"] for doc in store["npo_raw"].find({"resource": "assignments"})}
    store.close()
    assert asked == {
        key: (moment - incremental.lookback).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        for key, moment in until.items()
    }
    assert stored == {
        connector.external_id("assignments", script.as_read(record)) for record in script.records
    }


def _run(partner: ScriptedPartner, settings: Settings, store: IntegrationStore, number: int) -> None:
    """Read and land what the partner has."""
    row = make_row(partner.url, connector="courseware")
    ctx = RunContext(
        npo=row,
        run_id=f"nested__{number}",
        connector=open_connector(row, credential(), settings, retry=Waits().policy(), folder=CONNECTORS),
        store=store,
        landing=LandingZone(settings),
        settings=settings,
    )
    ref = extract(ctx)
    assert ref is not None
    land_raw(ctx, ref)

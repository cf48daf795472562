"""Every known trap, by name, sprung on every connector by a scripted partner; and each trap can catch."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from include.cli import app
from include.connectors.discovery import connector_names
from include.errors import ConfigurationError
from include.sandbox.contract import skeleton
from include.sandbox.contract.run import TRAPS, spring

CONNECTORS = [name for name in connector_names() if name != "rest"]


@pytest.mark.parametrize("trap", TRAPS)
@pytest.mark.parametrize("name", CONNECTORS)
def test_a_connector_keeps_out_of(name: str, trap: str) -> None:
    (verdict,) = spring(name, trap)
    assert verdict.outcome != "failed", verdict.reason


@pytest.fixture
def acme(tmp_path: Path) -> Path:
    """A connector that passes, to be spoilt."""
    return skeleton.write_skeleton("acme", tmp_path)


def spoil(folder: Path, change: Any) -> None:
    file = folder / "connector.yaml"
    data = yaml.safe_load(file.read_text("utf-8"))
    change(data)
    file.write_text(yaml.safe_dump(data), "utf-8")


def verdicts(folder: Path, trap: str | None = None) -> dict[str, str]:
    return {one.trap: one.outcome for one in spring(folder.name, trap, folder.parent)}


def test_a_new_connector_passes_as_it_is_written(acme: Path) -> None:
    found = verdicts(acme)
    assert list(found) == list(TRAPS)
    assert "failed" not in found.values()
    assert sum(outcome == "ok" for outcome in found.values()) >= 24


def assignments(data: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = data["resources"]["assignments"]
    return found


def _no_lookback(data: dict[str, Any]) -> None:
    assignments(data)["incremental"]["lookback"] = "PT0S"


def _one_page_only(data: dict[str, Any]) -> None:
    data["client"]["paginator"] = "single_page"
    assignments(data)["endpoint"]["paginator"] = {"type": "json_link", "next_url_path": "elsewhere"}


def _no_unknown(data: dict[str, Any]) -> None:
    del assignments(data)["mapping"]["fields"]["status"]["default"]


def _no_own_word(data: dict[str, Any]) -> None:
    assignments(data)["mapping"]["fields"]["external_status"] = {"const": "as told"}


def _everything_withdrawn(data: dict[str, Any]) -> None:
    offerings = data["resources"]["offerings"]
    del offerings["incremental"]["param"]
    offerings["deletes"] = {"mode": "snapshot", "max_share": 1}


def _any_object_is_a_list(data: dict[str, Any]) -> None:
    for spec in data["resources"].values():
        spec["endpoint"]["data_selector"] = "data || `[]`"


def _throttling_ignored(data: dict[str, Any]) -> None:
    data["errors"] = [{"status": 429, "action": "ignore"}]


def _refusal_retried(data: dict[str, Any]) -> None:
    data["errors"] = [{"status": 401, "action": "retry"}]


def _server_error_is_final(data: dict[str, Any]) -> None:
    data["errors"] = [{"status": 503, "action": "fail"}]


def _another_selector(data: dict[str, Any]) -> None:
    assignments(data)["mapping"]["fields"]["progress.percent"] = "learner_no"


@pytest.mark.parametrize(
    ("trap", "mistake"),
    [
        ("a_record_that_arrives_late", _no_lookback),
        ("unknown_words", _no_unknown),
        ("unknown_words", _no_own_word),
        ("an_empty_list", _everything_withdrawn),
        ("an_error_body_with_status_200", _any_object_is_a_list),
        ("throttled_with_429", _throttling_ignored),
        ("a_refused_credential", _refusal_retried),
        ("a_passing_server_error", _server_error_is_final),
        ("the_samples", _another_selector),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else "",
)
def test_a_trap_catches(acme: Path, trap: str, mistake: Any) -> None:
    assert verdicts(acme, trap) == {trap: "ok"}
    spoil(acme, mistake)
    assert verdicts(acme, trap) == {trap: "failed"}


def test_a_transform_that_breaks_on_an_odd_value_is_caught(acme: Path) -> None:
    code = (
        "def odd(value):\n    if value == 'odd text':\n        raise RuntimeError(value)\n    return value\n"
    )
    (acme / "transforms.py").write_text(code, "utf-8")
    spoil(
        acme,
        lambda data: assignments(data)["mapping"]["fields"].update(
            mentor_ref={"path": "learner_no", "transform": "odd"}
        ),
    )
    skeleton.write_expected("acme", acme.parent)
    (verdict,) = spring("acme", "odd_values", acme.parent)
    assert verdict.outcome == "failed"
    assert verdict.reason == "assignments: learner_no: RuntimeError instead of a record set aside"


def test_a_transform_that_looks_at_more_than_the_mapping_says_is_caught(acme: Path) -> None:
    spoil(
        acme,
        lambda data: assignments(data)["mapping"]["fields"].update(mentor_ref={"path": "to_string(keys(@))"}),
    )
    skeleton.write_expected("acme", acme.parent)
    assert verdicts(acme, "new_fields") == {"new_fields": "failed"}


def test_a_redirect_that_is_followed_to_another_host_is_caught(
    acme: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from include.connectors.host_guard import HostGuard

    monkeypatch.setattr(HostGuard, "check", lambda *_, **__: None)
    assert verdicts(acme, "a_redirect_to_another_host") == {"a_redirect_to_another_host": "failed"}


def test_a_page_loop_that_is_not_noticed_is_caught(acme: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from include.connectors.rest import RestConnector

    monkeypatch.setattr(RestConnector, "_guard_against_loops", lambda *_: None)
    assert verdicts(acme, "a_page_that_repeats") == {"a_page_that_repeats": "failed"}


def test_a_trap_that_does_not_exist_is_refused(acme: Path) -> None:
    with pytest.raises(ConfigurationError, match="no trap 'unheard_of'; there are the_samples"):
        verdicts(acme, "unheard_of")


# --- the command ---

run = CliRunner()


def test_the_command_tells_one_line_a_trap_and_exits_with_0(acme: Path) -> None:
    done = run.invoke(app, ["connector", "test", str(acme), "--trap", "nulls"])
    assert (done.exit_code, done.stdout.split()) == (0, ["ok", "nulls"])


def test_the_command_exits_with_1_and_the_reason(acme: Path) -> None:
    spoil(acme, _no_lookback)
    done = run.invoke(app, ["connector", "test", str(acme), "--trap", "a_record_that_arrives_late"])
    assert done.exit_code == 1
    assert "failed          a_record_that_arrives_late: assignments: lookback is zero" in done.stdout


def test_expected_outcomes_are_written_on_demand(acme: Path) -> None:
    expected = acme / "samples" / "assignments.expected.json"
    before = expected.read_bytes()
    expected.unlink()
    done = run.invoke(app, ["connector", "test", str(acme), "--trap", "the_samples"])
    assert done.exit_code == 1
    done = run.invoke(app, ["connector", "test", str(acme), "--trap", "the_samples", "--write-expected"])
    assert done.exit_code == 0
    assert expected.read_bytes() == before


@pytest.mark.parametrize("name", ["../acme", "Acme", "a", "", "acme/..", "a b"])
def test_a_name_that_is_no_slug_starts_no_connector(tmp_path: Path, name: str) -> None:
    done = run.invoke(app, ["connector", "new", name, "--into", str(tmp_path)])
    assert done.exit_code == 1
    assert list(tmp_path.iterdir()) == []


def test_a_connector_that_is_there_is_not_written_over(acme: Path) -> None:
    before = copy.deepcopy((acme / "connector.yaml").read_bytes())
    done = run.invoke(app, ["connector", "new", "acme", "--into", str(acme.parent)])
    assert done.exit_code == 1
    assert (acme / "connector.yaml").read_bytes() == before


def test_the_list_names_every_connector() -> None:
    done = run.invoke(app, ["connector", "list"])
    assert done.exit_code == 0
    assert {line.split()[0] for line in done.stdout.splitlines()[1:]} >= set(CONNECTORS)

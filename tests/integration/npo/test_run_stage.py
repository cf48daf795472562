"""One stage as a DAG's task calls it, and the commands around it, with a registry row."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable
from typing import Any
from urllib.parse import urlparse

import psycopg
import pytest
from typer.testing import CliRunner

from include.cli import app
from include.errors import ConfigurationError, FatalError, TransientError
from include.npo.context import RunContext
from include.npo.run import STAGES, run_stage
from include.registry import queries
from include.registry.models import NpoConfig, NpoStatus
from include.settings import get_settings
from include.storage.landing import LandingZone
from include.storage.mongo import IntegrationStore

TOKEN = "codebridge-sandbox-token"


@pytest.fixture
def codebridge(registry_dsn, settings, topics, partners, monkeypatch):
    """A registry row of the codebridge partner, with its credential where Airflow finds it."""
    url = partners.url("codebridge")
    row = NpoConfig.model_validate(
        {
            "npo_id": "codebridge",
            "name": "Codebridge",
            "owner_email": "data@example.org",
            "status": "active",
            "connector": "codebridge",
            "base_url": url,
            "allowed_hosts": [urlparse(url).netloc],
            "credential_ref": "codebridge_api",
            "schedule": "@hourly",
            "start_date": "2026-01-01",
            "requests_per_minute": 100_000,
        }
    )
    queries.insert_npo(registry_dsn, row, 5)
    use_token(monkeypatch, TOKEN)
    LandingZone(settings).prepare()
    return row


def use_token(monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_CODEBRIDGE_API", json.dumps({"conn_type": "generic", "password": token}))


def run(stage: str, ref: Any = None, **changes: Any) -> Any:
    options: dict[str, Any] = {"run_id": "test__1", "data_interval": None, "backfill": False} | changes
    return run_stage(stage, "codebridge", ref, **options)


def test_the_stages_hand_on_a_json_able_reference_of_keys_and_counts_only(codebridge):
    ref: Any = None
    for stage in STAGES:
        ref = run(stage, ref)
        assert json.loads(json.dumps(ref)) == ref
    assert ref["counts"]["publish.published"] == ref["counts"]["transform.events"] > 0
    assert set(ref) == {"npo_id", "run_id", "manifests", "counts", "refused"}


def test_what_each_stage_did_is_kept_for_people(codebridge, settings):
    ref: Any = None
    for stage in STAGES:
        ref = run(stage, ref)
    store = IntegrationStore(settings)
    kept: Any = store["npo_run"].find_one({"_id": "codebridge|test__1"})
    store.close()
    assert set(kept["stages"]) == set(STAGES)
    assert kept["stages"]["land_raw"]["counts"]["new"] == ref["counts"]["land_raw.new"]


def test_a_refused_credential_pauses_the_integration_and_says_what_to_do(
    codebridge, registry_dsn, monkeypatch
):
    use_token(monkeypatch, "revoked-token")
    with pytest.raises(ConfigurationError) as caught:
        run("extract")
    message = str(caught.value)
    assert message.startswith("codebridge/extract: 401 from ")
    assert "integration paused" in message
    assert "credential_ref" in message
    assert "revoked-token" not in message
    assert row_now(registry_dsn)["status"] == NpoStatus.PAUSED


def row_now(registry_dsn: str) -> Any:
    return queries.row(registry_dsn, "codebridge", 5)


def stage_that(monkeypatch: pytest.MonkeyPatch, act: Callable[[RunContext], object]) -> None:
    """Make ``act`` the work of whatever stage is run next."""

    def stage(ctx, ref):
        act(ctx)
        return ref

    monkeypatch.setattr("include.npo.run._stage", lambda _name: stage)


@pytest.mark.parametrize("change", ["status = 'disabled'", "credential_ref = 'mended_api'"])
def test_a_row_a_person_has_changed_meanwhile_is_left_as_it_is(codebridge, registry_dsn, monkeypatch, change):
    def refused_while_somebody_mends_it(_ctx):
        with psycopg.connect(registry_dsn) as connection:
            connection.execute(f"update integration.npo set {change}")  # noqa: S608 - from below
        raise ConfigurationError("401 from there", pauses=True)

    stage_that(monkeypatch, refused_while_somebody_mends_it)
    with pytest.raises(ConfigurationError) as caught:
        run("extract")
    assert str(caught.value) == "codebridge/extract: 401 from there"
    row = row_now(registry_dsn)
    assert row["status"] == ("disabled" if "disabled" in change else "active")
    assert row["config_version"] == 2


def fails_with_a_duplicate_key(ctx: RunContext) -> None:
    ctx.store["npo_run"].insert_many([{"_id": "jo.bloggs@example.org"}] * 2)


def fails_with_a_name_no_document_may_have(ctx: RunContext) -> None:
    ctx.store["npo_run"].insert_one({"jo.bloggs": object()})


def fails_with_a_refused_call(ctx: RunContext) -> None:
    ctx.landing.client.get_object(Bucket=ctx.settings.landing_bucket, Key="jo.bloggs")


def fails_with_a_malformed_call(ctx: RunContext) -> None:
    ctx.landing.client.get_object(Bucket="jo.bloggs?", Key="k")


@pytest.mark.parametrize(
    ("fails", "error", "told"),
    [
        (fails_with_a_duplicate_key, TransientError, "BulkWriteError 65"),
        (fails_with_a_name_no_document_may_have, FatalError, "InvalidDocument"),
        (fails_with_a_refused_call, TransientError, "NoSuchKey NoSuchKey"),
        (fails_with_a_malformed_call, TransientError, "ParamValidationError"),
    ],
)
def test_a_drivers_error_is_told_without_its_text(codebridge, monkeypatch, fails, error, told):
    stage_that(monkeypatch, fails)
    with pytest.raises(error) as caught:
        run("land_raw")
    assert type(caught.value) is error
    assert str(caught.value).startswith("codebridge/land_raw: ")
    assert f"({told})" in str(caught.value)
    shown = "".join(traceback.format_exception(caught.value))
    assert "bloggs" not in shown


def test_a_drivers_error_as_a_cause_is_not_shown_either(codebridge, monkeypatch):
    def fails(ctx):
        try:
            fails_with_a_duplicate_key(ctx)
        except Exception as error:
            raise TransientError("the store refused a batch") from error

    stage_that(monkeypatch, fails)
    with pytest.raises(TransientError) as caught:
        run("land_raw")
    assert "bloggs" not in "".join(traceback.format_exception(caught.value))


def test_a_bug_keeps_its_own_error(codebridge, monkeypatch):
    stage_that(monkeypatch, lambda ctx: getattr(ctx, "no_such_" + "thing"))
    with pytest.raises(AttributeError, match="no_such_thing"):
        run("land_raw")


def test_a_partner_that_is_unwell_pauses_nothing(codebridge, registry_dsn, partners, monkeypatch):
    partners.admin(
        "codebridge",
        "POST",
        "faults",
        json=[{"path_regex": ".", "kind": "status", "status": 429, "headers": {"Retry-After": "3600"}}],
    )
    with pytest.raises(TransientError, match="codebridge/extract"):
        run("extract")
    assert row_now(registry_dsn)["status"] == NpoStatus.ACTIVE


def test_later_stages_need_no_credential(codebridge, monkeypatch):
    ref = run("extract")
    monkeypatch.delenv("AIRFLOW_CONN_CODEBRIDGE_API")
    for stage in STAGES[1:]:
        ref = run(stage, ref)
    assert ref["counts"]["publish.published"] > 0


def test_a_disabled_row_does_not_run(codebridge, registry_dsn):
    queries.set_status(registry_dsn, "codebridge", NpoStatus.DISABLED, 5)
    with pytest.raises(ConfigurationError, match="status 'disabled'"):
        run("extract")


def test_a_row_that_is_not_there_says_so(registry_dsn, settings):
    with pytest.raises(ConfigurationError, match="codebridge/extract: the registry row is not there"):
        run("extract")


def test_the_command_run_runs_the_stages_and_tail_shows_the_events(codebridge):
    commands = CliRunner()
    prepared = commands.invoke(app, ["events", "tail", "--no-follow", "--seconds", "0", "--name", "watcher"])
    assert prepared.exit_code == 0, prepared.output
    done = commands.invoke(app, ["run", "npo__codebridge", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)  # one JSON line and nothing else
    assert [entry["stage"] for entry in told["stages"]] == list(STAGES)

    shown = commands.invoke(
        app, ["events", "tail", "--json", "--no-follow", "--seconds", "6", "--name", "watcher"]
    )
    events = [json.loads(line) for line in shown.stdout.splitlines() if line.startswith("{")]
    assert len(events) == told["counts"]["publish.published"]

    again = commands.invoke(app, ["run", "npo__codebridge"])
    assert "nothing new upstream and nothing pending" in again.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["esr_outward"], "no DAG 'esr_outward'"),
        (["npo__x", "--from", "2026-01-01"], "belong together"),
        (["npo__x", "--date", "2026-01-01", "--to", "2026-01-02"], "leave out --from and --to"),
        (["npo__x", "--from", "2026-01-02", "--to", "2026-01-01"], "must be later"),
    ],
)
def test_the_command_run_refuses_what_it_cannot_run(arguments, told, monkeypatch):
    # With nothing set the command would take the environment of a local stack and leave it to later tests.
    monkeypatch.setenv("SPOTLIGHT_MONGO_URI", "mongodb://127.0.0.1:9")
    answer = CliRunner().invoke(app, ["run", *arguments])
    assert answer.exit_code != 0
    assert told in " ".join(answer.output.split())


def test_the_settings_are_those_of_the_test(settings):
    assert get_settings() == settings

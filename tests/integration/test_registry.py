"""The config table on a real PostgreSQL: migrations, history, queries, the catalogue and the CLI."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from pydantic import SecretStr
from typer.testing import CliRunner

from include.connectors.discovery import load_manifest
from include.connectors.manifest import parse_manifest
from include.errors import ConfigurationError, TransientError
from include.registry import catalogue, queries
from include.registry.health import RegistryUnhealthyError, check_registry
from include.registry.migrate import MIGRATIONS, apply_migrations
from include.registry.models import NpoConfig, NpoStatus
from include.registry.shards import SHARDS, row_versions, shard_of, shard_rows, snapshot_file
from include.settings import Settings, get_settings

TIMEOUT = 5
HOPEWORKS = shard_of("hopeworks")
NOWHERE = "postgresql://me:hidden-password@127.0.0.1:9/none"


def npo(npo_id: str = "hopeworks", **changes: Any) -> NpoConfig:
    return NpoConfig.model_validate(
        {
            "npo_id": npo_id,
            "name": "Hopeworks",
            "owner_email": "owner@example.org",
            "status": NpoStatus.ACTIVE,
            "connector": "hopeworks",
            "base_url": "http://127.0.0.1:8080",
            "allowed_hosts": ["127.0.0.1:8080"],
            "credential_ref": "hopeworks_api",
            "manifest": {"client": {"timeout": 12}},
            "schedule": "@hourly",
            "timezone": "Europe/London",
            "start_date": date(2026, 1, 1),
        }
        | changes
    )


@pytest.fixture
def execute(registry_dsn: str) -> Callable[..., Any]:
    """Run one statement in a transaction of its own and return its rows, if it has any."""

    def run(statement: str, *values: object) -> list[Any]:
        with psycopg.connect(registry_dsn) as connection:
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    return run


@pytest.fixture
def here(registry_dsn: str, tmp_path: Path) -> Settings:
    return Settings(
        registry_dsn=SecretStr(registry_dsn), registry_snapshot=tmp_path / "s.json", registry_timeout=TIMEOUT
    )


@pytest.fixture
def empty_database(registry_dsn: str) -> Any:
    """A database without any migration."""
    name = "empty_" + registry_dsn.rsplit("/", 1)[1]
    with psycopg.connect(registry_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {} template template0").format(sql.Identifier(name)))
        yield f"{registry_dsn.rsplit('/', 1)[0]}/{name}"
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


# migrations


def test_migrations_are_applied_once_and_in_order(empty_database: str):
    expected = sorted(file.stem for file in MIGRATIONS.glob("*.sql"))
    assert apply_migrations(empty_database) == expected
    assert apply_migrations(empty_database) == []


def test_of_processes_that_migrate_at_once_one_works_and_all_succeed(empty_database: str):
    with ThreadPoolExecutor(4) as pool:
        applied = list(pool.map(apply_migrations, [empty_database] * 4))
    assert sorted(map(len, applied)) == [0, 0, 0, len(list(MIGRATIONS.glob("*.sql")))]


def test_a_lock_left_by_a_killed_process_does_not_stop_the_next(empty_database: str):
    apply_migrations(empty_database)
    with psycopg.connect(empty_database) as connection:
        connection.execute("insert into integration.yoyo_lock (locked, ctime, pid) values (1, now(), 1)")
    assert apply_migrations(empty_database) == []


def test_a_failed_migration_leaves_no_trace_and_says_what_is_wrong(empty_database: str, tmp_path: Path):
    (tmp_path / "0001-good.sql").write_text("create table integration.good (a int);")
    (tmp_path / "0002-bad.sql").write_text("create table integration.half (a int); select no_such_column;")
    with pytest.raises(ConfigurationError, match="no_such_column"):
        apply_migrations(empty_database, folder=tmp_path)
    with psycopg.connect(empty_database) as connection:
        tables = connection.execute("select to_regclass('integration.good'), to_regclass('integration.half')")
        assert tables.fetchone() == ("integration.good", None)
    (tmp_path / "0002-bad.sql").write_text("create table integration.half (a int);")
    assert apply_migrations(empty_database, folder=tmp_path) == ["0002-bad"]


def test_an_unreachable_database_is_transient_and_hides_the_password():
    with pytest.raises(TransientError) as caught:
        apply_migrations(NOWHERE)
    assert "hidden-password" not in str(caught.value)


@pytest.mark.parametrize("dsn", ["mysql://a/b", "host=x password=hidden-password", ""])
def test_a_dsn_that_is_no_uri_is_refused_without_being_shown(dsn: str):
    with pytest.raises(ConfigurationError) as caught:
        apply_migrations(dsn)
    assert "hidden-password" not in str(caught.value)


# the table


@pytest.mark.parametrize(
    "values",
    [
        {"npo_id": "Hope Works"},
        {"npo_id": "x"},
        {"status": "running"},
        {"requests_per_minute": 0},
        {"requests_per_minute": -1},
        {"max_concurrency": 0},
        {"manifest": '["a"]'},
        {"allowed_hosts": "{}"},
        {"owner_email": "nobody"},
        {"base_url": "ftp://example.org"},
        {"name": ""},
    ],
    ids=str,
)
def test_the_database_itself_refuses_bad_values(execute: Callable[..., Any], values: dict[str, object]):
    row = {
        "npo_id": "hopeworks",
        "name": "Hopeworks",
        "owner_email": "o@example.org",
        "connector": "hopeworks",
        "base_url": "http://h",
        "allowed_hosts": "{h}",
    } | values
    insert = f"insert into integration.npo ({', '.join(row)}) values ({', '.join(['%s'] * len(row))})"  # noqa: S608
    with pytest.raises(psycopg.errors.CheckViolation):
        execute(insert, *row.values())


def test_every_change_is_kept_with_who_and_what(registry_dsn: str, execute: Callable[..., Any]):
    queries.insert_npo(registry_dsn, npo(), TIMEOUT, changed_by="ann")
    queries.set_status(registry_dsn, "hopeworks", NpoStatus.PAUSED, TIMEOUT, changed_by="bob")
    execute("update integration.npo set name = 'New name', updated_by = 'cleo'")
    execute("update integration.npo set name = 'Newer name'")
    execute("delete from integration.npo")
    changes = queries.history(registry_dsn, "hopeworks", TIMEOUT)
    user = execute("select session_user")[0][0]
    assert [(change.operation, change.changed_by) for change in changes] == [
        ("INSERT", "ann"),
        ("UPDATE", "bob"),
        ("UPDATE", "cleo"),
        ("UPDATE", user),
        ("DELETE", user),
    ]
    versions = [(change.new_row or {}).get("config_version") for change in changes]
    assert versions == [1, 2, 3, 4, None]
    assert [(change.old_row or {}).get("status") for change in changes[:2]] == [None, "active"]
    assert (changes[1].new_row or {})["status"] == "paused"
    assert (changes[4].old_row or {})["name"] == "Newer name"
    assert changes[0].changed_at < changes[4].changed_at


def test_an_update_that_changes_nothing_is_no_change(registry_dsn: str):
    queries.insert_npo(registry_dsn, npo(), TIMEOUT)
    queries.set_status(registry_dsn, "hopeworks", NpoStatus.ACTIVE, TIMEOUT, changed_by="ann")
    assert len(queries.history(registry_dsn, "hopeworks", TIMEOUT)) == 1
    [row] = queries.all_rows(registry_dsn, TIMEOUT)
    assert row["config_version"] == 1


def test_version_and_creation_cannot_be_forged_and_the_id_cannot_change(
    registry_dsn: str, execute: Callable[..., Any]
):
    queries.insert_npo(registry_dsn, npo(), TIMEOUT)
    execute("update integration.npo set config_version = 99, created_at = 'epoch', name = 'x'")
    [row] = queries.all_rows(registry_dsn, TIMEOUT)
    assert row["config_version"] == 2
    assert not row["created_at"].startswith("1970")
    with pytest.raises(psycopg.errors.CheckViolation, match="cannot be changed"):
        execute("update integration.npo set npo_id = 'other'")


# queries


def test_an_inserted_row_comes_back_as_it_was(registry_dsn: str):
    queries.insert_npo(registry_dsn, npo(), TIMEOUT)
    [row] = queries.active_rows(registry_dsn, TIMEOUT)
    stamped = {"created_at", "updated_at", "updated_by"}
    assert NpoConfig.model_validate(row).model_dump(exclude=stamped) == npo().model_dump(exclude=stamped)
    assert json.loads(json.dumps(row)) == row


def test_rows_with_a_dag_are_active_and_paused_sorted_by_bytes(registry_dsn: str):
    for npo_id, status in [("b_z", "active"), ("bb", "paused"), ("b1", "active"), ("c", "draft")]:
        queries.insert_npo(registry_dsn, npo(f"x{npo_id}", status=status), TIMEOUT)
    assert [row["npo_id"] for row in queries.active_rows(registry_dsn, TIMEOUT)] == ["xb1", "xb_z", "xbb"]
    assert len(queries.all_rows(registry_dsn, TIMEOUT)) == 4


def test_a_second_row_under_one_id_is_refused(registry_dsn: str):
    queries.insert_npo(registry_dsn, npo(), TIMEOUT)
    with pytest.raises(ConfigurationError, match="npo_pkey"):
        queries.insert_npo(registry_dsn, npo(), TIMEOUT)


def test_the_status_of_no_row_cannot_be_set(registry_dsn: str):
    with pytest.raises(ConfigurationError, match="no row 'nobody'"):
        queries.set_status(registry_dsn, "nobody", NpoStatus.ACTIVE, TIMEOUT)
    assert queries.row(registry_dsn, "nobody", TIMEOUT) is None


def test_an_active_row_in_the_version_that_was_read_is_paused(registry_dsn: str):
    queries.insert_npo(registry_dsn, npo(), TIMEOUT)
    assert queries.pause_npo(registry_dsn, "hopeworks", 1, TIMEOUT, changed_by="pipeline")
    [_, paused] = queries.history(registry_dsn, "hopeworks", TIMEOUT)
    assert paused.changed_by == "pipeline"
    assert paused.new_row
    assert paused.new_row["status"] == "paused"


@pytest.mark.parametrize(
    "change",
    ["status = 'disabled'", "status = 'draft'", "status = 'paused'", "credential_ref = 'mended_api'"],
)
def test_a_row_changed_since_it_was_read_is_not_paused(
    registry_dsn: str, execute: Callable[..., Any], change: str
):
    queries.insert_npo(registry_dsn, npo(), TIMEOUT)
    execute(f"update integration.npo set {change}")  # noqa: S608 - from above
    before = queries.row(registry_dsn, "hopeworks", TIMEOUT)
    assert not queries.pause_npo(registry_dsn, "hopeworks", 1, TIMEOUT)
    assert queries.row(registry_dsn, "hopeworks", TIMEOUT) == before


def test_a_disabled_row_is_not_paused_whatever_its_version(registry_dsn: str):
    queries.insert_npo(registry_dsn, npo(status="disabled"), TIMEOUT)
    assert not queries.pause_npo(registry_dsn, "hopeworks", 1, TIMEOUT)


def test_a_database_without_migrations_says_so(empty_database: str):
    with pytest.raises(ConfigurationError, match="apply sql/migrations"):
        queries.active_rows(empty_database, TIMEOUT)


def test_a_server_that_accepts_and_never_answers_is_given_up_in_time(registry_dsn: str):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        with pytest.raises(TransientError):
            queries.active_rows(f"postgresql://u@127.0.0.1:{silent.getsockname()[1]}/d", 2)
        assert time.monotonic() - began < 10


def test_a_locked_table_is_given_up_in_time(registry_dsn: str):
    with psycopg.connect(registry_dsn) as connection:
        connection.execute("lock table integration.npo")
        with pytest.raises(TransientError, match="timeout"):
            queries.active_rows(registry_dsn, 1)


# the catalogue


def test_a_broken_row_does_not_hide_the_others(
    here: Settings, registry_dsn: str, execute: Callable[..., Any]
):
    shard = shard_of("sick")
    good = next(name for n in range(1000) if shard_of(name := f"good_{n}") == shard)
    for npo_id in (good, "sick"):
        queries.insert_npo(registry_dsn, npo(npo_id), TIMEOUT)
    execute("update integration.npo set timezone = 'Mars/Base' where npo_id = 'sick'")
    found = catalogue.load_shard(shard, here)
    assert [config.npo_id for config in found.configs] == [good]
    assert [row.npo_id for row in found.broken] == ["sick"]
    assert found.broken[0].problem.startswith("timezone: 'Mars/Base' is not an IANA time zone")


def test_a_column_of_a_later_release_breaks_no_row(
    here: Settings, registry_dsn: str, execute: Callable[..., Any]
):
    queries.insert_npo(registry_dsn, npo(), TIMEOUT)
    execute("alter table integration.npo add column brand_new text default 'x'")
    assert catalogue.load_shard(HOPEWORKS, here).broken == ()


def test_in_an_outage_the_last_good_rows_are_used(here: Settings, registry_dsn: str):
    queries.insert_npo(registry_dsn, npo(), TIMEOUT)
    before = catalogue.load_shard(HOPEWORKS, here)
    outage = catalogue.load_shard(HOPEWORKS, here.model_copy(update={"registry_dsn": SecretStr(NOWHERE)}))
    assert (before.source, outage.source) == ("registry", "snapshot")
    assert outage.configs == before.configs
    assert "does not answer" in outage.outage
    assert "hidden-password" not in outage.outage


def test_a_snapshot_that_cannot_be_written_does_not_stop_the_parse(here: Settings, tmp_path: Path):
    (tmp_path / "file").touch()
    blocked = here.model_copy(update={"registry_snapshot": tmp_path / "file" / "s.json"})
    assert catalogue.load_shard(HOPEWORKS, blocked).source == "registry"


def test_one_dag_reads_one_row_and_leaves_no_snapshot(here: Settings, registry_dsn: str, tmp_path: Path):
    for npo_id in ("good", "other"):
        queries.insert_npo(registry_dsn, npo(npo_id), TIMEOUT)
    found = catalogue.load_dag("npo__other", here)
    assert found
    assert found.npo_id == "other"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dag_id", ["npo__nobody", "npo__drafted", "esr_inbound"])
def test_a_dag_without_a_row_is_none(here: Settings, registry_dsn: str, dag_id: str):
    queries.insert_npo(registry_dsn, npo("drafted", status="draft"), TIMEOUT)
    assert catalogue.load_dag(dag_id, here) is None


def test_every_row_with_a_dag_is_in_the_shard_python_says_and_in_no_other(
    here: Settings, registry_dsn: str, execute: Callable[..., Any]
):
    queries.insert_npo(registry_dsn, npo("first"), TIMEOUT)
    execute(
        "insert into integration.npo (npo_id, name, owner_email, status, connector, base_url, allowed_hosts)"
        " select 'npo_' || n, 'x', 'o@example.org', (array['active', 'paused', 'draft'])[1 + mod(n, 3)],"
        " 'hopeworks', 'http://h', '{h}' from generate_series(1, 299) as n"
    )
    shards = [[row["npo_id"] for row in shard_rows(registry_dsn, n, TIMEOUT)] for n in range(SHARDS)]
    assert all(shard_of(npo_id) == number for number, ids in enumerate(shards) for npo_id in ids)
    assert all(ids == sorted(ids) for ids in shards)
    found = [npo_id for ids in shards for npo_id in ids]
    assert sorted(found) == sorted(row_versions(registry_dsn, TIMEOUT))
    assert len(found) == 1 + 199


# the registry's health


def test_what_the_shards_found_is_told_without_looking_again(here: Settings, registry_dsn: str, execute: Any):
    queries.insert_npo(registry_dsn, npo(), TIMEOUT)
    execute("update integration.npo set timezone = 'Mars/Base'")
    with pytest.raises(RegistryUnhealthyError, match="Mars/Base"):  # no shard's file was read yet: it looks
        check_registry(here)
    with pytest.raises(RegistryUnhealthyError) as caught:
        check_registry(here)
    assert "'hopeworks'" in str(caught.value)
    assert "does not answer" not in str(caught.value)


@pytest.mark.parametrize(
    "repair",
    ["update integration.npo set timezone = 'UTC'", "delete from integration.npo"],
)
def test_a_finding_about_a_row_that_has_changed_is_not_repeated(
    here: Settings, registry_dsn: str, execute: Any, repair: str
):
    queries.insert_npo(registry_dsn, npo(), TIMEOUT)
    execute("update integration.npo set timezone = 'Mars/Base'")
    catalogue.load_shard(HOPEWORKS, here)
    execute(repair)
    check_registry(here)


def test_an_outage_is_told_with_the_age_of_the_oldest_snapshot(here: Settings, registry_dsn: str):
    queries.insert_npo(registry_dsn, npo(), TIMEOUT)
    check_registry(here)
    then = time.time() - 3600
    os.utime(snapshot_file(here.registry_snapshot, 3), (then, then))
    with pytest.raises(RegistryUnhealthyError, match=r"does not answer.*1 h 0 min old"):
        check_registry(here.model_copy(update={"registry_dsn": SecretStr(NOWHERE)}))


# spotlight npo


@pytest.fixture
def spotlight(registry_dsn: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    from include.cli import app

    monkeypatch.setenv("SPOTLIGHT_REGISTRY_DSN", registry_dsn)
    get_settings.cache_clear()
    yield lambda *words: CliRunner().invoke(app, ["npo", *words])
    get_settings.cache_clear()


def test_npo_list_names_every_row_and_what_is_broken(
    spotlight: Any, registry_dsn: str, execute: Callable[..., Any]
):
    queries.insert_npo(registry_dsn, npo("good"), TIMEOUT)
    queries.insert_npo(registry_dsn, npo("sick", schedule="@hourly", status="draft"), TIMEOUT)
    execute("update integration.npo set schedule = 'now and then' where npo_id = 'sick'")
    listed = json.loads(spotlight("list", "--json").stdout)
    assert [(row["npo_id"], row["status"]) for row in listed] == [("good", "active"), ("sick", "draft")]
    assert listed[0]["problem"] is None
    assert "now and then" in listed[1]["problem"]
    assert "! sick: 'now and then'" in spotlight("list").stdout


def test_a_name_cannot_steer_the_terminal(spotlight: Any, registry_dsn: str):
    queries.insert_npo(registry_dsn, npo(name="Hope\x1b[31mworks"), TIMEOUT)
    for command in (["list"], ["show", "hopeworks"]):
        assert "\x1b" not in spotlight(*command).stdout


def test_npo_show_tells_the_row_and_its_changes(spotlight: Any, registry_dsn: str):
    queries.insert_npo(registry_dsn, npo(), TIMEOUT, changed_by="ann")
    queries.set_status(registry_dsn, "hopeworks", NpoStatus.PAUSED, TIMEOUT, changed_by="bob")
    shown = json.loads(spotlight("show", "hopeworks", "--json").stdout)
    assert shown["row"]["status"] == "paused"
    assert [(change["by"], change["fields"]) for change in shown["history"]] == [
        ("ann", []),
        ("bob", ["status"]),
    ]
    assert "by bob status" in spotlight("show", "hopeworks").stdout


def test_npo_show_tells_the_manifest_the_row_comes_to(
    spotlight: Any, registry_dsn: str, execute: Callable[..., Any]
):
    queries.insert_npo(registry_dsn, npo(manifest={"client": {"timeout": 12}}), TIMEOUT)
    merged = json.loads(spotlight("show", "hopeworks", "--json").stdout)["manifest_merged"]
    assert merged["client"]["timeout"] == 12
    assert set(merged["resources"]) == {"offerings", "assignments"}  # the connector's own
    assert parse_manifest(merged) == load_manifest(npo(manifest={"client": {"timeout": 12}}))
    assert '    "timeout": 12' in spotlight("show", "hopeworks").stdout
    execute("""update integration.npo set manifest = '{"resources": 7}'""")
    broken = json.loads(spotlight("show", "hopeworks", "--json").stdout)
    assert broken["manifest_merged"] is None
    assert "resources" in broken["problem"]


def test_npo_show_of_no_row_is_one_line_and_exit_code_1(spotlight: Any):
    result = spotlight("show", "nobody")
    assert result.exit_code == 1
    assert "no row 'nobody'" in result.output
    assert "Traceback" not in result.output

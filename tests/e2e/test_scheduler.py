"""End to end through a real scheduler: from three APIs to a consumer's queues, and again."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, LiteralString
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest

from include.sandbox.airflow.local_airflow import COMMANDS
from include.sandbox.airflow.settings_file import load_settings, read_settings_file
from include.sandbox.demo.rows import PARTNERS
from include.sandbox.demo.session import SETTINGS_FILE
from include.sandbox.demo.summary import problems
from include.sandbox.stack.errors import StackError

if TYPE_CHECKING:
    from collections.abc import Callable

    from include.sandbox.demo.session import Session
    from tests.e2e.conftest import Proven

NEW_NPO = "late_arrival"
NEW_DAG = f"npo__{NEW_NPO}"


def within(seconds: float, condition: Callable[[], object]) -> bool:
    """Return whether the condition comes true in time, looking twice a second."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.5)
    return False


def sql(session: Session, statement: LiteralString, **values: object) -> None:
    with psycopg.connect(session.settings.registry_dsn.get_secret_value()) as connection:
        connection.execute(statement, values)


def entities(session: Session) -> dict[str, tuple[object, ...]]:
    """Return version, content and partner's id of every entity in the store."""
    found: dict[str, tuple[object, ...]] = {}
    for collection in ("npo_offering", "npo_assignment"):
        for document in session.store[collection].find({"npo_id": {"$in": list(PARTNERS)}}):
            key = f"{collection}/{document['_id']}"
            found[key] = (document["version"], document["content_hash"], document["external_id"])
    return found


def finished(session: Session, dag_id: str) -> bool:
    return all(run["state"] in {"success", "failed"} for run in session.airflow.api.runs(dag_id))


def test_a_consumer_receives_every_offering_and_assignment_once(proven: Proven):
    assert problems(proven.outcome.received, proven.outcome.truth) == []


def test_what_the_partners_call_bad_is_set_aside_and_nothing_else(proven: Proven):
    aside = {"state": "open", "owner": {"$in": list(PARTNERS)}}
    assert proven.session.store["quarantine"].count_documents(aside) == proven.outcome.truth.bad


def test_the_store_holds_what_the_partners_have_and_owes_nothing(proven: Proven):
    store, truth = proven.session.store, proven.outcome.truth
    for resource in ("offerings", "assignments"):
        assert store[f"npo_{resource[:-1]}"].count_documents({}) == truth.count(resource)
    assert store["outbox"].count_documents({"pending": True}) == 0
    assert store["npo_raw"].count_documents({"pending": True}) == 0


def test_the_settings_file_is_loaded_and_loading_it_again_is_harmless(proven: Proven):
    api, settings = proven.session.airflow.api, read_settings_file(SETTINGS_FILE)
    load_settings(api, settings)
    pools = {pool["name"]: pool["slots"] for pool in api.get("pools")["pools"]}
    assert {pool.pool_name: pool.pool_slot for pool in settings.pools}.items() <= pools.items()
    known = {connection["connection_id"] for connection in api.get("connections")["connections"]}
    assert {connection.conn_id for connection in settings.connections} <= known


def test_what_airflow_refuses_is_said(proven: Proven):
    with pytest.raises(StackError, match="pools"):
        proven.session.airflow.api.overwrite("pools", [{"name": "endless", "slots": -7}])


def test_airflow_listens_on_the_loopback_only(proven: Proven):
    book = proven.session.airflow._book
    sessions = {record.sid for name in COMMANDS if (record := book.get(name))}
    listening = {
        connection.laddr[:1]
        for connection in psutil.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
        and connection.pid
        and os.getsid(connection.pid) in sessions
    }
    assert listening == {("127.0.0.1",)}


def test_a_second_run_with_nothing_new_skips_what_comes_after_extract(proven: Proven):
    api = proven.session.airflow.api
    api.trigger("npo__codebridge", "nothing_new")
    assert within(90, lambda: finished(proven.session, "npo__codebridge"))
    states = {task["task_id"]: task["state"] for task in api.task_instances("npo__codebridge", "nothing_new")}
    assert states.pop("extract") == "success"
    assert set(states.values()) == {"skipped"}


def test_clearing_every_run_ends_the_same_and_tells_nobody_twice(proven: Proven):
    session, api = proven.session, proven.session.airflow.api
    before, told = entities(session), proven.receive_until_quiet()
    for npo_id in PARTNERS:
        for run in api.runs(f"npo__{npo_id}"):
            api.clear(f"npo__{npo_id}", run["dag_run_id"])
    assert within(240, lambda: all(finished(session, f"npo__{npo_id}") for npo_id in PARTNERS))
    for npo_id in PARTNERS:
        assert {run["state"] for run in api.runs(f"npo__{npo_id}")} == {"success"}
    assert set(proven.receive_until_quiet()) == set(told)
    assert entities(session) == before
    assert proven.outcome.received.conflicts == []


@pytest.fixture
def late_arrival(proven: Proven) -> Session:
    """A fourth row, put into the table by plain SQL while everything runs."""
    session = proven.session
    url = session.urls["codebridge"]
    sql(
        session,
        "insert into integration.npo (npo_id, name, owner_email, status, connector, base_url, allowed_hosts,"
        " credential_ref, schedule, start_date) values (%(id)s, 'Late', 'late@spotlight.example', 'active',"
        " 'codebridge', %(url)s, %(hosts)s, 'codebridge_api', '*/2 * * * *', date '2026-01-01')"
        " on conflict (npo_id) do update set status = 'active'",
        id=NEW_NPO,
        url=url,
        hosts=[urlsplit(url).netloc],
    )
    return session


def test_a_row_is_a_running_dag_within_30_seconds_and_follows_its_status(late_arrival: Session):
    session, api = late_arrival, late_arrival.airflow.api

    def is_paused() -> bool | None:
        dag = api.dag(NEW_DAG)
        return None if dag is None else bool(dag["is_paused"])

    assert within(30, lambda: api.dag(NEW_DAG) and api.runs(NEW_DAG)), "no run 30 s after the insert"

    sql(session, "update integration.npo set status = 'paused' where npo_id = %(id)s", id=NEW_NPO)
    assert within(30, lambda: is_paused() is True), "the DAG of a paused row is not paused"

    sql(session, "update integration.npo set status = 'active' where npo_id = %(id)s", id=NEW_NPO)
    assert within(30, lambda: is_paused() is False), "the DAG of an active row is still paused"

    sql(session, "update integration.npo set status = 'disabled' where npo_id = %(id)s", id=NEW_NPO)
    assert within(90, lambda: api.dag(NEW_DAG) is None), "the DAG of a disabled row is still listed"
    assert {dag["dag_id"] for dag in api.dags(tag="npo")} >= {f"npo__{npo_id}" for npo_id in PARTNERS}


def test_a_bad_row_leaves_every_other_dag_in_place(proven: Proven):
    session, api = proven.session, proven.session.airflow.api
    broken = "update integration.npo set schedule = %(schedule)s where npo_id = 'mentornet'"
    sql(session, broken, schedule="every now and then")
    try:
        time.sleep(25)
        listed = {dag["dag_id"] for dag in api.dags(tag="npo")}
        assert listed >= {"npo__hopeworks", "npo__codebridge"}
    finally:
        sql(session, broken, schedule="*/5 * * * *")
    assert within(60, lambda: api.dag("npo__mentornet"))

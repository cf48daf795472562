"""The alarms of the enrolment DAG in a real triggerer: runs that neither the sweep nor a person started."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from include.npo.context import utc_now
from include.npo.enrolment.desk import Person, found, refuse
from include.npo.enrolment.record import State
from include.npo.enrolment.records import reference_of
from include.sandbox.platform.commands import Choice, choose
from include.sandbox.platform.platform import Platform
from tests.e2e.test_scheduler import finished, within

if TYPE_CHECKING:
    from include.sandbox.demo.session import Session
    from tests.e2e.conftest import Proven

NPO = "mentornet"  # a person of ours must let each of its enrolments go
DAG_ID = "npo_enrolment"
SWEEP_EVERY = 300
PATIENCE = 120


def alarms(session: Session, since: datetime) -> list[dict[str, Any]]:
    """Return what the alarms have told since."""
    found = session.airflow.api.get(
        "assets/events", timestamp_gte=since.isoformat(), name_pattern="enrolment_commands", limit=100
    )
    return [event["extra"]["payload"] for event in found["asset_events"]]


@pytest.fixture
def between_sweeps(proven: Proven) -> Session:
    """The session, no run under way and none due for a while."""
    while not 10 < time.time() % SWEEP_EVERY < SWEEP_EVERY - PATIENCE:
        time.sleep(1)
    assert within(PATIENCE, lambda: finished(proven.session, DAG_ID))
    return proven.session


def test_a_command_wakes_a_run_and_so_does_what_a_person_decides(between_sweeps: Session):
    session, platform = between_sweeps, Platform(between_sweeps.settings)
    offering = session.store["npo_offering"].find_one({"npo_id": NPO, "status": "active"})
    assert offering is not None
    (command,) = choose({NPO: [Choice(offering["_id"])]}, 1, seed=time.time_ns(), start=datetime.now(UTC))
    reference, sent = reference_of(NPO, command.assignment_id), utc_now()
    platform.send([command])
    known = session.store["enrolment"]
    waiting = {"_id": reference, "state": State.AWAITING_APPROVAL.value}
    assert within(PATIENCE, lambda: known.find_one(waiting))
    assert any("waiting" in told for told in alarms(session, sent))

    assert within(PATIENCE, lambda: finished(session, DAG_ID))
    refused = utc_now()
    refuse(session.store, [reference], Person("e2e", "the platform must hear of it"), now=utc_now)
    assert within(PATIENCE, lambda: platform.listen().word(command.assignment_id) == "rejected")
    assert found(session.store, reference).state is State.REJECTED
    assert any("npos" in told for told in alarms(session, refused))

"""The two flows: ``demo`` proves the main job and ends, ``run`` stays up and shows it at work."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from include.events.consumer import Consumer
from include.sandbox.demo import esr, follow, outbound
from include.sandbox.demo.enrolment import RoundTrip, untold
from include.sandbox.demo.received import Received, describe_missing
from include.sandbox.demo.rows import PARTNERS
from include.sandbox.demo.steps import ENDED, ScheduledSteps, wait_for_dag
from include.sandbox.demo.truth import read_truth
from include.sandbox.platform.platform import Platform
from include.sandbox.stack.errors import StackError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from include.sandbox.demo.enrolment import EnrolmentOutcome
    from include.sandbox.demo.esr import EsrSummary, EsrTruth
    from include.sandbox.demo.follow import DagView
    from include.sandbox.demo.outbound import OutOutcome
    from include.sandbox.demo.session import Session
    from include.sandbox.demo.truth import Truth

    Show = Callable[[Sequence[DagView], Received | None, str], None]

LOOK_EVERY = 2.0  # seconds between two looks at Airflow's API and the store
QUIET = 3.0  # seconds nothing more must come after the last expected event, to see a second id
PATIENCE = 600.0
CONSUMER = "demo"  # its queues are subscribed before anything is published, so nothing is missed


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the demo ended with."""

    truth: Truth
    received: Received
    views: Sequence[DagView]
    enrolment: EnrolmentOutcome
    esr: EsrOutcome


@dataclass(frozen=True, slots=True)
class EsrOutcome:
    """What ESR's part ended with."""

    truth: EsrTruth
    summary: EsrSummary
    out: OutOutcome
    problems: list[str]


def follow_runs(session: Session, show: Show) -> None:
    """Show the runs until somebody stops us.

    Raises:
        StackError: A component of Airflow died.
    """
    while True:
        session.airflow.check()
        views = follow.look(session.airflow.api, session.store, PARTNERS)
        show(views, None, esr.as_line(session.store))
        time.sleep(LOOK_EVERY)


def prove(session: Session, show: Show, *, patience: float = PATIENCE) -> Outcome:
    """Let the scheduler run the partners' DAGs until their events have been received.

    Args:
        session: Everything up, no row in the config table yet.
        show: Called every two seconds with the DAGs and what was received.
        patience: Seconds until it gives up.

    Raises:
        StackError: Something died, a run failed, or an event is missing after ``patience`` seconds; the
            line says which.
    """
    consumer = Consumer(session.settings, CONSUMER)
    truth = read_truth(session.urls, session.stack["SPOTLIGHT_SANDBOX_ADMIN_TOKEN"])
    received = Received()
    listening = esr.subscriber(session)
    session.add_partners()
    steps = ScheduledSteps(session, lambda line: show(views, received, line), patience=patience)
    views: Sequence[DagView] = []
    steps.hold()
    esr_truth = start_esr(session, patience=patience)
    views = wait_for(session, consumer, truth, received, show, patience=patience)
    tell = partial(show, views, received)
    trip = RoundTrip(session, Platform(session.settings), tell, patience=patience)
    trip.send()
    wait_for_esr(session, esr_truth, tell, patience=patience)
    enrolment = prove_enrolment(session, trip, consumer, truth, received, patience=patience)
    out = prove_esr(session, steps, listening, tell)
    views = follow.look(session.airflow.api, session.store, PARTNERS)
    return Outcome(enrolment.truth, received, views, enrolment, out)


def prove_enrolment(
    session: Session,
    trip: RoundTrip,
    consumer: Consumer,
    truth: Truth,
    received: Received,
    *,
    patience: float = PATIENCE,
) -> EnrolmentOutcome:
    """Wait for the outcomes of what was sent, read the partners again and see the same assignments told of.

    Raises:
        StackError: A component died, a run failed, or an outcome or event is missing after the patience.
    """
    trip.finish()
    trip.pull()
    partners, _doubled = trip.at_partners()
    deadline = time.monotonic() + patience
    while left := untold(trip.commands, partners, received):
        session.airflow.check()
        received.add(consumer.receive(wait_seconds=1))
        if time.monotonic() > deadline:
            raise StackError(
                f"after {patience:.0f} s there is no event for {left} assignments that were enrolled and "
                "read again"
            )
    return trip.outcome(truth)


def start_esr(session: Session, *, patience: float = PATIENCE) -> EsrTruth:
    """Put ESR's files on the SFTP server and have them looked for at once rather than at the next sweep.

    Raises:
        StackError: The DAG does not appear.
    """
    files, truth = esr.make_files()
    esr.upload(session, files)
    wait_for_dag(session, esr.DAG_ID, patience=patience)
    session.airflow.api.trigger(esr.DAG_ID, f"files_came_{time.time_ns()}")
    return truth


def wait_for_esr(
    session: Session, truth: EsrTruth, tell: Callable[[str], None], *, patience: float = PATIENCE
) -> None:
    """Wait until every file has come to its end and its runs have ended.

    Raises:
        StackError: A component died, or a file is not done after ``patience`` seconds.
    """
    deadline = time.monotonic() + patience
    while not (esr.is_done(session.store, truth) and _at_rest(session)):
        session.airflow.check()
        tell(esr.as_line(session.store))
        if time.monotonic() > deadline:
            raise StackError(f"after {patience:.0f} s not every file is done: {esr.as_line(session.store)}")
        time.sleep(LOOK_EVERY)


def prove_esr(
    session: Session, steps: ScheduledSteps, listening: Consumer, tell: Callable[[str], None]
) -> EsrOutcome:
    """Play two days of files for ESR and say what they and ESR's own files came to.

    Raises:
        StackError: A component died, or a run failed or takes too long.
    """
    with esr.tcs_of(session) as tcs:
        out, truth = outbound.play_two_days(session.settings, session.store, tcs, steps, tell)
    steps.release()
    told: set[int] = set()
    while events := listening.receive(wait_seconds=1):
        told.update(event["data"]["position"]["position_id"] for event in events)
    problems = esr.problems(session, truth, told) + out.problems
    return EsrOutcome(truth, esr.summarise(session.store, out.summary), out, problems)


def _at_rest(session: Session) -> bool:
    return all(run["state"] in ENDED for run in session.airflow.api.runs(esr.DAG_ID, limit=5))


def wait_for(
    session: Session,
    consumer: Consumer,
    truth: Truth,
    received: Received,
    show: Show,
    *,
    patience: float = PATIENCE,
) -> Sequence[DagView]:
    """Receive until every expected entity has been told of and nothing more comes for a moment.

    Raises:
        StackError: As ``prove`` says.
    """
    deadline = time.monotonic() + patience
    looked, views, quiet_since = 0.0, list[follow.DagView](), None
    while True:
        events = consumer.receive(wait_seconds=1)
        received.add(events)
        missing = received.missing(truth)
        now = time.monotonic()
        if now - looked > LOOK_EVERY:
            looked = now
            session.airflow.check()
            views = follow.look(session.airflow.api, session.store, PARTNERS)
            show(views, received, esr.as_line(session.store))
            _give_up_on_failures(session, views, missing)
        if missing or events:
            quiet_since = None
        elif quiet_since is None:
            quiet_since = now
        elif now - quiet_since > QUIET and not any(view.stage for view in views):
            return follow.look(session.airflow.api, session.store, PARTNERS)
        if now > deadline:
            raise StackError(_too_late(session, missing, truth, patience))


def _give_up_on_failures(
    session: Session, views: Sequence[DagView], missing: dict[tuple[str, str], int]
) -> None:
    """A failed run has used up its retries: waiting longer would only hide it."""
    waiting_for = {npo_id for npo_id, _resource in missing}
    for view in views:
        if view.failed and view.npo_id in waiting_for:
            logs = session.airflow.place.logs / f"dag_id=npo__{view.npo_id}"
            raise StackError(f"npo__{view.npo_id} failed at {view.stage or 'its start'}; task logs: {logs}")


def _too_late(session: Session, missing: dict[tuple[str, str], int], truth: Truth, patience: float) -> str:
    errors = session.airflow.api.import_errors()
    hint = f"; DAG import error: {errors[0]}" if errors else ""
    what = describe_missing(missing, truth) or "nothing, but events or runs do not come to rest"
    return f"after {patience:.0f} s there is no event for: {what}{hint}"

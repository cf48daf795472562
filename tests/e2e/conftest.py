"""One real Airflow on one real stack, from nothing, shared by the end-to-end tests."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from include.events.consumer import Consumer
from include.sandbox.demo.flows import CONSUMER, prove, wait_for
from include.sandbox.demo.session import Session, local_session
from include.settings import PROJECT_ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from include.sandbox.demo.flows import Outcome
    from include.sandbox.demo.follow import DagView
    from include.sandbox.demo.received import Received

log = logging.getLogger("e2e")
HOME = PROJECT_ROOT / ".local" / "e2e"
PATIENCE = 420.0
QUICK = {
    "SPOTLIGHT_TCS_BREAKER_SECONDS": "5",
    "SPOTLIGHT_ESR_RECEIPT_HOUR": "0",
    "SPOTLIGHT_TCS_TIMEOUT": "8",
    "SPOTLIGHT_TCS_LEASE_SECONDS": "12",
}
"""How long an outage of TCS is waited out, for tests of one."""


@dataclass(frozen=True, slots=True)
class Proven:
    """Everything up, the partners' DAGs have run, their events have been received."""

    session: Session
    outcome: Outcome

    def receive_until_quiet(self) -> dict[str, Any]:
        """Receive until runs and events have come to rest and return every event so far by id."""
        consumer = Consumer(self.session.settings, CONSUMER)
        wait_for(self.session, consumer, self.outcome.truth, self.outcome.received, show, patience=PATIENCE)
        return dict(self.outcome.received.events)


def show(views: Sequence[DagView], received: Received | None, files: str) -> None:
    """Log the progress: pytest shows it when a test fails."""
    log.info("%s; %s events; %s", views, len(received.events) if received else 0, files)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder, and keep them on one worker: they share one Airflow."""
    for item in items:
        if "proven" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.timeout(900))
            item.add_marker(pytest.mark.xdist_group("airflow"))


@pytest.fixture(scope="session")
def proven() -> Iterator[Proven]:
    """The same flow as ``make demo``, in a home of its own, left up for the tests."""
    with pytest.MonkeyPatch.context() as environment:
        for name, seconds in QUICK.items():
            environment.setenv(name, seconds)
        with local_session(HOME, wipe=True, on_progress=log.info) as session:
            yield Proven(session, prove(session, show, patience=PATIENCE))

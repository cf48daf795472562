"""Seconds from a command to the NPO's system, and from its answer to the outcome, with a real scheduler.

Prints one JSON line. A whole local session is started (stack, scheduler, triggerer, API server); a partner
in this process notes when it is asked, so that one clock measures all. One enrolment at a time, with pauses
that are in step with nothing: what is measured is the way, not the crowd (that is ``benchmarks.enrolment``).

    .venv/bin/python -m benchmarks.enrolment_latency [--trials 8]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from benchmarks.enrolment import MANIFEST, OFFERING, insert_rows
from benchmarks.enrolment_partners import lot_of, serving
from benchmarks.exchange import tell
from include.npo.context import utc_now
from include.npo.enrolment.desk import Person, approve, listed
from include.npo.enrolment.records import reference_of
from include.npo.identity import offering_id
from include.sandbox.demo.session import local_session
from include.sandbox.demo.steps import wait_for_dag
from include.sandbox.platform.commands import Choice, Command, choose
from include.sandbox.platform.platform import Platform
from include.settings import PROJECT_ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from benchmarks.enrolment_partners import Partners
    from include.sandbox.demo.session import Session

HOME = PROJECT_ROOT / ".local" / "bench-latency"
DAG_ID = "npo_enrolment"
AT_ONCE, APPROVED = "benchatonce", "benchapproved"
POLL_EVERY = 20
PATIENCE = 180.0
CANDIDATES = 2_000
"""Commands to choose from: what becomes of one at the partner depends on its reference."""
GIVE_UP = timedelta(hours=72)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--trials", type=int, default=8)
    options = parser.parse_args()
    with local_session(HOME, wipe=True, on_progress=tell) as session, serving() as partners:
        print(json.dumps(measure(session, partners, options.trials)))


def measure(session: Session, partners: Partners, trials: int) -> dict[str, Any]:
    """Send one command after the other and return the seconds of each part of their ways."""
    for name, approval in ((AT_ONCE, "never"), (APPROVED, "always")):
        insert_rows(session.settings, session.store, [name], partners.url, manifest=_manifest(approval))
    wait_for_dag(session, DAG_ID, patience=PATIENCE)
    trip = Trip(session, partners, Platform(session.settings))
    commands = _commands()
    trip.at_once(next(commands[AT_ONCE, "enrolled"]))
    trip.seconds.clear()  # the first run of all finds cold workers
    for number in range(trials):
        for way, key in (
            (trip.at_once, (AT_ONCE, "enrolled")),
            (trip.approved, (APPROVED, "enrolled")),
            (trip.waiting, (AT_ONCE, "waiting")),
        ):
            time.sleep(2 + number * 2.7 % 7)
            way(next(commands[key]))
        tell(f"trial {number + 1}: { ({name: round(some[-1], 1) for name, some in trip.seconds.items()}) }")
    return {
        "benchmark": "enrolment_latency",
        "trials": trials,
        "cores": os.cpu_count(),
        "load": [round(load, 1) for load in os.getloadavg()],
        "poll_every": POLL_EVERY,
        "seconds": {name: _summary(some) for name, some in trip.seconds.items()},
    }


@dataclass(slots=True)
class Trip:
    """One enrolment at a time on its way, its moments noted."""

    session: Session
    partners: Partners
    platform: Platform
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def at_once(self, command: Command) -> None:
        """Let one be enrolled by a partner that decides at once."""
        sent = self._send(command)
        answered = self._posted(command)
        self.seconds["command_to_request"].append(answered - sent)
        self.seconds["answer_to_outcome"].append(self._told(command) - answered)

    def approved(self, command: Command) -> None:
        """Let one wait for a person, and be enrolled when it is approved."""
        self._send(command)
        waiting = self._until(lambda: listed(self.session.store, npo_id=APPROVED, state="awaiting_approval"))
        time.sleep(10)  # the run that took it in is over
        approved = time.monotonic()
        person = Person(by="benchmark", why="measured")
        approve(self.session.store, [waiting[0].reference], person, now=utc_now, give_up=GIVE_UP)
        self.seconds["approval_to_request"].append(self._posted(command) - approved)
        self._told(command)

    def waiting(self, command: Command) -> None:
        """Let one be enrolled by a partner that decides when it is asked again."""
        self._send(command)
        due = self._posted(command) + POLL_EVERY
        reference = reference_of(command.npo_id, command.assignment_id)
        polled = self._until(lambda: self.partners.polled_at.get(reference))
        self.seconds["due_to_poll"].append(polled - due)
        self.seconds["decision_to_outcome"].append(self._told(command) - polled)

    def _send(self, command: Command) -> float:
        self.platform.send([command])
        return time.monotonic()

    def _posted(self, command: Command) -> float:
        reference = reference_of(command.npo_id, command.assignment_id)
        moment: float = self._until(lambda: self.partners.posted_at.get(reference))
        return moment

    def _told(self, command: Command) -> float:
        """Return when the platform has heard that the candidate is enrolled."""
        self._until(lambda: self.platform.listen().word(command.assignment_id) == "accepted")
        return time.monotonic()

    def _until(self, look: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + PATIENCE
        while not (found := look()):
            self.session.airflow.check()
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"nothing for {PATIENCE:.0f} s; task logs: {self.session.airflow.place.logs}"
                )
            time.sleep(0.1)
        return found


def _manifest(approval: str) -> dict[str, Any]:
    section = MANIFEST["enrolment"]
    poll = section["poll"] | {"every": f"PT{POLL_EVERY}S"}
    return {**MANIFEST, "enrolment": {**section, "approval": approval, "poll": poll}}


def _commands() -> Mapping[tuple[str, str], Iterator[Command]]:
    """Return commands by NPO and by what its partner makes of them."""
    choices = {name: [Choice(offering_id(name, OFFERING))] for name in (AT_ONCE, APPROVED)}
    found: dict[tuple[str, str], list[Command]] = defaultdict(list)
    for command in choose(choices, CANDIDATES, seed=time.time_ns(), start=datetime.now(UTC)):
        lot = lot_of(reference_of(command.npo_id, command.assignment_id))
        found[command.npo_id, lot].append(command)
    return {key: iter(some) for key, some in found.items()}


def _summary(seconds: Sequence[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(seconds), 1),
        "least": round(min(seconds), 1),
        "most": round(max(seconds), 1),
    }


if __name__ == "__main__":
    main()

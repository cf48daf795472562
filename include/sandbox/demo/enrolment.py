"""The enrolment round trip: commands in, candidates enrolled at the partners, outcomes out, progress back."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from include.npo.context import utc_now
from include.npo.enrolment.desk import Person, approve, listed, refuse
from include.npo.enrolment.records import reference_of
from include.npo.identity import offering_id
from include.sandbox.demo.steps import ENDED, wait_for_dag
from include.sandbox.demo.truth import SUBJECTS, ask_partner
from include.sandbox.platform.commands import Choice, choose, created
from include.sandbox.stack.errors import StackError

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from include.sandbox.demo.received import Received
    from include.sandbox.demo.session import Session
    from include.sandbox.demo.truth import Truth
    from include.sandbox.platform.commands import Command
    from include.sandbox.platform.platform import Outcomes, Platform

DAG_ID = "npo_enrolment"
COMMANDS = 60
SEED = 7
TOLD_AGAIN = 6
"""So many commands come once more, under another event id."""
REFUSED_OF = 5
"""Of those that wait for a person, every fifth is refused."""
BY, WHY, WHY_NOT = "demo@spotlight.example", "fits the programme", "not for this candidate"
LOOK_EVERY = 1.0
NEVER_SENT = ("birth", "postcode", "support")
"""Parts of field names no partner may ever have received."""


@dataclass(frozen=True, slots=True)
class EnrolmentSummary:
    """What the commands came to; ``echoed``: enrolments the next pull found again as ours."""

    commands: int = 0
    accepted: int = 0
    rejected: int = 0
    failed: int = 0
    pending: int = 0
    approved: int = 0
    doubled: int = 0
    echoed: int = 0


@dataclass(frozen=True, slots=True)
class AtPartner:
    """What a partner has of one command; ``state`` is ``None`` where it enrolled nobody."""

    received: int
    state: str | None
    ids: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EnrolmentOutcome:
    """What the round trip ended with."""

    summary: EnrolmentSummary
    by_npo: Mapping[str, Counter[str]]
    problems: list[str]
    truth: Truth


class RoundTrip:
    """The platform's commands on their way through the pipeline.

    Args:
        session: Everything up; the offerings have been read.
        platform: Sends and hears.
        tell: Told where it is.
        patience: Seconds each of its steps may take.
    """

    def __init__(
        self, session: Session, platform: Platform, tell: Callable[[str], None], *, patience: float
    ) -> None:
        self._session, self._platform = session, platform
        self._tell, self._patience = tell, patience
        self.commands: list[Command] = []
        self.approved: set[str] = set()
        self.refused: set[str] = set()

    def send(self, count: int = COMMANDS) -> None:
        """Let candidates take up offerings that are open, and a few that are not.

        Raises:
            StackError: There is no DAG to take the commands, or a partner does not answer.
        """
        wait_for_dag(self._session, DAG_ID, patience=self._patience)
        choices = {npo_id: self._choices(npo_id) for npo_id in self._session.urls}
        self.commands = choose(choices, count, seed=SEED, start=utc_now())
        self._platform.send(self.commands)
        self._platform.publish([created(command, repeat=1) for command in self.commands[:TOLD_AGAIN]])

    def _choices(self, npo_id: str) -> list[Choice]:
        known = {
            each["_id"] for each in self._session.store["npo_offering"].find({"npo_id": npo_id}, {"_id": 1})
        }
        places: Mapping[str, str] = self._ask(npo_id)["places"]
        found = [Choice(offering_id(npo_id, key), takes) for key, takes in sorted(places.items())]
        return [choice for choice in found if choice.offering_id in known]

    def _ask(self, npo_id: str) -> Any:
        session = self._session
        token = session.stack["SPOTLIGHT_SANDBOX_ADMIN_TOKEN"]
        return ask_partner(npo_id, session.urls[npo_id], token, "enrolments")

    def finish(self) -> Outcomes:
        """Approve and refuse what waits for a person, and wait until every command has its outcome.

        Raises:
            StackError: A component died, or a command has none after the patience.
        """
        deadline = time.monotonic() + self._patience
        while open_ := (outcomes := self._platform.listen(wait_seconds=1)).open(self.commands):
            self._session.airflow.check()
            self._tell(f"enrolment: {_as_line(outcomes.counts(self.commands))}")
            self._decide()
            if time.monotonic() > deadline:
                raise StackError(
                    f"after {self._patience:.0f} s {len(open_)} of {len(self.commands)} enrolments have no "
                    f"outcome, such as {open_[0].assignment_id} at {open_[0].npo_id}"
                )
        return outcomes

    def _decide(self) -> None:
        """Do what a person would: approve most of what waits, refuse some."""
        store, settings = self._session.store, self._session.settings
        ours = {command.assignment_id: command.number for command in self.commands}
        npos = len(self._session.urls)
        waiting = [each for each in listed(store, state="awaiting_approval") if each.assignment_id in ours]
        no = [each for each in waiting if ours[each.assignment_id] // npos % REFUSED_OF == 0]
        yes = [each for each in waiting if each not in no]
        if no:
            refuse(store, [each.reference for each in no], Person(BY, WHY_NOT), now=utc_now)
        if yes:
            give_up = timedelta(hours=settings.enrolment_give_up_hours)
            names = [each.reference for each in yes]
            approve(store, names, Person(BY, WHY), now=utc_now, give_up=give_up)
        self.refused |= {each.assignment_id for each in no}
        self.approved |= {each.assignment_id for each in yes}

    def pull(self) -> None:
        """Read every partner again.

        Raises:
            StackError: A run fails or takes too long.
        """
        api = self._session.airflow.api
        run_id = f"after_enrolment_{time.time_ns()}"
        for npo_id in self._session.urls:
            api.trigger(f"npo__{npo_id}", run_id)
        deadline = time.monotonic() + self._patience
        for npo_id in self._session.urls:
            while (state := api.run(f"npo__{npo_id}", run_id)["state"]) not in ENDED:
                self._session.airflow.check()
                self._tell(f"enrolment: reading {npo_id} again, {state}")
                if time.monotonic() > deadline:
                    raise StackError(f"npo__{npo_id} is {state} after {self._patience:.0f} s")
                time.sleep(LOOK_EVERY)
            if state == "failed":
                logs = self._session.airflow.place.logs / f"dag_id=npo__{npo_id}"
                raise StackError(f"npo__{npo_id} failed after the enrolments; task logs: {logs}")

    def at_partners(self) -> tuple[dict[str, AtPartner], int]:
        """Return what the partners say they have, by assignment, and how many they enrolled twice."""
        asked = {npo_id: self._ask(npo_id) for npo_id in self._session.urls}
        nothing: dict[str, Any] = {"received": 0, "state": None}
        found = {}
        for command in self.commands:
            reference = reference_of(command.npo_id, command.assignment_id)
            entry = asked[command.npo_id]["by_reference"].get(reference, nothing)
            found[command.assignment_id] = AtPartner(
                entry["received"], entry["state"], tuple(entry.get("ids", ())), tuple(entry.get("fields", ()))
            )
        return found, sum(answer["doubled"] for answer in asked.values())

    def stored_ids(self, partners: Mapping[str, AtPartner]) -> dict[str, list[str]]:
        """Return the ids under which the store holds each enrolled assignment: ours alone is right."""
        found = {}
        for command in self.commands:
            if ids := partners[command.assignment_id].ids:
                query = {"npo_id": command.npo_id, "external_id": {"$in": list(ids)}}
                stored = self._session.store["npo_assignment"].find(query, {"_id": 1})
                found[command.assignment_id] = [each["_id"] for each in stored]
        return found

    def outcome(self, truth: Truth) -> EnrolmentOutcome:
        """Return what it all came to, compared with what the partners say.

        Args:
            truth: What was expected before; what the enrolments add is added to it.
        """
        outcomes = self._platform.listen()
        partners, doubled = self.at_partners()
        stored = self.stored_ids(partners)
        words = outcomes.counts(self.commands)
        summary = EnrolmentSummary(
            commands=len(self.commands),
            accepted=words["accepted"],
            rejected=words["rejected"],
            failed=words["failed"],
            pending=words["requested"] + words["silent"],
            approved=len(self.approved),
            doubled=doubled,
            echoed=sum(ids == [assignment] for assignment, ids in stored.items()),
        )
        by_npo = {
            npo_id: outcomes.counts(one for one in self.commands if one.npo_id == npo_id)
            for npo_id in sorted({command.npo_id for command in self.commands})
        }
        problems = find_problems(
            self.commands, outcomes, partners, refused=self.refused, stored=stored, doubled=doubled
        )
        return EnrolmentOutcome(summary, by_npo, problems, with_enrolled(truth, self.commands, partners))


def untold(commands: Iterable[Command], partners: Mapping[str, AtPartner], received: Received) -> int:
    """Return how many enrolled assignments no event of a pull has told of yet."""
    subjects = received.subjects
    return sum(
        f"assignment/{one.assignment_id}" not in subjects
        for one in commands
        if partners[one.assignment_id].ids
    )


def with_enrolled(truth: Truth, commands: Iterable[Command], partners: Mapping[str, AtPartner]) -> Truth:
    """Return the truth with the enrolled assignments, which keep the platform's ids."""
    subjects = dict(truth.subjects)
    for command in commands:
        if partners[command.assignment_id].ids:
            key = (command.npo_id, "assignments")
            subjects[key] |= {f"{SUBJECTS['assignments']}/{command.assignment_id}"}
    return replace(truth, subjects=subjects)


def find_problems(
    commands: Sequence[Command],
    outcomes: Outcomes,
    partners: Mapping[str, AtPartner],
    *,
    refused: Iterable[str],
    stored: Mapping[str, list[str]],
    doubled: int,
) -> list[str]:
    """Return where the pipeline's story is not the partners', one line each; nothing when they agree.

    Args:
        commands: What was asked for.
        outcomes: What the platform was told.
        partners: What the partners have, by assignment.
        refused: What a person of ours refused: no partner may have heard of it.
        stored: The ids the store holds each enrolled assignment under.
        doubled: How many candidates the partners enrolled twice.
    """
    found = [f"{doubled} candidates are enrolled twice"] if doubled else []
    refused = set(refused)
    for command in commands:
        at = partners[command.assignment_id]
        said = outcomes.word(command.assignment_id) or "silent"
        if (expected := _expected(at)) != said:
            found.append(f"{_name(command)} is told {said}, the partner says {expected}")
        if command.assignment_id in refused and at.received:
            found.append(f"{_name(command)} was refused by us, and sent all the same")
        if leaked := [name for name in at.fields if any(part in name for part in NEVER_SENT)]:
            found.append(f"{_name(command)} was sent with {leaked[0]}, which is not on the allow-list")
    found += [f"{name} is told of as accepted and as refused" for name in outcomes.ended_twice()]
    found += [
        f"enrolled assignment {assignment} is stored as {ids or 'nothing'}"
        for assignment, ids in stored.items()
        if ids != [assignment]
    ]
    return found


def _expected(at: AtPartner) -> str:
    return "accepted" if at.state == "enrolled" else "requested" if at.state == "applied" else "rejected"


def _name(command: Command) -> str:
    return f"enrolment {command.assignment_id} at {command.npo_id}"


def _as_line(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {word}" for word, count in sorted(counts.items()))

"""The end of the demo: a table for people, then one JSON line for programs."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from rich.table import Table

from include.sandbox.demo.outbound_truth import STATES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from include.sandbox.demo.enrolment import EnrolmentOutcome, EnrolmentSummary
    from include.sandbox.demo.esr import EsrSummary, EsrTruth
    from include.sandbox.demo.follow import DagView
    from include.sandbox.demo.outbound import OutOutcome
    from include.sandbox.demo.received import Received
    from include.sandbox.demo.truth import Truth


@dataclass(frozen=True, slots=True)
class Summary:
    """What the demo did: entities told of by events received, distinct events, records set aside."""

    npos: int
    offerings: int
    assignments: int
    events: int
    quarantined: int
    enrolment: EnrolmentSummary
    esr: EsrSummary
    seconds: float

    def to_json(self) -> str:
        """Return the last line of the demo."""
        return json.dumps(asdict(self))


def summarise(
    views: Sequence[DagView],
    received: Received,
    enrolment: EnrolmentSummary,
    esr: EsrSummary,
    *,
    seconds: float,
) -> Summary:
    """Return the numbers of a finished demo."""
    kinds = [subject.partition("/")[0] for subject in received.subjects]
    return Summary(
        npos=len({event["npoid"] for event in received.events.values()}),
        offerings=kinds.count("offering"),
        assignments=kinds.count("assignment"),
        events=len(received.events),
        quarantined=sum(view.quarantined for view in views),
        enrolment=enrolment,
        esr=esr,
        seconds=round(seconds, 1),
    )


def summary_table(views: Sequence[DagView], received: Received, truth: Truth) -> Table:
    """Return what each partner has, what was received of it, and what was set aside."""
    table = Table(title="From three APIs to the event stream", title_justify="left")
    table.add_column("NPO")
    for heading in ("offerings", "assignments", "events received", "quarantined"):
        table.add_column(heading, justify="right")
    seen = received.subjects
    for view in views:
        told = [
            f"{len(expected & seen):,} of {len(expected):,}"
            for expected in (
                truth.subjects[view.npo_id, "offerings"],
                truth.subjects[view.npo_id, "assignments"],
            )
        ]
        events = sum(event["npoid"] == view.npo_id for event in received.events.values())
        table.add_row(view.npo_id, *told, f"{events:,}", f"{view.quarantined:,}")
    return table


def enrolment_table(outcome: EnrolmentOutcome) -> Table:
    """Return what each partner's commands came to."""
    table = Table(title="From the platform to three APIs and back", title_justify="left")
    table.add_column("NPO")
    words = ("accepted", "rejected", "failed")
    for heading in ("commands", *words):
        table.add_column(heading, justify="right")
    for npo_id, counts in outcome.by_npo.items():
        table.add_row(npo_id, f"{sum(counts.values()):,}", *(f"{counts[word]:,}" for word in words))
    return table


def enrolment_line(outcome: EnrolmentOutcome) -> str:
    """Return what people approved, and what the next reading found, as one line."""
    summary = outcome.summary
    return (
        f"enrolment: {summary.approved:,} approved by a person, {summary.doubled:,} enrolled twice, "
        f"{summary.echoed:,} found again by the next reading"
    )


def esr_table(summary: EsrSummary, truth: EsrTruth) -> Table:
    """Return what ESR's files came to."""
    table = Table(title="From ESR's files to TCS", title_justify="left")
    for heading in ("files", "records", "matched", "unmatched", "told TCS", "lines set aside"):
        table.add_column(heading, justify="right")
    table.add_row(
        f"{summary.files:,} of {truth.files:,}",
        f"{summary.records:,} of {truth.records:,}",
        f"{summary.matched:,} of {len(truth.matched):,}",
        f"{summary.unmatched:,} of {len(truth.unmatched):,}",
        f"{summary.tcs_updates:,}",
        f"{truth.bad:,}",
    )
    return table


def out_table(out: OutOutcome) -> Table:
    """Return what each day sent to ESR and what ESR answered."""
    table = Table(title="From TCS to ESR and back", title_justify="left")
    table.add_column("day", no_wrap=True)
    for heading in ("files", "APP lines", "DNC lines", "confirmed", "warnings", "rejected"):
        table.add_column(heading, justify="right")
    for day in out.days:
        lines = Counter(file.name.kind for file in day.played.taken for _ in file.rows)
        files = sum(file.name.kind in ("APP", "DNC") for file in day.played.taken)
        verdicts = (day.played.verdicts[word] for word in STATES)
        numbers = (files, lines["APP"], lines["DNC"], *verdicts)
        table.add_row(str(day.day), *(f"{number:,}" for number in numbers))
    return table


def out_lines(out: OutOutcome) -> list[str]:
    """Return the states of the records at the end, and what TCS was told, a line each."""
    names = {"APP": "applicants", "DNC": "notifications"}
    lines = [
        f"{names[kind]}: " + ", ".join(f"{count:,} {state}" for state, count in states.items())
        for kind, states in out.states.items()
    ]
    return [*lines, f"TCS was told {out.told:,} times what became of an applicant"]


def problems(received: Received, truth: Truth) -> list[str]:
    """Return why the demo is not a success, one line each; nothing when it is one."""
    found = [
        f"no event for {count} {resource} of {npo_id}"
        for (npo_id, resource), count in received.missing(truth).items()
    ]
    found += [f"one version, two events: {conflict}" for conflict in received.conflicts[:5]]
    if unexpected := received.unexpected(truth):
        found.append(f"{len(unexpected)} events of entities no partner has, such as {unexpected[0]}")
    return found

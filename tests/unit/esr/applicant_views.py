"""Posts, placements and people as generation sees them, and a store of records kept in memory."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

from include.esr.applicants.rules import Known, decide, decide_gone, pairs_of, trainees_wanted
from include.esr.outbound import RecordState
from include.esr.placements.facts import PlacementFacts, PositionFacts, PostView
from include.esr.tcs.answers import Person
from include.settings import Settings

SETTINGS = Settings()
TODAY = date(2026, 7, 6)
START, END = date(2026, 8, 5), date(2027, 2, 2)
POST = "KSS/RTD01/080/STR/005"
CONTACT = {"legalSurname": "O'Neil", "legalForenames": "Zoë", "email": "zoe@home.example"}
PERSONAL = {"dateOfBirth": "1991-02-28"}


def placement(key=1, **facts):
    stands: dict[str, Any] = {
        "trainee_id": 100,
        "start": START,
        "end": END,
        "type": "In post",
        "approved": True,
    }
    return PlacementFacts(key, **(stands | facts))


def position(key=7, **facts):
    return PositionFacts(key, **({"number": f"0{key}", "host_lead": "Host Employer"} | facts))


def person(key=100, contact=None, personal=None, **numbers):
    return Person(key, CONTACT | (contact or {}), PERSONAL | (personal or {}), **numbers)


def view(placements=None, positions=None, *, key=5, number=POST, deanery="KSS"):
    placements = (placement(),) if placements is None else tuple(placements)
    positions = (position(),) if positions is None else tuple(positions)
    return PostView(key, number, deanery, positions, placements)


class Records:
    """What a store would hold: decisions become records, as the plan writes them."""

    def __init__(self, *people, settings=SETTINGS):
        self.people = {each.id: each for each in people or (person(),)}
        self.known: dict[str, Known] = {}
        self.alerts: list[str] = []
        self.settings = settings

    def decisions(self, *views, today=TODAY):
        pairs = {pair.id: pair for pair in pairs_of(views)}
        sent = {key for key, record in self.known.items() if record.is_left_alone}
        wanted = trainees_wanted(views, sent, today=today, settings=self.settings)
        people = {key: each for key, each in self.people.items() if key in wanted}
        by_post = {each.id: each for each in views}
        gone = [
            decide_gone(record, by_post[record.post_id], today=today)
            for key, record in self.known.items()
            if key not in pairs and record.post_id in by_post and not record.is_left_alone
        ]
        return [*decide(pairs.values(), self.known, people, today=today, settings=self.settings), *gone]

    def generate(self, *views, today=TODAY):
        """Decide and keep what came of it; return how many records were written."""
        news = [decision for decision in self.decisions(*views, today=today) if decision.is_news]
        for decision in news:
            self.keep(decision)
        return len(news)

    def keep(self, decision):
        if decision.expires:
            self.alerts.append(decision.id)
        known, pair = decision.known, decision.pair
        said = {
            "state": decision.state,
            "reason": decision.reason,
            "fields": decision.fields,
            "made_on": decision.made_on,
        }
        if pair:
            said |= {
                "deanery": pair.view.deanery,
                "post_id": pair.view.id,
                "post_number": pair.view.number,
                "position_number": pair.position.number,
                "trainee_id": pair.placement.trainee_id,
                "start": pair.placement.start,
            }
        if known is None:
            known = Known(
                id=pair.id, position_id=pair.position.id, placement_id=pair.placement.id, revision=1, **said
            )
        else:
            known = replace(known, revision=known.revision + (known.fields != decision.fields), **said)
        self.known[known.id] = known

    def set(self, key="1-7", **said):
        self.known[key] = replace(self.known[key], **said)

    def state(self, key="1-7"):
        record = self.known.get(key)
        return record and record.state

    def outcome(self, key="1-7"):
        """Return state and code of a record; ``None`` when there is none."""
        record = self.known.get(key)
        return record and (record.state, record.reason.code if record.reason else None)


TO_EXPORT = (RecordState.TO_EXPORT, None)

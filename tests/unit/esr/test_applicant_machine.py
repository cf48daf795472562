"""Whatever changes, and wherever a run is killed: no applicant is lost and none is sent twice."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from include.esr.applicants.rules import pairs_of, pick
from include.esr.outbound import UNSENT, RecordState, Window
from tests.unit.esr.applicant_views import SETTINGS, TODAY, Records, person, placement, position, view

CAP = 2
STARTS = st.sampled_from([-29, -28, -1, 0, 1, 2, 3, 10, 30, 89, 90, 91, 120])
KEYS, POSITIONS, POSTS = st.integers(1, 4), st.integers(7, 8), st.integers(1, 2)
DATES = st.tuples(st.just("dates"), KEYS, POSTS, STARTS, st.sampled_from([0, 5, 60]))
FACTS = st.tuples(
    st.just("facts"),
    KEYS,
    st.sampled_from(
        [
            {"approved": False},
            {"approved": True},
            {"type": "Locum"},
            {"type": "In post"},
            {"end": None},
            {"start": None},
        ]
    ),
)
DELETED = st.tuples(st.just("deleted"), KEYS)
POSITION = st.tuples(st.just("position"), POSITIONS, st.none() | POSTS)
PERSON = st.tuples(st.just("person"), KEYS, st.booleans())
SENT = frozenset(RecordState) - UNSENT - {RecordState.IN_FILE, RecordState.WITHDRAWN}


class Exchange(RuleBasedStateMachine):
    """TCS and ESR as they change, generation and export as they run, stop and run again.

    Attributes:
        placements: Post and facts of each placement of TCS; positions: post of each position of ESR.
        file: Ids in the file that is on its way, in order.
        sent: Ids in every file ESR has got.
        asked: How often a person had a record sent once more.
    """

    def __init__(self):
        super().__init__()
        self.today = TODAY
        self.placements = {}
        for key, start in ((1, 10), (2, 10), (3, 3)):
            self.dates(key, 1, start, 60)
        self.positions = {7: 1, 8: 1}
        self.records = Records(*(person(100 + n) for n in range(1, 5)))
        self.file = []
        self.sent = []
        self.asked = {}
        self.is_generated = False

    def views(self):
        yesterday = self.today - timedelta(days=1)
        return [
            view(
                [
                    facts
                    for home, facts in self.placements.values()
                    if home == post and not (facts.end and facts.end < yesterday)
                ],
                [position(each) for each, home in self.positions.items() if home == post],
                key=post,
                number=f"POST/{post}",
            )
            for post in (1, 2)
        ]

    def dates(self, key, post, start, days):
        first = self.today + timedelta(days=start)
        facts = placement(key, trainee_id=100 + key, start=first, end=first + timedelta(days=days))
        self.placements[key] = post, facts

    def facts(self, key, change):
        if key in self.placements:
            post, facts = self.placements[key]
            self.placements[key] = post, replace(facts, **change)

    def deleted(self, key):
        self.placements.pop(key, None)

    def position(self, key, post):
        self.positions.pop(key, None)
        if post:
            self.positions[key] = post

    def person(self, key, is_sound):
        self.records.people[100 + key] = person(100 + key, {} if is_sound else {"legalSurname": None})

    @rule(changes=st.lists(DATES | FACTS | DELETED | POSITION | PERSON, min_size=1, max_size=3))
    def tcs_or_esr_changes(self, changes):
        for what, *values in changes:
            getattr(self, what)(*values)
        self.is_generated = False

    @rule(days=st.sampled_from([1, 1, 1, 7, 30]))
    def time_passes(self, days):
        self.today += timedelta(days=days)
        self.is_generated = False

    @rule()
    def generation_runs(self):
        self.records.generate(*self.views(), today=self.today)
        assert self.records.generate(*self.views(), today=self.today) == 0
        self.is_generated = True

    @rule(ago=st.sampled_from([1, 10]))
    def generation_runs_again_for_an_older_day(self, ago):
        before = dict(self.records.known)
        day = self.today - timedelta(days=ago)
        self.records.generate(*self.views(), today=day)
        assert self.records.generate(*self.views(), today=day) == 0
        for key, record in before.items():
            if record.state is RecordState.EXPIRED_UNSENT and record.start == self.records.known[key].start:
                assert self.records.known[key].state is not RecordState.TO_EXPORT
        self.is_generated = False

    @rule(post=st.sampled_from([0, 1]))
    def generation_is_killed_after_a_batch_of_one_post(self, post):
        for decision in self.records.decisions(self.views()[post], today=self.today):
            self.records.keep(decision)

    def due(self):
        window = Window.on(self.today, SETTINGS)
        for key, record in self.records.known.items():
            if (
                record.state is RecordState.TO_EXPORT
                and record.start
                and record.start <= window.last
                and (record.start >= window.first or record.resends)
            ):
                yield {"_id": key, "start": record.start.isoformat(), "post_number": record.post_number}

    @rule(is_given_up=st.sampled_from([False, False, True]))
    def export_takes_a_step(self, is_given_up):
        """Give out places in a file; the next time that file is sent, or given up by a person."""
        if not self.file:
            picked, _ = pick(self.due(), most_of_a_post=CAP, most=5)
            self.file = [record["_id"] for record in picked]
            self.mark(RecordState.IN_FILE)
            return
        self.mark(RecordState.TO_EXPORT if is_given_up else RecordState.EXPORTED)
        self.sent += [] if is_given_up else self.file
        self.is_generated &= not is_given_up
        self.file = []

    def mark(self, state):
        for key in self.file:
            self.records.set(key, state=state)

    @rule(data=st.data())
    @precondition(lambda self: self.sent)
    def a_person_has_one_sent_once_more(self, data):
        key = data.draw(st.sampled_from(sorted(set(self.sent))))
        record = self.records.known[key]
        if record.state in SENT:
            self.records.set(key, state=RecordState.TO_EXPORT, reason=None, resends=record.resends + 1)
            self.asked[key] = self.asked.get(key, 0) + 1
            self.is_generated = False

    @invariant()
    def nothing_is_sent_more_often_than_a_person_asked_for(self):
        for key in set(self.sent):
            assert self.sent.count(key) <= 1 + self.asked.get(key, 0)

    @invariant()
    def what_is_in_a_file_or_sent_says_so(self):
        for key, record in self.records.known.items():
            if key in self.file:
                assert record.state is RecordState.IN_FILE
            elif key in self.sent and not self.asked.get(key):
                assert record.state in SENT

    @invariant()
    def what_expired_was_told(self):
        for key, record in self.records.known.items():
            assert record.state is not RecordState.EXPIRED_UNSENT or key in self.records.alerts

    @invariant()
    def what_would_be_sent_is_sound(self):
        for record in self.records.known.values():
            if record.state is RecordState.TO_EXPORT:
                assert record.reason is None
                assert record.start is not None
                assert record.fields["effective_date"] == record.start.isoformat()
                assert record.fields["last_name"]
                assert record.fields["deanery_number"] == record.post_number

    @invariant()
    def after_a_run_every_record_says_what_becomes_of_it(self):
        if not self.is_generated:
            return
        first = Window.on(self.today, SETTINGS).first
        pairs = {pair.id: pair for pair in pairs_of(self.views())}
        oldest = self.today - timedelta(days=SETTINGS.esr_app_late_days)
        for key, pair in pairs.items():
            day = pair.placement.start or pair.placement.end
            assert key in self.records.known or (day and day < oldest)
        for key, record in self.records.known.items():
            if record.state is RecordState.TO_EXPORT:
                assert record.start
                assert record.start >= first or record.resends
                assert key in pairs or record.resends
            if record.state is RecordState.INVALID_DATA:
                assert key in pairs
                assert record.reason


TestExchange = Exchange.TestCase
TestExchange.settings = settings(max_examples=100, stateful_step_count=25, deadline=None)

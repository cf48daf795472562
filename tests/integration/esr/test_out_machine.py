"""Whatever changes and wherever a run dies: each applicant is sent once, and who is not sent says why.

The whole way out on real servers: generation, files, ESR, its answers, and TCS.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from include.errors import ConfigurationError, TransientError
from include.esr.exports.changing import _FROM, abandon_file, change_record
from include.esr.exports.ledger import UNFINISHED
from include.esr.outbound import UNSENT, RecordState, Window
from include.esr.placements.facts import ELIGIBLE_TYPES
from include.sandbox.esr.strict import Row
from tests.integration.esr.out_chain import (
    DAY,
    IN_A_FILE,
    KSS,
    PEOPLE,
    POINTS,
    Chain,
    Trap,
    opened_chain,
    person_of,
    problems,
    told_wrong,
)

CAP = 2
NUMBERS = ("KSS/RXC01/800/GPST/901", "KSS/RXC01/800/GPST/902")
POSITIONS = (71, 72, 73)
WHO, POST, POSITION = st.sampled_from([3, 4, 5, 1, 2, 6]), st.integers(0, 1), st.sampled_from(POSITIONS)
STARTS = st.sampled_from([-29, -1, 0, 1, 2, 3, 8, 30, 60, 90, 91, 100])
CHANGES = st.one_of(
    st.tuples(st.just("add"), WHO, POST, STARTS),
    st.tuples(st.just("dates"), WHO, STARTS, st.sampled_from([-1, 0, 20, 60])),
    st.tuples(st.just("facts"), WHO, st.sampled_from(["DRAFT", "APPROVED"])),
    st.tuples(st.just("kind"), WHO, st.sampled_from(["Locum", "In post", "Phased Return"])),
    st.tuples(st.just("move"), WHO, POST),
    st.tuples(st.just("remove"), WHO),
    st.tuples(st.just("restore"), WHO),
    st.tuples(st.just("position"), POSITION, st.none() | POST),
    st.tuples(st.just("whole_time"), WHO, st.sampled_from([1.0, 0.6])),
)
CRASHES = st.sampled_from(
    [
        *[None] * 4,
        *(("committed", nth) for nth in range(1, 10)),
        *((point, nth) for point in sorted(POINTS) for nth in (1, 2)),
    ]
)
ACTIONS = st.sampled_from(["resend", "withdraw", "reopen"])
BY = {"why": "asked by ESR", "by": "a.name"}


class WholeChain(RuleBasedStateMachine):
    """TCS and ESR as they change, people who step in, and runs that die and are run again.

    Attributes:
        placements: Of each person (``who``): id, post, first and last day, type, whether approved, there.
        positions: Index of each position's post; ``None``: deleted.
        asked: How often a person had a record sent once more.
        is_seen: Nothing has changed since a sweep of ``today`` that went to its end.
    """

    def __init__(
        self, open_chain: Callable[[], contextlib.AbstractContextManager[Chain]], trap: Trap
    ) -> None:
        super().__init__()
        self._open = contextlib.ExitStack()
        self.chain = self._open.enter_context(open_chain())
        self.trap = trap
        self.today = DAY
        self.posts = [self.chain.post(number) for number in NUMBERS]
        self.positions: dict[int, int | None] = {71: 0, 72: 0, 73: 1}
        for position, post in self.positions.items():
            assert post is not None
            self.chain.position(position, self.posts[post], NUMBERS[post])
        self.placements: dict[int, dict[str, Any]] = {}
        self.removed: set[int] = set()
        self.asked: Counter[str] = Counter()
        self.is_seen = False
        for who, post, start in ((1, 0, 2), (2, 0, 30), (3, 0, 91), (4, 1, 100), (5, 0, 120)):
            self._add(who, post, start)

    # --- TCS and ESR change

    @rule(changes=st.lists(CHANGES, min_size=1, max_size=4))
    def change(self, changes):
        self.change_all(changes)

    def change_all(self, changes: list[tuple[Any, ...]]) -> None:
        """Let TCS or ESR's positions change."""
        for what, *rest in changes:
            getattr(self, f"_{what}")(*rest)
        self.is_seen = False

    def _add(self, who: int, post: int, start: int) -> None:
        if who in self.placements:
            return
        first = self.today + timedelta(start)
        key = self.chain.place(who, self.posts[post], first)
        self.placements[who] = {
            "id": key,
            "post": post,
            "start": first,
            "end": first + timedelta(60),
            "type": "In post",
            "approved": True,
            "there": True,
        }

    def _changed(self, who: int, about: dict[str, Any], **fields: Any) -> None:
        placement = self.placements.get(who)
        if placement and placement["there"]:
            placement.update(about)
            self.chain.tcs.change_placement(placement["id"], **fields)

    def _dates(self, who: int, start: int, days: int) -> None:
        first = self.today + timedelta(start)
        last = first + timedelta(days)
        fields = {"dateFrom": first.isoformat(), "dateTo": last.isoformat()}
        self._changed(who, {"start": first, "end": last}, **fields)

    def _facts(self, who: int, state: str) -> None:
        self._changed(who, {"approved": state == "APPROVED"}, lifecycleState=state)

    def _kind(self, who: int, kind: str) -> None:
        self._changed(who, {"type": kind}, placementType=kind)

    def _move(self, who: int, post: int) -> None:
        self._changed(who, {"post": post}, postId=self.posts[post])

    def _whole_time(self, who: int, share: float) -> None:
        self._changed(who, {}, placementWholeTimeEquivalent=share)

    def _remove(self, who: int) -> None:
        placement = self.placements.get(who)
        if placement and placement["there"]:
            placement["there"] = False
            self.removed.add(placement["id"])
            self.chain.tcs.remove_placement(placement["id"])

    def _restore(self, who: int) -> None:
        placement = self.placements.get(who)
        if placement and not placement["there"]:
            placement["there"] = True
            self.chain.tcs.load_placements(
                {
                    "id": placement["id"],
                    "traineeId": PEOPLE + who,
                    "postId": self.posts[placement["post"]],
                    "dateFrom": placement["start"].isoformat(),
                    "dateTo": placement["end"].isoformat(),
                    "placementType": placement["type"],
                    "lifecycleState": "APPROVED" if placement["approved"] else "DRAFT",
                }
            )

    def _position(self, position: int, post: int | None) -> None:
        self.positions[position] = post
        if post is None:
            self.chain.change_position(position, deleted=True)
        else:
            self.chain.change_position(
                position, deleted=False, number=NUMBERS[post], match__post_id=self.posts[post]
            )

    # --- time goes on, and runs die

    @rule(
        days=st.sampled_from([1, 0, 1, 2, 7, 30]),
        changes=st.lists(CHANGES, min_size=1, max_size=4),
        crash=CRASHES,
        goes_on=st.booleans(),
    )
    def a_day(self, days, changes, crash, goes_on):
        self.today += timedelta(days)
        self.change_all(changes)
        before = set(self.chain.exports())
        is_dead = self._run(lambda: self.chain.send(self.today), crash)
        self.is_seen = not is_dead
        if is_dead and goes_on:
            self._run(lambda: self.chain.send(self.today), None)
            self.is_seen = True
        if self.is_seen:
            self._require_sent_or_carried_over(before)

    @rule(back=st.integers(1, 9), crash=CRASHES)
    def an_old_day_again(self, back, crash):
        self._run(lambda: self.chain.send(self.today - timedelta(back)), crash)
        self.is_seen = False

    @rule(crash=CRASHES, answers=st.booleans())
    def esr(self, crash, answers):
        self.chain.play(self.today)
        if answers:
            self._run(self.chain.confirm, crash)

    def _run(self, run: Callable[[], object], crash: tuple[str, int] | None) -> bool:
        """Run, perhaps to its death, and return whether it died."""
        with self.trap.set_for(crash):
            run()
        self.chain.an_hour_later()
        return self.trap.is_dead

    # --- people step in

    @rule(action=ACTIONS, kind=st.sampled_from(["APP", "APP", "DNC"]), nth=st.integers(0, 5))
    def a_person(self, action, kind, nth):
        fits = {state.value for state in _FROM[action]}
        found = [key for key, state in self.chain.states(kind).items() if state in fits]
        if not found:
            return
        key = found[nth % len(found)]
        change_record(self.chain.ctx, kind, key, action, **BY)
        self.asked[key] += action == "resend"
        self.is_seen = False

    @precondition(lambda self: self.unfinished())
    @rule()
    def give_up(self):
        for name in self.unfinished():
            with contextlib.suppress(ConfigurationError):  # it has its name already
                abandon_file(self.chain.ctx, name, **BY)
        self.is_seen = False

    def unfinished(self) -> list[str]:
        """Return our files that are on their way."""
        return [name for name, each in self.chain.exports().items() if each["state"] in UNFINISHED]

    # --- what must hold

    @invariant()
    def nothing_is_wrong(self):
        assert problems(self.chain) == []

    @invariant()
    def nobody_is_sent_twice_unless_a_person_asked_for_it(self):
        times = Counter(
            f"{self._placement_of(row)}-{row.values['positionId']}" for row in self.chain.rows("APP").values()
        )
        assert {key: count for key, count in times.items() if count > 1 + self.asked[key]} == {}

    @invariant()
    def who_is_not_sent_says_why(self):
        if not self.is_seen:
            return
        records = self.chain.records()
        pairs = {
            f"{each['id']}-{position}": each
            for each in self.placements.values()
            for position, post in self.positions.items()
            if each["there"] and post == each["post"]
        }
        for key, placement in pairs.items():
            record = records.get(key)
            said = (RecordState(record["state"]), record["resends"] > 0) if record else (None, False)
            assert self._may_be(placement, *said), (key, placement, record)
        for key, record in records.items():
            if key not in pairs and record["state"] in UNSENT:
                states = {RecordState.DELETED_BEFORE_EXPORT, RecordState.EXPIRED_UNSENT}
                assert record["state"] in states or record["resends"], record

    def _may_be(self, placement: dict[str, Any], state: RecordState | None, is_resent: bool) -> bool:
        """Tell whether a record may be in a state, going by the rules of the domain page and nothing else."""
        window = Window.on(self.today, self.chain.ctx.settings)
        is_history = placement["start"] < self.today - timedelta(28)
        is_eligible = placement["approved"] and placement["type"].lower() in ELIGIBLE_TYPES
        if state is None or state is RecordState.DELETED_BEFORE_EXPORT:
            return is_history or not is_eligible
        if state not in UNSENT:
            return True
        if not is_eligible:
            return is_resent or state is RecordState.EXPIRED_UNSENT
        if state is RecordState.INVALID_DATA:
            return bool(placement["end"] < placement["start"])
        if state is RecordState.EXPIRED_UNSENT:
            return bool(placement["start"] < window.first)
        return is_resent or bool(placement["start"] >= window.first)

    def _require_sent_or_carried_over(self, before: set[str]) -> None:
        """After a day's run who is due has gone, unless the day's file was made before or is full."""
        window = Window.on(self.today, self.chain.ctx.settings)
        key = f"APP/{KSS}/{self.today.isoformat()}"
        files = {each["key"]: each for name, each in self.chain.exports().items() if name not in before}
        records = self.chain.records().values()
        if any(each["key"] == key for name, each in self.chain.exports().items() if name in before):
            return
        of_post = Counter(
            each["post_number"] for each in records if key in files and each["file"] == files[key]["_id"]
        )
        for each in records:
            is_due = window.first <= date.fromisoformat(each["start"]) <= window.last
            if each["state"] == RecordState.TO_EXPORT and is_due:
                assert of_post[each["post_number"]] == CAP, each

    def _placement_of(self, row: Row) -> int:
        who = int(person_of(row).removeprefix("person").split("@")[0])
        return int(self.placements[who]["id"])

    def teardown(self):
        try:
            self._end_well()
        finally:
            self._open.close()

    def _end_well(self) -> None:
        """Run undisturbed until nothing is left to do, and look at both ends once more."""
        for _ in range(12):
            self.today += timedelta(1)
            with contextlib.suppress(TransientError):
                self._run(lambda: self.chain.send(self.today), None)
            self.chain.play(self.today)
            self._run(self.chain.confirm, None)
            if not self.chain.ctx.store["esr_export"].count_documents({"day": self.today.isoformat()}):
                break
        self.is_seen = True
        self.nothing_is_wrong()
        self.nobody_is_sent_twice_unless_a_person_asked_for_it()
        self.who_is_not_sent_says_why()
        assert list(told_wrong(self.chain, self._placement_of, self.removed)) == []
        store = self.chain.ctx.store
        assert self.unfinished() == []
        assert store["outbox"].count_documents({"pending": True}) == 0
        assert store["esr_call"].count_documents({"pending": True}) == 0
        left = {
            key
            for kind in ("APP", "DNC")
            for key, state in self.chain.states(kind).items()
            if state in IN_A_FILE
        }
        answered = {RecordState.CONFIRMED, RecordState.CONFIRMED_WITH_WARNINGS, RecordState.REJECTED}
        states = {**self.chain.states(), **self.chain.states("DNC")}
        assert {key: states[key] for key in left if states[key] not in answered} == {}


@pytest.mark.timeout(600)
def test_whatever_changes_and_wherever_a_run_dies_each_applicant_is_sent_once(
    esr_ctx, topics, tcs_sandbox, monkeypatch
):
    trap = Trap(monkeypatch)

    def machine() -> Any:
        return WholeChain(lambda: opened_chain(esr_ctx, tcs_sandbox, esr_applicants_of_a_post=CAP), trap)

    run_state_machine_as_test(
        cast("Any", machine),
        settings=settings(
            max_examples=9,
            stateful_step_count=15,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )

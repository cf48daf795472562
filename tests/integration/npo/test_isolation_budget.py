"""The shared budget on the real store: rate, places, rest and breaker held across workers."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import TYPE_CHECKING, Any

import pytest

from include.connectors import shared_budget
from include.connectors.breaker import BreakerRules
from include.connectors.limits import A_PERSONS, A_RUNS, Limits, Patience
from include.connectors.shared_budget import Rest, SharedBudget, wake
from include.errors import NotYetError, RateLimitedError
from include.settings import PROJECT_ROOT

if TYPE_CHECKING:
    from include.connectors.limits import Place
    from include.storage.mongo import IntegrationStore

BREAKER = BreakerRules(failures=3, seconds=0.3)


@pytest.fixture
def store(prepared_store: IntegrationStore) -> IntegrationStore:
    prepared_store["npo_budget"].delete_many({})
    return prepared_store


def budget(
    store: IntegrationStore,
    npo_id: str = "npo",
    *,
    a_minute: int = 100_000,
    at_once: int = 4,
    patience: Patience = A_RUNS,
    **limits: Any,
) -> SharedBudget:
    """Return a worker's own view of the shared budget."""
    wanted = Limits(a_minute, at_once, **({"timeout": 1, "total_timeout": 10, "max_page_bytes": 1} | limits))
    return SharedBudget(store, npo_id, wanted, BREAKER, patience=patience)


def state(store: IntegrationStore) -> dict[str, Any]:
    """Return the document as it is now: what a majority has is a little older."""
    from pymongo.read_concern import ReadConcern

    found = store["npo_budget"].with_options(read_concern=ReadConcern("local")).find_one({"_id": "npo"})
    return found or {}


def pass_through(one: SharedBudget) -> float:
    """Ask for one request; return when it was allowed."""
    place = one.enter()
    allowed = time.monotonic()
    one.leave(place)
    return allowed


# --- rate ---


@pytest.mark.parametrize("a_minute", [1, 8, 60, 300])
def test_no_period_sees_more_requests_than_the_row_allows(store: IntegrationStore, a_minute: int) -> None:
    period = 0.6
    workers = [budget(store, a_minute=a_minute, period=period, at_once=64) for _ in range(3)]
    ends = time.monotonic() + 3 * period
    allowed: list[float] = []

    def work(worker: SharedBudget) -> None:
        while time.monotonic() < ends:
            allowed.append(pass_through(worker))

    with ThreadPoolExecutor(len(workers)) as pool:
        list(pool.map(work, workers))
    allowed.sort()
    window = period * 0.95  # what a request takes from its permit to its place is not the budget's
    most = max(sum(start <= other < start + window for other in allowed) for start in allowed)
    assert most <= a_minute
    assert len(allowed) >= min(a_minute, 100)


def test_npos_do_not_share_a_budget(store: IntegrationStore) -> None:
    start = time.monotonic()
    for name in ("one", "other", "third"):
        pass_through(budget(store, name, a_minute=1))
    assert time.monotonic() - start < 5


def test_a_budget_spent_for_minutes_is_told_at_once_and_spends_nothing_more(store: IntegrationStore) -> None:
    shared_minute = [budget(store, a_minute=1) for _ in range(7)]
    for worker in shared_minute[:5]:
        worker._reserve()
    before = state(store)
    with pytest.raises(RateLimitedError, match="budget of 1 requests a minute is spent") as caught:
        shared_minute[6].enter()
    assert caught.value.retry_after is not None
    assert 290 < caught.value.retry_after < 310
    after = state(store)
    assert before["spent_until"] == after["spent_until"]


def test_a_person_is_told_at_once_that_the_budget_is_in_use(store: IntegrationStore) -> None:
    for _ in range(3):
        budget(store, a_minute=2)._reserve()
    with pytest.raises(RateLimitedError, match=r"is spent for \d+ s; nothing was sent, ask again") as caught:
        budget(store, a_minute=2, patience=A_PERSONS).enter()
    assert caught.value.retry_after is not None
    assert caught.value.retry_after > A_PERSONS.permit


def test_a_person_alone_gets_the_next_of_few_permits(store: IntegrationStore) -> None:
    looking = budget(store, a_minute=1, patience=A_PERSONS)
    looking._reserve()
    (usable_at,) = looking._reserve()
    assert 55 < usable_at - time.monotonic() < 65


def test_a_store_round_trip_reserves_several_permits(store: IntegrationStore) -> None:
    worker = budget(store, a_minute=6_000)
    pass_through(worker)
    spent = state(store)
    pass_through(worker)
    again = state(store)
    assert spent["spent_until"] == again["spent_until"]


# --- places ---


def test_no_more_requests_are_under_way_than_the_row_allows(store: IntegrationStore) -> None:
    workers = [budget(store, at_once=2) for _ in range(4)]
    lock, now, most = Lock(), 0, 0

    def work(worker: SharedBudget) -> None:
        nonlocal now, most
        for _ in range(4):
            place = worker.enter()
            with lock:
                now += 1
                most = max(most, now)
            time.sleep(0.01)
            with lock:
                now -= 1
            worker.leave(place)

    with ThreadPoolExecutor(len(workers)) as pool:
        list(pool.map(work, workers))
    assert most == 2
    assert state(store)["places"] == []


KILLED = """
import sys
from include.connectors import shared_budget
from include.connectors.breaker import BreakerRules
from include.connectors.limits import Limits
from include.settings import Settings
from include.storage.mongo import IntegrationStore
shared_budget._LEASE_MARGIN = 0.6
store = IntegrationStore(Settings(mongo_uri=sys.argv[1], mongo_database=sys.argv[2]))
limits = Limits(100_000, 1, timeout=0.1, total_timeout=1, max_page_bytes=1)
shared_budget.SharedBudget(store, "npo", limits, BreakerRules(3, 1)).enter()
print("entered", flush=True)
sys.stdin.read()
"""


def test_a_killed_worker_gives_its_place_back_when_its_lease_ends(store: IntegrationStore) -> None:
    uri = store._settings.mongo_uri.get_secret_value()
    argv = [sys.executable, "-c", KILLED, uri, store.database.name]
    with subprocess.Popen(
        argv, cwd=PROJECT_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stdout
        assert worker.stdout.readline() == "entered\n"
        entered = time.monotonic()
        worker.kill()
    allowed = pass_through(budget(store, at_once=1))
    assert 0.5 < allowed - entered < 5


def test_a_long_answer_keeps_its_place(store: IntegrationStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_budget, "_LEASE_MARGIN", 0.0)
    holder = budget(store, at_once=1, timeout=0.075)
    other = budget(store, at_once=1, timeout=0.075, patience=Patience(place=0.2))
    place = holder.enter()
    ends = time.monotonic() + 0.6  # twice its lease
    while time.monotonic() < ends:
        holder.keep(place)
        time.sleep(0.02)
    with pytest.raises(NotYetError, match="all 1 places"):
        keep_while(holder, place, other)
    holder.leave(place)
    pass_through(other)


def keep_while(holder: SharedBudget, place: Place, other: SharedBudget) -> None:
    """Hold a place on while another worker waits for it."""
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(other.enter)
        while not waiting.done():
            holder.keep(place)
            time.sleep(0.01)
        waiting.result()


# --- rest ---


def test_a_throttled_worker_holds_all_of_them_back(store: IntegrationStore) -> None:
    told, other = budget(store, a_minute=6_000), budget(store, a_minute=6_000)
    pass_through(other)  # holds permits it reserved before
    start = time.monotonic()
    told.throttled(0.4)
    assert pass_through(other) - start >= 0.4


def test_a_rest_is_never_made_shorter(store: IntegrationStore) -> None:
    worker = budget(store)
    start = time.monotonic()
    worker.throttled(0.4)
    worker.throttled(0.0)
    assert pass_through(budget(store)) - start >= 0.4


@pytest.mark.parametrize("rest", [90, 3_600])
def test_a_long_rest_is_told_at_once(store: IntegrationStore, rest: int) -> None:
    budget(store).throttled(rest)
    start = time.monotonic()
    with pytest.raises(RateLimitedError, match="asked to be left alone") as caught:
        budget(store).enter()
    assert time.monotonic() - start < 1
    assert caught.value.retry_after is not None
    assert rest - 10 < caught.value.retry_after <= rest
    assert "spent_until" not in state(store)


# --- breaker ---


def fail(worker: SharedBudget, times: int) -> None:
    for _ in range(times):
        worker.judged(well=False)


def test_an_npo_that_failed_often_enough_is_left_alone_by_all(store: IntegrationStore) -> None:
    one, other = budget(store), budget(store)
    fail(one, 2)
    pass_through(other)
    fail(other, 1)
    for worker in (one, other, budget(store)):
        with pytest.raises(NotYetError, match="3 requests in a row failed") as caught:
            worker.enter()
        assert caught.value.retry_after == 1.0  # a shorter one would be all haste
    pass_through(budget(store, "neighbour"))


def test_only_failures_in_a_row_count(store: IntegrationStore) -> None:
    one = budget(store)
    fail(one, 2)
    pass_through(one)
    one.judged(well=True)
    fail(one, 2)
    pass_through(one)


def test_one_tries_whether_the_partner_is_well_again_and_the_others_wait(store: IntegrationStore) -> None:
    one, other = budget(store), budget(store)
    fail(one, 3)
    time.sleep(0.35)
    place = one.enter()
    one.leave(place)
    with pytest.raises(NotYetError):
        other.enter()
    one.leave(one.enter())  # its own next try is part of the same request
    one.judged(well=True)
    pass_through(other)
    assert (state(store)["failures"], state(store)["openings"]) == (0, 0)


def test_a_failed_trial_opens_it_for_twice_as_long(store: IntegrationStore) -> None:
    one, other = budget(store), budget(store)
    fail(one, 3)
    time.sleep(0.35)
    pass_through(one)
    one.judged(well=False)
    time.sleep(0.35)
    with pytest.raises(NotYetError):
        other.enter()
    time.sleep(0.35)
    pass_through(other)


def test_requests_under_way_when_it_opened_do_not_keep_it_open_longer(store: IntegrationStore) -> None:
    one = budget(store)
    fail(one, 6)
    time.sleep(0.35)
    pass_through(one)


def test_a_trial_whose_process_died_is_taken_over(
    store: IntegrationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_budget, "_LEASE_MARGIN", 0.0)
    dead, other = budget(store, timeout=0.05), budget(store)
    fail(dead, 3)
    time.sleep(0.35)
    dead.enter()
    time.sleep(0.25)
    pass_through(other)


def test_an_npo_that_is_woken_may_be_asked_at_once(store: IntegrationStore) -> None:
    one, other = budget(store), budget(store)
    one.throttled(3000)
    for _ in range(3):
        one.judged(well=False)
    with pytest.raises(NotYetError):
        other.enter()
    ended = wake(store, "npo")
    assert ended.told == pytest.approx(3000, abs=5)
    assert 0 < ended.closed <= 1
    assert ended.failures == 3
    other.leave(other.enter())
    one.judged(well=False)
    other.leave(other.enter())  # failures are counted from none
    assert wake(store, "npo") == Rest(failures=1)


def test_waking_one_that_nothing_keeps_from_being_asked_changes_nothing(store: IntegrationStore) -> None:
    assert wake(store, "npo") == Rest()
    assert state(store) == {}


def test_a_success_costs_no_write_while_all_is_well(store: IntegrationStore) -> None:
    one = budget(store)
    pass_through(one)
    store["npo_budget"].delete_many({})
    one.judged(well=True)
    assert state(store) == {}


def test_a_store_that_does_not_answer_is_no_failure_of_the_partner() -> None:
    from pymongo import MongoClient

    client: MongoClient[dict[str, Any]] = MongoClient("mongodb://127.0.0.1:9", serverSelectionTimeoutMS=50)
    with client, pytest.raises(NotYetError, match="the budget cannot be looked at, nothing was sent"):
        budget(client["nothing"]).enter()  # type: ignore[arg-type]

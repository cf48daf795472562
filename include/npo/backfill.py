"""Backfills of many NPOs over one stretch of time: bounded, each for itself, safe to repeat."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice, pairwise, takewhile
from threading import Event
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar
from zoneinfo import ZoneInfo

from include.airflow_api import MAX_RUNS
from include.connectors.discovery import load_manifest
from include.errors import ConfigurationError, IntegrationError, TransientError
from include.failures import located
from include.npo.gaps import asks_for_a_window
from include.npo.run import STAGES, run_stage
from include.registry.models import NpoStatus
from include.registry.schedules import cron_expression

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from include.airflow_api import AirflowApi, Backfill
    from include.registry.models import NpoConfig
    from include.settings import Settings

Answer = TypeVar("Answer")
State = Literal["done", "in part", "failed", "stopped", "not started", "goes on"]
LOOK_EVERY = 0.5
POLL_SECONDS = 3.0
LOOKS_LOST = 20
"""Looks in a row to which Airflow may owe an answer: it goes on with the backfill, or is being restarted."""


@dataclass(frozen=True, slots=True)
class Interval:
    """From ``start`` (inclusive) to ``end`` (exclusive), UTC."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one NPO's backfill.

    Attributes:
        told: In one line, what was done, or what failed and what to do.
    """

    npo_id: str
    state: State
    told: str = ""
    counts: dict[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON-able form."""
        return {"npo_id": self.npo_id, "state": self.state, "told": self.told, "counts": self.counts}


class Way(Protocol):
    """How one NPO is backfilled."""

    def __call__(
        self, npo: NpoConfig, interval: Interval, tell: Callable[[str], None], stop: Event
    ) -> Result:
        """Backfill it; look at ``stop`` between steps that belong together.

        Raises:
            IntegrationError: It failed; the others go on.
        """
        ...


def how(npo: NpoConfig) -> dict[str, str]:
    """Return, by resource, what a backfill does: ask the partner, or replay what was landed.

    Raises:
        ConfigurationError: The manifest is not valid.
    """
    manifest = load_manifest(npo)
    return {
        resource: "asks the partner"
        if asks_for_a_window(manifest.resource(resource))
        else "replay of what was landed"
        for resource in manifest.resource_names
    }


class Batch:
    """Backfills several NPOs, at most ``max_active`` at once.

    Args:
        npos: Which, in this order.
        interval: Which stretch of time.
        way: Here, or in Airflow.
        max_active: At once.
        tell: Told one line whenever something happens to one of them.
    """

    def __init__(
        self,
        npos: Sequence[NpoConfig],
        interval: Interval,
        way: Way,
        *,
        max_active: int,
        tell: Callable[[str], None],
    ) -> None:
        self._npos, self._interval, self._way = npos, interval, way
        self._max_active, self._tell = max_active, tell
        self._stop = Event()
        self._results: dict[str, Result] = {}

    def run(self) -> list[Result]:
        """Return what became of each; after an interrupt of those, too, that were stopped or not begun.

        One interrupt (Ctrl-C) lets what is under way come to the end of its step; whatever was left is done
        by the same call again.
        """
        with ThreadPoolExecutor(self._max_active, thread_name_prefix="backfill") as pool:
            try:
                # In short waits: one without end would not see the interrupt.
                futures = [pool.submit(self._one, npo) for npo in self._npos]
                while wait(futures, timeout=LOOK_EVERY).not_done:
                    pass
            except KeyboardInterrupt:
                self._stop.set()
                self._tell("stopping: what is under way ends its step first")
        return [self._results.get(npo.npo_id, Result(npo.npo_id, "not started")) for npo in self._npos]

    @property
    def interrupted(self) -> bool:
        """Return whether somebody stopped it."""
        return self._stop.is_set()

    def _one(self, npo: NpoConfig) -> None:
        if self._stop.is_set():
            return
        try:
            with located(npo.npo_id, ""):
                result = self._way(npo, self._interval, self._tell_of(npo), self._stop)
        except IntegrationError as error:
            result = Result(npo.npo_id, "failed", error.message)
        except Exception as error:  # noqa: BLE001 - one NPO's surprise is not the others'
            result = Result(
                npo.npo_id, "failed", f"{type(error).__name__}: a fault of ours; run it alone to see"
            )
        # Kept here: an interrupt may come before its caller has the future.
        self._results[npo.npo_id] = result
        self._tell(f"{npo.npo_id}: {result.state} {result.told}".rstrip())

    def _tell_of(self, npo: NpoConfig) -> Callable[[str], None]:
        return lambda line: self._tell(f"{npo.npo_id}: {line}")


def here(settings: Settings) -> Way:
    """Return the way that runs the stages in this process."""

    def way(npo: NpoConfig, interval: Interval, tell: Callable[[str], None], stop: Event) -> Result:
        # The same stretch has the same run: a second time continues its story instead of telling another.
        run_id = f"backfill__{interval.start.isoformat()}__{interval.end.isoformat()}"
        ref: dict[str, Any] | None = None
        for stage in STAGES:
            if stop.is_set():
                return Result(npo.npo_id, "stopped", f"before {stage}; nothing is lost")
            ref = run_stage(
                stage,
                npo.npo_id,
                ref,
                run_id=run_id,
                data_interval=(interval.start, interval.end),
                backfill=True,
                settings=settings,
                progress=tell,
            )
            if ref is None:
                return Result(npo.npo_id, "done", "nothing new")
        counts: dict[str, int] = ref["counts"] if ref else {}
        events = counts.get("publish.published", 0)
        return Result(npo.npo_id, "done", f"{events} events published", counts)

    return way


def in_airflow(api: AirflowApi, *, poll: float = POLL_SECONDS) -> Way:
    """Return the way that lets Airflow run its own backfill of the NPO's DAG, and follows it."""

    def way(npo: NpoConfig, interval: Interval, tell: Callable[[str], None], stop: Event) -> Result:
        if npo.status is not NpoStatus.ACTIVE or api.is_paused(npo.dag_id):
            raise ConfigurationError("its DAG is paused, so no run would start; activate it, or use --local")
        covering = aligned(npo, interval)
        backfill = _started(api, npo, covering, tell)
        tell(f"backfill {backfill.id} in Airflow")
        while not backfill.completed:
            if stop.wait(poll):
                return Result(npo.npo_id, "goes on", f"backfill {backfill.id} goes on in Airflow")
            backfill = _patiently(partial(api.backfill, backfill.id), stop, poll)
        runs = _patiently(partial(api.backfill_runs, npo.dag_id, covering.start, covering.end), stop, poll)
        return _outcome(npo, backfill, runs, without_run(intervals(npo, covering), runs))

    return way


def _patiently(ask: Callable[[], Answer], stop: Event, poll: float) -> Answer:
    """Return what Airflow answers, which may take some looks.

    Raises:
        IntegrationError: As ``ask``.
    """
    for _ in range(LOOKS_LOST):
        try:
            return ask()
        except TransientError:
            if stop.wait(poll):
                break
    return ask()


def intervals(npo: NpoConfig, covering: Interval) -> list[datetime]:
    """Return when the intervals of the schedule begin that begin in a stretch, both ends inclusive, in order.

    No more of them than Airflow is asked for runs.
    """
    first = covering.start.astimezone(ZoneInfo(npo.timezone)) - timedelta(seconds=1)
    return list(islice(takewhile(lambda begin: begin <= covering.end, _ticks(npo, first)), MAX_RUNS))


def _ticks(npo: NpoConfig, after: datetime) -> Iterator[datetime]:
    from croniter import croniter  # type: ignore[import-untyped]

    ticks = croniter(cron_expression(npo.npo_id, npo.schedule), after)
    while True:
        moment: datetime = ticks.get_next(datetime)
        yield moment.astimezone(UTC)


def without_run(begins: Sequence[datetime], runs: Iterable[datetime]) -> list[datetime]:
    """Return those of the intervals' beginnings from which on, until the next, no run has its date."""
    dates = sorted(runs, reverse=True)
    missing: list[datetime] = []
    for begin, end in pairwise([*begins, datetime.max.replace(tzinfo=UTC)]):
        while dates and dates[-1] < begin:
            dates.pop()
        if not dates or dates[-1] >= end:
            missing.append(begin)
    return missing


def aligned(npo: NpoConfig, interval: Interval) -> Interval:
    """Return the first and the last instant at which an interval that touches the stretch may begin.

    Airflow takes intervals that begin in what it is given: without the one that is under way at ``start`` its
    first minutes would not be read.
    """
    from croniter import croniter

    zone = ZoneInfo(npo.timezone)
    at = interval.start.astimezone(zone) + timedelta(seconds=1)
    before: datetime = croniter(cron_expression(npo.npo_id, npo.schedule), at).get_prev(datetime)
    return Interval(
        min(before.astimezone(interval.start.tzinfo), interval.start), interval.end - timedelta(seconds=1)
    )


def _started(api: AirflowApi, npo: NpoConfig, interval: Interval, tell: Callable[[str], None]) -> Backfill:
    """Return the backfill of this stretch: one under way is followed, else a new one is started."""
    for running in api.running_backfills(npo.dag_id):
        if _moment(running.start) == interval.start and _moment(running.end) == interval.end:
            tell(f"found backfill {running.id} of this stretch under way")
            return running
        raise ConfigurationError(
            f"backfill {running.id} of another stretch is under way in Airflow; wait for it, or "
            "cancel it there"
        )
    return api.create_backfill(npo.dag_id, interval.start, interval.end)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _outcome(
    npo: NpoConfig, backfill: Backfill, runs: dict[datetime, str], missing: Sequence[datetime]
) -> Result:
    states = dict(Counter(runs.values()))
    if failed := states.get("failed", 0):
        told = f"{failed} of {len(runs)} runs failed; see backfill {backfill.id} of {npo.dag_id} in Airflow"
        return Result(npo.npo_id, "failed", told, states)
    if missing:
        # Airflow passes over an interval whose scheduled run is under way, or that has not ended yet.
        told = (
            f"{len(runs)} runs, backfill {backfill.id}; {len(missing)} intervals got none, from "
            f"{missing[0]:%Y-%m-%dT%H:%M:%S} to {missing[-1]:%Y-%m-%dT%H:%M:%S}: their scheduled run was "
            "under way, or they have not ended yet; the same command again, later, reads them"
        )
        return Result(npo.npo_id, "in part", told, states | {"without_run": len(missing)})
    return Result(npo.npo_id, "done", f"{len(runs)} runs, backfill {backfill.id}", states)

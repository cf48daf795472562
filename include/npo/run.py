"""Runs one stage of one NPO: what a DAG's task, and ``spotlight run``, call."""

from __future__ import annotations

import logging
from contextlib import contextmanager, nullcontext
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from include.connectors.protocol import Window
from include.errors import ConfigurationError, IntegrationError
from include.failures import located
from include.npo.context import RunContext, RunRef, settle_memory, utc_now
from include.registry.models import Credential, NpoStatus
from include.settings import get_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from include.connectors.protocol import Connector
    from include.registry.models import NpoConfig
    from include.settings import Settings

log = logging.getLogger("spotlight.npo")

STAGES = ("extract", "land_raw", "validate", "transform", "publish")


class Stage(Protocol):
    """A stage: takes the reference of the one before, returns that for the next; ``None`` ends the run."""

    def __call__(self, ctx: RunContext, ref: RunRef) -> RunRef | None:
        """Do the stage's work."""
        ...


def run_stage(  # noqa: PLR0913 - the names Airflow's context gives
    stage: str,
    npo_id: str,
    ref: dict[str, Any] | None,
    *,
    run_id: str,
    data_interval: tuple[datetime, datetime] | None,
    backfill: bool,
    settings: Settings | None = None,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any] | None:
    """Run a stage with the row as it is now and return the JSON-able reference for the next.

    Args:
        stage: One of ``STAGES``.
        npo_id: The row; read again by each stage, so that a changed row takes effect.
        ref: What the stage before returned; ``None`` for extract.
        run_id: Id of the DAG run; also the correlation id of its events.
        data_interval: Start (inclusive) and end (exclusive) of the run's data interval.
        backfill: Whether to read exactly that interval rather than on from the checkpoint.
        settings: Those of the process when left out.
        progress: Told one line whenever there is something to tell; the log when left out.

    Raises:
        IntegrationError: As the stages say, with the NPO and the stage filled in.
    """
    settings = settings or get_settings()
    tell = progress or (lambda line: log.info("%s/%s: %s", npo_id, stage, line))
    with located(npo_id, stage):
        window = Window(*data_interval) if backfill and data_interval else None
        reads_partner = stage == "extract"
        with open_context(
            npo_id, run_id, settings, backfill=window, reads_partner=reads_partner, progress=tell
        ) as ctx:
            given = RunRef.from_dict(ref) if ref else RunRef(npo_id, run_id)
            started = utc_now()
            work = _stage(stage)
            settle_memory()
            with _pausing(ctx.npo, settings) if reads_partner else nullcontext():
                result = work(ctx, given)
            record_stage(ctx, stage, result, started=started)
    return result.to_dict() if result else None


@contextmanager
def _pausing(npo: NpoConfig, settings: Settings) -> Iterator[None]:
    """Pause an integration whose set-up its partner refuses."""
    try:
        yield
    except ConfigurationError as error:
        if error.pauses:
            error.message += _paused(npo, settings)
        raise


def _paused(npo: NpoConfig, settings: Settings) -> str:
    from include.registry import queries

    try:
        paused = queries.pause_npo(
            settings.registry_dsn.get_secret_value(),
            npo.npo_id,
            npo.config_version,
            settings.registry_timeout,
            changed_by="pipeline: configuration error in extract",
        )
    except IntegrationError:
        return "; the integration could not be paused, pause it in the registry"
    if not paused:  # a person has changed the row since: whatever they decided stands
        return ""
    return "; integration paused, nothing was lost: set its status to active when this is mended"


@contextmanager
def open_context(
    npo_id: str,
    run_id: str,
    settings: Settings,
    *,
    backfill: Window | None = None,
    reads_partner: bool = True,
    progress: Callable[[str], None] = lambda _line: None,
) -> Iterator[RunContext]:
    """Open what a stage works with and close it again; only who reads the partner gets the secret."""
    from include.connectors.open import open_connector
    from include.registry.credentials import resolve_credential
    from include.storage.landing import LandingZone
    from include.storage.mongo import IntegrationStore

    npo = read_row(npo_id, settings)
    credential = resolve_credential(npo.credential_ref) if reads_partner else Credential()
    store = IntegrationStore(settings)
    connector: Connector = open_connector(npo, credential, settings, store=store)
    try:
        store.prepare()
        yield RunContext(
            npo=npo,
            run_id=run_id,
            connector=connector,
            store=store,
            landing=LandingZone(settings),
            settings=settings,
            backfill=backfill,
            progress=progress,
        )
    finally:
        store.close()


def read_row(npo_id: str, settings: Settings) -> NpoConfig:
    """Return the row of an NPO that may run.

    Raises:
        ConfigurationError: No such row, a broken one, or one that is not in use.
        TransientError: The registry does not answer.
    """
    from include.registry import queries
    from include.registry.catalogue import parse_rows

    row = queries.row(settings.registry_dsn.get_secret_value(), npo_id, settings.registry_timeout)
    if row is None or row["status"] not in {NpoStatus.ACTIVE, NpoStatus.PAUSED}:
        state = "is not there" if row is None else f"has status '{row['status']}'"
        raise ConfigurationError(f"the registry row {state}; set its status to active to run it")
    configs, broken = parse_rows([row])
    if broken:
        raise ConfigurationError(f"the registry row is broken: {broken[0].problem}")
    return configs[0]


def _stage(name: str) -> Stage:
    # Imported here: a stage's libraries cost seconds, and a task needs one stage.
    from include.npo.extract import extract
    from include.npo.land import land_raw
    from include.npo.publish import publish
    from include.npo.transform import transform
    from include.npo.validate import validate

    stages: dict[str, Stage] = {
        "extract": lambda ctx, ref: extract(ctx),  # noqa: ARG005 - first of the chain, has no reference
        "land_raw": land_raw,
        "validate": validate,
        "transform": transform,
        "publish": publish,
    }
    return stages[name]


def record_stage(ctx: RunContext, stage: str, result: RunRef | None, *, started: datetime) -> None:
    """Keep what a stage did, for people: counts and times beside the run's id."""
    ended = utc_now()
    counts = {
        name.removeprefix(f"{stage}."): number
        for name, number in (result.counts if result else {}).items()
        if name.startswith(f"{stage}.")
    }
    ctx.store["npo_run"].update_one(
        {"_id": f"{ctx.npo.npo_id}|{ctx.run_id}"},
        {
            "$set": {
                "npo_id": ctx.npo.npo_id,
                "run_id": ctx.run_id,
                f"stages.{stage}": {
                    "started_at": started,
                    "seconds": (ended - started) / timedelta(seconds=1),
                    "counts": counts,
                    "nothing_to_do": result is None,
                },
            },
            "$setOnInsert": {"started_at": started},
        },
        upsert=True,
    )

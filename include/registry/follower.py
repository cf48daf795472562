"""Keep Airflow's NPO DAGs, their pause switches and their presence in step with the registry.

Airflow reads a DAG file now and then, lets it pause a DAG only when it sees it for the first time, and
drops a DAG that is gone from its file only after a minute or two. So a small thread beside the triggerer
looks at the registry every second: the file of a changed row is read at once, its switches are set.
The row decides while it says ``paused``; once it is ``active`` again only what this module paused is
unpaused, and a person's own pause stays. What we paused is noted in ``integration.npo_pause``.
"""

from __future__ import annotations

import itertools
import json
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from include.registry.catalogue import DAG_PREFIX
from include.registry.connection import registry
from include.registry.models import NpoStatus
from include.registry.reparse import Watch, ask, reading_began
from include.registry.shards import row_versions
from include.registry.sql import query

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable, Iterator, Mapping

    from include.settings import Settings

log = logging.getLogger(__name__)

SECONDS_BETWEEN_LOOKS = 1.0
LOOKS_BETWEEN_COMPARISONS = 10
ACTOR = "npo registry"


class Step(StrEnum):
    """What is to be done about one DAG."""

    PAUSE = "pause"
    UNPAUSE = "unpause"
    NOTE = "note as paused"  # by us, though not by this module: the DAG file created it paused
    FORGET = "forget the pause"
    RETIRE = "retire"


@dataclass(frozen=True, slots=True)
class RowState:
    """What the registry knows of a row that has a DAG.

    Attributes:
        npo_id: The row.
        status: Active or paused.
        noted: Whether its DAG was paused by us.
        was_active: Whether the row was ever active.
    """

    npo_id: str
    status: NpoStatus
    noted: bool
    was_active: bool


@dataclass(frozen=True, slots=True)
class DagState:
    """What Airflow knows of a DAG: whether it is paused, and whether it is listed (not stale)."""

    paused: bool
    listed: bool


def steps(rows: Iterable[RowState], dags: Mapping[str, DagState]) -> Iterator[tuple[str, Step]]:
    """Yield what brings Airflow in step, as (npo_id, step); nothing when it is.

    Args:
        rows: All rows that have a DAG.
        dags: All NPO DAGs Airflow has ever seen, by npo_id.
    """
    known = set()
    for row in rows:
        known.add(row.npo_id)
        if step := _step(row, dags.get(row.npo_id)):
            yield row.npo_id, step
    for npo_id, dag in dags.items():
        if dag.listed and npo_id not in known:
            yield npo_id, Step.RETIRE


def _step(row: RowState, dag: DagState | None) -> Step | None:
    if row.status is NpoStatus.PAUSED:
        if dag and not dag.paused:
            return Step.PAUSE
        # The DAG file will create it, or has created it, paused. The paused DAG of a row that was active
        # before and has no note is a person's own doing.
        return Step.NOTE if not row.noted and (dag is None or not row.was_active) else None
    if dag and row.noted:
        return Step.UNPAUSE if dag.paused else Step.FORGET
    return None


def follow_once(settings: Settings) -> list[tuple[str, Step]]:
    """Compare registry and Airflow once, set what differs, and return what was done.

    Each step is safe to repeat: a pause is noted before it is set, and a note forgotten only after
    the DAG was unpaused, so a crash between the two databases leaves no DAG paused for ever.

    Raises:
        IntegrationError: The registry cannot be read.
        sqlalchemy.exc.SQLAlchemyError: Airflow's database cannot.
    """
    done = list(steps(_rows(settings), _dags()))
    if done:
        of = {step: [npo_id for npo_id, its_step in done if its_step is step] for step in Step}
        _write_notes(settings, "note_pause", of[Step.PAUSE] + of[Step.NOTE])
        _set(of[Step.PAUSE], is_paused=True)
        _set(of[Step.UNPAUSE], is_paused=False)
        _set(of[Step.RETIRE], is_stale=True)  # what Airflow does itself, a minute or two later
        _write_notes(settings, "forget_pause", of[Step.UNPAUSE] + of[Step.FORGET])
    return done


def follow_changes(settings: Settings, watch: Watch, *, now: datetime) -> Watch:
    """Look for rows that changed since the last look; set their switches, have their files read again.

    Args:
        settings: Where the registry is.
        watch: What the last look returned; ``Watch()`` before the first.
        now: The time of this look (UTC).

    Raises:
        IntegrationError: The registry cannot be read.
        sqlalchemy.exc.SQLAlchemyError: Airflow's database cannot.
    """
    rows = row_versions(settings.registry_dsn.get_secret_value(), settings.registry_timeout)
    listed = () if watch.known is not None else (key for key, dag in _dags().items() if dag.listed)
    watch = watch.see(rows, listed, now)
    if not watch.waiting:
        return watch
    if watch.fresh:
        _tell(follow_once(settings))
    watch = watch.settle(reading_began(watch.waiting))
    if files := watch.files(now):
        ask(files)
    return watch.asked(watch.due(now), now)


def follow(settings: Settings, stop: threading.Event, *, every: float = SECONDS_BETWEEN_LOOKS) -> None:
    """Follow the registry until told to stop; an outage is logged once and waited out.

    A look at the rows' versions is cheap and finds what changed. Now and then everything is compared: a
    person may have clicked, or a reading under way may have brought back a DAG whose row is gone.
    """
    failing, watch = False, Watch()
    for look in itertools.count():
        if stop.wait(every):
            return
        try:
            if look % LOOKS_BETWEEN_COMPARISONS == 0:
                _tell(follow_once(settings))
            watch = follow_changes(settings, watch, now=datetime.now(tz=UTC))
            failing = False
        except Exception as error:  # noqa: BLE001 - the host process must outlive any fault of ours
            if not failing:
                log.warning("the DAGs' switches do not follow the registry for now: %s", error)
            failing = True


def _tell(done: list[tuple[str, Step]]) -> None:
    for npo_id, step in done:
        log.info("%s%s: %s, as the registry says", DAG_PREFIX, npo_id, step)


def _rows(settings: Settings) -> list[RowState]:
    dsn = settings.registry_dsn.get_secret_value()
    with registry(dsn, settings.registry_timeout) as connection:
        return [
            RowState(npo_id, NpoStatus(status), noted, was_active)
            for npo_id, status, noted, was_active in connection.execute(query("row_states"))
        ]


def _write_notes(settings: Settings, name: str, npo_ids: list[str]) -> None:
    if not npo_ids:
        return
    dsn = settings.registry_dsn.get_secret_value()
    with registry(dsn, settings.registry_timeout) as connection, connection.cursor() as cursor:
        cursor.executemany(query(name), [{"npo_id": npo_id} for npo_id in npo_ids])


def _dags() -> dict[str, DagState]:
    from airflow.models.dag import DagModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    ours = select(DagModel.dag_id, DagModel.is_paused, DagModel.is_stale).where(
        DagModel.dag_id.startswith(DAG_PREFIX, autoescape=True)
    )
    with create_session() as session:
        return {
            dag_id.removeprefix(DAG_PREFIX): DagState(paused, not stale)
            for dag_id, paused, stale in session.execute(ours)
        }


def _set(npo_ids: list[str], **values: Any) -> None:
    if not npo_ids:
        return
    from airflow.models.dag import DagModel
    from airflow.models.log import Log
    from airflow.utils.session import create_session
    from sqlalchemy import update

    dag_ids = [f"{DAG_PREFIX}{npo_id}" for npo_id in npo_ids]
    with create_session() as session:
        session.execute(update(DagModel).where(DagModel.dag_id.in_(dag_ids)).values(**values))
        # The event a person's click leaves, so that the DAG's audit log tells who it was.
        session.add_all(
            Log(event="patch_dag", owner=ACTOR, extra=json.dumps(values), dag_id=dag_id) for dag_id in dag_ids
        )

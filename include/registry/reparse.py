"""Ask Airflow to read a shard's DAG file again as soon as one of its rows has changed.

Airflow reads every DAG file each ``min_file_process_interval``. Short, that costs a core at thousands of
rows; long, a new row waits. So the files are read seldom, and a changed row's file at once.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from include.registry.catalogue import DAG_PREFIX
from include.registry.shards import HEALTH_FILE, shard_file, shard_of
from include.settings import PROJECT_ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlalchemy.orm import Session

    from include.registry.shards import RowVersion

# Airflow drops a request for a file that it is reading at the time, perhaps with the row as it was: it is
# repeated until a reading has begun after the change. A busy machine takes its time, and each request may
# be one more reading: the pauses double. A broken row never gets a DAG: not for ever.
ASK_AGAIN = timedelta(seconds=5)
MOST_ASKS = 4


class Waiting(NamedTuple):
    """A changed row whose file is to be read: since when, and how often and when that was asked for."""

    since: datetime
    asks: int = 0
    asked_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Watch:
    """What was seen of the registry, and what is waited for.

    Attributes:
        known: Versions of the rows at the last look; ``None`` before the first.
        waiting: Changed rows, by npo_id, whose file Airflow has not read again yet.
        settled: Whether a row's wait ended with the last look: what the files found is news.
    """

    known: Mapping[str, RowVersion] | None = None
    waiting: Mapping[str, Waiting] = field(default_factory=dict)
    settled: bool = False

    def see(self, rows: Mapping[str, RowVersion], listed: Iterable[str], now: datetime) -> Watch:
        """Return the watch after a look at the registry.

        Args:
            rows: Versions of all rows with a DAG.
            listed: npo_ids Airflow lists a DAG of; only looked at first of all, when nothing is known.
            now: When the rows were read (UTC).
        """
        if self.known is None:
            changed = set(rows) ^ set(listed)
        else:
            changed = {npo_id for npo_id, _ in set(rows.items()) ^ set(self.known.items())}
        waiting = {**self.waiting, **dict.fromkeys(changed, Waiting(now))}
        return replace(self, known=rows, waiting=waiting, settled=False)

    def settle(self, read_since: Mapping[str, datetime]) -> Watch:
        """Return the watch without the rows whose file was read after they had changed.

        Args:
            read_since: When the last reading that found the row's DAG began (UTC), by npo_id.
        """
        still = {
            npo_id: one
            for npo_id, one in self.waiting.items()
            if not (self._has_dag(npo_id) and npo_id in read_since and read_since[npo_id] > one.since)
            and not (one.asks and not self._has_dag(npo_id))  # its DAG is retired without a reading
            and one.asks < MOST_ASKS
        }
        return replace(self, waiting=still, settled=len(still) < len(self.waiting))

    @property
    def fresh(self) -> bool:
        """Return whether a row has changed that nothing was done about yet."""
        return any(not one.asks for one in self.waiting.values())

    def due(self, now: datetime) -> frozenset[int]:
        """Return the shards whose file is to be asked for now."""
        return frozenset(shard_of(npo_id) for npo_id, one in self.waiting.items() if _is_due(one, now))

    def files(self, now: datetime) -> tuple[str, ...]:
        """Return the DAG files to be asked for now, by name.

        The health file tells what the shards' files have found: it comes after them.
        """
        again = any(one.asks and _is_due(one, now) for one in self.waiting.values())
        shards = tuple(shard_file(shard) for shard in sorted(self.due(now)))
        return (*shards, HEALTH_FILE) if self.settled or again else shards

    def asked(self, shards: frozenset[int], now: datetime) -> Watch:
        """Return the watch after these shards were asked for."""
        return replace(
            self,
            waiting={
                npo_id: Waiting(one.since, one.asks + 1, now) if shard_of(npo_id) in shards else one
                for npo_id, one in self.waiting.items()
            },
        )

    def _has_dag(self, npo_id: str) -> bool:
        return self.known is not None and npo_id in self.known


def _is_due(waiting: Waiting, now: datetime) -> bool:
    return waiting.asked_at is None or now - waiting.asked_at >= ASK_AGAIN * 2 ** (waiting.asks - 1)


def reading_began(npo_ids: Iterable[str]) -> dict[str, datetime]:
    """Return when Airflow began the last reading that found each row's DAG (UTC); absent: never seen.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: Airflow's database cannot be read.
    """
    from airflow.models.dag import DagModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    wanted = [f"{DAG_PREFIX}{npo_id}" for npo_id in npo_ids]
    seen = select(DagModel.dag_id, DagModel.last_parsed_time, DagModel.last_parse_duration).where(
        DagModel.dag_id.in_(wanted), ~DagModel.is_stale, DagModel.last_parsed_time.is_not(None)
    )
    with create_session() as session:
        return {
            dag_id.removeprefix(DAG_PREFIX): ended - timedelta(seconds=seconds or 0)
            for dag_id, ended, seconds in session.execute(seen)
            if ended
        }


def ask(files: Iterable[str]) -> None:
    """Ask the DAG processor to read these files of the project's ``dags`` folder before all others.

    A file asked for already is not asked for twice.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: Airflow's database cannot be written.
    """
    from airflow.models.dagbag import DagPriorityParsingRequest
    from airflow.utils.session import create_session
    from sqlalchemy import select
    from sqlalchemy.exc import IntegrityError

    asked = select(DagPriorityParsingRequest.bundle_name, DagPriorityParsingRequest.relative_fileloc)
    with contextlib.suppress(IntegrityError), create_session() as session:  # another triggerer was quicker
        wanted = {(bundle, str(folder / file)) for bundle, folder in _places(session) for file in files}
        for bundle, file in sorted(wanted - {(bundle, file) for bundle, file in session.execute(asked)}):
            session.add(DagPriorityParsingRequest(bundle_name=bundle, relative_fileloc=file))


def _places(session: Session) -> list[tuple[str, PurePosixPath]]:
    """Return the bundles that hold our DAG files, and the folder inside each."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.models.dag import DagModel
    from sqlalchemy import select

    ours = PROJECT_ROOT / "dags"
    inside = [
        (bundle.name, PurePosixPath(ours.relative_to(folder).as_posix()))
        for bundle in DagBundlesManager().get_all_dag_bundles()  # type: ignore[no-untyped-call]
        if ours.is_relative_to(folder := Path(bundle.path).resolve())
    ]
    if inside:
        return inside
    # A bundle fetched from elsewhere (Git) holds its own copy of the project: where its DAGs come from.
    known = select(DagModel.bundle_name, DagModel.relative_fileloc).distinct()
    known = known.where(DagModel.dag_id.startswith(DAG_PREFIX, autoescape=True), ~DagModel.is_stale)
    files = [(bundle, PurePosixPath(file)) for bundle, file in session.execute(known) if file]
    return sorted({(bundle, file.parent) for bundle, file in files if file.match("npo_shard_*.py")})

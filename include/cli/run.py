"""``spotlight run <dag_id>``: a DAG's stages in this process, in order, without a scheduler."""

from __future__ import annotations

import sys
import time
from contextlib import redirect_stdout
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from include.cli.environment import use_local_stack
from include.cli.output import AsJson, emit, output
from include.errors import ConfigurationError

PREFIX = "npo__"
ESR_INBOUND = "esr_inbound"

DagId = Annotated[str, typer.Argument(help="The DAG: npo__<npo_id> or esr_inbound.")]
Day = Annotated[
    datetime | None,
    typer.Option(
        "--date",
        formats=["%Y-%m-%d"],
        help="Backfill this one day (UTC); of esr_inbound the files with this day in their name.",
    ),
]
Start = Annotated[
    datetime | None,
    typer.Option(
        "--from", formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"], help="Backfill from here (UTC, inclusive)."
    ),
]
End = Annotated[
    datetime | None,
    typer.Option("--to", formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"], help="... to here (UTC, exclusive)."),
]


def command(
    dag_id: DagId,
    date: Day = None,
    start: Start = None,
    end: End = None,
    as_json: AsJson = False,  # noqa: ARG001, FBT002 - read by its callback
) -> None:
    """Run a DAG's stages in this process, in order, for debugging.

    Without dates it goes on like a scheduled run: an NPO from its checkpoint, esr_inbound with what is on
    the SFTP server and what waits. With dates an NPO reads exactly that interval, like a backfill, and
    leaves the checkpoint where it is; esr_inbound replays the files whose day lies in it. It changes the
    same store and publishes the same events as a run by the scheduler would.
    """
    if dag_id != ESR_INBOUND and not dag_id.startswith(PREFIX):
        raise ConfigurationError(
            f"no DAG {dag_id!r} that can be run here; there are {ESR_INBOUND} and, for each NPO, "
            f"{PREFIX}<npo_id>: 'spotlight npo list' names them"
        )
    interval = interval_of(date, start, end)
    use_local_stack()
    run_id = f"cli__{datetime.now(tz=UTC).isoformat()}"
    if dag_id == ESR_INBOUND:
        _run_esr(run_id, interval)
    else:
        _run_npo(dag_id, run_id, interval)


def _run_esr(run_id: str, interval: tuple[datetime, datetime] | None) -> None:
    from include.esr.inline import run_inbound

    with redirect_stdout(sys.stderr):
        report = run_inbound(run_id, interval, _tell)
    told = [f"{subject}: {_counted(counts)}" for subject, counts in report.done.items()]
    told += [f"{subject} waits: {why}" for subject, why in report.waiting.items()]
    told += [f"{subject} failed: {why}" for subject, why in report.failed.items()]
    emit(
        {"dag_id": ESR_INBOUND, "run_id": run_id, **report.to_dict()},
        "\n".join(told) or f"{ESR_INBOUND}: no new file and nothing pending",
    )
    if report.failed:
        raise typer.Exit(1)


def _run_npo(dag_id: str, run_id: str, interval: tuple[datetime, datetime] | None) -> None:
    from include.npo.run import STAGES, run_stage

    npo_id = dag_id.removeprefix(PREFIX)
    ref: dict[str, Any] | None = None
    done: list[dict[str, Any]] = []
    for stage in STAGES:
        began = time.perf_counter()
        # Airflow, where the credential is kept, logs to standard output: that is for the answer alone.
        with redirect_stdout(sys.stderr):
            ref = run_stage(
                stage,
                npo_id,
                ref,
                run_id=run_id,
                data_interval=interval,
                backfill=interval is not None,
                progress=_tell,
            )
        done.append({"stage": stage, "seconds": round(time.perf_counter() - began, 2)})
        _tell(f"{stage} done in {done[-1]['seconds']} s")
        if ref is None:
            break
    counts = ref["counts"] if ref else {}
    emit(
        {"dag_id": dag_id, "run_id": run_id, "stages": done, "counts": counts, "nothing_to_do": ref is None},
        _summary(dag_id, counts),
    )


def interval_of(
    date: datetime | None, start: datetime | None, end: datetime | None
) -> tuple[datetime, datetime] | None:
    """Return the data interval asked for, UTC; ``None`` when none was.

    Raises:
        BadParameter: Half an interval, an empty one, or two ways of saying it.
    """
    if date is not None:
        if start is not None or end is not None:
            raise typer.BadParameter("--date stands for a whole day; leave out --from and --to")
        start, end = date, date + timedelta(days=1)
    if start is None and end is None:
        return None
    if start is None or end is None:
        raise typer.BadParameter("--from and --to belong together")
    if start >= end:
        raise typer.BadParameter("--to must be later than --from")
    return start.replace(tzinfo=UTC), end.replace(tzinfo=UTC)


def _tell(line: str) -> None:
    if not output.as_json:
        typer.echo(f"  {line}", err=True)


def _summary(dag_id: str, counts: dict[str, int]) -> str:
    if not counts:
        return f"{dag_id}: nothing new upstream and nothing pending"
    return f"{dag_id}: {_counted(counts)}"


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in sorted(counts.items()) if number) or "no change"

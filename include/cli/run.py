"""``spotlight run <dag_id>``: a DAG's stages in this process, in order, without a scheduler."""

from __future__ import annotations

import sys
import time
from contextlib import redirect_stdout
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from include.cli.environment import use_local_stack
from include.cli.output import AsJson, emit
from include.cli.run_out import ESR_OUT, ESR_OUTBOUND, counted, emit_report, run_out, tell
from include.errors import ConfigurationError

PREFIX = "npo__"
ESR_INBOUND = "esr_inbound"

DagId = Annotated[str, typer.Argument(help="The DAG: npo__<npo_id> or one whose name begins with esr_.")]
Day = Annotated[
    datetime | None,
    typer.Option(
        "--date",
        formats=["%Y-%m-%d"],
        help="Backfill this one day (UTC); of esr_inbound the files with this day in their name; to the "
        "other DAGs of the exchange it says what day it is.",
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


DryRun = Annotated[
    Path | None,
    typer.Option(
        "--dry-run",
        help="Of esr_outbound: write the files of the day here, say what would be sent, and change "
        "nothing anywhere.",
    ),
]
Only = Annotated[str | None, typer.Option("--deanery", help="Of esr_outbound: only this deanery.")]


def command(
    dag_id: DagId,
    *,
    date: Day = None,
    start: Start = None,
    end: End = None,
    dry_run: DryRun = None,
    deanery: Only = None,
    as_json: AsJson = False,  # noqa: ARG001 - read by its callback
) -> None:
    """Run a DAG's stages in this process, in order, for debugging.

    Without dates it goes on like a scheduled run: an NPO from its checkpoint, esr_inbound with what is on
    the SFTP server and what waits. With dates an NPO reads exactly that interval, like a backfill, and
    leaves the checkpoint where it is; esr_inbound replays the files whose day lies in it; esr_outbound
    makes the files of that day. It changes the same store and publishes the same events as a run by the
    scheduler would.
    """
    known = (ESR_INBOUND, *ESR_OUT)
    if dag_id not in known and not dag_id.startswith(PREFIX):
        raise ConfigurationError(
            f"no DAG {dag_id!r} that can be run here; there are {', '.join(known)} and, for each NPO, "
            f"{PREFIX}<npo_id>: 'spotlight npo list' names them"
        )
    if (dry_run is not None or deanery is not None) and dag_id != ESR_OUTBOUND:
        raise typer.BadParameter(f"--dry-run and --deanery are for {ESR_OUTBOUND}")
    if dag_id in ESR_OUT:
        if start is not None or end is not None:
            raise typer.BadParameter(f"{dag_id} is run for one day: use --date")
        run_out(dag_id, date.date() if date else None, deanery, dry_run)
        return
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
        report = run_inbound(run_id, interval, tell)
    emit_report(ESR_INBOUND, run_id, report, "no new file and nothing pending")


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
                progress=tell,
            )
        done.append({"stage": stage, "seconds": round(time.perf_counter() - began, 2)})
        tell(f"{stage} done in {done[-1]['seconds']} s")
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


def _summary(dag_id: str, counts: dict[str, int]) -> str:
    if not counts:
        return f"{dag_id}: nothing new upstream and nothing pending"
    return f"{dag_id}: {counted(counts)}"

"""``spotlight run`` for the DAGs that tell ESR and hear its answers."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import typer

from include.cli.environment import use_local_stack
from include.cli.esr_context import deanery_of, esr_context
from include.cli.output import emit, output

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date
    from pathlib import Path

    from include.esr.inline import Report

ESR_OUTBOUND = "esr_outbound"
ESR_OUT = ("esr_generation", ESR_OUTBOUND, "esr_confirmations")


def run_out(dag_id: str, day: date | None, deanery: str | None, dry_run: Path | None) -> None:
    """Run a DAG of the way out for one day, today by default, and show what came of it.

    Raises:
        Exit: Something failed; the others went on.
    """
    from include.esr.outbound import LONDON, london_day
    from include.esr.outbound_inline import run_confirmations, run_generation, run_outbound
    from include.esr.outbound_run import APP_TIME

    use_local_stack()
    now = datetime.now(tz=UTC)
    moment = datetime.combine(day, APP_TIME, LONDON).astimezone(UTC) if day is not None else now
    whose = [deanery_of(deanery)] if deanery is not None else None
    if dry_run is not None:
        _preview(london_day(moment), whose, dry_run)
        return
    run_id = f"cli__{now.isoformat()}"
    with redirect_stdout(sys.stderr):
        match dag_id:
            case "esr_generation":
                report = run_generation(run_id, tell, moment=moment)
            case "esr_confirmations":
                report = run_confirmations(run_id, tell, interval=_days(day))
            case _:
                report = run_outbound(run_id, moment, tell, deaneries=whose)
    emit_report(dag_id, run_id, report, "nothing to do")


def emit_report(dag_id: str, run_id: str, report: Report, nothing: str) -> None:
    """Show what became of each subject.

    Raises:
        Exit: One failed.
    """
    told = [f"{subject}: {counted(counts)}" for subject, counts in report.done.items()]
    told += [f"{subject} waits: {why}" for subject, why in report.waiting.items()]
    told += [f"{subject} failed: {why}" for subject, why in report.failed.items()]
    emit(
        {"dag_id": dag_id, "run_id": run_id, **report.to_dict()},
        "\n".join(told) or f"{dag_id}: {nothing}",
    )
    if report.failed:
        raise typer.Exit(1)


def tell(line: str) -> None:
    """Show a line of progress."""
    if not output.as_json:
        typer.echo(f"  {line}", err=True)


def counted(counts: Mapping[str, int]) -> str:
    """Return counts in one line."""
    return ", ".join(f"{name} {number}" for name, number in sorted(counts.items()) if number) or "no change"


def _preview(today: date, deaneries: list[str] | None, folder: Path) -> None:
    from include.esr.exports.preview import preview
    from include.esr.outbound import KINDS
    from include.esr.outbound_run import outbound_deaneries

    rows: list[dict[str, Any]] = []
    with redirect_stdout(sys.stderr), esr_context() as ctx:
        for deanery in deaneries or outbound_deaneries(run_id=ctx.run_id, progress=tell):
            rows += [preview(ctx, kind, deanery, today=today, folder=folder).to_dict() for kind in KINDS]
    emit(
        {"dag_id": ESR_OUTBOUND, "day": today.isoformat(), "dry_run": rows},
        "\n".join(map(_shown, rows)) or "no deanery has anything to send",
    )


def _shown(row: Mapping[str, Any]) -> str:
    """Return what would be sent of a deanery and kind, and what a person should know of it."""
    if not row["records"]:
        told = [f"{row['deanery']} {row['kind']}: nothing would be sent"]
    elif row["state"] in {"sent", "answered"}:
        told = [f"{row['name']} is {row['state']} and would not go out again; written to {row['path']}"]
    else:
        what = f"{row['records']:,} records, {row['carried_over']:,} carried over"
        told = [f"{row['name']}: {what}, would be sent; written to {row['path']}"]
    told += [f"before it {name} would go out, which is not sent yet" for name in row["before"]]
    if row["problem"]:
        told.append(f"REFUSED by the gate: {row['problem']}")
    told += [f"left out: {record_id}: {why}" for record_id, why in row["invalid"]]
    return "\n    ".join(told)


def _days(day: date | None) -> tuple[datetime, datetime] | None:
    if day is None:
        return None
    start = datetime.combine(day, time(), UTC)
    return start, start + timedelta(days=1)

"""``spotlight esr``: the file ledger of the exchange, and what a person may do about a file."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from include.cli.esr_context import deanery_of, esr_context
from include.cli.esr_out import outbound
from include.cli.output import AsJson, emit

if TYPE_CHECKING:
    from include.esr.files.entry import Entry

app = typer.Typer(
    help="The ESR exchange: files that came and files of ours, what became of each record, and what a "
    "person may do about it.",
    no_args_is_help=True,
)
app.add_typer(outbound)

Name = Annotated[
    str,
    typer.Argument(help="The file's name as 'spotlight esr files' has it; with #1 at its end that version."),
]
DeaneryOption = Annotated[str | None, typer.Option(help="Only files of this deanery, such as KSS.")]
Day = Annotated[
    datetime | None,
    typer.Option(
        "--since", formats=["%Y-%m-%d"], help="Only files with this day in their name or a later one."
    ),
]
Whose = Annotated[str, typer.Option("--deanery", help="The deanery, such as KSS.")]
State = Annotated[
    str | None,
    typer.Option(help="Only in this state: landed, split, saved, reconciled, published or rejected."),
]
Accept = Annotated[
    str | None,
    typer.Option(
        "--accept",
        help="Why the file is right although it is unlike the deanery's others; kept on the ledger. "
        "Its frame and lines are checked all the same.",
    ),
]
Kind = Annotated[str | None, typer.Option("--type", help="Only this record type, such as POS.")]
Limit = Annotated[int, typer.Option(min=1, max=100_000, help="At most so many; of files the newest.")]


@app.command()
def files(
    deanery: DeaneryOption = None,
    state: State = None,
    since: Day = None,
    limit: Limit = 200,
    as_json: AsJson = False,  # noqa: ARG001, FBT002 - read by its callback
) -> None:
    """Show what came, what state it is in, what was found in it, and what a person should know."""
    from include.esr.documents import FileState
    from include.esr.files import ledger

    state = state.lower() if state is not None else None
    if state is not None and state not in set(FileState):
        raise typer.BadParameter(f"there is no state {state!r}; there are {', '.join(FileState)}")
    whose = deanery_of(deanery) if deanery is not None else None
    with esr_context() as ctx:
        found = ledger.entries(
            ctx.store,
            deanery=whose,
            state=FileState(state) if state else None,
            since=since.date() if since else None,
            limit=limit,
        )
    rows = [_row(entry) for entry in found]
    emit(rows, "\n".join(_line(row) for row in rows) or "no file has come yet")


@app.command()
def replay(
    name: Name,
    accept: Accept = None,
    as_json: AsJson = False,  # noqa: ARG001, FBT002 - read by its callback
) -> None:
    """Do a file anew from the landing zone, with the next run of esr_inbound. Harmless at any time."""
    from include.esr.files.replay import replay_file
    from include.esr.names import ANSWERS

    with esr_context() as ctx:
        entry = replay_file(ctx, name, accept=accept)
    dag_id = "esr_confirmations" if entry.type in ANSWERS else "esr_inbound"
    emit(
        {"file": entry.file_id, "state": entry.state.value},
        f"{entry.file_id} waits to be read again; 'spotlight run {dag_id}' or the next sweep does it",
    )


@app.command()
def records(
    name: Name,
    kind: Kind = None,
    limit: Limit = 20,
    as_json: AsJson = False,  # noqa: ARG001, FBT002 - read by its callback
) -> None:
    """Show the split records of a file as they were read. They are personal data."""
    from include.esr import records as split
    from include.esr.files.replay import find_file

    codes = (_record_type(kind),) if kind else None
    with esr_context() as ctx:
        file_id = find_file(ctx, name).file_id
        rows: list[dict[str, Any]] = []
        for _, tables in split.chunks(ctx.store, file_id, codes=codes):
            for code, table in tables.items():
                rows += [
                    {"type": code} | row for row in table.slice(0, max(0, limit - len(rows))).to_pylist()
                ]
            if len(rows) >= limit:
                break
        counts = split.counts(ctx.store, file_id)
    told = ", ".join(f"{code} {number:,}" for code, number in counts.items()) or "no records"
    lines = [", ".join(f"{key}={value}" for key, value in row.items() if value is not None) for row in rows]
    emit({"file": file_id, "counts": counts, "records": rows}, "\n".join([f"{file_id}: {told}", *lines]))


@app.command()
def release(
    deanery: Whose,
    as_json: AsJson = False,  # noqa: ARG001, FBT002 - read by its callback
) -> None:
    """Have people and changes that TCS refused told again, once the cause is mended there."""
    from include.esr.documents import owner
    from include.esr.people.updates import release_people
    from include.esr.tcs.calls import release_calls

    whose = deanery_of(deanery)
    with esr_context() as ctx:
        people, calls = release_people(ctx, whose), release_calls(ctx.store, owner(whose))
    told = f"{people:,} people and {calls:,} changes of posts wait to be told to TCS again"
    emit(
        {"deanery": whose, "people": people, "calls": calls},
        f"{whose}: {told}; 'spotlight run esr_inbound' or the next sweep does it"
        if people or calls
        else f"{whose}: TCS has refused nothing",
    )


def _record_type(code: str) -> str:
    from include.esr.formats.layout import load_format
    from include.esr.names import FileType

    known = load_format(FileType.RMF).records
    if code.upper() not in known:
        raise typer.BadParameter(f"there is no record type {code!r}; there are {', '.join(known)}")
    return code.upper()


def _row(entry: Entry) -> dict[str, Any]:
    return {
        "file": entry.file_id,
        "deanery": entry.deanery,
        "state": entry.state.value,
        "landed_at": entry.states.get("landed"),
        "size": entry.size,
        "encoding": entry.encoding,
        "counts": dict(entry.counts),
        "reason": {"code": entry.reason.code, "message": entry.reason.message} if entry.reason else None,
        "alerts": [{"code": alert.code, "message": alert.message} for alert in entry.alerts],
    }


def _line(row: dict[str, Any]) -> str:
    counts = ", ".join(f"{name} {number:,}" for name, number in row["counts"].items() if number)
    told = [counts] if counts else []
    if row["reason"]:
        told.append(f"REJECTED {row['reason']['code']}: {row['reason']['message']}")
    told += [f"ALERT {alert['code']}: {alert['message']}" for alert in row["alerts"]]
    return "\n    ".join([f"{row['file']:<36} {row['state']:<10}", *told])

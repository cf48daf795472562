"""Commands of ``spotlight esr`` for the way out: our files, their records, and changing one by hand."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from include.cli.esr_context import deanery_of, esr_context
from include.cli.output import AsJson, emit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from include.esr.outbound import Kind

outbound = typer.Typer()
record = typer.Typer(help="Look at one applicant or notification, or change what becomes of it.")
outbound.add_typer(record, name="record")

_APPLICANT = re.compile(r"[0-9]+-[0-9]+")
DeaneryOption = Annotated[str | None, typer.Option(help="Only of this deanery, such as KSS.")]
Day = Annotated[
    datetime | None, typer.Option("--day", formats=["%Y-%m-%d"], help="Only files of this logical date.")
]
State = Annotated[str | None, typer.Option(help="Only in this state, such as TO_EXPORT or REJECTED.")]
Post = Annotated[str | None, typer.Option(help="Only of this national post number.")]
File = Annotated[str | None, typer.Option("--file", help="Only what is in this file of ours.")]
Limit = Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")]
RecordId = Annotated[
    str,
    typer.Argument(
        help="Of an applicant <placement id>-<position id>, of a notification its id; lists show it."
    ),
]
Why = Annotated[str, typer.Option(help="The reason; kept with the record.")]
By = Annotated[str, typer.Option(help="Who decided it; kept with the record.")]


@outbound.command()
def exports(
    deanery: DeaneryOption = None,
    day: Day = None,
    limit: Limit = 100,
    as_json: AsJson = False,  # noqa: ARG001, FBT002 - read by its callback
) -> None:
    """Show our files: the newest first, what state each is in, and what ESR answered."""
    query: dict[str, Any] = {}
    if deanery is not None:
        query["deanery"] = deanery_of(deanery)
    if day is not None:
        query["day"] = f"{day:%Y-%m-%d}"
    with esr_context() as ctx:
        found = list(ctx.store["esr_export"].find(query).sort([("day", -1), ("_id", 1)]).limit(limit))
    rows = [_export_row(document) for document in found]
    emit(rows, "\n".join(map(_export_line, rows)) or "no file has been made yet")


@outbound.command()
def applicants(
    deanery: DeaneryOption = None,
    state: State = None,
    post: Post = None,
    file: File = None,
    limit: Limit = 50,
    as_json: AsJson = False,  # noqa: ARG001, FBT002 - read by its callback
) -> None:
    """Show AppRecords with their state, by start day, and how many there are in each state."""
    _list("APP", deanery, state, post, file, limit)


@outbound.command()
def notifications(
    deanery: DeaneryOption = None,
    state: State = None,
    post: Post = None,
    file: File = None,
    limit: Limit = 50,
    as_json: AsJson = False,  # noqa: ARG001, FBT002 - read by its callback
) -> None:
    """Show notifications with their state, in order, and how many there are in each state."""
    _list("DNC", deanery, state, post, file, limit)


@outbound.command()
def snapshot(
    deanery: Annotated[str, typer.Option(help="The deanery, such as KSS.")],
    day: Annotated[
        datetime | None, typer.Option("--day", formats=["%Y-%m-%d"], help="As of this day; today by default.")
    ] = None,
    as_json: AsJson = False,  # noqa: ARG001, FBT002 - read by its callback
) -> None:
    """Send ESR a full snapshot (DNF) of one deanery: who is in each post and who comes next."""
    from include.esr.exports.snapshot import require_near, snapshot_file
    from include.esr.generation.generate import views_of_deanery
    from include.esr.outbound import london_day
    from include.esr.tcs import Tcs

    whose = deanery_of(deanery)
    with esr_context() as ctx, Tcs(ctx.settings) as tcs:
        today = day.date() if day is not None else london_day(ctx.now())
        require_near(ctx, today)
        views = [view for batch in views_of_deanery(ctx, whose, tcs, today=today) for view in batch]
        counts = snapshot_file(ctx, whose, today=today, views=views)
    emit({"deanery": whose, "day": today.isoformat(), "counts": counts}, f"{whose}: {_told(counts)}")


@outbound.command()
def abandon(
    file: Annotated[str, typer.Argument(help="The file's name, as 'spotlight esr exports' has it.")],
    why: Why,
    by: By,
    as_json: AsJson = False,  # noqa: ARG001, FBT002 - read by its callback
) -> None:
    """Give up a file of ours that was not sent: what is in it is due again, under another number."""
    from include.esr.exports.changing import abandon_file

    with esr_context() as ctx:
        counts = abandon_file(ctx, file, why=why, by=by)
    emit({"file": file, "counts": counts}, f"{file} is given up: {_told(counts)}")


@outbound.command("resend")
def resend_file(
    file: Annotated[str, typer.Argument(help="The file's name, as 'spotlight esr exports' has it.")],
    why: Why,
    by: By,
    as_json: AsJson = False,  # noqa: ARG001, FBT002 - read by its callback
) -> None:
    """Have a whole file that ESR set aside or lost go out again, under another number."""
    from include.esr.exports import resending

    with esr_context() as ctx:
        counts = resending.resend_file(ctx, file, why=why, by=by)
    emit({"file": file, "counts": counts}, f"{file}: due again: {_told(counts) or 'nothing'}")


@record.command()
def show(
    record_id: RecordId,
    as_json: AsJson = False,  # noqa: ARG001, FBT002 - read by its callback
) -> None:
    """Show one record in full, with its history. It is personal data."""
    from include.errors import ConfigurationError

    with esr_context() as ctx:
        found = ctx.store[_collection(record_id)].find_one({"_id": record_id})
    if found is None:
        raise ConfigurationError(
            "there is no such record; 'spotlight esr applicants' and 'notifications' list them",
            subject=record_id,
        )
    emit(found, "\n".join(f"{name}: {value}" for name, value in found.items()))


@record.command()
def resend(
    record_id: RecordId,
    why: Why,
    by: By,
    as_json: AsJson = False,  # noqa: ARG001, FBT002 - read by its callback
) -> None:
    """Have a record that was sent, refused or missed its window go out again with the next file."""
    _change(record_id, "resend", why, by)


@record.command()
def withdraw(
    record_id: RecordId,
    why: Why,
    by: By,
    as_json: AsJson = False,  # noqa: ARG001, FBT002 - read by its callback
) -> None:
    """Keep a record that was not sent yet from being sent."""
    _change(record_id, "withdraw", why, by)


@record.command()
def reopen(
    record_id: RecordId,
    why: Why,
    by: By,
    as_json: AsJson = False,  # noqa: ARG001, FBT002 - read by its callback
) -> None:
    """Let a withdrawn record be sent after all."""
    _change(record_id, "reopen", why, by)


def _change(record_id: str, action: Any, why: str, by: str) -> None:
    from include.esr.exports.changing import change_record

    with esr_context() as ctx:
        changed = change_record(ctx, _kind(record_id), record_id, action, why=why, by=by)
    emit(_record_row(changed), f"{record_id} is {changed['state']} now")


def _list(
    kind: Kind, deanery: str | None, state: str | None, post: str | None, file: str | None, limit: int
) -> None:
    from include.esr.outbound import COLLECTIONS, RecordState
    from include.esr.outbound_run import counts_by_state

    query: dict[str, Any] = {"kind": kind}  # lines of a snapshot are told by --file alone
    if file is not None:
        query.pop("kind")
    whose = [deanery_of(deanery)] if deanery is not None else []
    if whose:
        query["deanery"] = whose[0]
    if state is not None:
        if state.upper() not in set(RecordState):
            raise typer.BadParameter(f"there is no state {state!r}; there are {', '.join(RecordState)}")
        query["state"] = state.upper()
    query |= {name: value for name, value in (("post_number", post), ("file", file)) if value is not None}
    order = [("file", 1), ("ordinal", 1)] if file else [("start" if kind == "APP" else "rank", 1), ("_id", 1)]
    with esr_context() as ctx:
        counts = counts_by_state(ctx, COLLECTIONS[kind], whose)
        found = list(ctx.store[COLLECTIONS[kind]].find(query).sort(order).limit(limit))
    rows = [_record_row(document) for document in found]
    emit(
        {"counts": counts, "records": rows},
        "\n".join([_told(counts) or "none has been made yet", *map(_record_line, rows)]),
    )


def _kind(record_id: str) -> Kind:
    return "APP" if _APPLICANT.fullmatch(record_id) else "DNC"


def _collection(record_id: str) -> str:
    from include.esr.outbound import COLLECTIONS

    return COLLECTIONS[_kind(record_id)]


def _record_row(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a list shows of a record: ids and states, nothing personal."""
    answer = document.get("answer") or {}
    return {
        "id": document["_id"],
        "deanery": document["deanery"],
        "state": document["state"],
        "post_number": document["post_number"],
        "start": document.get("start"),
        "title_code": document["fields"].get("notification_title_code"),
        "reason": document.get("reason"),
        "file": document.get("file"),
        "ordinal": document.get("ordinal"),
        "answer": {"status": answer["status"], "type": answer.get("type")} if answer else None,
    }


def _record_line(row: Mapping[str, Any]) -> str:
    what = f"starts {row['start']}" if row["start"] else f"type {row['title_code']}"
    told = [f"{row['id']:<34} {row['state']:<24} {row['deanery']} {row['post_number']} {what}"]
    if row["file"]:
        told.append(f"    in {row['file']} as number {row['ordinal']}")
    if row["reason"]:
        told.append(f"    {row['reason']['code']}: {row['reason']['message']}")
    if row["answer"]:
        told.append(f"    ESR: {row['answer']['status']} {row['answer']['type'] or ''}".rstrip())
    return "\n".join(told)


def _export_row(document: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "file": document["_id"],
        "deanery": document["deanery"],
        "day": document["day"],
        "state": document["state"],
        "records": document["records"],
        "carried_over": document.get("carried_over", 0),
        "answers": document.get("answers"),
        "alerts": [
            {"code": alert["code"], "message": alert["message"]} for alert in document.get("alerts", [])
        ],
    }


def _export_line(row: Mapping[str, Any]) -> str:
    told = [f"{row['file']:<36} {row['state']:<10} {row['records']:,} records"]
    if row["carried_over"]:
        told[0] += f", {row['carried_over']:,} carried over to the next"
    if row["answers"]:
        told.append(f"ESR: {_told(row['answers'])}")
    told += [f"ALERT {alert['code']}: {alert['message']}" for alert in row["alerts"]]
    return "\n    ".join(told)


def _told(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number:,}" for name, number in counts.items() if number)

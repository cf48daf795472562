"""``spotlight enrolment``: what was asked for, what the NPOs answered, what waits for a person."""

from __future__ import annotations

import getpass
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from include.cli.environment import use_local_stack
from include.cli.output import AsJson, emit
from include.settings import get_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from include.npo.enrolment.desk import NpoState, Person
    from include.npo.enrolment.record import EnrolmentRecord
    from include.storage.mongo import IntegrationStore

MOST_NPOS = 500

app = typer.Typer(help="Enrolments at NPOs: look, approve, refuse, try again.", no_args_is_help=True)

Names = Annotated[list[str], typer.Argument(help="References or assignment ids.", metavar="ENROLMENT...")]
Why = Annotated[str, typer.Option(help="Kept in the history; name no candidate.")]
By = Annotated[str, typer.Option(help="Who decides; the user of this machine when left out.")]
NpoId = Annotated[str, typer.Argument(help="The NPO, such as hopeworks.")]


@app.command("list")
def list_enrolments(
    npo: Annotated[str | None, typer.Option(help="Only of this NPO.")] = None,
    state: Annotated[str | None, typer.Option(help="Only in this state, such as awaiting_approval.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 100,
    as_json: AsJson = False,  # noqa: ARG001, FBT002 - read by its callback
) -> None:
    """List enrolments, oldest first, and NPOs whose enrolments are stopped. Shows no candidate's data."""
    from include.npo.enrolment import desk
    from include.npo.enrolment.record import State

    if state is not None and state not in set(State):
        raise typer.BadParameter(f"there is no state {state!r}; there are {', '.join(State)}")
    with _store() as store:
        records = desk.listed(store, npo_id=npo, state=state, limit=limit)
        held = desk.npo_states(store, now=datetime.now(tz=UTC))
    shown = {
        "enrolments": [_summary(record) for record in records],
        "held": [_held(each) for each in held if npo in (None, each.npo_id)],
    }
    emit(shown, _table(shown))


@app.command()
def show(
    enrolment: Annotated[str, typer.Argument(help="Its reference or assignment id.")],
    as_json: AsJson = False,  # noqa: ARG001, FBT002 - read by its callback
) -> None:
    """Show one enrolment with its history: what happened, by whom, why."""
    from include.npo.enrolment import desk

    with _store() as store:
        record = desk.found(store, enrolment)
    shown = _summary(record) | {"history": [_line(entry) for entry in record.history]}
    emit(shown, _page(shown))


@app.command()
def approve(
    enrolments: Names,
    why: Why,
    by: By = "",
    as_json: AsJson = False,  # noqa: ARG001, FBT002 - read by its callback
) -> None:
    """Let enrolments that wait for approval go to their NPO with the next run."""
    from include.npo.enrolment import desk

    with _store() as store:
        done = desk.approve(store, enrolments, _person(by, why), now=_now, give_up=_give_up())
    _emit_done(done)


@app.command()
def refuse(
    enrolments: Names,
    why: Why,
    by: By = "",
    as_json: AsJson = False,  # noqa: ARG001, FBT002 - read by its callback
) -> None:
    """Reject enrolments that wait for approval; the platform is told with the next run."""
    from include.npo.enrolment import desk

    with _store() as store:
        done = desk.refuse(store, enrolments, _person(by, why), now=_now)
    _emit_done(done)


@app.command()
def retry(
    enrolments: Names,
    why: Why = "by hand",
    by: By = "",
    as_json: AsJson = False,  # noqa: ARG001, FBT002 - read by its callback
) -> None:
    """Try enrolments again with the next run: failed ones anew, waiting ones at once."""
    from include.npo.enrolment import desk

    with _store() as store:
        done = desk.retry(store, enrolments, _person(by, why), now=_now, give_up=_give_up())
    _emit_done(done)


@app.command()
def resume(
    npo_id: NpoId,
    as_json: AsJson = False,  # noqa: ARG001, FBT002 - read by its callback
) -> None:
    """Let the enrolments of an NPO go on that were stopped because it refused our set-up."""
    from include.npo.enrolment import desk

    with _store() as store:
        resumed = desk.resume(store, npo_id)
    said = "enrolments go on with the next run" if resumed else "enrolments were not stopped"
    emit({"npo_id": npo_id, "resumed": resumed}, f"{npo_id}: {said}")


@app.command()
def run(
    npo: Annotated[str | None, typer.Option(help="Only this NPO.")] = None,
    as_json: AsJson = False,  # noqa: ARG001, FBT002 - read by its callback
) -> None:
    """Do in this process what a run of the DAG does: read the queue, enrol NPO by NPO, publish.

    Neither a queue that fails nor an NPO that does keeps the others; exit code 1 then, saying what failed.
    """
    from include.npo.enrolment.run import drain, enrol, npos_with_work

    use_local_stack()
    settings = get_settings()
    drained, not_drained = _tried("drain", lambda: drain(settings))
    npos: dict[str, dict[str, int]] = {}
    failed: dict[str, str] = {}
    for npo_id in [npo] if npo else npos_with_work(MOST_NPOS, settings):
        counts, failure = _tried(npo_id, partial(enrol, npo_id, settings))
        if failure is None:
            npos[npo_id] = counts
        else:
            failed[npo_id] = failure
    done = {"drain": drained, "drain_failed": not_drained, "npos": npos, "failed": failed}
    emit(done, _run_text(done))
    if not_drained is not None or failed:
        raise typer.Exit(1)


def _tried(what: str, step: Callable[[], dict[str, int]]) -> tuple[dict[str, int], str | None]:
    """Return a step's counts, or why it failed: the steps after it do without."""
    from traceback import extract_tb

    from include.errors import IntegrationError

    try:
        return step(), None
    except IntegrationError as error:
        return {}, str(error)
    except Exception as error:  # noqa: BLE001 - one NPO's surprise is not the others'; its text may hold data
        at = extract_tb(error.__traceback__)[-1]
        told = f"{type(error).__name__} at {at.filename}:{at.lineno}"
        return {}, f"{what}: {told}: a fault of ours; nothing is lost, the next run tries again"


def _run_text(done: dict[str, Any]) -> str:
    lines = [f"drain: {_counts(done['drain'])}"] if done["drain_failed"] is None else []
    lines += [f"{npo_id}: {_counts(counts)}" for npo_id, counts in done["npos"].items()]
    failures = [done["drain_failed"], *done["failed"].values()]
    return "\n".join([*lines, *(f"! {text}" for text in failures if text is not None)])


@contextmanager
def _store() -> Iterator[IntegrationStore]:
    from include.npo.enrolment.run import opened_store

    use_local_stack()
    with opened_store(get_settings()) as store:
        yield store


def _person(by: str, why: str) -> Person:
    from include.npo.enrolment.desk import Person

    if not why.strip():
        raise typer.BadParameter("say why: it is kept in the enrolment's history")
    return Person(by=(by or getpass.getuser())[:100], why=why[:500])


def _now() -> datetime:
    from include.npo.context import utc_now

    return utc_now()


def _give_up() -> timedelta:
    return timedelta(hours=get_settings().enrolment_give_up_hours)


def _summary(record: EnrolmentRecord) -> dict[str, Any]:
    known = {
        "reference": record.reference,
        "npo_id": record.npo_id,
        "assignment_id": record.assignment_id,
        "state": record.state.value,
        "received_at": record.received_at,
        "due_at": record.due_at,
        "attempts": record.attempts,
        "external_id": record.external_id,
        "reason": record.reason.code if record.reason else None,
        "withdrawal": bool(record.withdrawal) or None,
    }
    return {
        name: value.isoformat(timespec="seconds") if isinstance(value, datetime) else value
        for name, value in known.items()
        if value is not None
    }


def _held(state: NpoState) -> dict[str, Any]:
    return {
        "npo_id": state.npo_id,
        "stopped": state.stopped or None,
        "not_before": state.not_before.isoformat(timespec="seconds") if state.not_before else None,
    }


def _line(entry: Any) -> dict[str, str]:
    at = entry.at.isoformat(timespec="seconds")
    return {"at": at, "state": entry.state, "by": entry.by, "why": entry.why}


def _table(shown: dict[str, Any]) -> str:
    lines = [
        f"{each['reference']}  {each['npo_id']:<14} {each['state']:<18} {each['received_at']}  "
        f"{each.get('reason', '')}".rstrip()
        for each in shown["enrolments"]
    ] or ["no enrolments"]
    for each in shown["held"]:
        text = f"stopped: {each['stopped']}" if each["stopped"] else f"left alone until {each['not_before']}"
        lines.append(f"! {each['npo_id']}: {text}")
    return "\n".join(lines)


def _page(shown: dict[str, Any]) -> str:
    width = max(map(len, shown))
    fields = [f"{name.ljust(width)}  {value}" for name, value in shown.items() if name != "history"]
    told = [f"  {each['at']} {each['state']:<18} by {each['by']}: {each['why']}" for each in shown["history"]]
    return "\n".join([*fields, "history:", *told])


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in counts.items() if number) or "nothing to do"


def _emit_done(records: Sequence[EnrolmentRecord]) -> None:
    shown = [_summary(record) for record in records]
    emit(shown, "\n".join(f"{each['reference']}  {each['state']}" for each in shown))

"""``spotlight erase <candidate>``: erase one candidate's data everywhere, with a receipt."""

from __future__ import annotations

import getpass
from typing import Annotated, Any

import typer

from include.cli.environment import use_local_stack
from include.cli.output import AsJson, emit
from include.settings import get_settings

Candidate = Annotated[
    str,
    typer.Argument(
        help="The platform's candidate id; or <npo_id>:<reference>, the NPO's own reference of the candidate."
    ),
]
Why = Annotated[str, typer.Option(help="Why, for the receipt: a case number, never a name.")]
By = Annotated[str | None, typer.Option(help="Who asks; the user of this computer when left out.")]


def command(
    candidate: Candidate,
    *,
    why: Why,
    by: By = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask back.")] = False,
    as_json: AsJson = False,  # noqa: ARG001 - read by its callback
) -> None:
    """Erase one candidate's data from raw objects, store, quarantine, outbox and enrolments.

    It cannot be undone. Broken off, it is ended by the next ``maintenance`` run or by asking again. What the
    NPO still sends of these records is dropped when it is read. Asked for again when it is done, the pages
    landed since are looked through again.
    """
    from include.privacy.erase import carry_out, find, request_erasure
    from include.privacy.maintenance import erasure_context, open_stores
    from include.privacy.subject import Candidate as Who

    use_local_stack()
    settings, who = get_settings(), Who.of(candidate)
    with open_stores(settings) as (store, landing):
        ctx = erasure_context(store, landing, settings, lambda line: typer.echo(line, err=True))
        found = find(ctx, who)
        if found.anything and not yes:
            npos = ", ".join(found.npos)
            number = len({one.assignment_id for one in found.held})
            typer.confirm(f"{number} assignments at {npos} will be erased for good. Go on?", abort=True)
        key = request_erasure(ctx, who, by=by or getpass.getuser(), why=why)
        if key is None:
            emit({"receipt": None, "assignments": 0}, "nothing is held about this candidate: nothing erased")
            return
        receipt = carry_out(ctx, key)
    plain = {
        name: value.isoformat() if hasattr(value, "isoformat") else value for name, value in receipt.items()
    }
    emit(plain, _page(plain))


def _page(receipt: dict[str, Any]) -> str:
    counts = ", ".join(f"{number} {what}" for what, number in receipt.get("counts", {}).items() if number)
    return "\n".join(
        [
            f"receipt {receipt['receipt']}: {receipt.get('assignments', 0)} assignments erased",
            f"  asked by {receipt.get('by')} at {receipt.get('requested_at')}: {receipt.get('why')}",
            f"  done {receipt.get('finished_at')}",
            f"  at: {', '.join(receipt.get('npos', []))}",
            f"  {counts or 'nothing was left to erase'}",
            "  not reached:",
            *(f"    - {one}" for one in receipt["not_reached"]),
        ]
    )

"""``spotlight npo check`` and ``preview``: an integration looked at before it runs; nothing is kept."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from include.cli.npo_row import NpoId, config_of, open_registry, output_kept, row_of, text_of
from include.cli.output import AsJson, emit, output

if TYPE_CHECKING:
    from collections.abc import Iterator

    from include.npo.check import Step
    from include.npo.preview import Pair

OUTCOME_WIDTH = 8
NAME_WIDTH = 30
SMALLEST_COLUMN = 20

ResourceName = Annotated[
    Literal["offerings", "assignments"] | None, typer.Option(help="Only this resource.", show_default="all")
]

ShowPersonal = Annotated[
    bool, typer.Option("--show-personal", help="Do not mask what is, or may be, personal.")
]


def check(
    npo_id: NpoId,
    as_json: AsJson = False,  # noqa: ARG001, FBT002 - read by its callback
) -> None:
    """Try an integration step by step, from its row to a dry run of an enrolment; exits 1 if a step failed.

    Works for a draft too. The partner is asked for one page of each resource, within the budget that its runs
    share; nothing is stored or sent.
    """
    from include.npo.check import check_npo
    from include.npo.sample import budget_store

    registry = open_registry()
    row = row_of(registry, npo_id)
    steps: list[Step] = []
    with budget_store(registry.settings) as store:
        for step in _each_out_of_sight(check_npo(row, registry.settings, store)):
            steps.append(step)
            if not output.as_json:
                typer.echo(_line(step))
    failed = sum(step.outcome == "failed" for step in steps)
    if output.as_json:
        emit({"npo_id": npo_id, "failed": failed, "steps": [step.to_dict() for step in steps]}, "")
    if failed:
        raise typer.Exit(1)


def _each_out_of_sight(steps: Iterator[Step]) -> Iterator[Step]:
    """Yield each step; while it is being found out nothing else may write to standard output."""
    while True:
        with output_kept():
            step = next(steps, None)
        if step is None:
            return
        yield step


def _line(step: Step) -> str:
    line = f"{step.outcome.ljust(OUTCOME_WIDTH)}{step.name.ljust(NAME_WIDTH)} {text_of(step.told)}"
    return f"{line}\n{' ' * OUTCOME_WIDTH}next: {text_of(step.next)}" if step.next else line


def preview(
    npo_id: NpoId,
    resource: ResourceName = None,
    rows: Annotated[int, typer.Option(min=1, max=500, help="Records of each resource.")] = 10,
    show_personal: ShowPersonal = False,  # noqa: FBT002 - a flag of the command line
    as_json: AsJson = False,  # noqa: ARG001, FBT002 - read by its callback
) -> None:
    """Show the partner's first records beside the platform records they become. Nothing is stored.

    Personal values are masked: of an assignment only what the mapping reads is shown.
    """
    from include.npo.preview import preview as pairs_of
    from include.npo.sample import NO_STORE, budget_store
    from include.registry.credentials import resolve_credential

    registry = open_registry()
    npo = config_of(registry, npo_id)
    with output_kept(), budget_store(registry.settings) as store:
        if store is None:
            typer.echo(NO_STORE, err=True)
        pairs = list(
            pairs_of(
                npo,
                resolve_credential(npo.credential_ref),
                registry.settings,
                store=store,
                resource=resource,
                rows=rows,
                show_personal=show_personal,
            )
        )
    width = shutil.get_terminal_size((120, 24)).columns
    shown = "\n\n".join(_beside(pair, at, width) for at, pair in enumerate(pairs, start=1))
    emit([pair.to_dict() for pair in pairs], shown or f"{npo_id}: the partner gave no record")


def _beside(pair: Pair, number: int, width: int) -> str:
    """Return one record as two columns: what came, and what becomes of it."""
    left, right = list(_flat(pair.source)), list(_flat(pair.platform)) if pair.platform else []
    right += [f"! {problem}" for problem in pair.problems]
    column = max((width - 3) // 2, SMALLEST_COLUMN)
    height = max(len(left), len(right))
    left += [""] * (height - len(left))
    right += [""] * (height - len(right))
    head = f"{pair.resource} {number}".ljust(column) + " | platform"
    rows = [
        f"{_cut(one, column).ljust(column)} | {_cut(other, column)}".rstrip()
        for one, other in zip(left, right, strict=True)
    ]
    return "\n".join([head, *rows])


def _flat(value: Any, path: str = "") -> Iterator[str]:
    """Yield ``path: value`` for each value of a record."""
    if isinstance(value, dict) and value:
        for key, entry in value.items():
            yield from _flat(entry, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for at, entry in enumerate(value):
            yield from _flat(entry, f"{path}[{at}]")
    else:
        shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        yield text_of(f"{path}: {shown}" if path else shown)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"

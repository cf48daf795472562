"""``spotlight connector``: which connectors there are, a new one, and the traps each must keep out of."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from include.cli.output import AsJson, emit

app = typer.Typer(help="Connectors: list, test, start a new one.", no_args_is_help=True)

Which = Annotated[
    str, typer.Argument(help="A connector's name, or the folder that holds its connector.yaml.")
]
Trap = Annotated[str | None, typer.Option(help="Only this one.")]
WriteExpected = Annotated[
    bool,
    typer.Option(help="First write what the samples become now; read the difference before you keep it."),
]


@app.command("list")
def list_connectors(
    as_json: AsJson = False,  # noqa: ARG001, FBT002 - read by its callback
) -> None:
    """Show what a row's ``connector`` may be, and which installed packages cannot be used, and why."""
    from include.connectors.discovery import connector_problems

    found, problems = _described(), connector_problems()
    lines = [f"{'CONNECTOR':<20} {'READS':<24} FROM"]
    lines += [f"{one['name']:<20} {', '.join(one['resources']) or '-':<24} {one['from']}" for one in found]
    lines += [f"{one['name']}: {one['problem']}" for one in found if one["problem"]]
    emit({"connectors": found, "problems": problems}, "\n".join([*lines, *problems]))


@app.command("test")
def spring_traps(
    which: Which,
    trap: Trap = None,
    write_expected: WriteExpected = False,  # noqa: FBT002 - a flag of the command line
    as_json: AsJson = False,  # noqa: ARG001, FBT002 - read by its callback
) -> None:
    """Spring every known trap on a connector; a partner made up of its samples plays the other side."""
    from include.sandbox.contract import skeleton
    from include.sandbox.contract.run import spring

    name, folder = _located(which)
    if write_expected:
        for file in skeleton.write_expected(name, folder):
            typer.echo(f"written {file}", err=True)
    failed = 0
    for verdict in spring(name, trap, folder):
        failed += verdict.outcome == "failed"
        told = {"trap": verdict.trap, "outcome": verdict.outcome, "reason": verdict.reason}
        emit(told, f"{verdict.outcome:<15} {verdict.trap}{verdict.reason and ': ' + verdict.reason}")
    if failed:
        typer.echo(f"{name}: {failed} failed", err=True)
        raise typer.Exit(1)


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Name of the connector: a-z, 0-9, _.")],
    into: Annotated[
        Path | None, typer.Option(help="Where its folder goes; default: include/connectors.")
    ] = None,
    as_json: AsJson = False,  # noqa: ARG001, FBT002 - read by its callback
) -> None:
    """Write the start of a connector, with invented samples; it passes ``connector test`` as it is."""
    from include.connectors.discovery import CONNECTORS
    from include.sandbox.contract.skeleton import write_skeleton

    folder = write_skeleton(name, into or CONNECTORS)
    command = f"spotlight connector test {name if into is None else folder}"
    emit(
        {"folder": str(folder)},
        f"{folder}\nNow put the partner's own answers into samples/, then: {command} --write-expected",
    )


def _located(which: str) -> tuple[str, Path]:
    """Return the name of a connector and the folder that its own folder is in."""
    from include.connectors.discovery import CONNECTORS

    path = Path(which).resolve()
    return (path.name, path.parent) if (path / "connector.yaml").is_file() else (which, CONNECTORS)


def _described() -> list[dict[str, Any]]:
    """Return name, origin and resources of each connector; a broken manifest is told beside its name."""
    from include.connectors.discovery import CONNECTORS, connector_data, connector_folder, connector_names
    from include.connectors.entry_points import installed_connectors
    from include.errors import ConfigurationError

    packages = {one.name: f"package {one.distribution}" for one in installed_connectors()}
    found: list[dict[str, Any]] = []
    for name in connector_names():
        problem, resources, origin = "", (), "the row's manifest"
        if name != "rest":
            origin = packages.get(name) or str(connector_folder(name).relative_to(CONNECTORS.parents[1]))
            try:
                resources = tuple(connector_data(name).get("resources") or ())
            except ConfigurationError as error:
                problem = error.message
        found.append({"name": name, "from": origin, "resources": list(resources), "problem": problem})
    return found

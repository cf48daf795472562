"""``spotlight manifest``: the words of a manifest, and whether a file uses them rightly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from include.cli.output import AsJson, emit
from include.errors import ConfigurationError

app = typer.Typer(help="Manifests: an integration as data.", no_args_is_help=True)

File = Annotated[Path, typer.Argument(help="YAML or JSON.", dir_okay=False)]
Connector = Annotated[
    str, typer.Option(help="Complete it with this connector's own manifest, as a row with it would be.")
]


@app.command()
def schema() -> None:
    """Print the JSON Schema, for editors."""
    from include.connectors.manifest_schema import json_schema

    typer.echo(json.dumps(json_schema(), indent=2, sort_keys=True))


@app.command()
def validate(
    file: File,
    connector: Connector = "rest",
    as_json: AsJson = False,  # noqa: ARG001, FBT002 - read by its callback
) -> None:
    """Say whether a file is a manifest a row could have; every problem is listed, exit 1."""
    from include.connectors.discovery import load_manifest
    from include.registry.editing import read_manifest_file
    from include.registry.models import NpoConfig

    manifest = read_manifest_file(file).manifest
    npo = NpoConfig.model_construct(None, npo_id="", connector=connector, manifest=manifest)  # type: ignore[call-arg]
    try:
        found = load_manifest(npo)
    except ConfigurationError as error:
        problems = [line.strip() for line in error.message.splitlines() if line.strip()]
        problems = problems[1:] or problems
        emit({"valid": False, "problems": problems}, "\n".join(problems))
        raise typer.Exit(1) from None
    names = ", ".join(found.resource_names)
    emit({"valid": True, "resources": list(found.resource_names)}, f"{file.name} is valid: {names}")


@app.command()
def migrate(file: File) -> None:
    """Print the file's manifest in today's words, as YAML; the file itself is left alone."""
    import yaml

    from include.connectors.manifest_migrations import migrate as migrated
    from include.registry.editing import HEAD, read_manifest_file

    read = read_manifest_file(file)
    whole = ({HEAD: read.head} if read.head else {}) | dict(migrated(read.manifest))
    typer.echo(yaml.safe_dump(whole, sort_keys=False, allow_unicode=True), nl=False)

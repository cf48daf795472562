"""``spotlight npo credential set``: a secret goes from the terminal to Airflow's connection only."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from include.cli.npo_row import NpoId, open_registry, output_kept, row_of, who
from include.cli.output import AsJson, emit
from include.errors import ConfigurationError, IntegrationError

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_STDIN = 64 * 1024
SUFFIX = "_api"

Stdin = Annotated[
    bool,
    typer.Option(
        "--stdin",
        help='Read it from standard input: {"login", "password", "extra"} as JSON, or the bare secret where '
        "one is all there is.",
    ),
]

credential_commands = typer.Typer(help="The secret an integration signs its requests with.")


@credential_commands.callback()
def _group() -> None:
    """Make it a group though it has one command."""


@credential_commands.command("set")
def set_credential(
    npo_id: NpoId,
    stdin: Stdin = False,  # noqa: FBT002 - a flag of the command line
    as_json: AsJson = False,  # noqa: ARG001, FBT002 - read by its callback
) -> None:
    """Write the Airflow connection that the row's credential_ref names, asking for what the manifest needs.

    The secret is asked for without being shown; it is never an argument, which other users could see.
    """
    from include.registry.airflow_connections import write_connection
    from include.registry.queries import set_credential_ref

    registry = open_registry()
    row = row_of(registry, npo_id)
    needed = _needed(row)
    parts = _from_stdin(needed) if stdin else _asked_for(needed)
    _require_usable(parts, needed)
    ref = row["credential_ref"] or f"{npo_id}{SUFFIX}"
    with output_kept():
        new = write_connection(ref, parts)
    # After the secret: a row must not name a connection that is not there.
    if row["credential_ref"] is None:
        set_credential_ref(registry.dsn, npo_id, ref, registry.timeout, changed_by=who())
    told = f"connection {ref!r} {'created' if new else 'replaced'} with {', '.join(parts)}"
    emit({"npo_id": npo_id, "credential_ref": ref, "created": new, "parts": sorted(parts)}, told)


def _needed(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the parts the manifest names; a password where the manifest cannot be read or names none."""
    from include.connectors.discovery import load_manifest
    from include.registry.airflow_connections import parts_needed
    from include.registry.models import NpoConfig

    try:
        npo = NpoConfig.model_validate({key: row[key] for key in NpoConfig.model_fields if key in row})
        needed = parts_needed(load_manifest(npo).model_dump(mode="json", by_alias=True))
    except (ValueError, IntegrationError):
        needed = ()
    return needed or ("password",)


def _asked_for(needed: tuple[str, ...]) -> dict[str, str]:
    return {part: typer.prompt(part, hide_input=part != "login", err=True) for part in needed}


def _from_stdin(needed: tuple[str, ...]) -> dict[str, str]:
    """Return the parts that standard input holds.

    Raises:
        ConfigurationError: Too long, or not what is expected; the text itself is not told.
    """
    text = sys.stdin.read(MAX_STDIN + 1).strip()
    if len(text) > MAX_STDIN:
        raise ConfigurationError(f"standard input: more than {MAX_STDIN} characters are no credential")
    if not text.startswith("{"):
        if len(needed) == 1 and text:
            return {needed[0]: text}
        raise ConfigurationError(
            f"standard input: expected JSON such as {_example(needed)}, since the manifest needs "
            f"{', '.join(needed)}"
        )
    try:
        found = json.loads(text)
    except ValueError:
        raise ConfigurationError(f"standard input: expected JSON such as {_example(needed)}") from None
    extra = found.pop("extra", {})
    unknown = set(found) - {"login", "password"}
    if unknown or not isinstance(extra, dict):
        raise ConfigurationError("standard input: expected login, password and extra (an object), no other")
    return {**found, **{f"extra.{name}": value for name, value in extra.items()}}


def _example(needed: tuple[str, ...]) -> str:
    parts: dict[str, Any] = {part: "..." for part in needed if not part.startswith("extra.")}
    extra = {part.removeprefix("extra."): "..." for part in needed if part.startswith("extra.")}
    return json.dumps(parts | ({"extra": extra} if extra else {}))


def _require_usable(parts: Mapping[str, Any], needed: tuple[str, ...]) -> None:
    missing = [part for part in needed if not parts.get(part)]
    if missing:
        raise ConfigurationError(f"nothing was written: the manifest needs {', '.join(missing)}")
    odd = [name for name, value in parts.items() if not isinstance(value, str) or not value.isprintable()]
    if odd:
        raise ConfigurationError(f"nothing was written: {', '.join(odd)} must be text without line ends")

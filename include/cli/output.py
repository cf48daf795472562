"""How commands print: one JSON line for programs, text for people, errors as one line."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any

import typer


@dataclass(slots=True)
class Output:
    """How the present call prints."""

    as_json: bool = False


output = Output()
"""Set from ``--json`` before a command's body runs."""


def _choose_json(chosen: bool) -> bool:  # noqa: FBT001 - typer calls it so
    output.as_json = output.as_json or chosen
    return output.as_json


AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON line instead of text.", callback=_choose_json)
]
"""Annotation of a command's ``as_json`` parameter; true also when ``--json`` stands before the command."""


def emit(value: Any, text: str) -> None:
    """Print ``value`` as one JSON line when asked for, else ``text``."""
    typer.echo(json.dumps(value, default=str) if output.as_json else text)

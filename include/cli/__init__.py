"""The command-line tool ``spotlight``: one program for the stack, the registry, events and runs.

Every module of this package with an ``app`` (a :class:`typer.Typer`: a group of commands) or a
``command`` (a function: one command) becomes ``spotlight <module name>``. Such a module imports
nothing heavy at its top: all of them are imported to show the help.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from include.cli.output import output
from include.errors import IntegrationError
from include.sandbox.stack.errors import StackError

FAILED = 1


class _OneLineErrors(TyperGroup):
    """Prints the errors we expect as one line each, without a traceback, and exits with 1."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command.

        Raises:
            Exit: It failed with an error of ours, now printed.
        """
        try:
            return super().invoke(ctx)
        except (IntegrationError, StackError) as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(FAILED) from error


app = typer.Typer(
    name="spotlight",
    cls=_OneLineErrors,
    help="Spotlight Pipelines: NPO and ESR integrations on Apache Airflow.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # locals may hold secrets
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _options(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines instead of text.")] = False,  # noqa: FBT002
) -> None:
    output.as_json = as_json


def _add_commands() -> None:
    """Register every command module; a broken one leaves the others usable."""
    for found in pkgutil.iter_modules(__path__):
        if found.name.startswith("_"):
            continue
        try:
            module = importlib.import_module(f"{__name__}.{found.name}")
        except ImportError as error:
            typer.echo(f"warning: 'spotlight {found.name}' cannot be loaded: {error}", err=True)
            continue
        if hasattr(module, "command"):
            app.command(found.name)(module.command)
        elif hasattr(module, "app"):
            app.add_typer(module.app, name=found.name)


_add_commands()


def main() -> None:
    """Run the tool: exit 0 for success, 1 for a failure, 2 for wrong usage."""
    sys.exit(app())

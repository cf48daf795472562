"""``spotlight backfill``: one stretch of time over many NPOs, in Airflow or in this process."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from include.cli.environment import LOCAL_HOME
from include.cli.npo_row import lines_of, open_registry, output_kept, text_of
from include.cli.output import AsJson, emit
from include.cli.run_out import tell
from include.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

    from include.airflow_api import AirflowApi
    from include.cli.npo_row import Registry
    from include.npo.backfill import Interval, Result, Way
    from include.registry.models import NpoConfig
    from include.settings import Settings

FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]
INTERRUPTED = 130
Start = Annotated[datetime, typer.Option("--from", formats=FORMATS, help="From here (UTC, inclusive).")]
End = Annotated[datetime, typer.Option("--to", formats=FORMATS, help="... to here (UTC, exclusive).")]
Npos = Annotated[list[str] | None, typer.Option("--npo", help="This NPO; repeat for several.")]
Connector = Annotated[str | None, typer.Option(help="Every active row with this connector.")]
All = Annotated[bool, typer.Option("--all", help="Every active row.")]
MaxActive = Annotated[int, typer.Option(min=1, max=32, help="NPOs at once.")]
Local = Annotated[bool, typer.Option("--local", help="Run the stages in this process: one reading each.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show which NPOs and how; change nothing.")]


def command(  # noqa: PLR0913 - the options of one command
    *,
    start: Start,
    end: End,
    npo: Npos = None,
    connector: Connector = None,
    every: All = False,
    max_active: MaxActive = 4,
    local: Local = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,  # noqa: ARG001 - read by its callback
) -> None:
    """Read a past stretch of time again, of many NPOs, a few at once; repeating it changes nothing.

    A source that cannot tell a window from the rest is backfilled by a replay of what was landed. Exits 1 if
    one was not done; Ctrl-C lets what is under way end its step, and the same command goes on from there.
    """
    interval = interval_of(start, end)
    registry = open_registry()
    npos = chosen(registry, npo, connector, every=every)
    if dry_run:
        _show_plan(npos, interval)
        return
    from include.npo.backfill import Batch

    with output_kept():
        batch = Batch(npos, interval, _way(registry.settings, local=local), max_active=max_active, tell=tell)
        results = batch.run()
    _show(results, npos)
    if batch.interrupted:
        typer.echo("stopped; the same command again goes on from here", err=True)
        raise typer.Exit(INTERRUPTED)
    if any(result.state != "done" for result in results):
        raise typer.Exit(1)


def interval_of(start: datetime, end: datetime) -> Interval:
    """Return the stretch asked for, UTC.

    Raises:
        BadParameter: It is empty.
    """
    from include.npo.backfill import Interval

    if start >= end:
        raise typer.BadParameter("--to must be later than --from")
    return Interval(start.replace(tzinfo=UTC), end.replace(tzinfo=UTC))


def chosen(
    registry: Registry, ids: list[str] | None, connector: str | None, *, every: bool
) -> list[NpoConfig]:
    """Return the rows asked for, by npo_id.

    Raises:
        BadParameter: None of the three ways of saying which, or more than one.
        ConfigurationError: A row that was named is not there, broken, or not in use; or none is meant.
    """
    from include.registry.catalogue import parse_rows
    from include.registry.models import NpoStatus
    from include.registry.queries import active_rows

    if sum((bool(ids), connector is not None, every)) != 1:
        raise typer.BadParameter("say which: --all, --connector NAME, or --npo ID (repeat for several)")
    if ids:
        return [_named(npo_id, registry.settings) for npo_id in dict.fromkeys(ids)]
    good, broken = parse_rows(active_rows(registry.dsn, registry.timeout))
    for row in broken:
        typer.echo(f"warning: {row.npo_id} is left out, its row is broken: {row.problem}", err=True)
    found = [npo for npo in good if npo.status is NpoStatus.ACTIVE and (every or npo.connector == connector)]
    if not found:
        raise ConfigurationError(
            "no active row"
            + (f" has connector {connector!r}" if connector else "")
            + "; see 'spotlight npo list'"
        )
    return found


def _named(npo_id: str, settings: Settings) -> NpoConfig:
    from include.errors import IntegrationError
    from include.npo.run import read_row

    try:
        return read_row(npo_id, settings)
    except IntegrationError as error:
        raise error.located(subject=npo_id) from None


def _way(settings: Settings, *, local: bool) -> Way:
    from include.npo.backfill import here, in_airflow

    if local:
        return here(settings)
    api = airflow_of(settings)
    if api is None or not api.is_reachable():
        where = f"Airflow at {api.url} does not answer" if api else "SPOTLIGHT_AIRFLOW_URL is not set"
        raise ConfigurationError(f"{where}; start it, or say --local to run the stages in this process")
    return in_airflow(api)


def airflow_of(settings: Settings, home: Path = LOCAL_HOME) -> AirflowApi | None:
    """Return a client of the Airflow that is set, else of the local stack's; ``None`` if there is none."""
    from include.airflow_api import AirflowApi

    if settings.airflow_url is not None:
        password, token = settings.airflow_password, settings.airflow_token
        return AirflowApi(
            settings.airflow_url,
            user=settings.airflow_user,
            password=password.get_secret_value() if password else "",
            token=token.get_secret_value() if token else "",
        )
    return _local_airflow(home / "airflow")


def _local_airflow(folder: Path) -> AirflowApi | None:
    from include.airflow_api import AirflowApi
    from include.sandbox.airflow.config import ADMIN_USER, AirflowPlace
    from include.sandbox.airflow.keys import load_keys

    port = folder / "port"
    if not port.is_file() or not (folder / "keys.json").is_file():
        return None
    password = load_keys(AirflowPlace(folder)).admin_password
    return AirflowApi(f"http://127.0.0.1:{port.read_text().strip()}", user=ADMIN_USER, password=password)


def _show_plan(npos: list[NpoConfig], interval: Interval) -> None:
    from include.npo.backfill import how

    plan = [{"npo_id": npo.npo_id, "status": npo.status.value, "resources": how(npo)} for npo in npos]
    rows = [(npo.npo_id, _how_text(how(npo))) for npo in npos]
    text = f"{interval.start:%Y-%m-%dT%H:%M:%S} to {interval.end:%Y-%m-%dT%H:%M:%S}\n{lines_of(rows)}"
    emit({"from": interval.start, "to": interval.end, "npos": plan}, text)


def _how_text(ways: dict[str, str]) -> str:
    return "; ".join(f"{resource}: {way}" for resource, way in ways.items())


def _show(results: list[Result], npos: list[NpoConfig]) -> None:
    from include.npo.backfill import how

    ways = {npo.npo_id: how(npo) for npo in npos}
    rows = [
        (result.npo_id, result.state, f"{text_of(result.told)}{_replayed(ways[result.npo_id])}")
        for result in results
    ]
    value = {"results": [result.to_dict() | {"resources": ways[result.npo_id]} for result in results]}
    emit(value, lines_of(rows))


def _replayed(ways: dict[str, str]) -> str:
    names = [resource for resource, way in ways.items() if way.startswith("replay")]
    return f" ({', '.join(names)}: replay of what was landed)" if names else ""

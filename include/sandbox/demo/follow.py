"""What the progress display shows of each DAG: its last run, the stage at work, the store's counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from include.sandbox.airflow.client import AirflowApi
    from include.storage.mongo import IntegrationStore

UNFINISHED = ("running", "queued", "scheduled", "up_for_retry", "deferred", "restarting", "up_for_reschedule")
COLOURS = {"success": "green", "failed": "red", "running": "cyan", "queued": "cyan"}


@dataclass(frozen=True, slots=True)
class DagView:
    """One line of the display."""

    npo_id: str
    run_state: str
    stage: str
    paused: bool
    offerings: int
    assignments: int
    events: int
    quarantined: int

    @property
    def failed(self) -> bool:
        """Return whether the last run ended badly."""
        return self.run_state == "failed"


def look(api: AirflowApi, store: IntegrationStore, npo_ids: Iterable[str]) -> list[DagView]:
    """Return one line for each NPO.

    Raises:
        StackError: Airflow's API does not answer.
    """
    listed = {dag["dag_id"]: dag for dag in api.dags()}
    return [_view(api, store, npo_id, listed.get(f"npo__{npo_id}")) for npo_id in npo_ids]


def as_table(views: Sequence[DagView]) -> Table:
    """Return the display."""
    table = Table(box=None, pad_edge=False)
    for heading in ("DAG", "last run", "stage"):
        table.add_column(heading)
    for heading in ("offerings", "assignments", "events", "quarantined"):
        table.add_column(heading, justify="right")
    for view in views:
        colour = COLOURS.get(view.run_state, "default")
        state = f"[{colour}]{view.run_state}[/]" + (" (paused)" if view.paused else "")
        counts = (view.offerings, view.assignments, view.events, view.quarantined)
        table.add_row(f"npo__{view.npo_id}", state, view.stage, *(f"{count:,}" for count in counts))
    return table


def as_line(views: Sequence[DagView]) -> str:
    """Return the same as one line, for output that is no terminal."""
    return "; ".join(
        f"{view.npo_id} {view.run_state} {view.stage} {view.offerings}+{view.assignments} entities, "
        f"{view.events} events"
        for view in views
    )


def _view(api: AirflowApi, store: IntegrationStore, npo_id: str, dag: dict[str, object] | None) -> DagView:
    state, stage = "not there yet", ""
    if dag is not None:
        state, stage = _last_run(api, f"npo__{npo_id}")
    mine = {"npo_id": npo_id}
    return DagView(
        npo_id=npo_id,
        run_state=state,
        stage=stage,
        paused=bool(dag and dag.get("is_paused")),
        offerings=store["npo_offering"].count_documents(mine),
        assignments=store["npo_assignment"].count_documents(mine),
        events=store["outbox"].count_documents({"owner": npo_id, "pending": {"$ne": True}}),
        quarantined=store["quarantine"].count_documents({"owner": npo_id, "state": "open"}),
    )


def _last_run(api: AirflowApi, dag_id: str) -> tuple[str, str]:
    runs = api.runs(dag_id, limit=1)
    if not runs:
        return "no run yet", ""
    run = runs[0]
    tasks = api.task_instances(dag_id, run["dag_run_id"])
    wanted = ("failed",) if run["state"] == "failed" else UNFINISHED
    names = [task["task_id"] for task in tasks if task["state"] in wanted]
    return run["state"], ", ".join(names)

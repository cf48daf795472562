"""Files for ESR through a real scheduler: what the UI shows, and a day that is done again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from include.esr.documents import owner
from include.sandbox.demo.esr import DEANERIES
from include.sandbox.demo.outbound import FIRST_DAY, esr_side
from include.sandbox.demo.steps import OUTBOUND, moment_of
from tests.e2e.test_scheduler import within

if TYPE_CHECKING:
    from include.sandbox.demo.session import Session
    from tests.e2e.conftest import Proven

OF_THE_DEMO = {"deanery": {"$in": list(DEANERIES)}}
STAGES = ("deanery.ready", "deanery.sweep", "deanery.export_app", "deanery.export_dnc")


def run_of(session: Session, run_type: str) -> dict[str, Any] | None:
    """Return the run of the demo's first day that was started in a way."""
    wanted = moment_of(FIRST_DAY).isoformat().replace("+00:00", "")
    runs = session.airflow.api.runs(OUTBOUND, limit=50)
    found = [run for run in runs if str(run["logical_date"]).startswith(wanted)]
    return next((run for run in found if run["run_type"] == run_type), None)


def test_the_ui_shows_for_each_deanery_what_was_made_and_sent(proven: Proven):
    session = proven.session
    run = run_of(session, "manual")
    assert run is not None
    shown: dict[str, list[str]] = {stage: [] for stage in STAGES}
    for task in session.airflow.api.task_instances(OUTBOUND, run["dag_run_id"]):
        if task["task_id"] in shown:
            shown[task["task_id"]].append(str(task["rendered_map_index"]))
    for stage, names in shown.items():
        assert {name.partition(":")[0] for name in names} == set(DEANERIES), stage
    assert all("files 1" in name for name in shown["deanery.export_app"])
    assert all("told" in name for name in shown["deanery.export_app"])


def test_a_backfill_of_a_day_whose_files_were_sent_sends_and_tells_nothing(proven: Proven):
    session = proven.session
    settings, store = session.settings, session.store
    before = {each["_id"]: each for each in store["esr_export"].find(OF_THE_DEMO)}
    owners = {"owner": {"$in": [owner(deanery) for deanery in DEANERIES]}}
    calls = store["esr_call"].count_documents(owners)
    moment = moment_of(FIRST_DAY).isoformat().replace("+00:00", "Z")
    session.airflow.api.call(
        "POST",
        "backfills",
        json={
            "dag_id": OUTBOUND,
            "from_date": moment,
            "to_date": moment,
            "reprocess_behavior": "completed",
        },
    )

    def ended() -> bool:
        run = run_of(session, "backfill")
        return run is not None and run["state"] in {"success", "failed"}

    assert within(180, ended)
    run = run_of(session, "backfill")
    assert run is not None
    assert run["state"] == "success"
    assert {each["_id"]: each for each in store["esr_export"].find(OF_THE_DEMO)} == before
    assert store["esr_call"].count_documents(owners) == calls
    with esr_side(settings) as side:
        taken = side.play(FIRST_DAY).taken
    # Deaneries of other tests may have had their first files.
    assert [file.file_name for file in taken if file.name.deanery in DEANERIES] == []

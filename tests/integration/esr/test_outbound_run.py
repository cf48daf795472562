"""The stages of a day for ESR: the bounded wait for inbound, the hours files go out, who is run for."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from include.errors import NotYetError
from include.esr.context import EsrContext
from include.esr.documents import FileState
from include.esr.generation.generate import require_reconciled
from include.esr.outbound import RecordState
from include.esr.outbound_run import STAGES, counts_by_state, outbound_deaneries, require_inbound
from include.storage.mongo import IntegrationStore

DUE = datetime(2026, 7, 7, 13, tzinfo=UTC)  # 14:00 in London
BOUND = timedelta(seconds=5_400)


def at(ctx: EsrContext, moment: datetime) -> EsrContext:
    return replace(ctx, now=lambda: moment)


def came(ctx: EsrContext, state: FileState, *, day: str = "20260707", kind: str = "RMC", **more: Any) -> None:
    number = ctx.store["esr_file"].count_documents({})
    ctx.store["esr_file"].insert_one(
        {
            "_id": f"DE_KSS_{kind}_{day}_{number:08d}.DAT#1",
            "name": f"DE_KSS_{kind}_{day}_{number:08d}.DAT",
            "version": 1,
            "deanery": "KSS",
            "type": kind,
            "order": f"{day}-{number:08d}-{kind}-001",
            "state": state.value,
            **more,
        }
    )


def told(logs: list[Any]) -> list[str]:
    return [line["event"] for line in logs]


@pytest.mark.parametrize("state", [FileState.RECONCILED, FileState.PUBLISHED])
@pytest.mark.parametrize("kind", ["RMF", "RMC"])
def test_once_the_days_file_is_reconciled_nothing_is_waited_for(esr_ctx, state, kind):
    came(esr_ctx, state, kind=kind)
    assert require_inbound(at(esr_ctx, DUE), "KSS", DUE) == {"inbound_files": 1}


@pytest.mark.parametrize(
    "state", [None, FileState.LANDED, FileState.SPLIT, FileState.SAVED, FileState.REJECTED]
)
def test_the_wait_for_inbound_is_bounded_then_told_of_and_the_files_go_out(esr_ctx, state):
    came(esr_ctx, FileState.PUBLISHED, day="20260706")
    if state is not None:
        came(esr_ctx, state)
    with pytest.raises(NotYetError, match="wait for it"):
        require_inbound(at(esr_ctx, DUE + BOUND - timedelta(seconds=1)), "KSS", DUE)
    with capture_logs() as logs:
        assert require_inbound(at(esr_ctx, DUE + BOUND), "KSS", DUE) == {"inbound_files": 0}
    assert told(logs) == ["esr_inbound_missing"]
    assert (logs[0]["deanery"], logs[0]["day"]) == ("KSS", "2026-07-07")


def test_one_file_of_the_day_that_is_not_done_is_waited_for(esr_ctx):
    came(esr_ctx, FileState.PUBLISHED)
    came(esr_ctx, FileState.SAVED)
    with pytest.raises(NotYetError, match="is saved"):
        require_inbound(at(esr_ctx, DUE), "KSS", DUE)


def test_a_run_by_hand_in_the_morning_waits_for_the_same_moment(esr_ctx):
    morning = DUE - timedelta(hours=5)
    with pytest.raises(NotYetError):
        require_inbound(at(esr_ctx, morning + BOUND + timedelta(minutes=1)), "KSS", morning)


def test_a_day_long_gone_is_not_waited_for(esr_ctx):
    assert require_inbound(at(esr_ctx, DUE + timedelta(days=9)), "KSS", DUE) == {"inbound_files": 0}


def test_a_half_applied_file_is_waited_for_and_then_the_sweep_is_left_out(esr_ctx):
    came(esr_ctx, FileState.SAVED)
    with pytest.raises(NotYetError, match="not completely reconciled"):
        STAGES["sweep"](at(esr_ctx, DUE), "KSS", DUE)
    with capture_logs() as logs:
        assert STAGES["sweep"](at(esr_ctx, DUE + BOUND), "KSS", DUE) == {"posts": 0}
    assert told(logs) == ["esr_inbound_missing"]


@pytest.mark.parametrize(("saved", "half"), [(None, False), ({"chunk": 0, "line": 40}, True)])
def test_a_file_holds_generation_up_from_its_first_saved_slice_on(esr_ctx, saved, half):
    came(esr_ctx, FileState.SPLIT, saved=saved)
    if half:
        with pytest.raises(NotYetError):
            require_reconciled(esr_ctx.store, "KSS")
    else:
        require_reconciled(esr_ctx.store, "KSS")


@pytest.mark.parametrize(
    ("moment", "waits"),
    [
        ("2026-07-07T13:59:00+00:00", True),
        ("2026-07-07T14:00:00+00:00", False),  # 15:00 in summer
        ("2026-12-07T14:30:00+00:00", True),
        ("2026-12-07T15:00:00+00:00", False),
    ],
)
def test_notifications_go_out_from_15_in_london(esr_ctx, moment, waits, tcs_sandbox):
    now = datetime.fromisoformat(moment)
    if waits:
        with pytest.raises(NotYetError, match="15:00"):
            STAGES["export_dnc"](at(esr_ctx, now), "KSS", now)
    else:
        assert STAGES["export_dnc"](at(esr_ctx, now), "KSS", now)["files"] == 0


def test_a_deanery_with_positions_records_or_files_is_run_for(esr_ctx, settings):
    store: IntegrationStore = esr_ctx.store
    store["esr_position"].insert_one({"_id": 1, "deanery": "KSS"})
    store["esr_app_record"].insert_one({"_id": "1-1", "deanery": "LDN", "state": "TO_EXPORT"})
    store["esr_export"].insert_one({"_id": "x", "key": "x", "deanery": "NTH"})
    store["esr_notification"].insert_one({"_id": "n", "deanery": "WES", "state": "TO_EXPORT"})
    store["esr_position"].insert_one({"_id": 2, "deanery": "gone"})
    assert outbound_deaneries(run_id="r", settings=settings) == ["KSS", "LDN", "NTH", "WES"]


def test_records_are_counted_by_state_in_the_order_of_their_life(esr_ctx):
    states = [RecordState.EXPORTED, RecordState.TO_EXPORT, RecordState.EXPORTED]
    esr_ctx.store["esr_app_record"].insert_many(
        [{"_id": str(at), "deanery": "KSS", "state": state.value} for at, state in enumerate(states)]
    )
    assert list(counts_by_state(esr_ctx, "esr_app_record", ["KSS"]).items()) == [
        ("TO_EXPORT", 1),
        ("EXPORTED", 2),
    ]
    assert counts_by_state(esr_ctx, "esr_app_record", ["LDN"]) == {}

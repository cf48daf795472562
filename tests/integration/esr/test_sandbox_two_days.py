"""The two days of the demo, without a scheduler: what ESR gets, what TCS is told, and nothing twice."""

from __future__ import annotations

import structlog

from include.sandbox.demo import esr as demo
from include.sandbox.demo.outbound import FIRST_DAY, esr_side, play_two_days
from include.sandbox.demo.steps import InlineSteps
from tests.integration.esr.inbound import Exchange

log = structlog.get_logger("two_days")
DEANERIES = ("KSS", "NTH")


def test_two_days_end_as_esr_and_tcs_say_they_must(esr: Exchange):
    files, truth = demo.make_files(DEANERIES)
    for file in files:
        esr.sftp.put(file.name, file.body)
    steps = InlineSteps(log.info)
    steps.inbound()
    assert demo.is_done(esr.store, truth)
    out, truth = play_two_days(esr.settings, esr.store, esr.tcs, steps, log.info, deaneries=DEANERIES)
    assert out.problems == []
    assert demo.is_done(esr.store, truth)
    assert out.summary.quarantined_by_esr == 0
    assert out.summary.files_sent == 8
    assert out.summary.receipts == len(DEANERIES) * (demo.DAYS_OF_FILES + 1)
    assert out.summary.confirmed > out.summary.rejected > 0

    # The first day once more: nothing goes out, nothing is told again.
    told = esr.tcs.told()
    steps.generate(FIRST_DAY)
    steps.send(FIRST_DAY)
    steps.confirm()
    with esr_side(esr.settings) as side:
        assert side.play(FIRST_DAY).taken == []
    assert esr.tcs.told() == told

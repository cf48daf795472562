"""A process killed while it updates people: the next one ends where an undisturbed one would have."""

from __future__ import annotations

import multiprocessing
import os
import signal
from dataclasses import replace
from datetime import timedelta

import pytest

from include.errors import NotYetError
from include.esr.context import EsrContext
from include.esr.people import updates as person_updates
from include.esr.tcs import Tcs
from include.npo.context import utc_now
from include.settings import Settings
from include.storage.landing import LandingZone
from include.storage.mongo import IntegrationStore
from tests.integration.esr.test_people_updates import Exchange, absence, lines

STEPS = [
    "people_by_registration",
    "people",
    "placements_of_people",
    "absences",
    "patch_contacts",
    "patch_personal",
    "patch_absences",
    "create_absences",
    "commit_results",
]


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def update_and_die(step):
    """Update the people of NTH in a process of its own that is killed right after a step."""
    settings = Settings()
    ctx = EsrContext("killed", IntegrationStore(settings), LandingZone(settings), settings)
    with Tcs(settings) as tcs:
        target = person_updates if step == "commit_results" else tcs
        whole = getattr(target, step)
        setattr(target, step, lambda *args, **named: (whole(*args, **named), die()))
        person_updates.update_people(ctx, "NTH", tcs)


def prepare(exchange):
    for number in (1, 2):
        exchange.trainee(f"700000{number}", contactDetails={"legalSurname": "Ito", "title": "Mr"})
    both = [line for number in (1, 2) for line in lines(number, f"700000{number}")]
    exchange.file(*both, absence(5))
    exchange.update()
    changed = [
        line for number in (1, 2) for line in lines(number, f"700000{number}", title="Dr", gender="Female")
    ]
    exchange.file(*changed, absence(5, absence_duration=9.0), absence(6), absence(7, person_id=2))


@pytest.fixture(scope="module")
def undisturbed():
    return {}


@pytest.mark.parametrize("step", STEPS)
def test_killed_after_a_step_ends_as_if_undisturbed(esr_ctx, tcs_sandbox, undisturbed, step):
    exchange = Exchange(esr_ctx, tcs_sandbox)
    if not undisturbed:
        prepare(exchange)
        exchange.update()
        undisturbed.update(tcs_sandbox.final())
        assert len(undisturbed["absences"]) == 3
        tcs_sandbox.reset()
        exchange.people.delete_many({})
        exchange = Exchange(esr_ctx, tcs_sandbox)
    prepare(exchange)

    child = multiprocessing.get_context("spawn").Process(target=update_and_die, args=(step,))
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL

    if step != "commit_results":
        with pytest.raises(NotYetError):  # a call of the dead may still be under way
            exchange.update()
    exchange.ctx = replace(exchange.ctx, now=lambda: utc_now() + timedelta(hours=1))
    exchange.update()
    assert tcs_sandbox.final() == undisturbed
    assert exchange.people.count_documents({"pending": True}) == 0
    assert exchange.people.count_documents({"claim": {"$exists": True}}) == 0

"""The sandbox partners as a process of these tests' own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from include.sandbox.npos.process import Sandbox, running
from tests.conformance.partner import CREDENTIALS, Partner
from tests.conformance.rows import Waits

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def npos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with running(
        tmp_path_factory.mktemp("npos"), "--today", "2026-10-20", "--mentornet-rate", "0"
    ) as sandbox:
        yield sandbox


@pytest.fixture(params=list(CREDENTIALS))
def partner(npos: Sandbox, request: pytest.FixtureRequest) -> Iterator[Partner]:
    """Each partner in turn, well-behaved at the start."""
    name = request.param
    npos.admin(name, "POST", "reset", {"clock": False})
    npos.admin(name, "DELETE", "requests")
    yield Partner(name, npos, Waits())
    npos.admin(name, "POST", "reset", {"clock": False})

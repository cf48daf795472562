"""What ``spotlight npo check`` says of a partner that cannot be read."""

from __future__ import annotations

from typing import Any

import pytest

from include.npo.check import Step, _partner
from include.registry.models import Credential
from include.settings import Settings
from tests.conformance.rows import SECRET, make_manifest, make_row
from tests.conformance.tiny_server import Reply, TinyServer, serving

TOKEN = {
    "type": "oauth2_client_credentials",
    "access_token_url": "token",
    "client_id": "c",
    "client_secret": "{credential.password}",
}
ELSEWHERE = Reply(307, {}, {"Location": "http://127.0.0.2:9/x"})


def first_step(server: TinyServer, *, password: str = SECRET, **client: Any) -> Step:
    row = make_row(server.url, manifest=make_manifest(**client))
    steps = _partner(row, Credential("c", password), Settings())
    return next(step for step in steps if step.name != "budget")


@pytest.mark.parametrize(
    ("reply", "client"), [(ELSEWHERE, {}), (ELSEWHERE, {"auth": TOKEN})], ids=["page", "token"]
)
def test_an_address_the_guard_refuses_is_no_matter_of_the_credential(reply: Reply, client: Any) -> None:
    with serving(reply) as server:
        step = first_step(server, **client)
    assert (step.name, step.outcome) == ("auth", "skipped")


@pytest.mark.parametrize(
    ("reply", "client", "password"),
    [
        (Reply(401, {}), {}, SECRET),
        (Reply(403, {}), {}, SECRET),
        (Reply(400, {"error": "invalid_client"}), {"auth": TOKEN}, SECRET),
        (Reply(200, {"error": "invalid_client"}), {"auth": TOKEN}, SECRET),
        (Reply(200, {"items": []}), {}, f"{SECRET}\n"),
        (Reply(200, {"items": []}), {}, ""),
    ],
    ids=["401", "403", "token_400", "no_token", "line_end", "none"],
)
def test_a_credential_that_is_refused_lacking_or_cannot_be_sent_is_told_at_auth(
    reply: Reply, client: Any, password: str
) -> None:
    with serving(reply) as server:
        step = first_step(server, password=password, **client)
    assert (step.name, step.outcome) == ("auth", "failed")
    assert SECRET not in step.told

"""Tokens of OAuth2 without a registry: odd answers, threads, a registry that fails at the wrong moment."""

from __future__ import annotations

from contextlib import contextmanager
from threading import Barrier, Thread
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import pytest

from include.connectors import tokens
from include.connectors.open import Api, open_api
from include.connectors.tokens import Grant, RefreshedToken, seconds_told
from include.errors import ConfigurationError, IntegrationError, NotYetError, TransientError
from include.registry.models import Credential
from include.settings import Settings
from tests.conformance.rows import Waits, make_manifest, make_row
from tests.conformance.tiny_server import Reply, Seen, TinyServer, serving
from tests.unit.connectors.test_http import Noted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from include.registry.tokens import Tokens

FIRST = "refresh-token-set-by-a-person"
CLIENT = {
    "type": "oauth2_client_credentials",
    "access_token_url": "token",
    "client_id": "{credential.login}",
    "client_secret": "{credential.password}",
}
REFRESH = {
    "type": "oauth2_refresh_token",
    "access_token_url": "token",
    "refresh_token": "{credential.password}",
    "client_id": "{credential.login}",
}


class Registry:
    """Stands for the row of the registry: locks nothing, commits unless it is told to fail."""

    def __init__(self, kept: Tokens | None = None) -> None:
        self.kept, self.identity, self.commits_fail, self.away = kept, "", 0, 0

    @contextmanager
    def locked(self, _settings: Any, _npo: str, identity: str, _keys: Any) -> Iterator[SimpleNamespace]:
        if self.away:
            self.away -= 1
            raise TransientError("the registry does not answer", subject="registry")
        written: list[Tokens] = []
        row = SimpleNamespace(tokens=self.kept if identity == self.identity else None)
        row.write = lambda: written.append(row.tokens)
        yield row
        if written and self.commits_fail:
            self.commits_fail -= 1
            raise TransientError("the registry does not answer", subject="registry")
        if written:
            self.kept, self.identity = written[-1], identity


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    kept = Registry()
    monkeypatch.setattr(tokens, "locked_tokens", kept.locked)
    monkeypatch.setattr(tokens, "token_keys", lambda *_: ["key"])
    return kept


class Endpoint:
    """A token endpoint that takes each refresh token once."""

    def __init__(self) -> None:
        self.current, self.calls = FIRST, 0
        self.fails: IntegrationError | None = None

    def post(self, _url: str, *, headers: dict[str, str], data: dict[str, str]) -> Any:  # noqa: ARG002
        self.calls += 1
        if self.fails:
            raise self.fails
        assert data["refresh_token"] == self.current, "a token that is used up"
        self.current = f"refresh-{self.calls}"
        told = {"access_token": f"access-{self.calls}", "refresh_token": self.current, "expires_in": 3600}
        return SimpleNamespace(json=lambda: told)


def token(endpoint: Any, url: str = "https://npo.example/token") -> tuple[RefreshedToken, Waits]:
    waits, redactor = Waits(), SimpleNamespace(add=lambda _: None)
    grant = Grant(url, FIRST, "client", None)
    return RefreshedToken(grant, endpoint, redactor, "npo", Settings(), sleep=waits.append), waits  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("told", "seconds"),
    [(60, 60), ("90", 90), (" 5.5 ", 5.5), (None, 7), ("soon", 7), (True, 7), (-1, 7), ([], 7), ("nan", 7),
     ("inf", 7), (1e300, 366 * 86_400)],
)  # fmt: skip
def test_a_token_whose_life_is_told_oddly_lasts_as_long_as_usual(told: Any, seconds: float) -> None:
    assert seconds_told({"expires_in": told}, 7) == seconds


@pytest.mark.parametrize("expires_in", ["3600", None, "soon", 1e300])
def test_no_refresh_token_is_lost_for_an_odd_expires_in(registry: Registry, expires_in: Any) -> None:
    told = {"access_token": "a", "refresh_token": "r2", "expires_in": expires_in}
    made, _ = token(SimpleNamespace(post=lambda *_, **__: SimpleNamespace(json=lambda: told)))
    assert made.value() == "a"
    assert registry.kept
    assert registry.kept.refresh_token == "r2"


@pytest.mark.parametrize("expires_in", ["3600", None, 1e300])
def test_a_client_token_with_an_odd_expires_in_is_used(expires_in: Any) -> None:
    def answer(seen: Seen) -> Reply:
        return Reply(body={"access_token": "a", "expires_in": expires_in} if seen.path == "/token" else {})

    with TinyServer(answer) as server:
        for _ in range(2):
            opened = api(server, CLIENT)
            opened.session.exchange(opened.request("GET", "x"))
        assert [seen.path for seen in server.seen] == ["/token", "/x"] * 2


def api(server: TinyServer, auth: dict[str, Any], **settings: Any) -> Api:
    row = make_row(server.url, manifest=make_manifest(auth=auth))
    policy = Waits().policy(attempts=4)
    return open_api(row, Credential("client", FIRST), Settings(**settings), retry=policy)


class Renewing(TinyServer):
    """An API whose every new token makes the one before void."""

    def __init__(self) -> None:
        super().__init__(self._answer)
        self.given, self.both = 1, Barrier(2)

    def _answer(self, seen: Seen) -> Reply:
        if seen.path == "/token":
            self.given += 1
            return Reply(body={"access_token": f"t{self.given}", "refresh_token": f"r{self.given}"})
        good = seen.headers.get("Authorization") == f"Bearer t{self.given}"
        if not good:
            self.both.wait(5)  # both requests are out with the old token before either is refused
        return Reply(200 if good else 401, {})


@pytest.mark.parametrize("auth", [CLIENT, REFRESH], ids=["client", "refresh"])
def test_two_requests_refused_with_one_token_renew_it_once(registry: Registry, auth: dict[str, Any]) -> None:
    with Renewing() as server:
        opened = api(server, auth)
        asked = [opened.request("POST", "x", json={}) for _ in range(2)]
        server.given += 1  # the partner has revoked what both are signed with
        found: list[int] = []
        threads = [
            Thread(target=lambda one=one: found.append(opened.session.exchange(one).status_code))
            for one in asked
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert found == [200, 200]
        assert [seen.path for seen in server.seen].count("/token") == 2


def test_a_new_refresh_token_is_written_again_where_the_commit_failed(registry: Registry) -> None:
    endpoint = Endpoint()
    made, waits = token(endpoint)
    registry.commits_fail = 2
    assert made.value() == "access-1"
    assert registry.kept
    assert (registry.kept.refresh_token, endpoint.calls) == (endpoint.current, 1)
    assert waits == [1.0, 4.0]


def test_a_new_refresh_token_is_held_on_to_while_the_registry_stays_away(registry: Registry) -> None:
    endpoint = Endpoint()
    made, waits = token(endpoint)
    registry.commits_fail = 100
    with pytest.raises(NotYetError):
        made.value()
    assert len(waits) == len(tokens.WRITTEN_AGAIN_AFTER)
    registry.commits_fail = 0
    assert made.value() == "access-1"
    assert registry.kept
    assert (registry.kept.refresh_token, endpoint.calls) == (endpoint.current, 1)


def test_what_another_task_wrote_meanwhile_is_not_written_over(registry: Registry) -> None:
    endpoint = Endpoint()
    made, _ = token(endpoint)
    registry.commits_fail = 100
    with pytest.raises(NotYetError):
        made.value()
    registry.commits_fail = 0
    endpoint.current = FIRST  # a partner with a period of grace
    other, _ = token(endpoint)
    assert other.value() == "access-2"
    assert made.value() == "access-2"


def test_a_registry_that_is_away_is_waited_for_and_no_failure_of_the_partner(registry: Registry) -> None:
    endpoint = Endpoint()
    made, waits = token(endpoint)
    registry.away = 1
    with pytest.raises(NotYetError, match="the registry does not answer"):
        made.value()
    assert (waits, endpoint.calls) == ([], 0)
    endpoint.fails = TransientError("503 from the partner")
    with pytest.raises(TransientError) as caught:
        made.value()
    assert caught.value is endpoint.fails


def test_a_registry_that_is_away_while_a_token_is_renewed_does_not_count_against_the_partner(
    registry: Registry,
) -> None:
    def answer(seen: Seen) -> Reply:
        return Reply(200, {"access_token": "a"}) if seen.path == "/token" else Reply(401, {})

    with TinyServer(answer) as server:
        opened = api(server, REFRESH)
        asked = [opened.request("GET", "x") for _ in range(2)]
        budget = opened.session._budget = Noted()
        for ask, request in zip((opened.session.send, opened.session.exchange), asked, strict=True):
            registry.away = 100
            with pytest.raises(NotYetError, match="the registry does not answer"):
                ask(request)
            registry.away = 0
            opened.request("GET", "x")  # another token, to be refused in turn
        assert False not in budget.told


def test_a_corrected_address_keeps_the_rotated_token(registry: Registry) -> None:
    endpoint = Endpoint()
    token(endpoint)[0].value()
    assert token(endpoint, "https://npo.example/oauth/token")[0].value() == "access-1"


def test_a_refresh_token_is_sent_once_whatever_comes_of_it(registry: Registry) -> None:
    with serving(Reply(503, {})) as server:
        with pytest.raises(TransientError):
            api(server, REFRESH).request("GET", "x")
        assert len(server.seen) == 1
        assert parse_qs(server.seen[0].body.decode())["refresh_token"] == [FIRST]


def test_a_client_secret_is_sent_again_after_a_passing_fault() -> None:
    with serving(Reply(503, {}), Reply(200, {"access_token": "a"})) as server:
        api(server, CLIENT).request("GET", "x")
        assert len(server.seen) == 2


@pytest.mark.parametrize("auth", [CLIENT, REFRESH], ids=["client", "refresh"])
def test_a_token_with_a_line_end_is_refused_and_not_told(registry: Registry, auth: dict[str, Any]) -> None:
    with serving(Reply(200, {"access_token": "sk-live\n"})) as server:
        with pytest.raises(ConfigurationError, match="no access_token that can be sent") as caught:
            api(server, auth).request("GET", "x")
        assert "sk-live" not in f"{caught.value!r}"

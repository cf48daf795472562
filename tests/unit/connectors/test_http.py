"""The session's bounds on one answer: headers, time, size, ratio; and requests of one's own."""

from __future__ import annotations

import contextlib
import gzip
import time
import zlib
from typing import TYPE_CHECKING, Any

import pytest

from include.connectors.open import open_api
from include.errors import ConfigurationError, IntegrationError, NotYetError, RateLimitedError, TransientError
from include.registry.models import Credential
from include.settings import Settings
from tests.conformance.rows import CREDENTIAL, SECRET, Waits, connect, make_manifest, make_row, read
from tests.conformance.tiny_server import Reply, TinyServer, serving

if TYPE_CHECKING:
    from include.connectors.answer import Answer
    from include.connectors.limits import Place
    from include.connectors.open import Api


def api(server: TinyServer, *, attempts: int = 1, settings: Settings | None = None, **client: Any) -> Api:
    row = make_row(server.url, manifest=make_manifest(**client))
    return open_api(row, CREDENTIAL, settings or Settings(), retry=Waits().policy(attempts=attempts))


def get(opened: Api, path: str = "items") -> Answer:
    return opened.session.send(opened.request("GET", path))


def refusal(opened: Api, kind: type[IntegrationError]) -> str:
    with pytest.raises(kind) as caught:
        get(opened)
    assert type(caught.value) is kind
    assert SECRET not in str(caught.value)
    return str(caught.value)


def compressed(body: bytes, encoding: str) -> Reply:
    return Reply(body=body, headers={"Content-Encoding": encoding})


BOMB = b'{"items": [' + b" " * 20_000_000 + b"]}"


@pytest.mark.parametrize(
    "reply",
    [
        compressed(gzip.compress(BOMB), "gzip"),
        compressed(zlib.compress(BOMB), "deflate"),
        compressed(gzip.compress(gzip.compress(BOMB)), "gzip, gzip"),
    ],
    ids=["gzip", "deflate", "twice"],
)
def test_an_answer_that_unpacks_to_hundreds_of_times_its_size_is_refused(reply: Reply) -> None:
    with serving(reply) as server:
        assert "200 times its size" in refusal(api(server), ConfigurationError)


def test_a_page_of_like_records_may_shrink_well() -> None:
    page = b'{"items": [' + b",".join(b'{"id": %d, "state": "open"}' % n for n in range(100_000)) + b"]}"
    with serving(compressed(gzip.compress(page), "gzip")) as server:
        assert len(get(api(server)).content) == len(page)


def test_headers_that_do_not_end_are_refused() -> None:
    with serving(Reply(body={}, headers={f"X-{n}": "a" * 4000 for n in range(30)})) as server:
        assert "headers that do not end" in refusal(api(server), ConfigurationError)


def test_headers_below_the_limit_are_read() -> None:
    with serving(Reply(body={"items": []}, headers={f"X-{n}": "a" * 1000 for n in range(50)})) as server:
        assert get(api(server)).headers["X-49"] == "a" * 1000


def drip(piece: bytes) -> Any:
    def write(out: Any) -> None:
        for _ in range(100):
            try:
                out.write(piece)
            except OSError:
                return
            time.sleep(0.05)

    return write


@pytest.mark.parametrize("piece", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\nX-A: 1\r\n"])
def test_headers_that_drip_end_at_the_total_time(piece: bytes) -> None:
    """Each byte comes in time, so that the time-out between two reads never strikes."""
    import socket
    from threading import Thread

    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, connection.makefile("wb", buffering=0) as out:
            drip(piece)(out)

    Thread(target=serve, daemon=True).start()
    row = make_row(
        f"http://127.0.0.1:{listener.getsockname()[1]}", manifest=make_manifest(total_timeout=0.4, timeout=2)
    )
    opened = open_api(row, CREDENTIAL, Settings(), retry=Waits().policy(attempts=1))
    start = time.monotonic()
    with listener, pytest.raises(TransientError, match="not complete after"):
        get(opened)
    assert time.monotonic() - start < 2


def test_a_chunk_size_that_drips_ends_at_the_total_time() -> None:
    chunked = Reply(headers={"Transfer-Encoding": "chunked"}, stream=drip(b"0"))
    with serving(chunked) as server:
        start = time.monotonic()
        refusal(api(server, total_timeout=0.4, timeout=2), TransientError)
        assert time.monotonic() - start < 2


def test_a_connection_is_used_again_with_its_own_time_out() -> None:
    slow = 0.3

    def later(_: Any) -> Reply:
        time.sleep(slow)
        return Reply(body={"items": []})

    with serving(Reply(body={"items": []}), later) as server:
        opened = api(server, timeout=2)
        get(opened)
        assert get(opened).status_code == 200
        assert len({seen.client for seen in server.seen}) == 1


# --- requests of one's own ---


def test_a_request_is_signed_and_below_the_base_url() -> None:
    with serving(Reply(201, {"id": "e1"})) as server:
        opened = api(server, headers={"X-Tenant": "t1", "X-Kind": "manifest"})
        asked = opened.request(
            "POST", "/enrolments", params={"dry": "1"}, json={"a": 1}, headers={"X-Kind": "own"}
        )
        answer = opened.session.exchange(asked)
        seen = server.seen[0]
    assert (answer.status_code, answer.json()) == (201, {"id": "e1"})
    assert (seen.method, seen.path, seen.query) == ("POST", "/enrolments", {"dry": ["1"]})
    assert seen.headers["Authorization"] == f"Bearer {SECRET}"
    assert (seen.headers["X-Tenant"], seen.headers["X-Kind"]) == ("t1", "own")
    assert seen.body == b'{"a": 1}'


def test_a_form_is_written_as_one() -> None:
    with serving(Reply(200, {})) as server:
        opened = api(server)
        opened.session.exchange(opened.request("POST", "x", data={"name": "A & B"}))
        assert server.seen[0].body == b"name=A+%26+B"
        assert server.seen[0].headers["Content-Type"] == "application/x-www-form-urlencoded"


@pytest.mark.parametrize("status", [200, 400, 404, 409, 429, 500])
def test_an_exchange_is_one_try_and_its_answer_is_not_judged(status: int) -> None:
    with serving(Reply(status, {"message": "x"})) as server:
        opened = api(server, attempts=5)
        assert opened.session.exchange(opened.request("POST", "x", json={})).status_code == status
        assert len(server.seen) == 1


class Noted:
    """A budget that remembers what it was told."""

    def __init__(self, refuses: IntegrationError | None = None) -> None:
        self.told: list[Any] = []
        self.under_way = 0
        self.refuses = refuses

    def enter(self) -> Place:
        from include.connectors.limits import Place

        if self.refuses:
            raise self.refuses
        self.under_way += 1
        return Place()

    def keep(self, place: Place) -> None: ...

    def leave(self, place: Place) -> None:  # noqa: ARG002
        self.under_way -= 1

    def throttled(self, seconds: float | None) -> None:
        self.told.append(seconds)

    def judged(self, *, well: bool) -> None:
        self.told.append(well)


@pytest.mark.parametrize(
    ("reply", "sent", "exchanged"),
    [
        (Reply(200, {"items": []}), [True], [True]),
        (Reply(500, {}), [False], [False]),
        (Reply(429, {}, {"Retry-After": "7"}), [7.0, 7.0], [7.0]),
        (Reply(429, {}), [None, None], [None]),
        (Reply(403, {"error": "slow"}), [3.0, 3.0], [3.0]),
        (Reply(200, b'{"items": ['), [False], [True]),
        (Reply(404, {}), [True], [True]),
        (Reply(401, {}), [True], [True]),
        (Reply(200, b"<html>"), [True], [True]),
        (Reply(302, {}, {"Location": "http://127.0.0.2:9/x"}), [True], [True]),
        (Reply(body=b"{}", headers={"Content-Length": "99"}), [False], [False]),
    ],
    ids=[
        "well",
        "500",
        "429",
        "429_untold",
        "by_rule",
        "cut",
        "404",
        "401",
        "no_json",
        "elsewhere",
        "broken_off",
    ],
)
def test_the_budget_is_told_what_came_of_each_request(
    reply: Reply, sent: list[Any], exchanged: list[Any]
) -> None:
    rule = {"status": 403, "action": "rate_limited", "retry_after_header": "X-Wait"}
    reply.headers.setdefault("X-Wait", "3")
    with serving(reply) as server:
        row = make_row(server.url, manifest=make_manifest() | {"errors": [rule]})
        for ask, wanted in (("send", sent), ("exchange", exchanged)):
            opened = open_api(row, CREDENTIAL, Settings(), retry=Waits().policy(attempts=2))
            budget = opened.session._budget = Noted()
            with contextlib.suppress(IntegrationError):
                getattr(opened.session, ask)(opened.request("GET", "items"))
            assert (budget.told, budget.under_way) == (wanted, 0)


@pytest.mark.parametrize("ask", ["send", "exchange"])
@pytest.mark.parametrize(
    "refused", [NotYetError("open", retry_after=30), RateLimitedError("spent", retry_after=300)]
)
def test_a_request_the_budget_refuses_is_not_sent_nor_counted_nor_tried_again(
    ask: str, refused: IntegrationError
) -> None:
    with serving(Reply(200, {"items": []})) as server:
        opened = api(server, attempts=5)
        opened.session._budget = Noted(refused)
        with pytest.raises(type(refused)):
            getattr(opened.session, ask)(opened.request("GET", "items"))
        assert server.seen == []
        assert False not in opened.session._budget.told


@pytest.mark.parametrize("ask", ["send", "exchange"])
def test_a_name_that_is_not_resolved_does_not_count_against_the_partner(
    monkeypatch: pytest.MonkeyPatch, ask: str
) -> None:
    def away(*_: Any, **__: Any) -> Any:
        raise OSError("no name server")

    monkeypatch.setattr("socket.getaddrinfo", away)
    row = make_row("https://npo.example", manifest=make_manifest())
    opened = open_api(row, CREDENTIAL, Settings(), retry=Waits().policy(attempts=2))
    budget = opened.session._budget = Noted()
    with pytest.raises(TransientError, match="cannot be resolved"):
        getattr(opened.session, ask)(opened.request("GET", "items"))
    assert (budget.told, budget.under_way) == ([], 0)


def test_a_page_of_more_records_than_one_may_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("include.connectors.rest.MAX_RECORDS", 3)
    with serving(Reply(200, {"items": [{"id": 1}] * 3}), Reply(200, {"items": [{"id": 1}] * 4})) as server:
        connector = connect(make_row(server.url, manifest=make_manifest()))
        assert len(read(connector)[0].records) == 3
        with pytest.raises(ConfigurationError, match="ask for smaller pages"):
            read(connector)


# --- what must not be sent, and not be told ---


@pytest.mark.parametrize("ask", ["send", "exchange"])
@pytest.mark.parametrize(("status", "method"), [(307, "POST"), (308, "POST"), (302, "PUT"), (307, "DELETE")])
def test_a_body_is_not_sent_on_to_another_host(status: int, method: str, ask: str) -> None:
    with serving(Reply(200, {})) as other:
        with serving(Reply(status, {}, {"Location": f"{other.url}/token"})) as server:
            row = make_row(server.url, manifest=make_manifest(), allowed_hosts=(server.host, other.host))
            opened = open_api(row, CREDENTIAL, Settings(), retry=Waits().policy(attempts=1))
            with pytest.raises(ConfigurationError, match="redirects a request with a body to another host"):
                getattr(opened.session, ask)(opened.request(method, "x", data={"client_secret": "s"}))
        assert other.seen == []


def test_a_body_is_sent_on_within_the_host() -> None:
    with serving(Reply(307, {}, {"Location": "/y"}), Reply(200, {})) as server:
        opened = api(server)
        opened.session.exchange(opened.request("POST", "x", data={"a": "1"}))
        assert [(seen.path, seen.body) for seen in server.seen] == [("/x", b"a=1"), ("/y", b"a=1")]


PASTED = {
    "bearer": {"type": "bearer", "token": "{credential.password}"},
    "api_key": {"type": "api_key", "name": "X-Key", "api_key": "{credential.password}"},
    "basic": {"type": "http_basic", "username": "{credential.login}", "password": "{credential.password}"},
    "query": {"type": "api_key", "name": "k", "location": "query", "api_key": "{credential.password}"},
}


@pytest.mark.parametrize("auth", PASTED.values(), ids=PASTED)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\x00", "\x7f"])
def test_a_credential_pasted_with_a_control_character_is_named_and_not_told(auth: Any, end: str) -> None:
    with serving(Reply(200, {"items": []})) as server:
        row = make_row(server.url, manifest=make_manifest(auth=auth))
        opened = open_api(row, Credential("client", SECRET + end), Settings())
        with pytest.raises(ConfigurationError, match=r"password\} holds a control character") as found:
            opened.request("GET", "items")
        assert SECRET not in f"{found.value!r}"
        assert server.seen == []


@pytest.mark.parametrize("kind", ["bearer", "api_key"])
def test_a_header_that_cannot_be_written_is_named_and_not_told(kind: str) -> None:
    with serving(Reply(200, {"items": []})) as server:
        row = make_row(server.url, manifest=make_manifest(auth=PASTED[kind]))
        opened = open_api(row, Credential("client", f"{SECRET}\u2026"), Settings())
        with pytest.raises(ConfigurationError, match=r"header (Authorization|X-Key) holds") as found:
            opened.request("GET", "items")
        assert SECRET not in f"{found.value!r}"


def test_a_header_spoilt_after_signing_is_not_told() -> None:
    with serving(Reply(200, {"items": []})) as server:
        opened = api(server)
        asked = opened.request("GET", "items")
        asked.headers["Authorization"] = f"Bearer {SECRET}\n"
        with pytest.raises(ConfigurationError, match="cannot be sent") as found:
            opened.session.exchange(asked)
        assert SECRET not in f"{found.value!r}{found.value.__cause__!r}"
        assert found.value.__suppress_context__


def test_a_header_with_a_secrets_name_never_leaves_the_host() -> None:
    headers = {"X-Api-Key": "{credential.password}", "X-Kind": "plain"}
    with serving(Reply(200, {})) as other:
        with serving(Reply(302, {}, {"Location": f"{other.url}/y"})) as server:
            manifest = make_manifest(headers=headers, auth=None)
            row = make_row(server.url, manifest=manifest, allowed_hosts=(server.host, other.host))
            opened = open_api(row, CREDENTIAL, Settings(), retry=Waits().policy(attempts=1))
            # A row from before literal secrets were refused.
            given = {"X-Api-Key": "literal-key", "X-Kind": "plain"}
            client = opened.manifest.client.model_copy(update={"headers": given})
            opened.manifest = opened.manifest.model_copy(update={"client": client})
            opened.session.exchange(opened.request("GET", "x"))
            opened.session.exchange(opened.request("GET", f"{other.url}/z"))
            assert server.seen[0].headers["X-Api-Key"] == "literal-key"
        assert [seen.headers.get("X-Api-Key") for seen in other.seen] == [None, None]
        assert other.seen[0].headers["X-Kind"] == "plain"


@pytest.mark.parametrize(
    ("client", "hidden"),
    [
        ({"auth": {"type": "bearer", "token": "{credential.login}"}}, True),
        ({"auth": {"type": "api_key", "api_key": "{credential.login}"}}, True),
        ({"auth": None, "headers": {"X-Api-Key": "{credential.login}"}}, True),
        ({"auth": PASTED["basic"]}, False),
        ({"auth": None, "headers": {"X-Tenant": "{credential.login}"}}, False),
    ],
    ids=["bearer", "api_key", "header", "user_name", "tenant"],
)
def test_a_login_that_is_the_key_is_hidden_like_one(client: Any, *, hidden: bool) -> None:
    row = make_row("https://npo.example", manifest=make_manifest(**client))
    opened = open_api(row, Credential("the-login", "the-password"), Settings())
    told = opened.session._redactor.url("https://npo.example/x/the-login?p=the-login")
    assert ("the-login" not in told) is hidden

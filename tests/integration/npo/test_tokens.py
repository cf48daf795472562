"""A refresh token that the partner replaces at each exchange is never lost, whoever asks and dies."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs

import psycopg
import pytest
from cryptography.fernet import Fernet

from include.connectors.open import open_connector
from include.connectors.protocol import Window
from include.connectors.retry import RetryPolicy
from include.errors import ConfigurationError, TransientError
from include.registry.models import Credential
from include.registry.tokens import forget_tokens
from include.settings import PROJECT_ROOT, Settings, get_settings
from tests.conformance.rows import make_row
from tests.conformance.tiny_server import Reply, Seen, TinyServer

FIRST = "refresh-token-set-by-a-person-0"
KEY = Fernet.generate_key().decode()


def manifest() -> dict[str, Any]:
    return {
        "manifest_version": 2,
        "client": {
            "auth": {
                "type": "oauth2_refresh_token",
                "access_token_url": "token",
                "refresh_token": "{credential.password}",
                "client_id": "{credential.login}",
            }
        },
        "resources": {
            "offerings": {
                "endpoint": {"path": "items"},
                "primary_key": "id",
                "mapping": {"version": 1, "fields": {"name": "name"}},
            }
        },
    }


class Rotating(TinyServer):
    """An API whose token endpoint takes each refresh token once, and gives its successor."""

    def __init__(self, *, slow: float = 0, lasts: int = 3600) -> None:
        super().__init__(self._answer)
        self.current, self.access, self.exchanges, self.refused = FIRST, "", 0, 0
        self.slow, self.lasts, self.fails = slow, lasts, 0
        self.before_answer: Callable[[], None] = lambda: None
        self._turn = threading.Lock()

    def _answer(self, seen: Seen) -> Reply:
        if seen.path != "/token":
            known = seen.headers.get("Authorization") == f"Bearer {self.access}"
            return Reply(body=[{"id": 1}]) if known else Reply(status=401, body={})
        time.sleep(self.slow)
        with self._turn:
            if self.fails:
                self.fails -= 1
                return Reply(status=503, body={})
            if parse_qs(seen.body.decode())["refresh_token"] != [self.current]:
                self.refused += 1
                return Reply(status=400, body={"error": "invalid_grant"})
            self.exchanges += 1
            self.current = f"refresh-token-successor-{self.exchanges}"
            self.access = f"access-token-{self.exchanges}"
            self.before_answer()
            return Reply(
                body={
                    "access_token": self.access,
                    "refresh_token": self.current,
                    "expires_in": self.lasts,
                }
            )


@pytest.fixture
def ready(registry_dsn: str, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    monkeypatch.setenv("SPOTLIGHT_TOKEN_KEY", KEY)
    get_settings.cache_clear()
    yield get_settings()
    get_settings.cache_clear()


def read(server: TinyServer, refresh_token: str = FIRST) -> int:
    """Read as a task of its own would: with nothing but what the registry holds."""
    connector = open_connector(
        make_row(server.url, manifest=manifest()),
        Credential("client", refresh_token),
        get_settings(),
        retry=RetryPolicy(sleep=lambda _: None),
    )
    return sum(len(page.records) for page in connector.pages("offerings", Window()))


@contextmanager
def task(server: TinyServer) -> Iterator[subprocess.Popen[str]]:
    words = [sys.executable, "-m", "tests.integration.npo.refreshing", server.url, FIRST]
    with subprocess.Popen(
        words, cwd=PROJECT_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def start(*processes: subprocess.Popen[str]) -> None:
    """Let them all read at once, when the last has come so far."""
    for process in processes:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()


def result(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout
    told: dict[str, Any] = json.loads(process.stdout.readline())
    return told


def test_two_tasks_at_once_exchange_once_and_share_the_token(ready: Settings) -> None:
    with Rotating(slow=0.5) as server, task(server) as one, task(server) as other:
        start(one, other)
        assert result(one) == result(other) == {"records": 1}
        assert (server.exchanges, server.refused) == (1, 0)
        read(server)
        assert server.exchanges == 1  # a later task takes what they got
        server.access = "revoked"
        assert read(server) == 1  # renewed with the successor, not with the person's token
        assert (server.exchanges, server.refused) == (2, 0)


def test_a_task_killed_between_the_partners_answer_and_the_commit_leaves_one_more_try(
    ready: Settings,
) -> None:
    with Rotating() as server, task(server) as victim:
        server.before_answer = victim.kill
        start(victim)
        victim.wait(10)
        assert server.exchanges == 1
        server.before_answer = lambda: None
        with pytest.raises(ConfigurationError, match="get a new one from the partner and set it") as caught:
            read(server)
        assert caught.value.pauses
        assert server.refused == 1
        server.current = FIRST  # a partner with a period of grace
        assert read(server) == 1


def test_a_registry_that_hangs_up_during_the_exchange_costs_no_token(
    ready: Settings, registry_dsn: str
) -> None:
    def hang_up() -> None:
        with psycopg.connect(registry_dsn, autocommit=True) as connection:
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where datname = current_database() and pid <> pg_backend_pid()"
            )

    with Rotating() as server:
        server.before_answer = hang_up
        assert read(server) == 1
        assert read(server) == 1  # a later task finds what was written the second time
        assert (server.exchanges, server.refused) == (1, 0)


def test_a_registry_that_ends_idle_transactions_lets_an_exchange_take_its_time(
    ready: Settings, registry_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("include.connectors.tokens.WRITTEN_AGAIN_AFTER", ())
    with psycopg.connect(registry_dsn, autocommit=True) as connection:
        ((name,),) = connection.execute("select quote_ident(current_database())").fetchall()
        connection.execute(f"alter database {name} set idle_in_transaction_session_timeout = 100")
    with Rotating(slow=0.4) as server:
        assert read(server) == 1


def test_a_credential_changed_by_a_person_counts_more_than_what_is_kept(ready: Settings) -> None:
    with Rotating() as server:
        read(server)
        server.current, server.access = "changed-by-a-person", "revoked"
        assert read(server, "changed-by-a-person") == 1
        assert server.refused == 0


def test_an_unwell_token_endpoint_loses_nothing(ready: Settings) -> None:
    with Rotating() as server:
        server.fails = 100
        with pytest.raises(TransientError):
            read(server)
        server.fails = 0
        assert read(server) == 1


def test_a_token_about_to_expire_is_renewed_before_it_is_used(ready: Settings) -> None:
    with Rotating(lasts=20) as server:
        read(server)
        read(server)
        assert (server.exchanges, server.refused) == (2, 0)


def test_no_token_stands_in_the_table_or_in_a_message(ready: Settings, registry_dsn: str) -> None:
    with Rotating() as server:
        read(server)
        with psycopg.connect(registry_dsn) as connection:
            ((row,),) = connection.execute("select npo_token::text from integration.npo_token").fetchall()
        hexed = [text.encode().hex() for text in (server.current, server.access, FIRST)]
        assert not any(text in row for text in (server.current, server.access, FIRST, *hexed))
        server.current, server.access = "x", "y"
        with pytest.raises(ConfigurationError) as caught:
            read(server)
        assert "successor" not in f"{caught.value!r}{caught.value}{caught.value.__cause__!r}"


def test_a_new_key_goes_before_the_old_one_and_nothing_is_lost(
    ready: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Rotating() as server:
        read(server)
        new = Fernet.generate_key().decode()
        for keys in (f"{new},{KEY}", new):
            monkeypatch.setenv("SPOTLIGHT_TOKEN_KEY", keys)
            get_settings.cache_clear()
            server.access = "revoked"
            read(server)
        assert (server.exchanges, server.refused) == (3, 0)


@pytest.mark.parametrize("key", ["", "short", ","])
def test_without_a_usable_key_nothing_is_exchanged(
    ready: Settings, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("SPOTLIGHT_TOKEN_KEY", key)
    get_settings.cache_clear()
    with Rotating() as server:
        with pytest.raises(ConfigurationError, match="SPOTLIGHT_TOKEN_KEY"):
            read(server)
        assert server.exchanges == 0


def test_what_is_kept_goes_with_the_npo(ready: Settings, registry_dsn: str) -> None:
    with Rotating() as server:
        read(server)
    assert forget_tokens(registry_dsn, "testnpo", 3)
    assert not forget_tokens(registry_dsn, "testnpo", 3)

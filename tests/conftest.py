"""Fixtures on real servers: one warm stack for all workers, names of its own for each test.

Client libraries are imported by the fixtures that use them: unit tests start without them, and tests
of what a DAG file imports find ``sys.modules`` as it should be.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from include.sandbox.stack.files import locked
from include.settings import PROJECT_ROOT, Settings, get_settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import requests
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ObjectIdentifierTypeDef
    from pymongo.database import Database

    from include.sandbox.stack.stack import LocalStack
    from include.sandbox.tcs.process import TcsSandbox
    from include.storage.mongo import IntegrationStore

HOME = PROJECT_ROOT / ".local" / "test"
# Partners of tests live on this machine; a test of what happens elsewhere says so in its settings.
os.environ.setdefault("SPOTLIGHT_ALLOW_LOOPBACK", "true")
NEEDS_SERVERS = {"stack", "settings", "mongo", "s3", "registry_dsn", "partners", "tcs_sandbox", "fresh_stack"}
TCS_PEOPLE = "3000"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs servers: ``pytest -m 'not servers'`` is the quick part."""
    for item in items:
        if NEEDS_SERVERS & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.servers)


@pytest.fixture(scope="session")
def stack() -> Iterator[LocalStack]:
    """The stack of the tests, shared by all workers and by test runs at the same time.

    Each user holds a shared lock, which the kernel frees however he ends; who then gets it alone was the
    last and takes the stack down.
    """
    from include.sandbox.stack.stack import LocalStack

    HOME.mkdir(parents=True, exist_ok=True)
    stack = LocalStack(HOME)
    with locked(HOME / "users.lock", shared=True, timeout=120):
        stack.up()
        yield stack
    with contextlib.suppress(Exception), locked(HOME / "users.lock", timeout=0):
        stack.down()


@pytest.fixture
def settings(
    stack: LocalStack, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> Iterator[Settings]:
    """Settings with a Mongo database, landing bucket and events account of this test's own.

    They are in the environment too, for code that calls ``get_settings`` and for child processes. The
    registry is the test's own when it asks for ``registry_dsn``, else there is none; topics and queues are
    there when it asks for ``topics``, TCS is the one of ``tcs_sandbox``, and the Mongo database is
    ``empty_database`` when it asks for that.
    """
    mine = f"t{uuid.uuid4().hex[:12]}"
    values = stack.env() | {
        "SPOTLIGHT_MONGO_DATABASE": f"test_{mine}",
        "SPOTLIGHT_LANDING_BUCKET": f"landing-{mine}",
        "SPOTLIGHT_EVENTS_ACCESS_KEY_ID": str(10**11 + secrets.randbelow(9 * 10**11)),
        "SPOTLIGHT_REGISTRY_SNAPSHOT": f"{tmp_path}/registry_snapshot.json",
        "SPOTLIGHT_REGISTRY_DSN": "postgresql://127.0.0.1:9/ask_for_the_fixture_registry_dsn",
    }
    if "registry_dsn" in request.fixturenames:
        values["SPOTLIGHT_REGISTRY_DSN"] = request.getfixturevalue("registry_dsn")
    if "tcs_sandbox" in request.fixturenames:
        values |= _tcs_values(request.getfixturevalue("tcs_sandbox"))
    if "empty_database" in request.fixturenames:
        values["SPOTLIGHT_MONGO_DATABASE"] = request.getfixturevalue("empty_database")
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    settings = Settings()
    client = s3_client(settings)
    client.create_bucket(Bucket=settings.landing_bucket)
    yield settings
    get_settings.cache_clear()
    empty_bucket(client, settings.landing_bucket)
    client.delete_bucket(Bucket=settings.landing_bucket)
    if "empty_database" not in request.fixturenames:
        from pymongo import MongoClient

        mongo: MongoClient[dict[str, Any]]
        with MongoClient(settings.mongo_uri.get_secret_value()) as mongo:
            mongo.drop_database(settings.mongo_database)


@pytest.fixture(scope="session")
def prepared_store(stack: LocalStack) -> Iterator[IntegrationStore]:
    """An integration store of this worker's own: making its indexes takes longer than most tests."""
    from include.storage.mongo import IntegrationStore

    store = IntegrationStore(
        stack.settings().model_copy(update={"mongo_database": f"test_{uuid.uuid4().hex[:12]}"})
    )
    store.prepare()
    yield store
    store.client.drop_database(store.database.name)
    store.close()


@pytest.fixture
def empty_database(prepared_store: IntegrationStore) -> str:
    """The name of a Mongo database with all collections and indexes of the store and nothing in them."""
    for name in prepared_store.database.list_collection_names():
        prepared_store[name].delete_many({})
    return prepared_store.database.name


@pytest.fixture
def topics(settings: Settings) -> Iterator[None]:
    """Topics and queues in the test's own account, for tests that publish."""
    from include.events.topics import ensure_topics

    ensure_topics(settings)
    yield
    _remove_topics(settings)


@pytest.fixture
def mongo(settings: Settings) -> Iterator[Database[dict[str, Any]]]:
    """The test's own Mongo database."""
    from pymongo import MongoClient

    client: MongoClient[dict[str, Any]]
    with MongoClient(settings.mongo_uri.get_secret_value(), tz_aware=True) as client:
        yield client[settings.mongo_database]


@pytest.fixture
def s3(settings: Settings) -> S3Client:
    """An S3 client; the test's bucket is ``settings.landing_bucket``."""
    return s3_client(settings)


@pytest.fixture
def registry_dsn(stack: LocalStack) -> Iterator[str]:
    """A registry database of this test's own, migrated and without rows."""
    import psycopg
    from psycopg import sql

    server = stack.env()["SPOTLIGHT_REGISTRY_DSN"]
    name = f"test_{uuid.uuid4().hex[:12]}"
    template = _migrated_template(server)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
        )
    yield other_database(server, name)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


class Partners:
    """The three sandbox partners: their URLs and their admin endpoints."""

    def __init__(self, urls: Mapping[str, str], token: str) -> None:
        import requests

        self.urls = dict(urls)
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers["X-Admin-Token"] = token

    def url(self, partner: str) -> str:
        return self.urls[partner]

    def admin(self, partner: str, method: str, path: str, **kwargs: Any) -> requests.Response:
        """Call ``<url>/_admin/<path>`` with the admin token."""
        answer = self._session.request(method, f"{self.urls[partner]}/_admin/{path}", timeout=10, **kwargs)
        answer.raise_for_status()
        return answer

    def reset(self) -> None:
        """Put every partner's data and behaviour back to its start."""
        for partner in self.urls:
            self.admin(partner, "POST", "reset", json={})


@pytest.fixture(scope="session")
def partners_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Partners]:
    """Sandbox partners of this worker's own: tests of two workers do not wait for each other."""
    from include.sandbox.npos.process import running

    with running(tmp_path_factory.mktemp("npos")) as sandbox:
        yield Partners(sandbox.urls, sandbox.admin_token)


@pytest.fixture
def partners(partners_process: Partners) -> Partners:
    """The sandbox partners, behaving well at the start of each test."""
    partners_process.reset()
    return partners_process


@pytest.fixture(scope="session")
def tcs_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TcsSandbox]:
    """A stand-in for TCS of this worker's own: tests of two workers do not wait for each other."""
    from include.sandbox.tcs.process import running

    with running(tmp_path_factory.mktemp("tcs"), "--people", TCS_PEOPLE) as sandbox:
        yield sandbox


@pytest.fixture
def tcs_sandbox(tcs_process: TcsSandbox) -> TcsSandbox:
    """The stand-in for TCS, knowing only its seeded world at the start of each test."""
    tcs_process.reset()
    return tcs_process


def s3_client(settings: Settings) -> S3Client:
    """Return a client for the settings' S3."""
    import boto3
    from botocore.config import Config

    key, secret = settings.s3_access_key_id, settings.s3_secret_access_key
    return boto3.client(
        "s3",
        endpoint_url=settings.s3_endpoint_url,
        aws_access_key_id=key.get_secret_value() if key else None,
        aws_secret_access_key=secret.get_secret_value() if secret else None,
        region_name=settings.aws_region,
        config=Config(signature_version="s3v4", proxies={}),
    )


def other_database(dsn: str, name: str) -> str:
    """Return the URI with another database name."""
    return f"{dsn.rsplit('/', 1)[0]}/{name}"


def _migrated_template(server: str) -> str:
    """Return a database with the present migrations applied, made once per state of ``sql/migrations``."""
    import psycopg
    from psycopg import sql

    from include.registry.migrate import apply_migrations

    digest = hashlib.sha256()
    for file in sorted((PROJECT_ROOT / "sql" / "migrations").rglob("*.sql")):
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    name = f"template_{digest.hexdigest()[:12]}"
    with locked(HOME / "template.lock"), psycopg.connect(server, autocommit=True) as connection:
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
            return name
        fresh = f"{name}_{os.getpid()}"
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(fresh)))
        apply_migrations(other_database(server, fresh))
        rename = sql.SQL("ALTER DATABASE {} RENAME TO {}")
        connection.execute(rename.format(sql.Identifier(fresh), sql.Identifier(name)))
    return name


def empty_bucket(client: S3Client, bucket: str) -> None:
    """Delete everything in a bucket."""
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        keys: list[ObjectIdentifierTypeDef] = [{"Key": entry["Key"]} for entry in page.get("Contents", [])]
        if keys:
            client.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})


def _tcs_values(sandbox: TcsSandbox) -> dict[str, str]:
    return {
        "SPOTLIGHT_TCS_URL": sandbox.url,
        "SPOTLIGHT_TCS_TOKEN_URL": f"{sandbox.url}/oauth/token",
        "SPOTLIGHT_TCS_CLIENT_SECRET": sandbox.client_secret,
    }


def _remove_topics(settings: Settings) -> None:
    """Delete what is in the test's account; ministack keeps all accounts in memory."""
    from include.events.topics import connect

    clients = connect(settings)
    for page in clients.sns.get_paginator("list_topics").paginate():
        for topic in page["Topics"]:
            clients.sns.delete_topic(TopicArn=topic["TopicArn"])
    for queues in clients.sqs.get_paginator("list_queues").paginate():
        for url in queues.get("QueueUrls", []):
            clients.sqs.delete_queue(QueueUrl=url)

"""The local stack on real servers: it starts, survives, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, Protocol

import asyncssh
import boto3
import psutil
import psycopg
import pytest
from botocore.exceptions import ClientError
from pymongo import MongoClient

from include.sandbox.stack import proc
from include.sandbox.stack.errors import StackError
from include.sandbox.stack.stack import NAMES, LocalStack, read_env_file
from include.settings import PROJECT_ROOT
from tests.conftest import s3_client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from pydantic import SecretStr
    from pymongo.database import Database

pytestmark = [pytest.mark.servers, pytest.mark.alone]

CLI = [sys.executable, "-c", "from include.cli import main; main()"]
SFTP = ["sftp"]


@pytest.fixture(autouse=True)
def no_servers_in_the_environment(monkeypatch):
    for name in [name for name in os.environ if name.startswith("SPOTLIGHT_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A stack of this file, in a path with a space; each test brings it up as it needs it."""
    stack = LocalStack(tmp_path_factory.mktemp("a home with spaces"), environ={})
    yield stack
    stack.down()
    assert ours(stack.home) == []


@pytest.fixture
def small(tmp_path):
    """A stack of one quick server, of this test only."""
    stack = LocalStack(tmp_path / "small", SFTP, environ={})
    yield stack
    stack.down()


def ours(home: Path) -> list[int]:
    """Return the processes that work inside the home."""
    return [seen.pid for seen in proc.all_running() if works_in(seen.pid, home)]


def own_secret(secret: SecretStr | None) -> str:
    assert secret is not None
    return secret.get_secret_value()


def works_in(pid: int, home: Path) -> bool:
    folder = proc.working_folder(pid)
    return folder is not None and folder.is_relative_to(home)


def wait_for(condition: Callable[[], object], timeout: float = 20) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def pid_of(stack: LocalStack, name: str) -> int:
    record = stack.book.get(name)
    assert record is not None
    return record.pid


def pids(stack: LocalStack) -> dict[str, int]:
    return {name: pid_of(stack, name) for name in stack.book.names()}


def kill(stack: LocalStack, name: str) -> None:
    os.kill(pid_of(stack, name), signal.SIGKILL)
    wait_for(lambda: not stack.book.alive(name))


def spotlight(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*CLI, *arguments],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


# What keeps data over which end: read and write one value in each server.


class Note(Protocol):
    """One value in one server."""

    def __init__(self, stack: LocalStack) -> None: ...

    def write(self, text: str) -> None: ...

    def read(self) -> str: ...


class MongoNote:
    def __init__(self, stack: LocalStack) -> None:
        self.uri = stack.env()["SPOTLIGHT_MONGO_URI"]

    def write(self, text: str) -> None:
        client: MongoClient[dict[str, str]]
        with MongoClient(self.uri, w="majority") as client:
            client.notes.notes.replace_one({"_id": 1}, {"text": text}, upsert=True)

    def read(self) -> str:
        client: MongoClient[dict[str, str]]
        with MongoClient(self.uri) as client:
            return str(next(client.notes.notes.find({"_id": 1}))["text"])


class PostgresNote:
    def __init__(self, stack: LocalStack) -> None:
        self.dsn = stack.env()["SPOTLIGHT_AIRFLOW_DSN"]

    def write(self, text: str) -> None:
        with psycopg.connect(self.dsn) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS note (text text)")
            connection.execute("DELETE FROM note")
            connection.execute("INSERT INTO note VALUES (%s)", [text])

    def read(self) -> str:
        with psycopg.connect(self.dsn) as connection:
            [row] = connection.execute("SELECT text FROM note").fetchall()
            return str(row[0])


class S3Note:
    def __init__(self, stack: LocalStack) -> None:
        self.settings = stack.settings()

    def write(self, text: str) -> None:
        s3_client(self.settings).put_object(
            Bucket=self.settings.landing_bucket, Key="note", Body=text.encode()
        )

    def read(self) -> str:
        answer = s3_client(self.settings).get_object(Bucket=self.settings.landing_bucket, Key="note")
        return answer["Body"].read().decode()


class SftpNote:
    def __init__(self, stack: LocalStack) -> None:
        self.stack = stack

    def write(self, text: str) -> None:
        async def work() -> None:
            async with sftp(self.stack) as client, client.open("note", "w") as file:
                await file.write(text)

        asyncio.run(work())

    def read(self) -> str:
        async def work() -> str:
            async with sftp(self.stack) as client, client.open("note") as file:
                return str(await file.read())

        return asyncio.run(work())


class EventsNote:
    def __init__(self, stack: LocalStack) -> None:
        settings = stack.settings()
        self.sqs = boto3.client(
            "sqs",
            endpoint_url=settings.events_endpoint_url,
            region_name=settings.aws_region,
            aws_access_key_id=own_secret(settings.events_access_key_id),
            aws_secret_access_key="any",
        )

    def write(self, text: str) -> None:
        url = self.sqs.create_queue(QueueName="note.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
        self.sqs.send_message(QueueUrl=url, MessageBody=text, MessageGroupId="g", MessageDeduplicationId=text)

    def read(self) -> str:
        url = self.sqs.get_queue_url(QueueName="note.fifo")["QueueUrl"]
        [message] = self.sqs.receive_message(QueueUrl=url)["Messages"]
        self.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return message["Body"]


@contextlib.asynccontextmanager
async def sftp(stack: LocalStack, **changes: Any) -> AsyncIterator[Any]:
    settings = stack.settings()
    login = {"username": settings.sftp_user, "password": own_secret(settings.sftp_password)}
    quiet = {"known_hosts": None, "client_keys": None, "agent_path": None, "config": None}
    login |= quiet | changes
    async with (
        asyncssh.connect(settings.sftp_host, settings.sftp_port, **login) as connection,
        connection.start_sftp_client() as client,
    ):
        yield client


NOTES: dict[str, type[Note]] = {
    "mongo": MongoNote,
    "postgres": PostgresNote,
    "s3": S3Note,
    "sftp": SftpNote,
    "events": EventsNote,
}


def test_up_starts_every_server_and_its_settings_lead_there(own):
    settings = own.up()
    status = {row.name: row for row in own.status()}
    assert set(status) == set(NAMES)
    assert {row.state for row in status.values()} == {"running"}
    assert all(row.memory_mb > 5 for row in status.values())
    assert settings == own.settings()
    assert own.env() == read_env_file(own.env_file)
    assert settings.landing_bucket in [b["Name"] for b in s3_client(settings).list_buckets()["Buckets"]]
    with psycopg.connect(settings.registry_dsn.get_secret_value()) as connection:
        assert connection.execute("SELECT count(*) FROM integration.npo").fetchone() == (0,)


def test_up_of_a_running_stack_changes_nothing_and_is_quick(own):
    own.up()
    before = pids(own)
    began = time.monotonic()
    own.up()
    assert pids(own) == before
    assert time.monotonic() - began < 3


def test_a_sourced_env_file_does_not_count_as_servers_of_the_user(own):
    own.up()
    again = LocalStack(own.home, environ=read_env_file(own.env_file))
    again.up()
    assert {row.state for row in again.status()} == {"running"}


@pytest.mark.parametrize("end", ["down", "restart"])
def test_data_survives_an_orderly_end(own, end):
    own.up()
    for name, note in NOTES.items():
        note(own).write(f"{name} {end}")
    if end == "down":
        own.down()
        assert ours(own.home) == []
        assert {row.state for row in own.status()} == {"stopped"}
        own.up()
    else:
        for name in NOTES:
            own.restart(name)
    for name, note in NOTES.items():
        assert note(own).read() == f"{name} {end}"


def test_servers_killed_hard_are_restarted_in_place_with_their_data(own):
    own.up()
    durable = [name for name in NOTES if name != "events"]  # ministack keeps its state in memory
    for name in durable:
        NOTES[name](own).write("kept")
    before, ports = pids(own), (own.home / "ports.json").read_text()
    for name in NOTES:
        kill(own, name)
    assert {row.name for row in own.status() if row.state == "stopped"} == set(NOTES)
    own.up()
    after = pids(own)
    assert all(after[name] != before[name] for name in NOTES)
    assert (own.home / "ports.json").read_text() == ports
    assert [NOTES[name](own).read() for name in durable] == ["kept"] * len(durable)


def test_a_server_that_hangs_is_replaced(own):
    own.up()
    hung = pid_of(own, "sftp")
    os.kill(hung, signal.SIGSTOP)
    assert {row.name: row.state for row in own.status()}["sftp"] == "not answering"
    own.up()
    assert pid_of(own, "sftp") != hung
    seen = proc.look(hung)
    assert seen is None or not seen.running


def test_mongo_transactions_commit_and_roll_back_as_one(own):
    uri = own.up().mongo_uri.get_secret_value()
    client: MongoClient[dict[str, Any]]
    with MongoClient(uri) as client:
        client.drop_database("bank")
        bank: Database[dict[str, Any]] = client.bank
        bank.create_collection("a")
        bank.create_collection("b")

        def both(session):
            bank.a.insert_one({"_id": 1}, session=session)
            bank.b.insert_one({"_id": 1}, session=session)

        with client.start_session() as session:
            session.with_transaction(both)
        with (
            client.start_session() as session,
            contextlib.suppress(RuntimeError),
            session.start_transaction(),
        ):
            bank.a.insert_one({"_id": 2}, session=session)
            raise RuntimeError("after the first write")
        assert [bank.a.count_documents({}), bank.b.count_documents({})] == [1, 1]


@pytest.mark.parametrize(
    ("field", "code"),
    [("s3_secret_access_key", "SignatureDoesNotMatch"), ("s3_access_key_id", "InvalidAccessKeyId")],
)
def test_wrong_s3_keys_are_refused(own, field, code):
    settings = own.up()
    wrong = settings.model_copy(update={field: type(settings.s3_secret_access_key)("wrong")})
    with pytest.raises(ClientError) as refused:
        s3_client(wrong).list_buckets()
    assert refused.value.response["Error"]["Code"] == code


def test_a_wrong_postgres_password_is_refused(own):
    dsn = own.up().registry_dsn.get_secret_value()
    password = dsn.split(":")[2].split("@")[0]
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(dsn.replace(password, "wrong"))


@pytest.mark.parametrize("change", [{"password": "wrong"}, {"username": "root"}, {"password": None}])
def test_sftp_asks_for_user_and_password(own, change):
    own.up()

    async def log_in() -> None:
        async with sftp(own, **change):
            pass

    with pytest.raises(asyncssh.PermissionDenied):
        asyncio.run(log_in())


def test_an_sftp_user_cannot_leave_his_folder(own):
    own.up()
    files = own.home / "sftp" / "files"
    (files / "way out").symlink_to(own.home)

    async def look() -> None:
        async with sftp(own) as client:
            assert await client.realpath("/../../..") == "/"
            assert "secrets.json" not in await client.listdir("/../..")
            for path in ("/way out/secrets.json", "/../../secrets.json", "../secrets.json"):
                with pytest.raises(asyncssh.SFTPError):
                    await client.open(path)
            with pytest.raises(asyncssh.SFTPPermissionDenied):
                await client.symlink("../../secrets.json", "link")
            with pytest.raises(asyncssh.SFTPPermissionDenied):
                await client.listdir("/way out")

    asyncio.run(look())
    (files / "way out").unlink()


def test_every_server_listens_on_the_loopback_only(own):
    own.up()
    ports = set(json.loads((own.home / "ports.json").read_text()).values())
    sockets: list[Any] = [
        s for s in psutil.net_connections("tcp") if s.status == psutil.CONN_LISTEN and s.laddr
    ]
    assert {s.laddr[0] for s in sockets if s.laddr[1] in ports} == {"127.0.0.1"}
    # And no port beside those we gave out.
    family = set(pids(own).values())
    extra = {s.laddr[1] for s in sockets if s.pid in family} - ports
    assert extra <= {port_of(own, "s3.admin") + 10_000}


def test_secrets_are_private_and_in_no_log(own):
    own.up()
    for name in ("secrets.json", "stack.env", "processes.json"):
        assert stat.S_IMODE((own.home / name).stat().st_mode) == 0o600
    secrets = json.loads((own.home / "secrets.json").read_text())
    arguments = str([process.info["cmdline"] for process in psutil.process_iter(["cmdline"])])
    logs = "".join(path.read_text(errors="replace") for path in (own.home / "logs").iterdir())
    for name, secret in secrets.items():
        assert secret not in arguments, name
        assert secret not in logs, name
    assert not any(secret in repr(own.settings()) for secret in secrets.values())


def test_mongo_finds_its_data_after_a_change_of_port(own):
    own.up()
    MongoNote(own).write("before")
    port = port_of(own, "mongo")
    kill(own, "mongo")
    ports = json.loads((own.home / "ports.json").read_text())
    del ports["mongo"]
    (own.home / "ports.json").write_text(json.dumps(ports))
    own.up()
    assert port_of(own, "mongo") != port
    assert MongoNote(own).read() == "before"


@pytest.mark.parametrize("name", ["sftp", "postgres"])
def test_a_remembered_port_taken_by_another_program_is_replaced(own, name):
    own.up()
    NOTES[name](own).write("before")
    port = port_of(own, name)
    kill(own, name)
    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        squatter.bind(("127.0.0.1", port))
        squatter.listen()
        own.up()
    assert port_of(own, name) != port
    assert NOTES[name](own).read() == "before"


def port_of(stack: LocalStack, name: str) -> int:
    return int(json.loads((stack.home / "ports.json").read_text())[name])


def test_a_port_asked_for_and_taken_is_one_clear_line(tmp_path):
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        port = squatter.getsockname()[1]
        done = spotlight(
            "stack", "up", "--service", "sftp", "--port", f"sftp={port}", "--home", str(tmp_path / "h")
        )
    assert done.returncode == 1
    [error] = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert str(port) in error
    assert "in use" in error
    assert "Traceback" not in done.stderr


def test_a_port_asked_for_is_used_and_remembered(small):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    asked = LocalStack(small.home, SFTP, ports={"sftp": port}, environ={})
    asked.up()
    assert small.settings().sftp_port == port
    assert small.status()[0].state == "running"


def test_a_server_that_dies_at_start_is_one_line_with_its_reason_and_log(small):
    (small.home / "sftp").mkdir()
    (small.home / "sftp" / "host_key").write_text("no key at all")
    with pytest.raises(StackError) as failed:
        small.up()
    [line] = str(failed.value).splitlines()
    assert line.startswith("sftp stopped: ")
    assert "KeyImportError" in line
    assert str(small.book.log_path("sftp")) in line


def test_when_one_server_fails_those_started_with_it_are_stopped(tmp_path):
    stack = LocalStack(tmp_path / "h", ["sftp", "events"], environ={})
    (stack.home / "sftp").mkdir()
    (stack.home / "sftp" / "host_key").write_text("no key at all")
    with pytest.raises(StackError):
        stack.up()
    assert stack.book.names() == []
    assert ours(stack.home) == []


def test_a_home_that_cannot_be_written_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("")
    done = spotlight("stack", "up", "--home", str(tmp_path / "file" / "home"))
    assert (done.returncode, done.stdout) == (1, "")
    assert "cannot be written" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_servers_of_the_user_are_used_and_not_started(tmp_path):
    environ = {"SPOTLIGHT_SFTP_HOST": "sftp.example.org", "SPOTLIGHT_SFTP_PORT": "2222"}
    stack = LocalStack(tmp_path / "h", SFTP, environ=environ)
    told: list[tuple[str, str]] = []
    settings = stack.up(lambda *line: told.append(line))
    assert (settings.sftp_host, settings.sftp_port) == ("sftp.example.org", 2222)
    assert stack.book.names() == []
    assert [row.state for row in stack.status()] == ["external"]
    assert told == [("sftp", "not started: SPOTLIGHT_SFTP_HOST is set")]


def starter(home: Path, *services: str) -> list[str]:
    """Return a command that brings a stack up and stays."""
    code = (
        "import sys,time; from pathlib import Path; from include.sandbox.stack.stack import LocalStack\n"
        "LocalStack(Path(sys.argv[1]), sys.argv[2:], environ={}).up(); print('up', flush=True)\n"
        "time.sleep(60)"
    )
    return [sys.executable, "-c", code, str(home), *services]


def test_a_stack_whose_starter_was_killed_is_adopted(tmp_path):
    home = tmp_path / "h"
    with subprocess.Popen(starter(home, "sftp"), cwd=PROJECT_ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
    stack = LocalStack(home, SFTP, environ={})
    before = pids(stack)
    stack.up()
    assert pids(stack) == before
    stack.down()
    assert ours(home) == []


@pytest.mark.parametrize("servers_begun", [1, 3])
def test_a_starter_killed_midway_leaves_nothing_the_next_up_and_down_do_not_end(tmp_path, servers_begun):
    home = tmp_path / "h"
    services = ("postgres", "mongo", "s3")
    argv = starter(home, *services)
    with subprocess.Popen(argv, cwd=PROJECT_ROOT, stdout=subprocess.DEVNULL) as process:
        wait_for(lambda: len(ours(home)) >= servers_begun)
        process.kill()
    with subprocess.Popen(["sleep", "60"], cwd=home) as bystander:
        stack = LocalStack(home, services, environ={})
        stack.up()
        assert {row.state for row in stack.status()} == {"running"}
        stack.down()
        assert ours(home) == [bystander.pid]
        bystander.kill()


def test_ctrl_c_during_a_start_stops_what_was_started(tmp_path):
    argv = [*CLI, "stack", "up", "--home", str(tmp_path), "--service", "postgres", "--service", "mongo"]
    with subprocess.Popen(argv, cwd=PROJECT_ROOT, stderr=subprocess.PIPE, text=True) as process:
        wait_for(lambda: bool(LocalStack(tmp_path, environ={}).book.names()))  # the first of the two began
        process.send_signal(signal.SIGINT)
        errors = process.communicate(timeout=60)[1]
    assert process.returncode not in {0, None}
    assert "Traceback" not in errors
    assert ours(tmp_path) == []


def test_two_ups_of_one_home_at_once_start_each_server_once(tmp_path):
    home = str(tmp_path / "h")
    argv = [*CLI, "stack", "up", "--home", home, "--service", "sftp", "--service", "events"]
    both = [subprocess.Popen(argv, cwd=PROJECT_ROOT, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    errors = [process.communicate(timeout=60)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], errors
    stack = LocalStack(tmp_path / "h", ["sftp", "events"], environ={})
    assert len(ours(stack.home)) == 2
    stack.down()


def test_two_homes_at_once_do_not_disturb_each_other(tmp_path):
    services = ["mongo", "sftp", "events"]
    homes = [tmp_path / "one", tmp_path / "one and a half"]
    flags = [flag for name in services for flag in ("--service", name)]
    both = [
        subprocess.Popen([*CLI, "stack", "up", "--home", str(home), *flags], cwd=PROJECT_ROOT)
        for home in homes
    ]
    assert [process.wait(60) for process in both] == [0, 0]
    first, second = (LocalStack(home, services, environ={}) for home in homes)
    MongoNote(first).write("of the first")
    MongoNote(second).write("of the second")
    second.down()
    assert {row.state for row in first.status()} == {"running"}
    assert MongoNote(first).read() == "of the first"
    first.down()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv is not installed")
def test_an_ordinary_user_can_run_it_too():
    become = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
    # Python or the project may lie in a folder only root may enter: let him read, not write, there.
    become += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    reach = [*become, "sh", "-c", f"exec '{sys.executable}' -c 'import psycopg'"]
    if subprocess.run(reach, cwd="/", check=False).returncode:
        pytest.skip("an ordinary user may not even start this Python here")
    home = PROJECT_ROOT / ".local" / f"nobody {os.getpid()}"
    home.mkdir(parents=True)
    shutil.chown(home, "nobody", "nogroup")
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
    flags = ["--home", str(home), *(f"--service={name}" for name in ("postgres", "mongo", "s3", "sftp"))]
    try:
        for command in ("up", "status", "down"):
            argv = [*become, *CLI, "stack", command, *flags]
            done = subprocess.run(
                argv, cwd=PROJECT_ROOT, env=env, capture_output=True, text=True, check=False, timeout=90
            )
            assert done.returncode == 0, done.stderr
        assert ours(home) == []
    finally:
        LocalStack(home, environ={}).down()
        shutil.rmtree(home)


def test_the_command_line_tells_what_it_did(tmp_path):
    home = ["--home", str(tmp_path / "h"), "--service", "sftp"]
    up = spotlight("--json", "stack", "up", *home)
    assert up.returncode == 0, up.stderr
    assert json.loads(up.stdout)["env_file"] == str(tmp_path / "h" / "stack.env")
    [row] = json.loads(spotlight("stack", "status", *home, "--json").stdout)
    assert (row["name"], row["state"]) == ("sftp", "running")
    assert "running" in spotlight("stack", "status", *home).stdout
    assert spotlight("stack", "down", *home).returncode == 0
    stopped = spotlight("stack", "status", *home)
    assert (stopped.returncode, "stopped" in stopped.stdout) == (1, True)


@pytest.mark.parametrize("arguments", ["stack up --port mongo", "stack fly", "stack up --no"])
def test_wrong_usage_exits_with_2(arguments):
    assert spotlight(*arguments.split()).returncode == 2


def test_help_is_there_in_a_second():
    began = time.monotonic()
    assert "stack" in spotlight("--help").stdout
    assert time.monotonic() - began < 3

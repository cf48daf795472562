"""Messages of the checks before a start: what is missing and the command that brings it."""

from __future__ import annotations

from pathlib import Path

import pytest

from include.sandbox.stack import mongo, postgres
from include.sandbox.stack.errors import StackError
from include.sandbox.stack.ports import Ports
from include.sandbox.stack.secret import Secrets
from include.sandbox.stack.server import Server

LOADER = (
    "mongod: error while loading shared libraries: {}: "
    "cannot open shared object file: No such file or directory"
)


def server(kind: type[Server], home: Path) -> Server:
    return kind(home, Ports(home), Secrets(home))


@pytest.mark.parametrize(
    ("library", "command"),
    [
        ("libcurl.so.4", "apt-get install libcurl4 libssl3"),
        ("libssl.so.3", "apt-get install libcurl4 libssl3"),
        ("libcrypto.so.3", "apt-get install libcurl4 libssl3"),
        ("liblzma.so.5", "apt-get install liblzma5"),
        ("libodd.so.1", "install the package that holds it"),
    ],
)
def test_a_missing_shared_library_of_mongod_is_named_with_its_remedy(tmp_path, monkeypatch, library, command):
    program = tmp_path / "mongod"
    program.write_text(f"#!/bin/sh\necho '{LOADER.format(library)}' >&2\nexit 127\n")
    program.chmod(0o755)
    monkeypatch.setattr(mongo, "_mongod", lambda: program)
    with pytest.raises(StackError) as failed:
        server(mongo.Mongo, tmp_path).preflight()
    assert library in str(failed.value)
    assert str(failed.value).endswith(command)
    assert "\n" not in str(failed.value)


def test_a_mongod_for_another_machine_is_said_so(tmp_path, monkeypatch):
    program = tmp_path / "mongod"
    program.write_bytes(b"\x7fELF not for this machine")
    program.chmod(0o755)
    monkeypatch.setattr(mongo, "_mongod", lambda: program)
    with pytest.raises(StackError, match="does not run on this machine"):
        server(mongo.Mongo, tmp_path).preflight()


def test_root_without_setpriv_is_told_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(StackError, match="apt-get install util-linux"):
        server(postgres.Postgres, tmp_path).preflight()


def test_an_ordinary_user_needs_no_setpriv(tmp_path, monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("shutil.which", lambda _: None)
    server(postgres.Postgres, tmp_path).preflight()
    assert Path(server(postgres.Postgres, tmp_path).launch().argv[0]).name == "postgres"


def test_a_secret_is_made_once_and_stays(tmp_path):
    first = Secrets(tmp_path).get("postgres")
    assert Secrets(tmp_path).get("postgres") == first
    assert Secrets(tmp_path).get("s3") != first
    assert len(first) == 40


def test_ports_of_a_home_are_distinct_and_remembered(tmp_path):
    names = [f"server {number}" for number in range(30)]
    chosen = [Ports(tmp_path).get(name) for name in names]
    assert len(set(chosen)) == len(names)
    assert [Ports(tmp_path).get(name) for name in names] == chosen

"""make's first step: finds a Python or says in one line which one to get."""

from __future__ import annotations

import os
import shutil
import subprocess
from importlib.metadata import distributions

import pytest
from packaging.specifiers import SpecifierSet

from include.settings import PROJECT_ROOT

SETUP = PROJECT_ROOT / "scripts" / "setup.sh"


@pytest.fixture
def machine(tmp_path):
    """Return how to run setup.sh on a machine with exactly the given Python stand-ins."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in ("sh", "dirname"):
        (folder / tool).symlink_to(str(shutil.which(tool)))

    def setup(**pythons):
        for name, script in pythons.items():
            path = folder / name.replace("_", ".")
            path.write_text(f"#!/bin/sh\n{script}\n")
            path.chmod(0o755)
        return subprocess.run(
            [folder / "sh", SETUP], env={"PATH": str(folder)}, check=False, capture_output=True, text=True
        )

    return setup


def test_no_python_is_one_line(machine):
    outcome = machine()
    assert outcome.returncode == 1
    assert outcome.stderr == (
        "setup: no Python 3.11 or newer found; install one, "
        "or name one with: make setup PYTHON=/path/to/python3.11\n"
    )


def test_an_old_python_is_as_good_as_none(machine):
    assert "no Python 3.11 or newer" in machine(python3="exit 1").stderr


def test_a_python_without_venv_names_the_package(machine):
    outcome = machine(python3_11='case "$2" in *ensurepip*) exit 1;; esac')
    assert outcome.returncode == 1
    assert "apt-get install python3-venv" in outcome.stderr
    assert len(outcome.stderr.splitlines()) == 1


def test_the_next_python_is_taken_when_the_first_has_no_venv(machine):
    outcome = machine(
        python3_11='case "$2" in *ensurepip*) exit 1;; esac',
        python3='case "$1" in -c) ;; *) echo "runs $*";; esac',
    )
    assert (outcome.returncode, outcome.stdout.strip()) == (0, "runs scripts/setup.py")


@pytest.mark.parametrize("path", ["requirements.txt", "requirements-dev.txt", "constraints.txt"])
def test_no_requirements_file_names_where_packages_come_from(path):
    text = (PROJECT_ROOT / path).read_text()
    assert "://" not in text
    assert "index-url" not in text


def test_the_scripts_are_executable():
    assert os.access(PROJECT_ROOT / ".ci" / "run", os.X_OK)
    assert os.access(PROJECT_ROOT / "bin" / "spotlight", os.X_OK)


def test_every_pinned_package_installs_on_the_oldest_python_we_promise():
    oldest = "3.11.0"  # Debian 12 has 3.11.2
    too_new = [
        f"{found.name}=={found.version} wants {wanted}"
        for found in distributions()
        if (wanted := str(found.metadata.json.get("requires_python", "")))
        and not SpecifierSet(wanted).contains(oldest)
    ]
    assert too_new == []

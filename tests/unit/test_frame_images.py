"""The image and compose files agree with the code and open nothing to the network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from include.settings import PROJECT_ROOT, Settings

COMPOSE = yaml.safe_load((PROJECT_ROOT / "docker-compose.override.yml").read_text())
SERVICES = COMPOSE["services"]
ADDED = sorted(name for name, service in SERVICES.items() if "image" in service)
AIRFLOW = ("scheduler", "api-server", "dag-processor", "triggerer")


@pytest.mark.parametrize("name", ADDED)
def test_an_image_is_pinned_to_a_version(name):
    tag = SERVICES[name]["image"].rpartition(":")[2]
    assert re.match(r"v?\d+\.\d+", tag)


@pytest.mark.parametrize("name", ADDED)
def test_a_port_is_bound_to_the_loopback(name):
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


@pytest.mark.parametrize("name", [name for name in ADDED if "ports" in SERVICES[name]])
def test_a_server_has_a_health_check_that_airflow_waits_for(name):
    assert SERVICES[name]["healthcheck"]["test"]
    for component in AIRFLOW:
        assert SERVICES[component]["depends_on"][name] == {"condition": "service_healthy"}


@pytest.mark.parametrize("name", AIRFLOW)
def test_every_spotlight_variable_of_the_compose_file_is_a_setting(name):
    named = {
        v.removeprefix("SPOTLIGHT_").lower()
        for v in SERVICES[name]["environment"]
        if v.startswith("SPOTLIGHT_")
    }
    assert named
    assert named <= set(Settings.model_fields)


def test_the_image_has_the_airflow_line_of_the_requirements():
    base = re.search(
        r"^FROM \S+/runtime:(\d+\.\d+)-\d+$", (PROJECT_ROOT / "Dockerfile").read_text(), re.MULTILINE
    )
    pinned = re.search(
        r"^apache-airflow==(\d+\.\d+)\.", (PROJECT_ROOT / "requirements.txt").read_text(), re.MULTILINE
    )
    assert base is not None
    assert pinned is not None
    assert base[1] == pinned[1]


def test_the_tool_in_the_image_starts(tmp_path: Path) -> None:
    """The image has ``bin/spotlight`` on its path, and the project mounted in Airflow's folder."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"AIRFLOW_HOME": str(PROJECT_ROOT), "PATH": path, "PYTHONPATH": ""}
    done = subprocess.run(
        [str(PROJECT_ROOT / "bin" / "spotlight"), "npo", "--help"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "activate" in done.stdout

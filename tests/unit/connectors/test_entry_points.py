"""Connectors in installed packages: found without an import, imported for their own NPO, told when broken."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from include.connectors.discovery import (
    CONNECTORS,
    connector_folder,
    connector_names,
    connector_problems,
    load_manifest,
    load_transforms,
)
from include.connectors.entry_points import installed_connectors
from include.connectors.open import open_connector
from include.connectors.samples import sample_pages
from include.errors import ConfigurationError
from include.sandbox.contract import skeleton
from include.settings import Settings
from tests.conformance.rows import CREDENTIAL, make_manifest, make_row

Install = Callable[..., Path]
LOUD = "raise RuntimeError('a connector was imported though its NPO does not run')\n"


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install a package with a connector as pip lays it out; forget its modules at the end."""
    site = tmp_path / "site-packages"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    before = set(sys.modules)

    def make(
        name: str, *, dist: str | None = None, module: str | None = None, listed: bool = True, **files: str
    ) -> Path:
        dist, module = dist or f"spotlight-{name}", module or f"{name}_spotlight"
        package = site.joinpath(*module.split("."))
        package.mkdir(parents=True)
        for part in range(1, module.count(".") + 2):
            init = site.joinpath(*module.split(".")[:part], "__init__.py")
            init.write_text(files.pop("init", ""), "utf-8")
        for file, text in files.items():
            (package / file.replace("__", ".")).write_text(text, "utf-8")
        info = site / f"{dist.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: 1.0\n", "utf-8")
        (info / "entry_points.txt").write_text(f"[spotlight.connectors]\n{name} = {module}\n", "utf-8")
        if listed:
            paths = [file.relative_to(site).as_posix() for file in package.rglob("*") if file.is_file()]
            (info / "RECORD").write_text("".join(f"{path},,\n" for path in paths), "utf-8")
        # A path that differs makes the next look a new one, as a new process would.
        monkeypatch.syspath_prepend(str(tmp_path / f"nowhere-{dist}"))
        return package

    yield make
    for loaded in set(sys.modules) - before:
        if "_spotlight" in loaded:
            del sys.modules[loaded]


def manifest(transform: str = "") -> str:
    import json

    data: Any = make_manifest()
    if transform:
        data["resources"]["offerings"]["mapping"]["fields"]["summary"] = {
            "path": "name",
            "transform": transform,
        }
    return json.dumps(data)


def row(name: str) -> Any:
    return make_row("https://api.example.org", connector=name)


@pytest.mark.parametrize("module", ["acme_spotlight", "acme_spotlight.deep.connector"])
@pytest.mark.parametrize("listed", [True, False], ids=["installed", "in-place"])
def test_an_installed_connector_is_found_without_importing_it(
    install: Install, module: str, listed: bool
) -> None:
    package = install("acme", module=module, listed=listed, init=LOUD, connector__yaml=manifest())
    assert "acme" in connector_names()
    assert connector_folder("acme") == package
    assert load_manifest(row("acme")).resource_names == ("offerings",)
    assert connector_problems() == ()
    assert not [name for name in sys.modules if name.startswith("acme_spotlight")]


def test_its_code_is_imported_when_its_npo_runs_and_may_use_its_package(install: Install) -> None:
    words = "def shout(text):\n    return text.upper()\n"
    code = "from acme_spotlight.words import shout\n\ndef loud(value):\n    return shout(value)\n"
    install("acme", connector__yaml=manifest("loud"), transforms__py=code, words__py=words)
    load_manifest(row("acme"))
    assert "acme_spotlight" not in sys.modules
    connector = open_connector(row("acme"), CREDENTIAL, Settings())
    assert connector.to_platform("offerings", {"id": 1, "name": "tea"})["summary"] == "TEA"
    assert "acme_spotlight.transforms" in sys.modules


def test_another_npos_run_imports_nothing_of_it(install: Install) -> None:
    install("acme", connector__yaml=manifest("loud"), init=LOUD, transforms__py=LOUD)
    open_connector(row("hopeworks"), CREDENTIAL, Settings())
    assert "acme_spotlight" not in sys.modules


def test_its_samples_are_its_contract(install: Install, tmp_path: Path) -> None:
    written = skeleton.write_skeleton("acme", tmp_path / "made")
    package = install("acme", connector__yaml=(written / "connector.yaml").read_text("utf-8"))
    (written / "samples").rename(package / "samples")
    assert {resource for resource, _, _ in sample_pages("acme")} == {"offerings", "assignments"}


@pytest.mark.parametrize("taken", ["hopeworks", "rest"])
def test_a_name_that_is_taken_is_refused_for_both(install: Install, taken: str) -> None:
    install(taken, dist="spotlight-thief", module="thief_spotlight", connector__yaml=manifest())
    (problem,) = connector_problems()
    assert "package 'spotlight-thief' gives a name that a connector of this deployment has" in problem
    assert "mentornet" in connector_names()
    with pytest.raises(ConfigurationError, match="cannot be used: package 'spotlight-thief'"):
        connector_folder(taken)


def test_two_packages_of_one_name_are_both_refused_and_named(install: Install) -> None:
    install("acme", dist="spotlight-one", module="one_spotlight", connector__yaml=manifest())
    install("acme", dist="spotlight-two", module="two_spotlight", connector__yaml=manifest())
    assert "acme" not in connector_names()
    with pytest.raises(ConfigurationError, match="'spotlight-one', 'spotlight-two' give the same name"):
        load_manifest(row("acme"))


def test_a_broken_package_disturbs_no_other(install: Install) -> None:
    install("empty")
    install("garbled", connector__yaml="a: [b")
    install("acme", connector__yaml=manifest())
    assert [problem.partition(":")[0] for problem in connector_problems()] == ["connector 'empty'"]
    assert {"acme", "hopeworks"} <= set(connector_names())
    load_manifest(row("acme"))
    with pytest.raises(ConfigurationError, match=r"'empty_spotlight' holds no connector\.yaml"):
        load_manifest(row("empty"))
    with pytest.raises(ConfigurationError, match="not readable YAML"):
        load_manifest(row("garbled"))


def test_a_package_whose_code_fails_ends_its_own_run_only(install: Install) -> None:
    install(
        "acme",
        connector__yaml=manifest("loud"),
        transforms__py="def loud(value):\n    return value\n",
        init=LOUD,
    )
    load_manifest(row("acme"))
    with pytest.raises(ConfigurationError, match=r"acme/transforms\.py cannot be used: RuntimeError"):
        load_transforms("acme", frozenset({"loud"}))


@pytest.mark.parametrize("name", ["../hopeworks", "hopeworks/../hopeworks", "/etc", "", ".", "a b"])
def test_a_rows_text_is_no_path(name: str) -> None:
    with pytest.raises(ConfigurationError, match="no connector"):
        connector_folder(name, CONNECTORS)


def test_nothing_installed_is_nothing_found() -> None:
    assert installed_connectors() == ()

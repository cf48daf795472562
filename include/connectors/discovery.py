"""Connectors are folders: found by their ``connector.yaml``, none imported before its run.

A folder is dropped in beside this module, or installed with a package that names it by an entry point.
"""

from __future__ import annotations

import re
from functools import lru_cache
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from include.connectors.entry_points import installed_connectors
from include.connectors.manifest import merge, parse_manifest
from include.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType

    from include.connectors.entry_points import InstalledConnector
    from include.connectors.manifest import Manifest
    from include.registry.models import NpoConfig

CONNECTORS = Path(__file__).resolve().parent
DATA_ONLY = "rest"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where it was built
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def connector_names(folder: Path = CONNECTORS) -> tuple[str, ...]:
    """Return what a row's ``connector`` may be: ``rest``, folders with a ``connector.yaml``, installed ones.

    One that cannot be used is left out; ``connector_problems`` tells why.
    """
    own = {path.parent.name for path in folder.glob("*/connector.yaml")}
    usable = {one.name for one in installed_connectors() if not _problem(one, folder)}
    return (DATA_ONLY, *sorted(own | usable))


def connector_problems(folder: Path = CONNECTORS) -> tuple[str, ...]:
    """Return one line for each installed connector that cannot be used; the others are not disturbed."""
    found = ((one.name, _problem(one, folder)) for one in installed_connectors())
    return tuple(f"connector {name!r}: {problem}" for name, problem in found if problem)


def connector_folder(name: str, folder: Path = CONNECTORS) -> Path:
    """Return where a connector's files are.

    Raises:
        ConfigurationError: There is none of that name, two are, or its package is broken.
    """
    installed = _installed(name)
    if installed is not None and (problem := _problem(installed, folder)):
        raise ConfigurationError(f"connector {name!r} cannot be used: {problem}")
    if _is_own(name, folder):
        return folder / name
    if installed is not None and installed.folder is not None:
        return installed.folder
    raise ConfigurationError(f"no connector {name!r}; there are {', '.join(connector_names(folder))}")


def _is_own(name: str, folder: Path) -> bool:
    """Tell whether a folder has the name; a row's text is no path."""
    return _NAME.fullmatch(name) is not None and (folder / name / "connector.yaml").is_file()


def _installed(name: str) -> InstalledConnector | None:
    return next((one for one in installed_connectors() if one.name == name), None)


def _problem(installed: InstalledConnector, folder: Path) -> str | None:
    """Return why an installed connector cannot be used: a name twice would let one stand in for another."""
    rivals = sorted(one.distribution for one in installed_connectors() if one.name == installed.name)
    if len(rivals) > 1:
        return f"packages {', '.join(map(repr, rivals))} give the same name; uninstall or rename one"
    if installed.name == DATA_ONLY or _is_own(installed.name, folder):
        return (
            f"package {installed.distribution!r} gives a name that a connector of this deployment has; "
            "uninstall or rename one"
        )
    return installed.problem


def load_manifest(npo: NpoConfig, folder: Path = CONNECTORS) -> Manifest:
    """Return the row's manifest: its connector's own, completed and overridden by the row's.

    Reads one file at most, again only when it has changed; imports nothing of the connector.

    Raises:
        ConfigurationError: Unknown connector, unreadable file, or an invalid manifest (every problem, one a
            line).
    """
    try:
        if npo.connector == DATA_ONLY:
            return _checked(DATA_ONLY, folder, npo.manifest)
        data = connector_data(npo.connector, folder)
        if npo.manifest:
            return _checked(npo.connector, folder, merge(data, npo.manifest))
        return _as_it_stands(npo.connector, folder, _changes(connector_folder(npo.connector, folder)))
    except ConfigurationError as error:
        raise error.located(subject=npo.npo_id) from None


@lru_cache(maxsize=512)
def _as_it_stands(name: str, folder: Path, changes: tuple[int, ...]) -> Manifest:  # noqa: ARG001 - the cache's key
    """Return a connector's own manifest; thousands of rows share one, and a parse asks for each."""
    return _checked(name, folder, connector_data(name, folder))


def _changes(folder: Path) -> tuple[int, ...]:
    files = (folder / "connector.yaml", folder / "transforms.py")
    return tuple(file.stat().st_mtime_ns for file in files if file.is_file())


def _checked(name: str, folder: Path, data: Mapping[str, Any]) -> Manifest:
    """Return the manifest, its transforms known to exist."""
    manifest = parse_manifest(data)
    wanted = manifest.transforms()
    missing = wanted - frozenset(_declared_functions(name, folder)) if wanted else wanted
    if missing:
        raise ConfigurationError(
            f"connector {name!r} lacks transforms its mapping uses: {', '.join(sorted(missing))}"
        )
    return manifest


def connector_data(name: str, folder: Path = CONNECTORS) -> Mapping[str, Any]:
    """Return a connector's ``connector.yaml`` as data, unvalidated.

    Raises:
        ConfigurationError: No such connector, or not YAML.
    """
    path = connector_folder(name, folder) / "connector.yaml"
    try:
        changed = path.stat().st_mtime_ns
    except OSError as error:
        raise ConfigurationError(f"{name}/connector.yaml cannot be read") from error
    return _read_yaml(path, changed)


@lru_cache(maxsize=512)
def _read_yaml(path: Path, changed: int) -> Mapping[str, Any]:  # noqa: ARG001 - part of the cache's key
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER)  # noqa: S506 - a safe one
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        raise ConfigurationError(f"{path.parent.name}/connector.yaml is not readable YAML{where}") from error
    if not isinstance(data, dict):
        raise ConfigurationError(f"{path.parent.name}/connector.yaml: expected a mapping at the top")
    return data


def _declared_functions(name: str, folder: Path) -> tuple[str, ...]:
    """Return the names of the functions in ``transforms.py``, read without importing it.

    Raises:
        ConfigurationError: It is not Python.
    """
    import ast

    if name == DATA_ONLY:
        return ()
    path = connector_folder(name, folder) / "transforms.py"
    if not path.is_file():
        return ()
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError) as error:
        raise ConfigurationError(f"{name}/transforms.py is not readable Python") from error
    return tuple(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


def load_transforms(
    name: str, wanted: frozenset[str], folder: Path = CONNECTORS
) -> dict[str, Callable[[Any], Any]]:
    """Return the wanted functions of a connector's ``transforms.py``; imports it only if there are any.

    Raises:
        ConfigurationError: The file fails to import or lacks a function.
    """
    if not wanted:
        return {}
    path = connector_folder(name, folder) / "transforms.py"
    installed = _installed(name)
    try:
        module = _imported(installed) if installed is not None else _executed(name, path)
        return {function: getattr(module, function) for function in wanted}
    except Exception as error:
        raise ConfigurationError(f"{name}/transforms.py cannot be used: {type(error).__name__}") from error


def _imported(installed: InstalledConnector) -> ModuleType:
    """Import a package's transforms by their name, so that they may use the rest of the package."""
    return import_module(f"{installed.module}.transforms")


def _executed(name: str, path: Path) -> ModuleType:
    """Run the file of a folder, which is no package."""
    spec = spec_from_file_location(f"include.connectors.{name}.transforms", path)
    if spec is None or spec.loader is None:
        raise ImportError(name)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

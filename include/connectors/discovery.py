"""Connectors are folders: found by their ``connector.yaml``, none imported before its run."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from include.connectors.manifest import merge, parse_manifest
from include.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from include.connectors.manifest import Manifest
    from include.registry.models import NpoConfig

CONNECTORS = Path(__file__).resolve().parent
DATA_ONLY = "rest"


def connector_names(folder: Path = CONNECTORS) -> tuple[str, ...]:
    """Return what a row's ``connector`` may be: ``rest`` and every folder with a ``connector.yaml``."""
    return (DATA_ONLY, *sorted(path.parent.name for path in folder.glob("*/connector.yaml")))


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
        return _as_it_stands(npo.connector, folder, _changes(folder / npo.connector))
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
    path = folder / name / "connector.yaml"
    try:
        changed = path.stat().st_mtime_ns
    except OSError:
        raise ConfigurationError(
            f"no connector {name!r}; there are {', '.join(connector_names(folder))}"
        ) from None
    return _read_yaml(path, changed)


@lru_cache(maxsize=512)
def _read_yaml(path: Path, changed: int) -> Mapping[str, Any]:  # noqa: ARG001 - part of the cache's key
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
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

    path = folder / name / "transforms.py"
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
    path = folder / name / "transforms.py"
    spec = spec_from_file_location(f"include.connectors.{name}.transforms", path)
    if spec is None or spec.loader is None:
        raise ConfigurationError(f"{name}/transforms.py cannot be loaded")
    module = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        return {function: getattr(module, function) for function in wanted}
    except Exception as error:
        raise ConfigurationError(f"{name}/transforms.py cannot be used: {type(error).__name__}") from error

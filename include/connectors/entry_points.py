"""Connectors that are installed as Python packages: found by entry point, imported only when their NPO runs.

A distribution declares ``acme = "acme_spotlight"`` under ``[project.entry-points."spotlight.connectors"]``:
the connector's name and the package whose folder holds its ``connector.yaml``.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "spotlight.connectors"


@dataclass(frozen=True, slots=True)
class InstalledConnector:
    """What one entry point says.

    Attributes:
        name: The connector's name.
        module: The package that holds it, dotted.
        distribution: Who declares it, for messages.
        folder: Where its ``connector.yaml`` is; ``None`` where there is none.
    """

    name: str
    module: str
    distribution: str
    folder: Path | None

    @property
    def problem(self) -> str | None:
        """Return why it cannot be used, ``None`` if it can."""
        if self.folder is None:
            return f"package {self.distribution!r}: {self.module!r} holds no connector.yaml"
        return None


def installed_connectors() -> tuple[InstalledConnector, ...]:
    """Return what is installed, by name; looks at the disk once for each ``sys.path`` of a process."""
    return _installed(tuple(sys.path))


@lru_cache(maxsize=4)
def _installed(_path: tuple[str, ...]) -> tuple[InstalledConnector, ...]:
    from importlib.metadata import entry_points

    found = {_described(point) for point in entry_points(group=GROUP)}
    return tuple(sorted(found, key=lambda one: (one.name, one.distribution, one.module)))


def _described(point: EntryPoint) -> InstalledConnector:
    distribution = point.dist.name if point.dist is not None else "unknown"
    module = point.value.partition(":")[0].strip()
    return InstalledConnector(point.name, module, distribution, _folder(point, module))


def _folder(point: EntryPoint, module: str) -> Path | None:
    """Return the package's folder without importing it: by the distribution's files, else by its top package.

    Asking the import system for ``a.b`` would import ``a``; a top-level name imports nothing. The
    second way is for packages installed in place, whose files the distribution does not list.
    """
    inside = Path(*module.split("."), "connector.yaml")
    for file in (point.dist.files if point.dist is not None else None) or ():
        if Path(file) == inside:
            path = Path(str(file.locate()))
            return path.parent if path.is_file() else None
    return next((base for base in _spec_folders(module) if (base / "connector.yaml").is_file()), None)


def _spec_folders(module: str) -> list[Path]:
    from importlib.util import find_spec

    top, *below = module.split(".")
    try:
        spec = find_spec(top)
    except (ImportError, ValueError, AttributeError):
        return []
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    return [Path(place, *below) for place in places]

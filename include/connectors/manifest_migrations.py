"""Versions of the manifest's words, and how an older manifest becomes one of today."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any, Final

from include.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

VERSION = "manifest_version"
NEWEST: Final = 2
_LINKS = ("json_link", "header_link")


def migrate(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the manifest in the newest version's words; ``data`` is not changed.

    A manifest that does not say its version is of version 1. What is no manifest at all comes back as it is,
    for the checks to tell.

    Raises:
        ConfigurationError: Of a newer version than this release knows.
    """
    if not isinstance(data, dict):
        return data  # type: ignore[return-value]
    version = data.get(VERSION, 1)
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        return data
    if version > NEWEST:
        raise ConfigurationError(
            f"the manifest is not valid:\n{VERSION}: expected at most {NEWEST}, got a newer one; update this "
            "deployment, or write the manifest in the words it knows"
        )
    if version == NEWEST:
        return data  # thousands of rows are read at each parse
    migrated = deepcopy(data)
    for step in range(version, NEWEST):
        _STEPS[step](migrated)
        migrated[VERSION] = step + 1
    return migrated


def _links_to_any_host(manifest: dict[str, Any]) -> None:
    """1 to 2: a next-page link could lead to any allowed host; now it must say so."""
    client, resources = manifest.get("client"), manifest.get("resources")
    places = [client, *(_part(spec, "endpoint") for spec in _values(resources))]
    for place in places:
        if not isinstance(place, dict):
            continue
        paginator = place.get("paginator")
        if isinstance(paginator, str) and paginator in _LINKS:
            place["paginator"] = {"type": paginator, "same_host": False}
        elif isinstance(paginator, dict) and paginator.get("type") in _LINKS:
            paginator.setdefault("same_host", False)


def _part(data: Any, key: str) -> Any:
    return data.get(key) if isinstance(data, dict) else None


def _values(data: Any) -> list[Any]:
    return list(data.values()) if isinstance(data, dict) else []


_STEPS: dict[int, Callable[[dict[str, Any]], None]] = {1: _links_to_any_host}

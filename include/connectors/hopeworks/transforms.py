"""What the manifest cannot say: HSDS gives free places, the platform wants taken ones."""

# ruff: noqa: INP001 - a connector is a folder of data, not a package
from __future__ import annotations


def taken_places(places: list[int | None] | None) -> int | None:
    """Return ``maximum - available``, ``None`` if either is not told."""
    if places is None or None in places:
        return None
    maximum, available = places
    return max(0, int(maximum or 0) - int(available or 0))

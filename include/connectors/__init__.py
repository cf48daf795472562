"""The connector kernel: reads partner APIs as their manifests say.

Light to import: what talks HTTP is imported when a connector is opened and read.
"""

from __future__ import annotations

from include.connectors.discovery import connector_names, load_manifest
from include.connectors.manifest import Manifest, merge, parse_manifest
from include.connectors.open import open_connector

__all__ = ["Manifest", "connector_names", "load_manifest", "merge", "open_connector", "parse_manifest"]

"""The start of a new connector: a manifest, invented samples, what becomes of them; it passes every trap."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import orjson

from include.connectors.samples import outcome, sample_pages, sample_parent
from include.errors import ConfigurationError
from include.sandbox.contract.bench import opened

if TYPE_CHECKING:
    from pathlib import Path

_NAME = re.compile(r"[a-z][a-z0-9_]{1,39}")
_MANIFEST = """\
# {title}: say here what is odd about this API. Every word: docs/reference-manifest.md
manifest_version: 2
client:
  auth: {{type: bearer, token: "{{credential.password}}"}}
  paginator: {{type: json_link, next_url_path: next}}

resources:
  offerings:
    endpoint: {{path: courses, data_selector: data}}
    primary_key: id
    incremental: {{cursor_path: updated_at, param: updated_since, lookback: PT1H}}
    mapping:
      version: 1
      fields:
        name: title
        status: {{path: state, values: {{open: active, full: full, closed: inactive}}, default: unknown}}
        organization.name: {{const: {title}}}
        source.external_updated_at: updated_at

  assignments:
    endpoint: {{path: enrolments, data_selector: data}}
    primary_key: id
    incremental: {{cursor_path: updated_at, param: updated_since, lookback: PT1H}}
    mapping:
      version: 1
      fields:
        offering_external_id: {{path: course_id, on_missing: quarantine}}
        external_candidate_ref: learner_no
        status: {{path: state, values: {{going: in_progress, done: completed}}, default: unknown}}
        external_status: state
        progress.percent: percent
        source.external_updated_at: updated_at
"""
_SAMPLES: dict[str, list[dict[str, Any]]] = {
    "offerings": [
        {"id": 1, "title": "First aid", "state": "open", "updated_at": "2026-01-05T10:00:00Z"},
        {"id": 2, "title": "Bicycle repair", "state": "closed", "updated_at": "2026-01-06T10:00:00Z"},
    ],
    "assignments": [
        {"id": "E-1", "course_id": 1, "learner_no": "L-17", "state": "going", "percent": 40,
         "updated_at": "2026-01-07T10:00:00Z"},
        {"id": "E-2", "course_id": 2, "learner_no": "L-18", "state": "done", "percent": 100,
         "updated_at": "2026-01-08T10:00:00Z"},
    ],
}  # fmt: skip


def write_skeleton(name: str, into: Path) -> Path:
    """Write a new connector's folder and return it.

    Raises:
        ConfigurationError: The name is no slug, or there is such a folder.
    """
    if not _NAME.fullmatch(name):
        raise ConfigurationError(f"expected a name such as 'acme_college' (a-z, 0-9, _), got {name!r}")
    folder = into / name
    if folder.exists():
        raise ConfigurationError(f"{folder} is there already; choose another name, or edit that one")
    (folder / "samples").mkdir(parents=True)
    title = name.replace("_", " ").capitalize()
    (folder / "connector.yaml").write_text(_MANIFEST.format(title=title), "utf-8")
    for resource, records in _SAMPLES.items():
        page = folder / "samples" / f"{resource}.page.json"
        page.write_bytes(_pretty({"data": records, "next": None}))
    write_expected(name, into)
    return folder


def write_expected(name: str, folder: Path) -> list[Path]:
    """Write what the samples of a connector now become beside them; return the files.

    A person has to read them: they are what every later change is measured by.

    Raises:
        IntegrationError: The connector cannot be opened, or a sample cannot be read.
    """
    connector = opened(name, folder, "http://127.0.0.1:9", [])
    written = []
    for resource, page, expected in sample_pages(name, folder):
        parent = sample_parent(connector, resource, name, folder)
        expected.write_bytes(_pretty(outcome(connector, resource, page.read_bytes(), parent)))
        written.append(expected)
    return written


def _pretty(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)

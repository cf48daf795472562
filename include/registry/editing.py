"""From what a person wrote (YAML, options) to a row of the config table, every problem told at once."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from include.errors import ConfigurationError, IntegrationError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from include.registry.models import NpoConfig

HEAD = "npo"
MAX_FILE_BYTES = 2**20
MAX_NODES = 20_000
"""A manifest has some hundred values; YAML aliases can make billions of a few lines."""

DEFAULTS: dict[str, Any] = {"status": "draft", "schedule": "@hourly", "timezone": "UTC", "manifest": {}}
START_DAYS_BACK = 31
EDITABLE = (
    "name",
    "website",
    "description",
    "owner_email",
    "connector",
    "base_url",
    "allowed_hosts",
    "credential_ref",
    "manifest",
    "schedule",
    "timezone",
    "start_date",
    "requests_per_minute",
    "max_concurrency",
)
_LIST_SEPARATOR = "\n"


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """What a file says: columns of the row, from its section ``npo``, and the manifest beside it."""

    head: dict[str, Any]
    manifest: dict[str, Any]


def read_manifest_file(path: Path) -> ManifestFile:
    """Return the content of a manifest file, YAML or JSON, unvalidated.

    Raises:
        ConfigurationError: Not there, too large, not YAML, a key that stands twice, or values JSON does not
            have.
    """
    data = read_yaml(path)
    head = data.pop(HEAD, {})
    if not isinstance(head, dict):
        raise ConfigurationError(f"{path.name}: {HEAD}: expected a mapping of the row's columns")
    return ManifestFile(head, data)


def read_yaml(path: Path) -> dict[str, Any]:
    """Return a YAML or JSON file whose top is a mapping, its values as JSON has them.

    Raises:
        ConfigurationError: As ``read_manifest_file`` says.
    """
    import yaml

    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ConfigurationError(f"{path.name}: more than {MAX_FILE_BYTES} bytes is no manifest")
        data = yaml.load(path.read_text("utf-8"), Loader=_loader())  # noqa: S506 - a SafeLoader
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigurationError(f"{path.name} is not readable YAML{_place(error)}") from None
    if not isinstance(data, dict):
        raise ConfigurationError(f"{path.name}: expected a mapping at the top")
    return _plain(path.name, data)


def _loader() -> Any:
    import yaml

    class OneOfEachKey(yaml.SafeLoader):
        """Refuses a key that stands twice in a mapping: YAML would drop the first without a word."""

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:  # noqa: FBT001, FBT002 - as yaml has it
            written = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            twice = sorted({key for key in written if written.count(key) > 1 and key != "<<"})
            if twice:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{twice[0]!r} stands twice", node.start_mark
                )
            return super().construct_mapping(node, deep=deep)

    return OneOfEachKey


def _place(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None)
    return (f" at line {mark.line + 1}" if mark else "") + (f": {problem}" if problem else "")


def _plain(name: str, data: dict[str, Any]) -> dict[str, Any]:
    """Return the value as JSON has it: keys are texts, days and times are written out."""
    left, waiting = MAX_NODES, [data]
    while waiting:
        value: Any = waiting.pop()
        left -= 1
        if left < 0:
            raise ConfigurationError(f"{name}: more than {MAX_NODES} values is no manifest")
        if isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    try:
        plain: dict[str, Any] = json.loads(json.dumps(data, default=_written, allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        raise ConfigurationError(
            f"{name}: holds a value that JSON does not have (a set, bytes, a number that is none)"
        ) from None
    return plain


def _written(value: Any) -> str:
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError


def new_values(
    npo_id: str, given: Mapping[str, Any], file: ManifestFile | None, *, today: date
) -> dict[str, Any]:
    """Return the columns of a new row: options first, then the file's head, then defaults.

    ``allowed_hosts`` is the host of ``base_url`` where nothing says otherwise, ``start_date`` a month back.
    """
    head = file.head if file else {}
    _require_same_id(head, npo_id)
    values = DEFAULTS | head | {key: value for key, value in given.items() if value is not None}
    values |= {"npo_id": npo_id, "status": "draft"}
    if file is not None:
        values["manifest"] = file.manifest
    host = urlsplit(str(values.get("base_url", ""))).netloc.lower()
    values.setdefault("allowed_hosts", [host] if host else [])
    values.setdefault("start_date", (today - timedelta(days=START_DAYS_BACK)).isoformat())
    return values


def changed_values(
    row: Mapping[str, Any], given: Mapping[str, Any], file: ManifestFile | None
) -> dict[str, Any]:
    """Return all columns of a row after an edit: options first, then the file, then what stands there."""
    from include.registry.models import NpoConfig

    known = {key: row[key] for key in NpoConfig.model_fields if key in row}
    head = dict(file.head) if file else {}
    _require_same_id(head, row["npo_id"])
    head.pop("status", None)  # a status is changed by activate, pause and disable
    values = known | head | {key: value for key, value in given.items() if value is not None}
    if file is not None and file.manifest:
        values["manifest"] = file.manifest
    _follow_base_url(row, head | dict(given), values)
    return values


def _require_same_id(head: Mapping[str, Any], npo_id: str) -> None:
    if head.get("npo_id", npo_id) != npo_id:
        raise ConfigurationError(f"the file is about {head['npo_id']!r}, not about this NPO", subject=npo_id)


def _follow_base_url(row: Mapping[str, Any], asked: Mapping[str, Any], values: dict[str, Any]) -> None:
    """Let ``allowed_hosts`` follow a new ``base_url`` where it was just the old one's host."""
    old, new = (urlsplit(str(one["base_url"])).netloc.lower() for one in (row, values))
    if asked.get("allowed_hosts") is None and list(row["allowed_hosts"]) == [old]:
        values["allowed_hosts"] = [new]


def checked_row(values: Mapping[str, Any]) -> NpoConfig:
    """Return the row as a typed value, its schedule and manifest known to be usable.

    Raises:
        ConfigurationError: Lists every problem, one a line.
    """
    problems, npo = problems_of(values)
    if problems or npo is None:
        raise ConfigurationError(
            "the row cannot be used:" + _LIST_SEPARATOR + _LIST_SEPARATOR.join(problems),
            subject=str(values.get("npo_id", "")),
        )
    return npo


def problems_of(values: Mapping[str, Any]) -> tuple[list[str], NpoConfig | None]:
    """Return every problem of a row, of its columns and its manifest alike, and the row if it can be read."""
    from pydantic import ValidationError

    from include.registry.models import NpoConfig

    problems: list[str] = []
    npo: NpoConfig | None = None
    try:
        npo = NpoConfig.model_validate(dict(values))
    except ValidationError as error:
        problems += [
            f"{'.'.join(str(part) for part in one['loc'])}: {one['msg'].removeprefix('Value error, ')}"
            for one in error.errors(include_url=False, include_input=False)
        ]
    problems += _schedule_problems(values) + _manifest_problems(values, npo)
    return problems, npo


def _schedule_problems(values: Mapping[str, Any]) -> list[str]:
    from include.registry.schedules import cron_expression

    schedule = values.get("schedule")
    if not isinstance(schedule, str):
        return []  # told by the row's own check
    try:
        cron_expression(str(values.get("npo_id")), schedule)
    except ValueError as error:
        return [f"schedule: {error}"]
    return []


def _manifest_problems(values: Mapping[str, Any], npo: NpoConfig | None) -> list[str]:
    """Return what is wrong with the manifest, also where other columns are wrong too."""
    from include.connectors.discovery import load_manifest
    from include.registry.models import NpoConfig

    connector, manifest = values.get("connector"), values.get("manifest")
    if npo is None:
        if not isinstance(connector, str) or not isinstance(manifest, dict):
            return []
        # Unchecked: the columns are wrong, and the manifest is looked at all the same.
        only: dict[str, Any] = {
            "npo_id": str(values.get("npo_id")),
            "connector": connector,
            "manifest": manifest,
        }
        npo = NpoConfig.model_construct(None, **only)
    try:
        load_manifest(npo)
    except IntegrationError as error:
        lines = [line.strip() for line in error.message.splitlines() if line.strip()]
        return [f"manifest: {line}" for line in (lines[1:] or lines)]
    return []


def utc_today() -> date:
    """Return the day it is, UTC."""
    return datetime.now(tz=UTC).date()

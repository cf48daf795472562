"""``airflow_settings.yaml`` in Astronomer's schema: read, checked, loaded through the REST API.

``astro dev start`` reads the same file. The CLI would take four seconds for each entry.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from include.sandbox.stack.errors import StackError

if TYPE_CHECKING:
    from include.sandbox.airflow.client import AirflowApi


class _Entry(BaseModel):
    # coerce: Astronomer's own examples leave numbers and empty values unquoted.
    model_config = ConfigDict(extra="forbid", coerce_numbers_to_str=True, frozen=True)


class ConnectionEntry(_Entry):
    """One connection."""

    conn_id: str = Field(pattern=r"^[\w.-]+$", max_length=200)
    conn_type: str = Field(min_length=1)
    conn_host: str | None = None
    conn_schema: str | None = None
    conn_login: str | None = None
    conn_password: str | None = Field(default=None, repr=False)
    conn_port: int | None = None
    conn_extra: dict[str, Any] | str | None = Field(default=None, repr=False)

    def payload(self) -> dict[str, object]:
        """Return the REST API's form of it."""
        extra = self.conn_extra if isinstance(self.conn_extra, str) else json.dumps(self.conn_extra or {})
        return {
            "connection_id": self.conn_id,
            "conn_type": self.conn_type,
            "host": self.conn_host,
            "schema": self.conn_schema,
            "login": self.conn_login,
            "password": self.conn_password,
            "port": self.conn_port,
            "extra": extra,
        }


class PoolEntry(_Entry):
    """One pool."""

    pool_name: str = Field(min_length=1, max_length=256)
    pool_slot: int = Field(ge=-1)
    pool_description: str | None = None

    def payload(self) -> dict[str, object]:
        """Return the REST API's form of it."""
        return {"name": self.pool_name, "slots": self.pool_slot, "description": self.pool_description}


class VariableEntry(_Entry):
    """One variable."""

    variable_name: str = Field(min_length=1, max_length=250)
    variable_value: str | dict[str, Any] | list[Any] | bool = Field(repr=False)

    def payload(self) -> dict[str, object]:
        """Return the REST API's form of it."""
        return {"key": self.variable_name, "value": self.variable_value}


class AirflowSettings(_Entry):
    """What the file holds."""

    connections: tuple[ConnectionEntry, ...] = ()
    pools: tuple[PoolEntry, ...] = ()
    variables: tuple[VariableEntry, ...] = ()


def read_settings_file(path: Path) -> AirflowSettings:
    """Return the file's content.

    Raises:
        StackError: One line that names the file, the entry and what is wrong with it.
    """
    try:
        content = yaml.safe_load(path.read_text()) or {}
    except OSError as error:
        raise StackError(f"{path.name} cannot be read: {error.strerror} ({path})") from error
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise StackError(f"{path.name} is not YAML: {reason}") from error
    body = content.get("airflow") if isinstance(content, dict) else None
    if not isinstance(body, dict):
        raise StackError(
            f"{path.name}: the top level must be 'airflow:' with connections, pools and variables"
        )
    # Astronomer's empty template has keys without a value, and entries all of whose values are empty.
    lists = {kind: _filled(entries) for kind, entries in body.items() if entries is not None}
    try:
        return AirflowSettings.model_validate(lists)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise StackError(f"{path.name}: airflow.{where}: {first['msg']}") from None


def load_settings(api: AirflowApi, settings: AirflowSettings) -> None:
    """Create or replace everything the file names; one call for each kind.

    Raises:
        StackError: Airflow refused an entry.
    """
    api.overwrite("connections", [entry.payload() for entry in settings.connections])
    api.overwrite("pools", [entry.payload() for entry in settings.pools])
    api.overwrite("variables", [entry.payload() for entry in settings.variables])


def _filled(entries: object) -> object:
    if not isinstance(entries, list):
        return entries
    return [entry for entry in entries if not (isinstance(entry, dict) and not any(entry.values()))]


def main(arguments: list[str]) -> int:
    """Check the named file, for ``make lint``; return the exit code."""
    try:
        settings = read_settings_file(Path(arguments[0]))
    except StackError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    counts = f"{len(settings.connections)} connections, {len(settings.pools)} pools"
    sys.stdout.write(f"{arguments[0]}: {counts}, {len(settings.variables)} variables\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Rows of the config table as typed values."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, field_validator

if TYPE_CHECKING:
    from collections.abc import Mapping

NPO_ID_PATTERN = r"^[a-z][a-z0-9_]{1,39}$"
HOST_PATTERN = re.compile(r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:\d{1,5})?$")


class NpoStatus(StrEnum):
    """Life of an integration. Only ``active`` and ``paused`` rows have a DAG."""

    DRAFT = "draft"
    ACTIVE = "active"
    PAUSED = "paused"
    DISABLED = "disabled"


class NpoConfig(BaseModel):
    """One row of ``integration.npo``: one integration.

    ``manifest`` is kept as it stands in the table; ``include.connectors`` completes it with the
    connector's own manifest and validates the result.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    npo_id: Annotated[str, Field(pattern=NPO_ID_PATTERN)]
    name: Annotated[str, Field(min_length=1, max_length=200)]
    website: str | None = None
    description: str | None = None
    owner_email: Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+$")]
    status: NpoStatus
    connector: Annotated[str, Field(pattern=NPO_ID_PATTERN)]
    base_url: Annotated[str, Field(pattern=r"^https?://[^\s/@]+(/\S*)?$")]
    allowed_hosts: Annotated[tuple[str, ...], Field(min_length=1)]
    credential_ref: str | None = None
    manifest: dict[str, Any] = Field(default_factory=dict)
    schedule: str
    timezone: str = "UTC"
    start_date: date
    requests_per_minute: Annotated[int, Field(ge=1, le=100_000)] = 600
    max_concurrency: Annotated[int, Field(ge=1, le=64)] = 2
    config_version: int = 1
    created_at: datetime | None = None
    updated_at: datetime | None = None
    updated_by: str | None = None

    @field_validator("timezone")
    @classmethod
    def _known_timezone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"{value!r} is not an IANA time zone such as 'Europe/London'") from error
        return value

    @field_validator("allowed_hosts")
    @classmethod
    def _plain_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for host in value:
            if not HOST_PATTERN.match(host):
                raise ValueError(f"{host!r} is not a host or host:port in lower case")
        return value

    @property
    def dag_id(self) -> str:
        """Return the id of this row's DAG."""
        return f"npo__{self.npo_id}"


@dataclass(frozen=True, slots=True)
class Credential:
    """What a ``credential_ref`` resolves to. Never stored, never logged: its repr shows nothing."""

    login: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    extra: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class BrokenRow:
    """A row that cannot become a DAG, what is wrong with it in one line, and the version that was seen."""

    npo_id: str
    problem: str
    config_version: int = 0

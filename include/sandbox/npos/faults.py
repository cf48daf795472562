"""Fault rules: which request is hit by which misbehaviour."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator

Kind = Literal[
    "status",
    "delay",
    "truncate",
    "bad_record",
    "html",
    "error_body",
    "next_link",
    "page_loop",
    "expire_token",
    "redirect",
    "endless",
    "not_json",
    "duplicate_ids",
    "wrong_charset",
    "empty_list",
    "lost",
    "slow_answer",
    "odd_body",
    "no_id",
    "refuse",
    "duplicate",
    "forget_key",
    "stay_pending",
]
INSIDE = frozenset({"refuse", "duplicate", "forget_key", "stay_pending"})
"""Kinds an enrolling partner carries out itself."""
ACTED = frozenset({"lost", "slow_answer", "odd_body", "no_id"})
"""Kinds that let the partner act and spoil how it tells."""


class Fault(BaseModel):
    """One rule as posted to ``/_admin/faults``; arguments another kind needs are left alone."""

    model_config = ConfigDict(extra="forbid")

    path_regex: str
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] | None = None
    after: int = Field(default=0, ge=0)
    times: int | None = Field(default=None, ge=1)
    kind: Kind
    status: int | None = Field(default=None, ge=200, le=599)
    headers: dict[str, str] = Field(default_factory=dict)
    body: Any = None
    seconds: float = Field(default=1, ge=0, le=600)
    keep: float = Field(default=0.5, ge=0, lt=1)
    close: bool = False
    record: Any = None
    position: int = Field(default=0, ge=0)
    url: str | None = None
    mode: Literal["body", "pages"] = "body"
    megabytes: float = Field(default=1024, gt=0)
    count: int = Field(default=1, ge=1)
    charset: str = "utf-16"
    reason: Literal["full", "closed"] = "full"

    _seen: int = PrivateAttr(default=0)
    _hits: int = PrivateAttr(default=0)

    @field_validator("path_regex")
    @classmethod
    def _compiles(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
        return value

    @field_validator("charset")
    @classmethod
    def _known_charset(cls, value: str) -> str:
        try:
            "".encode(value)
        except LookupError as error:
            raise ValueError("not a charset Python knows") from error
        return value

    @property
    def hits(self) -> int:
        """Return how many requests it has hit."""
        return self._hits

    def takes(self, target: str) -> bool:
        """Count the request and return whether it is hit; ``target`` is ``METHOD path?query``."""
        method, _, address = target.partition(" ")
        if self.method not in {None, method} or not re.search(self.path_regex, address):
            return False
        self._seen += 1
        if self._seen <= self.after or (self.times is not None and self._hits >= self.times):
            return False
        self._hits += 1
        return True

    def shown(self) -> dict[str, Any]:
        """Return the rule with its hits, arguments left at their default left out."""
        return {**self.model_dump(exclude_defaults=True), "hits": self._hits}

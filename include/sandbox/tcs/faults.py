"""Fault rules: which call TCS fails, and how."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator

Kind = Literal[
    "status",
    "status_after",
    "delay",
    "delay_after",
    "drop",
    "drop_after",
    "expire_tokens",
    "body",
    "not_json",
    "redirect",
    "endless",
]
AFTERWARDS = frozenset({"status_after", "delay_after", "drop_after"})
"""Faults that strike once the call has been carried out: the caller cannot know that it was."""


class Fault(BaseModel):
    """One rule as posted to ``/_admin/faults``; arguments another kind needs are left alone.

    Attributes:
        call: Regular expression, searched in ``<METHOD> <path as sent>?<query>``.
        after: Matching calls that pass before the first is hit.
        times: Calls it hits; ``None`` means all until it is cleared.
    """

    model_config = ConfigDict(extra="forbid")

    call: str = ""
    kind: Kind
    after: int = Field(default=0, ge=0)
    times: int | None = Field(default=None, ge=1)
    status: int = Field(default=503, ge=300, le=599)
    headers: dict[str, str] = Field(default_factory=dict)
    body: Any = None
    seconds: float = Field(default=1, ge=0, le=600)
    url: str = "http://127.0.0.2:9/elsewhere"
    megabytes: float = Field(default=256, gt=0, le=4096)

    _pattern: re.Pattern[str] = PrivateAttr()
    _seen: int = PrivateAttr(default=0)
    _hits: int = PrivateAttr(default=0)

    @field_validator("call")
    @classmethod
    def _compiles(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
        return value

    def model_post_init(self, _context: object) -> None:
        """Compile the expression once."""
        self._pattern = re.compile(self.call)

    def takes(self, target: str) -> bool:
        """Count the call and return whether it is hit."""
        if not self._pattern.search(target):
            return False
        self._seen += 1
        if self._seen <= self.after or (self.times is not None and self._hits >= self.times):
            return False
        self._hits += 1
        return True

    def shown(self) -> dict[str, Any]:
        """Return the rule with its hits, arguments left at their default left out."""
        return {**self.model_dump(exclude_defaults=True), "hits": self._hits}

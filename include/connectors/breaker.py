"""The circuit breaker of an NPO: after some failures in a row it is left alone, then tried by one.

Pure: each function returns an expression or a stage of a MongoDB update pipeline over the NPO's budget
document, so that the server decides, by its own clock and for all workers at once. Times are milliseconds
since 1970, as numbers.

Fields:
    failures: Whole requests that failed in a row.
    openings: How often it opened since the partner was last well.
    open_until: Until when nobody asks.
    probe_until, probe_by: Who is trying whether the partner is well again, and until when nobody else does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

NOW: dict[str, Any] = {"$toLong": "$$NOW"}
LONGEST_REST = 900.0
_MOST_DOUBLINGS = 10


@dataclass(frozen=True, slots=True)
class BreakerRules:
    """When it opens and for how long.

    Attributes:
        failures: In a row, until it opens.
        seconds: It stays open; doubled each time the probe fails, to at most a quarter of an hour.
    """

    failures: int
    seconds: float

    @property
    def tripped(self) -> dict[str, Any]:
        """Return the expression: so many requests failed that not everybody may ask."""
        return {"$gte": [_number("failures"), self.failures]}

    def refuses(self, who: str) -> dict[str, Any]:
        """Return the expression: ``who`` may not ask now."""
        someone_else = {
            "$and": [{"$gt": [_number("probe_until"), NOW]}, {"$ne": ["$probe_by", {"$literal": who}]}]
        }
        return {"$and": [self.tripped, {"$or": [{"$gt": [_number("open_until"), NOW]}, someone_else]}]}

    def after_failure(self) -> list[dict[str, Any]]:
        """Return the stages that note a failed request.

        Requests that were under way when it opened fail after that: they do not make it stay open longer.
        """
        opens = {"$and": [self.tripped, {"$lte": [_number("open_until"), NOW]}]}
        until = {"$cond": [opens, {"$add": [NOW, self._rest()]}, _number("open_until")]}
        return [
            {"$set": {"failures": {"$add": [_number("failures"), 1]}, "probe_until": 0, "probe_by": None}},
            {
                "$set": {
                    "openings": {"$add": [_number("openings"), {"$cond": [opens, 1, 0]}]},
                    "open_until": until,
                }
            },
        ]

    def _rest(self) -> dict[str, Any]:
        doublings = {"$min": [_number("openings"), _MOST_DOUBLINGS]}
        doubled = {"$multiply": [self.seconds * 1000, {"$pow": [2, doublings]}]}
        return {"$min": [doubled, max(LONGEST_REST, self.seconds) * 1000]}


def after_success() -> list[dict[str, Any]]:
    """Return the stages that note that the partner is well."""
    return [{"$set": {"failures": 0, "openings": 0, "open_until": 0, "probe_until": 0, "probe_by": None}}]


def seconds_closed(state: dict[str, Any]) -> float:
    """Return for how long the one who was refused had better wait, as the server's answer says."""
    until = max(state.get("open_until") or 0, state.get("probe_until") or 0)
    return max(float(until - state["asked_at"]) / 1000, 1.0)


def _number(name: str) -> dict[str, Any]:
    return {"$ifNull": [f"${name}", 0]}

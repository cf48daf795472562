"""The fault rules a sandbox server has in force: which of them strikes a request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

DELAY = "delay"


class Rule(Protocol):
    """One rule: it counts the requests it matches."""

    @property
    def kind(self) -> str:
        """Return what it does; ``delay`` goes together with another rule."""

    @property
    def seconds(self) -> float:
        """Return how long a delay is."""

    def takes(self, target: str) -> bool:
        """Count the request and return whether it is hit."""

    def shown(self) -> dict[str, Any]:
        """Return the rule with its hits."""


AnyRule = TypeVar("AnyRule", bound=Rule)


class FaultList(Generic[AnyRule]):
    """Rules in the order they came."""

    def __init__(self) -> None:
        self._rules: list[AnyRule] = []

    def __bool__(self) -> bool:
        """Return whether there is any rule."""
        return bool(self._rules)

    def add(self, rules: Sequence[AnyRule]) -> None:
        """Add rules after those that are there."""
        self._rules.extend(rules)

    def clear(self) -> None:
        """Drop all rules."""
        self._rules.clear()

    def shown(self) -> list[dict[str, Any]]:
        """Return all rules with their hits."""
        return [rule.shown() for rule in self._rules]

    def strike(self, target: str) -> tuple[float, AnyRule | None]:
        """Return the seconds to wait first and the rule that hits the request, if any.

        Of several rules that could, the first hits and the later ones are not used up; a delay goes
        together with another rule.
        """
        delay, hit = 0.0, None
        for rule in self._rules:
            if hit is not None and rule.kind != DELAY:
                continue
            if rule.takes(target):
                if rule.kind == DELAY:
                    delay += rule.seconds
                else:
                    hit = rule
        return delay, hit

"""Runs the traps on a connector and tells the verdicts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from include.connectors.discovery import CONNECTORS
from include.errors import ConfigurationError, IntegrationError
from include.sandbox.contract.bench import (
    Bench,
    NotApplicableError,
    TrapSprungError,
    credential,
    opened,
    scripts_of,
)
from include.sandbox.contract.nested_traps import NESTED_TRAPS
from include.sandbox.contract.reading_traps import READING_TRAPS
from include.sandbox.contract.record_traps import RECORD_TRAPS
from include.sandbox.contract.server import ScriptedPartner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

Outcome = Literal["ok", "failed", "not applicable"]
TRAPS: Mapping[str, Callable[[Bench], None]] = {
    trap.__name__: trap for trap in (*RECORD_TRAPS, *READING_TRAPS, *NESTED_TRAPS)
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one trap.

    Attributes:
        trap: Its name.
        outcome: Whether the connector kept out of it.
        reason: Why it failed or does not apply, by resource where they differ; where it is ok, for which
            resource it does not apply and why.
    """

    trap: str
    outcome: Outcome
    reason: str = ""


def spring(name: str, trap: str | None = None, folder: Path = CONNECTORS) -> Iterator[Verdict]:
    """Yield the verdict of each trap, or of one, on a connector; asks nobody but a partner made up here.

    Raises:
        ConfigurationError: No such connector or trap, or its manifest is not valid.
    """
    if trap is not None and trap not in TRAPS:
        raise ConfigurationError(f"no trap {trap!r}; there are {', '.join(TRAPS)}")
    connector = opened(name, folder, "http://127.0.0.1:9", [])
    scripts = scripts_of(connector, name, folder)
    with ScriptedPartner(connector, scripts, credential()) as partner:
        benches = [
            Bench(name, folder, resource, scripts.get(resource), partner)
            for resource in connector.manifest.resource_names
        ]
        for one in TRAPS if trap is None else (trap,):
            yield _verdict(one, benches)


def _verdict(trap: str, benches: list[Bench]) -> Verdict:
    found = [(bench.resource, *_sprung(trap, bench)) for bench in benches]
    worst: Outcome = "not applicable"
    for outcome in ("ok", "failed"):
        if any(got == outcome for _, got, _ in found):
            worst = outcome
    if worst == "ok":
        spared = [f"not for {resource}: {why}" for resource, got, why in found if got == "not applicable"]
        return Verdict(trap, worst, "; ".join(spared))
    told = [(resource, why) for resource, got, why in found if got == worst and why]
    reasons = dict.fromkeys(why for _, why in told)
    if len(reasons) == 1 and len(told) == len(found):
        return Verdict(trap, worst, next(iter(reasons)))
    return Verdict(trap, worst, "; ".join(f"{resource}: {why}" for resource, why in told))


def _sprung(trap: str, bench: Bench) -> tuple[Outcome, str]:
    try:
        TRAPS[trap](bench)
    except NotApplicableError as error:
        return "not applicable", str(error)
    except TrapSprungError as error:
        return "failed", str(error)
    except IntegrationError as error:
        return "failed", f"ended with {type(error).__name__}: {error}"
    finally:
        bench.partner.behave()
    return "ok", ""

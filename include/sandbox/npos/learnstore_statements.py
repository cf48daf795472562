"""The statements of one assignment's life, as an xAPI 1.0.3 learning record store keeps them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from include.sandbox.npos.world import FINAL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from include.sandbox.npos.learnstore import Learnstore
    from include.sandbox.npos.world import Learning

ADL = "http://adlnet.gov/expapi/verbs/"
PROGRESS = "https://w3id.org/xapi/cmi5/result/extensions/progress"
VERBS = {
    "completed": f"{ADL}passed",
    "failed": f"{ADL}failed",
    "withdrawn": "https://w3id.org/xapi/adl/verbs/abandoned",
    "on_hold": f"{ADL}suspended",
    "in_progress": f"{ADL}progressed",
}


def statements(store: Learnstore, learning: Learning) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield what was stored of an assignment: one statement a step, with its stored time in milliseconds.

    Nothing is known of a learner before the enrolment: who only asked has no registration.
    """
    if learning.enrolled_at is None:
        return
    yield _statement(store, learning, f"{ADL}registered", learning.enrolled_at, None)
    if learning.started_at is None:
        return
    yield _statement(store, learning, f"{ADL}initialized", learning.started_at, None)
    if learning.modified > learning.started_at and learning.state in VERBS:
        yield _statement(store, learning, VERBS[learning.state], learning.modified, _result(learning))


def _result(learning: Learning) -> dict[str, Any]:
    result: dict[str, Any] = {"extensions": {PROGRESS: learning.percent}}
    if learning.state in FINAL:
        result["success"] = learning.state == "completed"
    if learning.score is not None:
        scaled = round(learning.score / 100, 2)
        result["score"] = {"raw": learning.score, "min": 0, "max": 100, "scaled": scaled}
    return result


def _statement(
    store: Learnstore, learning: Learning, verb: str, moment: int, result: dict[str, Any] | None
) -> tuple[int, dict[str, Any]]:
    """Return one statement; it is stored two minutes after it happened."""
    stored = moment + 2
    record: dict[str, Any] = {
        "id": str(UUID(hex=store.world.token("statement", learning.index, verb, moment, size=16))),
        "actor": {
            "objectType": "Agent",
            "account": {
                "homePage": "https://learnstore.example",
                "name": f"ls-{store.world.token('person', learning.person)}",
            },
        },
        "verb": {"id": verb, "display": {"en-GB": verb.rpartition("/")[2]}},
        "object": {"objectType": "Activity", "id": f"https://learnstore.example/courses/{learning.offering}"},
        "context": {"registration": store.registration(learning.index), "platform": "Learnstore"},
        "timestamp": store.iso(moment),
        "stored": store.iso(stored),
        "version": "1.0.3",
    }
    if result is not None:
        record["result"] = result
    return store.stamp(stored), record

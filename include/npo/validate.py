"""Validate: landed records become valid, or go to quarantine with the reasons."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from jmespath.exceptions import JMESPathError

from include.connectors.expressions import getter
from include.quality.gate import run_suite
from include.quality.quarantine import Quarantined, set_aside
from include.storage.documents import RawState, load_json
from include.storage.raw import PendingRecord, move_state, pending_batches, quarantine_raw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pandas as pd
    from pymongo.client_session import ClientSession

    from include.connectors.protocol import Resource
    from include.npo.context import RunContext, RunRef
    from include.quality.gate import GateResult
    from include.storage.mongo import Write

    Probe = Callable[[Any], dict[str, Any]]

STAGE = "validate"
BATCHES_AT_ONCE = (
    4  # only a state is written for each record, and a suite costs the same for four times as many
)

# What the platform cannot do without; the suites 'npo_offerings' and 'npo_assignments' look at these.
REQUIRED: dict[str, tuple[str, ...]] = {
    "offerings": ("name",),
    "assignments": ("status", "offering_external_id"),
}


def validate(ctx: RunContext, ref: RunRef) -> RunRef:
    """Validate everything landed and not yet looked at, whichever run landed it.

    Raises:
        DataQualityError: A batch expectation failed; the batch stays landed.
        TransientError: The store did not answer.
    """
    counts = {"valid": 0, "quarantined": 0}
    for resource in ctx.resources:
        probe = required_values(ctx, resource)
        for valid, quarantined in ctx.store.commit_each(
            ctx.npo.npo_id, partial(_plans, ctx, resource, probe)
        ):
            counts["valid"] += valid
            counts["quarantined"] += quarantined
            ctx.progress(f"{resource}: {counts['valid']} valid, {counts['quarantined']} quarantined so far")
    return ref.counted(STAGE, counts)


def _plans(ctx: RunContext, resource: Resource, probe: Probe) -> Iterator[tuple[tuple[int, int], Write]]:
    size = ctx.settings.batch_size * BATCHES_AT_ONCE
    for batch in pending_batches(ctx.store, ctx.npo.npo_id, resource, RawState.LANDED, size=size):
        yield _plan(ctx, resource, probe, batch)


def _plan(
    ctx: RunContext, resource: Resource, probe: Probe, batch: list[PendingRecord]
) -> tuple[tuple[int, int], Write]:
    """Look at a batch; return how many are valid and quarantined, and the write that says so."""
    result = run_suite(f"npo_{resource}", row_frame(ctx, batch, probe))
    result.require_batch(subject=f"{ctx.npo.npo_id} {resource}", stage=STAGE)
    bad = _refused(ctx, resource, batch, result)
    now = ctx.now()

    def write(session: ClientSession, _order: int) -> None:
        quarantine_raw(ctx.store, session, {batch[at].key: why for at, why in result.row_failures.items()})
        move_state(ctx.store, session, batch, now=RawState.LANDED, to=RawState.VALID)
        set_aside(ctx.store, session, bad, at=now)

    return (len(batch) - len(bad), len(bad)), write


def required_values(ctx: RunContext, resource: Resource) -> Probe:
    """Return a function that reads the required fields' source values, uncast, from a record."""
    fields = ctx.connector.manifest.resource(resource).mapping.fields
    readers: dict[str, Callable[[Any], Any]] = {}
    for name in REQUIRED[resource]:
        spec = fields.get(name)
        if spec is None or spec.path is None or spec.default is not None:
            readers[name] = lambda _record: "given"  # a constant, a concatenation or a default fills it
        else:
            readers[name] = _careful(getter(spec.path))
    return lambda record: {name: read(record) for name, read in readers.items()}


def _careful(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a reader that finds nothing where an expression meets a type it was not made for."""

    def found(record: Any) -> Any:
        try:
            return read(record)
        except (JMESPathError, TypeError, ValueError, AttributeError, LookupError):
            return None

    return found


def row_frame(ctx: RunContext, batch: list[PendingRecord], probe: Probe) -> pd.DataFrame:
    """Return what the row suite looks at: a row for each record, ``probe``'s values only as given or not."""
    import pandas as pd

    now = ctx.now()
    # A deleted record need not hold more than its id.
    gone = dict.fromkeys(probe({}), True)
    probed = [gone if record.deleted else probe(load_json(record.payload)) for record in batch]
    columns: dict[str, Any] = {
        "external_id": [record.external_id for record in batch],
        "cursor_ahead_seconds": pd.Series(
            [(record.cursor - now).total_seconds() if record.cursor else None for record in batch],
            dtype="float64",
        ),
    }
    for name in probed[0]:
        columns[name] = pd.Series([_blank_is_none(values[name]) for values in probed], dtype="object")
    return pd.DataFrame(columns)


def _blank_is_none(value: Any) -> Any:
    return None if value is None or (isinstance(value, str) and not value.strip()) else True


def _refused(
    ctx: RunContext, resource: Resource, batch: list[PendingRecord], result: GateResult
) -> list[Quarantined]:
    return [
        Quarantined(
            ctx.npo.npo_id,
            resource,
            batch[at].external_id,
            STAGE,
            reasons,
            batch[at].payload,
            batch[at].raw_ref,
        )
        for at, reasons in result.row_failures.items()
    ]

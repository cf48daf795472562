"""``spotlight npo wake``: an NPO that is left alone may be asked again."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from include.cli.npo_row import NpoId, open_registry, output_kept, row_of
from include.cli.output import AsJson, emit

if TYPE_CHECKING:
    from include.connectors.shared_budget import Rest


def wake(
    npo_id: NpoId,
    as_json: AsJson = False,  # noqa: ARG001, FBT002 - read by its callback
) -> None:
    """End the rest an NPO was given: what it told by Retry-After, and the breaker after failures.

    For a partner that is well again, or that told a time it did not mean. The next request goes out at once;
    if it fails, all begins afresh.
    """
    from include.connectors.shared_budget import wake as wake_up
    from include.npo.sample import open_store

    registry = open_registry()
    row_of(registry, npo_id)
    with output_kept(), open_store(registry.settings) as store:
        ended = wake_up(store, npo_id)
    emit({"npo_id": npo_id, **asdict(ended)}, f"{npo_id}: {_told(ended)}")


def _told(ended: Rest) -> str:
    found = [
        f"told to be left alone for another {ended.told:.0f} s" if ended.told else "",
        f"breaker open for another {ended.closed:.0f} s" if ended.closed else "",
        f"{ended.failures} failures in a row" if ended.failures else "",
    ]
    told = "; ".join(filter(None, found))
    return f"may be asked again (was: {told})" if told else "nothing kept it from being asked"

"""``spotlight prepare``: make what the pipelines expect to find."""

from __future__ import annotations

from include.cli.environment import use_local_stack
from include.cli.output import AsJson, emit
from include.settings import get_settings


def command(
    as_json: AsJson = False,  # noqa: ARG001, FBT002 - read by its callback
) -> None:
    """Create registry schema, store indexes, landing bucket and topics where they are missing.

    Run it once for an environment and after every upgrade; running it again is harmless.
    """
    from include.prepare import prepare

    use_local_stack()
    made = prepare(get_settings())
    applied = ", ".join(made["migrations"]) or "none"
    emit(made, f"migrations applied: {applied}\ntopics: {', '.join(made['topics'])}")

"""Source records beside the platform records they become; nothing is kept."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import orjson

from include.npo.masking import masked, platform_paths, shown_paths
from include.npo.sample import first_page, look_at, sample_context

if TYPE_CHECKING:
    from collections.abc import Iterator

    from include.connectors.protocol import Resource
    from include.npo.context import RunContext
    from include.npo.sample import Sampled
    from include.registry.models import Credential, NpoConfig
    from include.settings import Settings
    from include.storage.mongo import IntegrationStore


@dataclass(frozen=True, slots=True)
class Pair:
    """A source record and what becomes of it.

    Attributes:
        source: The partner's record, JSON.
        platform: The platform's record, JSON; ``None`` where it cannot be made.
        problems: Why not.
    """

    resource: str
    source: Any
    platform: dict[str, Any] | None
    problems: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON-able form."""
        return asdict(self)


def preview(
    npo: NpoConfig,
    credential: Credential,
    settings: Settings,
    *,
    store: IntegrationStore | None = None,
    resource: Resource | None = None,
    rows: int = 10,
    show_personal: bool = False,
) -> Iterator[Pair]:
    """Yield the first records of each resource beside what they become.

    Args:
        npo: The row, of any status.
        credential: What its ``credential_ref`` resolves to.
        settings: Limits.
        store: Holds the budget that runs and enrolments draw on too; ``None`` where it does not answer.
        resource: Only this one.
        rows: Records of each, from its first page.
        show_personal: Show what is, or may be, personal too.

    Raises:
        IntegrationError: As the connector's ``pages`` says.
    """
    ctx = sample_context(npo, credential, settings, store)
    for name in (resource,) if resource else ctx.resources:
        page = first_page(ctx.connector, name)
        for sampled in look_at(ctx, name, page, limit=rows) if page else ():
            yield _pair(ctx, name, sampled, show_personal=show_personal)


def _pair(ctx: RunContext, resource: Resource, sampled: Sampled, *, show_personal: bool) -> Pair:
    platform = None
    if sampled.entity is not None:
        whole = sampled.entity.content | {"source": sampled.entity.source}
        platform = orjson.loads(orjson.dumps(whole, option=orjson.OPT_UTC_Z))
    problems = tuple(f"{reason.code}: {reason.message}" for reason in sampled.problems)
    if show_personal:
        return Pair(resource, sampled.record, platform, problems)
    shown = shown_paths(resource, ctx.connector.manifest.resource(resource))
    hidden = masked(platform, platform_paths(resource, platform)) if platform is not None else None
    return Pair(resource, masked(sampled.record, shown), hidden, problems)

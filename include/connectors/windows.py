"""A window as the partner's request parameters."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from include.connectors.manifest import Incremental
    from include.connectors.protocol import Window


def window_params(incremental: Incremental | None, window: Window) -> dict[str, str]:
    """Return the parameters that ask for a window; nothing where the source cannot filter.

    ``since`` is asked for inclusively and the reader looks back behind its checkpoint, so several
    records of one time stamp at the edge of a page or of a run are never lost, only read again.
    """
    params: dict[str, str] = {}
    if incremental is None:
        return params
    together = incremental.end_param is not None and incremental.end_param == incremental.param
    since = window.since
    if since is None and window.until is not None and together:
        # The end is a continuation of the beginning: there must be one.
        since = datetime.fromtimestamp(0, UTC)
    if since is not None and incremental.param:
        params[incremental.param] = _written(since, incremental.format, incremental.template)
    if window.until is not None and incremental.end_param:
        end = _written(window.until, incremental.format, incremental.end_template)
        params[incremental.end_param] = params.get(incremental.end_param, "") + end if together else end
    return params


def _written(moment: datetime, form: str, template: str) -> str:
    moment = moment.astimezone(UTC)
    if form == "iso8601":
        text = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    elif form == "epoch_seconds":
        text = str(int(moment.timestamp()))
    elif form == "epoch_millis":
        text = str(int(moment.timestamp() * 1000))
    else:
        text = moment.strftime(form)
    return template.replace("{value}", text)

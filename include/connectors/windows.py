"""What lies in a window: as the partner's request parameters, and as our own decision."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

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


def lies_inside(window: Window, changed: datetime | None) -> bool:
    """Return whether a record that changed at ``changed`` belongs to a window that is applied by us.

    Extract and landing both ask this, so that what counts as new is what is landed. The lower bound is
    inclusive: records that share the checkpoint's time are read again rather than lost. A record that does
    not say when it changed is always inside.
    """
    if changed is None:
        return True
    return (window.since is None or window.since <= changed) and (
        window.until is None or changed < window.until
    )


def is_past(incremental: Incremental | None, window: Window, changes: Iterable[datetime | None]) -> bool:
    """Return whether a page shows that every later one lies outside the window.

    Only where the manifest says in which order records come: newest first, a page whose times are all before
    the window; oldest first, one whose times are all behind its end. A record without a time says nothing,
    and so does a page of nothing else.
    """
    if incremental is None or incremental.order == "none":
        return False
    newest_first = incremental.order == "descending"
    edge = window.since if newest_first else window.until
    if edge is None:  # the usual reading has no end: its records' times need not be read for this
        return False
    known = [changed for changed in changes if changed is not None]
    return bool(known) and all((changed < edge) if newest_first else (changed >= edge) for changed in known)


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

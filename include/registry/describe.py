"""The page of a DAG, made from its row."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from include.registry.models import NpoConfig

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+!|~<>-])")

_PAGE = """\
# {name}

{description}

| | |
|---|---|
| NPO | `{npo_id}` |
| Status | {status} |
| Connector | `{connector}` |
| API | `{base_url}` |
| Hosts | {hosts} |
| Credential | {credential} |
| Budget | {rate} requests a minute, {concurrency} at once |
| Schedule | `{schedule}` ({timezone}) |
| Row version | {version} |

This DAG is generated from the row `{npo_id}` of `integration.npo`: change the row, not the DAG.
A task reads its row again when it starts, so a change takes effect with the next task.
To stop it, set the row's status to *paused*.
"""


def dag_page(npo: NpoConfig) -> str:
    """Return the row as Markdown: same row, same text. No e-mail address and no secret is in it.

    Text of the row is escaped: it comes from partners' own words and is shown in a browser.
    """
    return _PAGE.format(
        name=_plain(npo.name),
        description=_plain(npo.description or "No description."),
        npo_id=npo.npo_id,
        status=npo.status,
        connector=npo.connector,
        base_url=npo.base_url.replace("`", ""),
        hosts=", ".join(f"`{host}`" for host in npo.allowed_hosts),
        credential=f"connection {_plain(npo.credential_ref)}" if npo.credential_ref else "none",
        rate=npo.requests_per_minute,
        concurrency=npo.max_concurrency,
        schedule=npo.schedule.replace("|", ""),
        timezone=npo.timezone,
        version=npo.config_version,
    )


def owner(npo: NpoConfig) -> str:
    """Return the DAG's owner: the organisation, never a person. Airflow splits owners at commas."""
    return " ".join(npo.name.replace(",", " ").split())


def _plain(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", " ".join(text.split()))

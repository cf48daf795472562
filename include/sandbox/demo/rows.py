"""The three sandbox partners as rows of the config table, put there by plain SQL as anyone would."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psycopg

if TYPE_CHECKING:
    from collections.abc import Mapping

PARTNERS: Mapping[str, str] = {
    "hopeworks": "Hopeworks",
    "codebridge": "Codebridge Academy",
    "mentornet": "Mentornet",
}
SCHEDULE = "*/5 * * * *"

# A partner's address changes when its port was taken; what somebody edited in a row stays.
_UPSERT = """
insert into integration.npo
    (npo_id, name, description, owner_email, status, connector, base_url, allowed_hosts, credential_ref,
     schedule, start_date)
values
    (%(npo_id)s, %(name)s, 'A sandbox partner of the local stack', %(owner)s, 'active', %(npo_id)s,
     %(base_url)s, %(hosts)s, %(credential)s, %(schedule)s, date '2026-01-01')
on conflict (npo_id) do update set base_url = excluded.base_url, allowed_hosts = excluded.allowed_hosts
where (npo.base_url, npo.allowed_hosts) is distinct from (excluded.base_url, excluded.allowed_hosts)
"""


def partner_urls(stack: Mapping[str, str]) -> dict[str, str]:
    """Return each sandbox partner's base URL out of the stack's environment."""
    return {npo_id: stack[f"SPOTLIGHT_SANDBOX_{npo_id.upper()}_URL"] for npo_id in PARTNERS}


def insert_partners(dsn: str, urls: Mapping[str, str]) -> None:
    """Insert the partners' rows, or correct the addresses of those that are there.

    Args:
        dsn: libpq URI of the registry's database.
        urls: Base URL by npo_id.
    """
    with psycopg.connect(dsn, connect_timeout=10) as connection:
        for npo_id, url in urls.items():
            connection.execute(
                _UPSERT,
                {
                    "npo_id": npo_id,
                    "name": PARTNERS.get(npo_id, npo_id),
                    "owner": f"integrations+{npo_id}@spotlight.example",
                    "base_url": url,
                    "hosts": [urlsplit(url).netloc],
                    "credential": f"{npo_id}_api",
                    "schedule": SCHEDULE,
                },
            )

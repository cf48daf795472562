"""A plain reader of the three APIs, the simplest that is right: what connectors are compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import requests

if TYPE_CHECKING:
    from collections.abc import Iterator

CREDENTIALS = {
    "hopeworks": ("hopeworks-client", "hopeworks-sandbox-secret"),
    "codebridge": ("", "codebridge-sandbox-token"),
    "mentornet": ("", "mentornet-sandbox-key"),
}
ROSTERING = "/ims/oneroster/rostering/v1p2"
PATHS = {
    ("hopeworks", "offerings"): "/services",
    ("hopeworks", "assignments"): "/learner-progress",
    ("codebridge", "offerings"): f"{ROSTERING}/classes",
    ("codebridge", "assignments"): f"{ROSTERING}/enrollments",
    ("mentornet", "offerings"): "/api/v1/list_programs",
    ("mentornet", "assignments"): "/api/v1/list_matches",
}
LISTS = {PATHS["codebridge", "offerings"]: "classes", PATHS["codebridge", "assignments"]: "enrollments"}
IDS = {"hopeworks": "id", "codebridge": "sourcedId"}


def hopeworks_token(url: str) -> str:
    """Fetch an access token."""
    client_id, client_secret = CREDENTIALS["hopeworks"]
    form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": client_secret}
    answer = requests.post(f"{url}/oauth/token", data=form, timeout=30)
    answer.raise_for_status()
    return str(answer.json()["access_token"])


def session_for(npo: str, url: str) -> requests.Session:
    """Return a session that carries the partner's credential."""
    session = requests.Session()
    if npo == "hopeworks":
        session.headers["Authorization"] = f"Bearer {hopeworks_token(url)}"
    elif npo == "codebridge":
        session.headers["Authorization"] = f"Bearer {CREDENTIALS[npo][1]}"
    else:
        session.params = {"apikey": CREDENTIALS[npo][1]}
    return session


def pages(
    npo: str, url: str, resource: str, *, size: int, since: str | None = None
) -> Iterator[list[dict[str, Any]]]:
    """Yield the records page by page.

    Raises:
        requests.HTTPError: The partner refused.
    """
    with session_for(npo, url) as session:
        target = url + PATHS[npo, resource]
        if npo == "hopeworks":
            yield from _numbered(session, target, size, since)
        elif npo == "codebridge":
            yield from _linked(session, target, LISTS[PATHS[npo, resource]], size, since)
        else:
            yield from _by_cursor(session, target, size)


def read(
    npo: str, url: str, resource: str, *, size: int = 50, since: str | None = None
) -> list[dict[str, Any]]:
    """Return all records of one resource."""
    return [record for page in pages(npo, url, resource, size=size, since=since) for record in page]


def external_id(npo: str, record: dict[str, Any]) -> str | None:
    """Return the record's external id as text, ``None`` if it has none."""
    name = IDS.get(npo) or ("match_no" if "match_no" in record else "prog_id")
    value = record.get(name)
    return None if value in {None, ""} else str(value)


def _get(session: requests.Session, url: str, params: dict[str, str]) -> requests.Response:
    answer = session.get(url, params=params, timeout=60)
    answer.raise_for_status()
    return answer


def _numbered(session: requests.Session, url: str, size: int, since: str | None) -> Iterator[list[Any]]:
    params = {"page": "1", "per_page": str(size)} | ({"modified_after": since} if since else {})
    while True:
        body = _get(session, url, params).json()
        yield body["contents"]
        if body["last_page"]:
            return
        params["page"] = str(int(params["page"]) + 1)


def _linked(
    session: requests.Session, url: str, name: str, size: int, since: str | None
) -> Iterator[list[Any]]:
    params = {"limit": str(size)} | ({"filter": f"dateLastModified>='{since}'"} if since else {})
    while True:
        answer = _get(session, url, params)
        yield answer.json()[name]
        if "next" not in answer.links:
            return
        url, params = answer.links["next"]["url"], {}


def _by_cursor(session: requests.Session, url: str, size: int) -> Iterator[list[Any]]:
    params = {"count": str(size)}
    while True:
        body = _get(session, url, params).json()
        (records,) = body["result"].values()
        yield records
        if not body["next_cursor"]:
            return
        params["cursor"] = body["next_cursor"]

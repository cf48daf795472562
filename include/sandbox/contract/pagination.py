"""The partner's side of paging: which records a request asks for, and how an answer names the next page."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import orjson

from include.connectors.expressions import getter
from include.sandbox.contract.bodies import set_at

if TYPE_CHECKING:
    from include.connectors.manifest_client import Paginator

PAGE = "contract_page"
PAGE_SIZE = 3


@dataclass(frozen=True)
class Asked:
    """One request for records, taken apart.

    Attributes:
        url: Scheme and host that were asked.
        path: Below them.
        query: Last value of each parameter.
        body: The JSON body, ``None`` if there was none.
    """

    url: str
    path: str
    query: dict[str, str]
    body: Any = None

    def link(self, number: int) -> str:
        """Return the address of another page of the same list."""
        return f"{self.url}{self.path}?{urlencode({**self.query, PAGE: number})}"


@dataclass
class Written:
    """A page about to be answered: the value and the headers that paging is written to."""

    value: Any
    headers: dict[str, str] = field(default_factory=dict)

    def put(self, path: str | None, entry: Any) -> None:
        """Write an entry at one of the paginator's paths, if the answer is an object and has that place."""
        if path and isinstance(self.value, dict):
            set_at(self.value, path.removeprefix("$.").split("."), entry)

    def ending(self, path: str) -> Any:
        """Return how this partner says that there is no next page: as its sample does, else with null."""
        found = getter(path.removeprefix("$."))(self.value)
        return found if found in ("", False, 0) else None


def page_asked(paginator: Paginator, asked: Asked) -> int:
    """Return which page a request asks for, 0 for the first.

    Raises:
        ValueError: It asks for none.
    """
    match paginator.type:
        case "json_link" | "header_link":
            return int(asked.query.get(PAGE, "0"))
        case "header_cursor":
            return int(asked.query.get(paginator.cursor_param, "0"))
        case "cursor":
            return int(_given(asked, paginator.cursor_param, paginator.cursor_body_path, "cursor") or 0)
        case "offset":
            start = _given(asked, paginator.offset_param, paginator.offset_body_path, "offset")
            return (int(start or 0) - paginator.offset) // PAGE_SIZE
        case "page_number":
            number = _given(asked, paginator.page_param, paginator.page_body_path, "page")
            return int(number) - paginator.base_page if number is not None else 0
        case _:
            return 0


def _given(asked: Asked, param: str | None, body_path: str | None, usual: str) -> Any:
    if body_path:
        return getter(body_path)(asked.body)
    return asked.query.get(param or usual)


def write_next(paginator: Paginator, asked: Asked, page: Written, *, number: int, pages: int) -> None:
    """Write into a page what its paginator looks for: whether there is a next one, and how to ask for it."""
    more = number + 1 < pages
    match paginator.type:
        case "json_link":
            page.put(
                paginator.next_url_path,
                asked.link(number + 1) if more else page.ending(paginator.next_url_path),
            )
        case "header_link":
            if more:
                page.headers["Link"] = f'<{asked.link(number + 1)}>; rel="{paginator.links_next_key}"'
        case "header_cursor":
            if more:
                page.headers[paginator.cursor_key] = str(number + 1)
        case "cursor":
            page.put(paginator.cursor_path, str(number + 1) if more else page.ending(paginator.cursor_path))
            page.put(paginator.has_more_path, more)
        case "offset":
            page.put(paginator.total_path, pages * PAGE_SIZE)
            page.put(paginator.has_more_path, more)
        case "page_number":
            page.put(paginator.total_path, pages)
            page.put(paginator.has_more_path, more)


def point_elsewhere(paginator: Paginator, page: Written, url: str) -> bool:
    """Write ``url`` as the next page; tell whether this way of paging has links at all."""
    if paginator.type == "json_link":
        page.put(paginator.next_url_path, url)
        return True
    if paginator.type == "header_link":
        page.headers["Link"] = f'<{url}>; rel="{paginator.links_next_key}"'
        return True
    return False


def small_pages(paginator: Paginator) -> dict[str, Any]:
    """Return the words that make a partner's pages as small as this one's."""
    if paginator.type == "offset":
        return {"type": "offset", "limit": PAGE_SIZE}
    return {}


def body_of(raw: bytes) -> Any:
    """Return a request's JSON body, ``None`` if it has none."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None

"""Named queries: ``sql/queries/*.sql`` holds them, ``-- name: x`` starts one."""

from __future__ import annotations

import re
from functools import cache
from typing import LiteralString

from include.settings import PROJECT_ROOT

QUERIES = PROJECT_ROOT / "sql" / "queries"
_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def query(name: str, *, file: str = "npo") -> LiteralString:
    """Return the text of one named query, without its trailing semicolon.

    Raises:
        KeyError: No such query in the file.
    """
    return _queries(file)[name]


@cache
def _queries(file: str) -> dict[str, str]:
    text = (QUERIES / f"{file}.sql").read_text(encoding="utf-8")
    _, *parts = _NAME.split(text)
    return {name: body.strip().rstrip(";") for name, body in zip(parts[::2], parts[1::2], strict=True)}

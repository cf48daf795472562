"""Paths into partner records: JMESPath, with a short cut for plain ``a`` and ``a.b`` paths."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

import jmespath
from jmespath.exceptions import JMESPathError
from pydantic import AfterValidator

if TYPE_CHECKING:
    from collections.abc import Callable

# What a compiled expression may raise on a value it was not made for: jmespath's own, and what its
# functions let through (``ceil`` of infinity is an OverflowError).
WRONG_TYPE: tuple[type[Exception], ...] = (
    JMESPathError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
)
_NO_EXPRESSION: tuple[type[Exception], ...] = (*WRONG_TYPE, RecursionError)
PLAIN_PATH = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$")


def check_expression(text: str) -> str:
    """Return ``text`` if it is a JMESPath expression.

    Raises:
        ValueError: It does not compile.
    """
    try:
        jmespath.compile(text)
    except _NO_EXPRESSION as error:  # its lexer lets through more than its own errors
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"expected a JMESPath expression, got {text!r} ({reason})") from error
    return text


def check_selector(text: str) -> str:
    """Return a data selector as JMESPath; dlt's ``$`` and ``$.a.b`` mean the whole answer and a path in it.

    Raises:
        ValueError: It does not compile.
    """
    if text == "$":
        return "@"
    return check_expression(text.removeprefix("$."))


Expression = Annotated[str, AfterValidator(check_expression)]
Selector = Annotated[str, AfterValidator(check_selector)]


def getter(expression: str) -> Callable[[Any], Any]:
    """Return a function that reads ``expression`` from a record; what is not there is ``None``.

    A plain path is walked by hand: ``jmespath.search`` costs about ten times as much, and a
    mapping reads fifteen paths of every record.
    """
    if not PLAIN_PATH.match(expression):
        search: Callable[[Any], Any] = jmespath.compile(expression).search
        return search
    first, *rest = expression.split(".")
    if not rest:
        return lambda record: record.get(first) if isinstance(record, dict) else None

    steps = (first, *rest)

    def walk(record: Any) -> Any:
        for step in steps:
            if not isinstance(record, dict):
                return None
            record = record.get(step)
        return record

    return walk

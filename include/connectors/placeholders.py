"""``{credential.…}`` placeholders: the only way a secret may be named in a manifest."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

from pydantic import AfterValidator

from include.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from include.registry.models import Credential

PLACEHOLDER = re.compile(r"\{credential\.(login|password|extra\.[A-Za-z0-9_]+)\}")
_PARENT = re.compile(r"\{resources\.([A-Za-z0-9_]+)\.([A-Za-z0-9_]+)\}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_LONGEST_VALUE = 255
_ANY = re.compile(r"\{\s*credential\b[^}]*\}?")
_FORMS = "{credential.login}, {credential.password} or {credential.extra.<key>}"


class CredentialError(ConfigurationError):
    """The credential lacks a part, holds one that cannot be sent, or the partner gives no token for it."""


def _check_secret(value: str) -> str:
    if not PLACEHOLDER.search(value):
        raise ValueError(
            f"expected a placeholder ({_FORMS}), got literal text: secrets live in the credential"
        )
    return value


Secret = Annotated[str, AfterValidator(_check_secret)]


def stray_placeholders(data: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield a problem for each placeholder that is misspelt or stands outside ``auth`` and ``headers``."""
    if isinstance(data, dict):
        for key, value in data.items():
            yield from stray_placeholders(value, (*path, str(key)))
    elif isinstance(data, (list, tuple)):
        for index, value in enumerate(data):
            yield from stray_placeholders(value, (*path, str(index)))
    elif isinstance(data, str):
        for found in _ANY.findall(data):
            where = ".".join(path)
            if not PLACEHOLDER.fullmatch(found):
                yield f"{where}: expected {_FORMS}, got {found!r}"
            elif not {"auth", "headers"} & set(path[:-1]):
                yield f"{where}: expected no credential outside auth and headers, got {found!r}"


def parent_fields(text: str) -> list[tuple[str, str]]:
    """Return the (resource, name) of each ``{resources.<resource>.<name>}`` in an endpoint's text."""
    return _PARENT.findall(text)


def parent_value(value: Any) -> str | int:
    """Return a parent's value that may stand in an address.

    Raises:
        ValueError: Not text or a whole number, empty, too long, a control character or a step in a path:
            whoever writes the parent's record must not choose which path of the API is asked.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    text = value.strip() if isinstance(value, str) else ""
    if not text or len(text) > _LONGEST_VALUE or not text.isprintable() or set(text) == {"."}:
        raise ValueError("expected text of 1 to 255 printable characters or a whole number")
    return text


def with_parent(text: str, values: Mapping[str, str | int], *, quoted: bool) -> str:
    """Return an endpoint's text with a parent's values filled in.

    Args:
        text: Path or parameter of the endpoint.
        values: Of the parent, by name.
        quoted: For a path, where a value is one segment whatever it holds; parameters are quoted when
            the request is built.
    """

    def value(match: re.Match[str]) -> str:
        found = str(values[match[2]])
        return quote(found, safe="") if quoted else found

    return _PARENT.sub(value, text)


def holds_control_characters(text: str) -> bool:
    """Return whether a text holds what no header may: libraries quote such a header, secret and all."""
    return _CONTROL.search(text) is not None


def resolve(text: str, credential: Credential) -> str:
    """Return ``text`` with its placeholders replaced.

    Raises:
        CredentialError: The credential lacks a part that is named, or that part holds a control character,
            such as the line end that came along when it was pasted.
    """

    def value(match: re.Match[str]) -> str:
        part = match[1]
        found = (
            credential.extra.get(part.removeprefix("extra."))
            if part.startswith("extra.")
            else getattr(credential, part)
        )
        if not found:
            raise CredentialError(
                f"the manifest needs {match[0]} and the credential has no such part; complete the "
                "connection that credential_ref names"
            )
        if holds_control_characters(str(found)):
            raise CredentialError(
                f"{match[0]} holds a control character, such as a line end at its end, and cannot be sent; "
                "set it anew in the connection that credential_ref names"
            )
        return str(found)

    return PLACEHOLDER.sub(value, text)

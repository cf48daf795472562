"""The manifest's ``nested`` words: a resource that is read once for each record of another."""

from collections.abc import Iterable, Mapping
from typing import Literal, Self

from pydantic import Field, model_validator

from include.connectors.expressions import Expression
from include.connectors.manifest_types import Part
from include.connectors.placeholders import parent_fields
from include.connectors.protocol import Resource


class Nested(Part):
    """Read once for each record of another resource, such as the progress of each course.

    ``endpoint.path`` and ``endpoint.params`` name a parent's value as dlt does:
    ``courses/{resources.offerings.id}/progress``.

    Attributes:
        parent: The resource that is read first.
        fields: Values of the parent by the name they are used under (``id`` above), each a JMESPath.
        include_from_parent: Which of them each record also gets, as ``_offerings_<name>``.
        cursors: ``each``: every parent has a checkpoint of its own; ``one``: the resource has one.
    """

    parent: Resource = "offerings"
    fields: dict[str, Expression] = Field(min_length=1)
    include_from_parent: tuple[str, ...] = ()
    cursors: Literal["each", "one"] = "each"

    @model_validator(mode="after")
    def _known_fields(self) -> Self:
        unknown = sorted(set(self.include_from_parent) - set(self.fields))
        if unknown:
            raise ValueError(
                f"expected include_from_parent to name some of fields ({', '.join(self.fields)}), "
                f"got {', '.join(unknown)}"
            )
        return self

    def included(self, values: Mapping[str, str | int]) -> dict[str, str | int]:
        """Return what every record of a parent with these values also gets."""
        return {f"_{self.parent}_{name}": values[name] for name in self.include_from_parent}


def check_parent_values(texts: Iterable[str], nested: Nested | None) -> None:
    """Do nothing if the endpoint's texts name the parent's values as ``nested`` declares them.

    Raises:
        ValueError: They name none, or one that is not declared, or there is no parent.
    """
    named = {found for text in texts for found in parent_fields(text)}
    if nested is None:
        if named:
            raise ValueError("expected 'nested' beside an endpoint that names {resources.…}, got none")
        return
    known = {(nested.parent, name) for name in nested.fields}
    if not named:
        raise ValueError(
            "expected endpoint.path or endpoint.params to name a value of the parent, such as "
            f"{{resources.{nested.parent}.{next(iter(nested.fields))}}}, got none"
        )
    for parent, name in sorted(named - known):
        raise ValueError(
            f"expected one of nested.fields of {nested.parent} ({', '.join(nested.fields)}) in the endpoint, "
            f"got {{resources.{parent}.{name}}}"
        )

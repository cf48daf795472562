"""The JSON Schema of the manifest, for editors: made from the model, never written by hand."""

from __future__ import annotations

import re
from inspect import getdoc
from typing import TYPE_CHECKING, Any, get_args

from pydantic.json_schema import GenerateJsonSchema

from include.connectors.manifest import Manifest
from include.connectors.manifest_client import Client
from include.connectors.manifest_types import as_field, as_tuple, as_typed

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import core_schema

_ATTRIBUTES = re.compile(r"\n\s*Attributes:\n")
_ENTRY = re.compile(r"^ {4}(\w+): (.*(?:\n {8,}.*)*)", re.MULTILINE)


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a manifest as a person writes it.

    It allows the short forms too: text for a field or a paginator, one value for a list of one. What
    only this project can check (expressions, time zones, canonical fields) it leaves to ``parse_manifest``.
    """
    schema = Manifest.model_json_schema(schema_generator=_AsWritten)
    return {"$schema": GenerateJsonSchema.schema_dialect, **schema, "title": "Spotlight NPO manifest"}


class _AsWritten(GenerateJsonSchema):
    """Adds the short forms that the models' before-validators take, and the docstrings' words."""

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> JsonSchemaValue:
        full = self.generate_inner(schema["schema"])
        function = schema["function"]["function"]
        if function is as_tuple and "items" in full:
            return {"anyOf": [full["items"], full]}
        if function is as_field:
            return {"anyOf": [{"type": "string"}, full]}
        if function is as_typed:
            return {"anyOf": [{"enum": _plain_types()}, full]}
        return full

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        found = super().model_schema(schema)
        about, attributes = _documented(schema["cls"])
        found["description"] = about
        aliases = {name: field.alias or name for name, field in schema["cls"].model_fields.items()}
        for name, text in attributes.items():
            entry = found.get("properties", {}).get(aliases.get(name, name))
            if entry is not None:
                entry["description"] = text
        return found


def _plain_types() -> list[str]:
    """Return the paginators that need no other word than their type."""
    variants = get_args(Client.model_fields["paginator"].annotation)
    return sorted(
        get_args(kind.model_fields["type"].annotation)[0]
        for kind in variants
        if not any(field.is_required() for name, field in kind.model_fields.items() if name != "type")
    )


def _documented(model: type[BaseModel]) -> tuple[str, dict[str, str]]:
    """Return a model's docstring: what it is, and what is said of each attribute."""
    about, *rest = _ATTRIBUTES.split(getdoc(model) or "")
    entries = dict(_ENTRY.findall(rest[0])) if rest else {}
    return _flowing(about), {name: _flowing(text) for name, text in entries.items()}


def _flowing(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip().replace("``", "`")

"""The manifest: an integration as data. Words are those of dlt's ``rest_api`` source where it has one."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from include.connectors.canonical_fields import Kind
from include.connectors.expressions import Expression, Selector
from include.connectors.manifest_checks import describe, require_bounded, target_problems
from include.connectors.manifest_client import Client, Paginator
from include.connectors.manifest_enrolment import Enrolment
from include.connectors.manifest_format import ResponseFormat
from include.connectors.manifest_migrations import NEWEST, VERSION, migrate
from include.connectors.manifest_nested import Nested, check_parent_values
from include.connectors.manifest_types import (
    Part,
    Pattern,
    Template,
    Texts,
    UrlPath,
    Zone,
    as_field,
    as_table,
    as_tuple,
)
from include.connectors.placeholders import stray_placeholders
from include.connectors.protocol import RESOURCES, Resource
from include.errors import ConfigurationError


class When(Part):
    """A condition on an answer: all that is given must hold."""

    json_: Annotated[Expression | None, Field(alias="json")] = None
    header: str | None = None
    equals: str | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.equals is not None and self.header is None:
            raise ValueError("expected 'header' beside 'equals'")
        return self


class ErrorRule(Part):
    """What the partner means by an answer its protocol's standard does not explain.

    Attributes:
        action: ``retry`` with back-off, ``rate_limited`` wait as told, ``ignore`` (an empty page), ``fail``.
        failure: What ``fail`` is: a passing fault, a matter of set-up, or a fault of ours.
        retry_after_header: Where the partner writes how many seconds to wait.
    """

    status: Annotated[tuple[int, ...], BeforeValidator(as_tuple)] = ()
    when: When | None = None
    action: Literal["retry", "fail", "ignore", "rate_limited"]
    failure: Literal["transient", "config", "system"] = "config"
    retry_after_header: str = "Retry-After"

    @model_validator(mode="after")
    def _conditional(self) -> Self:
        if not self.status and self.when is None:
            raise ValueError("expected 'status' or 'when', got neither: the rule would match every answer")
        return self


class Endpoint(Part):
    """One request and where its records are; a parameter that is null in a row's manifest is left out."""

    path: UrlPath
    method: Literal["GET", "POST"] = "GET"
    params: dict[str, str | int | float | bool | None] = Field(default_factory=dict)
    json_: Annotated[dict[str, Any] | None, Field(alias="json")] = None
    data_selector: Selector = "@"
    paginator: Paginator | None = None
    response: ResponseFormat = ResponseFormat()


class Incremental(Part):
    """How to ask for changes.

    Attributes:
        cursor_path: Where a record says when it last changed.
        cursor_formats: How that time is written (see ``datetime`` fields of a mapping).
        timezone: Zone of times without one.
        param: Query parameter that asks for changes at or after a time; ``None``: the source cannot filter.
        format: How the parameter writes a time: ``iso8601``, ``epoch_seconds``, ``epoch_millis`` or strftime.
        template: Text around the time, such as ``dateLastModified>='{value}'``.
        end_param: Query parameter for changes before a time; may be ``param`` itself, then
            ``end_template`` is appended to its value.
        lookback: How far behind the checkpoint to read again, for records that arrive late.
        order: In which order records come. With ``client_filter`` and ``descending`` (newest first) reading
            stops at the first page that holds nothing inside the window.
        client_filter: The source cannot filter by time: what lies outside the window is left out here.
            Records without a time are kept.
    """

    cursor_path: Expression
    cursor_formats: Texts = ("iso8601",)
    timezone: Zone = "UTC"
    param: str | None = None
    format: str = "iso8601"
    template: Template = "{value}"
    end_param: str | None = None
    end_template: Template = "{value}"
    lookback: Annotated[timedelta, Field(ge=timedelta(0))] = timedelta(minutes=5)
    order: Literal["ascending", "descending", "none"] = "none"
    client_filter: bool = False

    @model_validator(mode="after")
    def _one_filter(self) -> Self:
        if self.client_filter and self.param is not None:
            raise ValueError("expected 'param' or 'client_filter', got both: one of the two sides filters")
        return self


class OneOf(Part):
    """A condition on a record: the value at ``path`` is one of ``values`` (trimmed, case ignored)."""

    path: Expression
    values: Annotated[tuple[str | bool | int, ...], BeforeValidator(as_tuple)] = (True,)


class Deletes(Part):
    """How the source tells that a record is gone; more than ``max_share`` at once is not believed."""

    mode: Literal["none", "flag", "snapshot"] = "none"
    flag: OneOf | None = None
    max_share: Annotated[float, Field(gt=0, le=1)] = 0.2

    @model_validator(mode="after")
    def _flag_given(self) -> Self:
        if (self.mode == "flag") != (self.flag is not None):
            raise ValueError("expected 'flag' exactly when mode is 'flag'")
        return self


class FieldSpec(Part):
    """Where one canonical field comes from and how it is cast. Plain text stands for ``{path: text}``.

    Attributes:
        type: The cast; that of the canonical field when absent.
        formats: For datetimes: ``iso8601``, ``epoch_seconds``, ``epoch_millis`` or strptime, tried in order.
        timezone: Zone of times without one.
        when: The field is filled only from records for which this holds.
        values: Value table; keys are compared trimmed and without regard to case, ``"*"`` is any other.
        default: Used for a missing, null or (with a value table or enumeration) unknown value.
        nulls: Values that mean "nothing" beside null and blank text.
        scale: Factor for numbers and percentages.
        split: Separator of a list written as text.
        pattern: Regular expression searched in text; its first group is the value, no match is nothing.
        transform: Function of the connector's ``transforms.py`` applied before the cast.
        on_missing: No value: ``default`` (or nothing) or ``quarantine`` the record.
        on_unknown: A word the value table lacks: ``default`` (without one: quarantine), ``null``,
            ``quarantine``, or ``keep`` the partner's word where the field is free text.
        on_invalid: A value that cannot be cast: ``quarantine``, ``default``, or ``null``.
    """

    path: Expression | None = None
    const: Any = None
    concat: tuple[Expression, ...] = ()
    when: OneOf | None = None
    separator: str = " "
    type: Kind | None = None
    formats: Texts = ("iso8601",)
    timezone: Zone = "UTC"
    values: Annotated[dict[str, Any], BeforeValidator(as_table)] = Field(default_factory=dict)
    default: Any = None
    nulls: Texts = ()
    scale: float = 1
    split: Annotated[str, Field(min_length=1)] | None = None
    pattern: Pattern | None = None
    transform: str | None = None
    on_missing: Literal["default", "quarantine"] = "default"
    on_unknown: Literal["default", "null", "quarantine", "keep"] = "default"
    on_invalid: Literal["quarantine", "default", "null"] = "quarantine"

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.path is not None) + (self.const is not None) + bool(self.concat) != 1:
            raise ValueError("expected exactly one of 'path', 'const' and 'concat'")
        return self


class FieldMapping(Part):
    """Canonical fields of one resource; any other version transforms what is stored again."""

    version: Annotated[int, Field(ge=1)] = 1
    fields: dict[str, Annotated[FieldSpec, BeforeValidator(as_field)]] = Field(min_length=1)


class ResourceSpec(Part):
    """One kind of record of the partner."""

    endpoint: Endpoint
    nested: Nested | None = None
    primary_key: Annotated[tuple[Expression, ...], BeforeValidator(as_tuple), Field(min_length=1)]
    incremental: Incremental | None = None
    deletes: Deletes = Deletes()
    mapping: FieldMapping

    @model_validator(mode="after")
    def _full_list(self) -> Self:
        if self.deletes.mode == "snapshot" and self.filters_since:
            raise ValueError(
                "expected deletes.mode 'snapshot' only where every run reads the full list, got it beside "
                "incremental.param (use mode 'flag' or 'none', or leave param out)"
            )
        if self.deletes.mode == "snapshot" and self.reads_changes:
            raise ValueError(
                "expected deletes.mode 'snapshot' only where every run lands the full list, got it beside "
                "incremental.client_filter (leave client_filter out: what is known is not landed again)"
            )
        if self.deletes.mode == "snapshot" and self.nested and self.nested.cursors == "each":
            raise ValueError(
                "expected nested.cursors 'one' beside deletes.mode 'snapshot', got 'each': only a reading of "
                "all parents is a full list"
            )
        return self

    @model_validator(mode="after")
    def _parent_named(self) -> Self:
        texts = [self.endpoint.path, *map(str, self.endpoint.params.values())]
        check_parent_values(texts, self.nested)
        return self

    @property
    def filters_since(self) -> bool:
        """Return whether the source itself leaves out what is older than a window."""
        return self.incremental is not None and self.incremental.param is not None

    @property
    def reads_changes(self) -> bool:
        """Return whether a run takes in only what lies in its window, whoever leaves out the rest."""
        return self.incremental is not None and (self.filters_since or self.incremental.client_filter)


class Resources(Part):
    """The kinds of records the platform knows; a partner has one or both."""

    offerings: ResourceSpec | None = None
    assignments: ResourceSpec | None = None

    @model_validator(mode="after")
    def _any(self) -> Self:
        if self.offerings is None and self.assignments is None:
            raise ValueError("expected 'offerings', 'assignments' or both")
        return self

    @model_validator(mode="after")
    def _parents_there(self) -> Self:
        for name in RESOURCES:
            spec: ResourceSpec | None = getattr(self, name)
            if spec is None or spec.nested is None:
                continue
            parent: ResourceSpec | None = getattr(self, spec.nested.parent)
            if spec.nested.parent == name or parent is None or parent.nested is not None:
                raise ValueError(
                    f"expected {name}.nested.parent to be another resource of this manifest that is not "
                    f"nested itself, got {spec.nested.parent!r}"
                )
        return self


class Manifest(Part):
    """An integration as data: how to talk, what answers mean, what is read and how it is mapped.

    Attributes:
        manifest_version: Of the manifest's words; an older one is migrated when it is read.
    """

    manifest_version: Literal[2] = NEWEST
    client: Client = Client()
    errors: tuple[ErrorRule, ...] = ()
    resources: Resources
    enrolment: Enrolment | None = None

    @property
    def resource_names(self) -> tuple[Resource, ...]:
        """Return the resources this integration reads, offerings first."""
        return tuple(name for name in RESOURCES if getattr(self.resources, name) is not None)

    @property
    def reading_order(self) -> tuple[Resource, ...]:
        """Return the resources in the order they must be read in: a nested one after its parent."""
        return tuple(sorted(self.resource_names, key=lambda name: self.resource(name).nested is not None))

    def nested_in(self, parent: Resource) -> Resource | None:
        """Return the resource that is read once for each record of ``parent``, if there is one."""
        for name in self.resource_names:
            nested = self.resource(name).nested
            if nested is not None and nested.parent == parent:
                return name
        return None

    def resource(self, name: Resource) -> ResourceSpec:
        """Return one resource's section.

        Raises:
            ConfigurationError: The manifest does not have it.
        """
        spec: ResourceSpec | None = getattr(self.resources, name)
        if spec is None:
            raise ConfigurationError(f"the manifest has no resources.{name}; add it or do not ask for it")
        return spec

    def transforms(self) -> frozenset[str]:
        """Return the names of the ``transforms.py`` functions the mappings use."""
        specs = (self.resource(name) for name in self.resource_names)
        return frozenset(
            field.transform for spec in specs for field in spec.mapping.fields.values() if field.transform
        )


def parse_manifest(data: Mapping[str, Any]) -> Manifest:
    """Return the validated manifest; one of an older version is migrated first.

    Raises:
        ConfigurationError: Lists every problem, one a line: ``resources.offerings.primary_key:
            expected ..., got ...``. Nothing else is raised, whatever ``data`` is.
    """
    require_bounded(data)
    data = migrate(data)
    problems = list(stray_placeholders(data))
    manifest: Manifest | None = None
    try:
        manifest = Manifest.model_validate(data)
    except ValidationError as error:
        problems += describe(error, Manifest)
    except (ArithmeticError, LookupError, OSError, RuntimeError, TypeError) as error:
        # A check that a strange value breaks: pydantic passes on anything but a ValueError.
        problems.append(
            f"manifest: expected values that can be checked, got one that cannot ({type(error).__name__})"
        )
    else:
        for name in manifest.resource_names:
            problems += target_problems(name, manifest.resource(name).mapping.fields)
    if problems or manifest is None:
        raise ConfigurationError("the manifest is not valid:\n" + "\n".join(problems))
    return manifest


def merge(base: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` completed and overridden by ``override``, deeply; neither is changed.

    Mappings merge key by key; lists and plain values are replaced. A section whose ``type``
    changes (``auth``, ``paginator``) is replaced as a whole: the words of the old type mean nothing
    in the new one. Where one of the two says which version it is, both are brought to the newest first: a
    row written for an older version completes a connector of today.

    Raises:
        ConfigurationError: One of them is of a newer version than this release knows.
    """
    if any(data.get(VERSION, 1) != 1 for data in (base, override)):
        base, override = migrate(base), migrate(override)
    return _merged(base, override)


def _merged(base: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in override.items():
        below = merged.get(key)
        if isinstance(below, dict) and isinstance(value, dict) and _same_type(below, value):
            merged[key] = _merged(below, value)
        else:
            merged[key] = value
    return merged


def _same_type(base: Mapping[str, Any], override: Mapping[str, Any]) -> bool:
    return "type" not in override or override["type"] == base.get("type")

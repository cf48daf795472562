"""The manifest's ``enrolment`` section: how a candidate is enrolled at the partner.

Source: the domain page "NPO integration", section 6.
"""

from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from include.connectors.expressions import Expression
from include.connectors.manifest_types import Part, UrlPath, as_field

Moment = Annotated[timedelta, Field(gt=timedelta(0), le=timedelta(days=90))]


class RequestField(Part):
    """One field of the body. Plain text stands for ``{path: text}``.

    Attributes:
        path: JMESPath over ``{candidate, assignment, offering, reference}``; of ``candidate`` it sees
            only what ``request.candidate`` allows.
        const: A fixed value instead.
        required: Without a value the request is not sent, and fails with the field's name.
    """

    path: Expression | None = None
    const: Any = None
    required: bool = True

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.path is None) == (self.const is None):
            raise ValueError("expected exactly one of 'path' and 'const'")
        return self


class EnrolmentEndpoint(Part):
    """Where an enrolment is posted and how its body is written.

    ``path`` may hold ``{offering_id}`` (the partner's) and ``{reference}`` (our idempotency key).
    """

    path: UrlPath
    method: Literal["POST", "PUT"] = "POST"
    encoding: Literal["json", "form"] = "json"


class EnrolmentRequest(Part):
    """The body.

    Attributes:
        candidate: The allow-list: only these fields of the candidate leave the platform.
        fields: Body field (dotted: nested) by where its value comes from.
    """

    candidate: tuple[str, ...] = ()
    fields: dict[str, Annotated[RequestField, BeforeValidator(as_field)]] = Field(min_length=1)


class EnrolmentResponse(Part):
    """How to read an answer: expressions over its body; the first that holds of rejected, pending, accepted.

    Without any that holds, the status decides: 200 and 201 accepted, 202 pending, 409 a duplicate that is
    looked up, any other 4xx of ``rejected_statuses`` rejected, the rest an error. A 2xx whose body has
    something under ``error`` or ``errors``, or a 200 or 201 for which ``accepted`` is declared and does not
    hold, is never a yes: the outcome is unknown, and looked up.

    Attributes:
        external_id: The partner's id of the assignment.
        external_status: Its word for the state.
        reason: Why it was refused, in its own words: a code or a short text.
        rejected_statuses: Statuses that refuse this one candidate rather than our set-up.
    """

    accepted: Expression | None = None
    pending: Expression | None = None
    rejected: Expression | None = None
    external_id: Expression | None = None
    external_status: Expression | None = None
    reason: Expression | None = None
    rejected_statuses: tuple[int, ...] = (400, 410, 422)


class EnrolmentPoll(Part):
    """How a pending enrolment is asked after; ``path`` may hold ``{external_id}`` and ``{reference}``."""

    path: UrlPath
    every: Moment = timedelta(minutes=1)
    give_up_after: Moment = timedelta(days=7)


class EnrolmentLookup(Part):
    """How to find out whether an enrolment of unknown outcome arrived.

    It may deny only what it is asked for by ``{reference}``, in ``path`` or ``params``: where a page of other
    enrolments is read, ours may stand on the next one, and what is not found is never sent again.

    Attributes:
        path: May hold ``{reference}`` and ``{offering_id}``.
        params: Query; its values may hold them too.
        data_selector: Where the list of candidates for a match is; one object stands for a list of one.
        match: JMESPath over ``{record, request, reference}`` that holds for ours.
        external_id: Of the record; ``response.external_id`` when absent.
        settle: So long after it was not found it is asked for again, and sent again only if it is still
            missing: the partner may be at it, or its list lag behind.
    """

    path: UrlPath
    params: dict[str, str | int] = Field(default_factory=dict)
    data_selector: Expression = "@"
    match: Expression
    external_id: Expression | None = None
    settle: Moment = timedelta(minutes=2)

    @property
    def by_reference(self) -> bool:
        """Whether the partner is asked for this one enrolment."""
        asked = (self.path, *(str(value) for value in self.params.values()))
        return any("{reference}" in text for text in asked)


class EnrolmentWithdrawal(Part):
    """How an enrolment is taken back; ``path`` may hold ``{external_id}`` and ``{reference}``.

    Attributes:
        json_: Body with fixed values, such as ``{state: withdrawn}``.
    """

    path: UrlPath
    method: Literal["DELETE", "POST", "PUT", "PATCH"] = "DELETE"
    json_: Annotated[dict[str, Any] | None, Field(alias="json")] = None


class Enrolment(Part):
    """How a candidate is enrolled at the partner.

    Attributes:
        approval: Whose enrolments wait for a person of ours: ``never``, of ``offering``s whose
            enrolment_mode is approval, or ``always``.
        lookup: Without it an unknown outcome is posted again, which needs a partner that honours the
            idempotency header.
        poll: Needed where a partner answers "pending".
        withdraw: Absent: the partner has no such call, and a person is told.
        idempotency_header: Carries the reference; empty: none is sent.
    """

    approval: Literal["never", "offering", "always"] = "offering"
    endpoint: EnrolmentEndpoint
    request: EnrolmentRequest
    response: EnrolmentResponse = EnrolmentResponse()
    lookup: EnrolmentLookup | None = None
    poll: EnrolmentPoll | None = None
    withdraw: EnrolmentWithdrawal | None = None
    idempotency_header: str = "Idempotency-Key"

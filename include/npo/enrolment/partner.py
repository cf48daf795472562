"""The partner's side of an enrolment: post, look up, poll, withdraw; each comes to a verdict."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from include.connectors.answer import NotJsonError
from include.connectors.expressions import WRONG_TYPE, getter
from include.errors import ConfigurationError, NotYetError, RateLimitedError, TransientError
from include.npo.enrolment.verdict import (
    Kind,
    Verdict,
    by_expressions,
    external_id,
    read_answer,
    read_withdrawal,
    unjudged,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from include.connectors.answer import Answer
    from include.connectors.manifest_enrolment import Enrolment
    from include.connectors.open import Api
    from include.npo.enrolment.record import EnrolmentRecord

MOST_CANDIDATES_FOR_A_MATCH = 1_000
_UNREADABLE: tuple[type[Exception], ...] = (NotJsonError, *WRONG_TYPE)


class Partner:
    """One NPO's enrolment API during one run. Its methods may be called by several threads at once.

    Args:
        api: What signs and sends.
        enrolment: The manifest's section.
    """

    def __init__(self, api: Api, enrolment: Enrolment) -> None:
        self._api, self._enrolment = api, enrolment
        self._rules = api.manifest.errors

    def post(self, record: EnrolmentRecord, body: Mapping[str, Any], offering: str) -> Verdict:
        """Send an enrolment, once; a duplicate is looked up at once.

        Args:
            record: Marked as ``posting`` in the store already.
            body: As ``build_request`` gives it.
            offering: The partner's id of the offering.
        """
        endpoint = self._enrolment.endpoint
        headers = self._idempotency(record.reference)
        path = _filled(endpoint.path, reference=record.reference, offering_id=offering)
        written = {"data": body} if endpoint.encoding == "form" else {"json": body}
        answer = self._ask(endpoint.method, path, acts=True, headers=headers, **written)
        if isinstance(answer, Verdict):
            return answer
        if answer.method != endpoint.method:
            return self._of_redirected(record, answer)
        verdict = read_answer(self._enrolment, self._rules, answer, record.candidate)
        if verdict.kind is Kind.DUPLICATE:
            return self._of_duplicate(record, body, offering, verdict)
        return verdict

    def lookup(self, record: EnrolmentRecord, body: Mapping[str, Any], offering: str) -> Verdict:
        """Find out what the partner has of an enrolment of unknown outcome; changes nothing there."""
        spec = self._enrolment.lookup
        if spec is None:
            return Verdict(Kind.NOT_FOUND, why="the partner cannot be asked")
        names = {"reference": record.reference, "offering_id": offering}
        params = {name: _plain(value, names) for name, value in spec.params.items()}
        answer = self._ask("GET", _filled(spec.path, **names), acts=False, params=params)
        if isinstance(answer, Verdict):
            return answer
        if answer.status_code == HTTPStatus.NOT_FOUND and "{reference}" in spec.path:
            return Verdict(Kind.NOT_FOUND, why="the partner has no such enrolment (404)")
        if unread := unjudged(self._rules, answer):
            return unread
        try:
            found = getter(spec.data_selector)(answer.json())
        except _UNREADABLE:
            return Verdict(Kind.LATER, why="the look-up's answer cannot be read")
        return self._matched(record, body, found)

    def poll(self, record: EnrolmentRecord) -> Verdict:
        """Ask after a pending enrolment."""
        spec = self._enrolment.poll
        if spec is None:
            return Verdict(Kind.PENDING, why="the manifest has no enrolment.poll")
        if record.external_id is None and "{external_id}" in spec.path:
            return Verdict(Kind.PENDING, why="the partner gave no id to ask after")
        path = _filled(spec.path, reference=record.reference, external_id=record.external_id or "")
        answer = self._ask("GET", path, acts=False)
        if isinstance(answer, Verdict):
            return answer
        if answer.status_code == HTTPStatus.NOT_FOUND:
            return Verdict(Kind.LATER, why="the partner does not know the pending enrolment (404)")
        # A word that is neither yes nor no, where the manifest says what a yes looks like: not decided yet.
        verdict = read_answer(self._enrolment, self._rules, answer, record.candidate, unnamed=Kind.PENDING)
        if verdict.kind is Kind.UNKNOWN:
            return Verdict(Kind.LATER, why=verdict.why, wait=verdict.wait)
        return verdict

    def withdraw(self, record: EnrolmentRecord) -> Verdict:
        """Take an enrolment back."""
        spec = self._enrolment.withdraw
        if spec is None:
            return Verdict(Kind.TAKEN_BACK, why="the partner has no such call: a person has to tell it")
        if record.external_id is None and "{external_id}" in spec.path:
            return Verdict(Kind.TAKEN_BACK, why="the partner gave no id: a person has to tell it")
        path = _filled(spec.path, reference=record.reference, external_id=record.external_id or "")
        headers = self._idempotency(f"{record.reference}-withdraw")
        answer = self._ask(spec.method, path, acts=False, headers=headers, json=spec.json_)
        if isinstance(answer, Verdict):
            return answer
        return read_withdrawal(self._rules, answer)

    def tells_withdrawals(self, record: EnrolmentRecord) -> bool:
        """Return whether the partner has a call for taking this enrolment back."""
        spec = self._enrolment.withdraw
        return spec is not None and (record.external_id is not None or "{external_id}" not in spec.path)

    def _of_duplicate(
        self, record: EnrolmentRecord, body: Mapping[str, Any], offering: str, told: Verdict
    ) -> Verdict:
        if self._enrolment.lookup is None:
            return Verdict(Kind.ACCEPTED, why=told.why)
        found = self.lookup(record, body, offering)
        if found.kind in {Kind.ACCEPTED, Kind.PENDING, Kind.REJECTED}:
            return found
        return told

    def _matched(self, record: EnrolmentRecord, body: Mapping[str, Any], found: Any) -> Verdict:
        spec, response = self._enrolment.lookup, self._enrolment.response
        assert spec is not None  # noqa: S101 - the caller has looked
        ours = getter(spec.match)
        listed = found if isinstance(found, list) else [found]
        for each in listed[:MOST_CANDIDATES_FOR_A_MATCH]:
            try:
                if not ours({"record": each, "request": dict(body), "reference": record.reference}):
                    continue
            except WRONG_TYPE:
                continue
            known = external_id(spec.external_id or response.external_id, each)
            verdict = by_expressions(response, each, record.candidate) or Verdict(self._listed)
            return Verdict(
                verdict.kind,
                why="found at the partner",
                external_id=known or verdict.external_id,
                external_status=verdict.external_status,
                reason=verdict.reason,
            )
        if len(listed) > MOST_CANDIDATES_FOR_A_MATCH:
            why = f"not among the first {MOST_CANDIDATES_FOR_A_MATCH:,} the partner lists, and it lists more"
            return Verdict(Kind.NOT_FOUND, why=why, sure=False)
        if not spec.by_reference:
            why = "not on the page the partner was asked for; others may hold it"
            return Verdict(Kind.NOT_FOUND, why=why, sure=False)
        return Verdict(Kind.NOT_FOUND, why="the partner has no such enrolment")

    @property
    def _listed(self) -> Kind:
        """What it means that the partner lists an enrolment, in no words that the manifest names."""
        decides_later = self._enrolment.poll is not None and self._enrolment.response.accepted is not None
        return Kind.PENDING if decides_later else Kind.ACCEPTED

    def _of_redirected(self, record: EnrolmentRecord, answer: Answer) -> Verdict:
        """Return the verdict where a redirect made a GET of the post: only plain words say what it did."""
        good = HTTPStatus.OK <= answer.status_code < HTTPStatus.MULTIPLE_CHOICES
        found = by_expressions(self._enrolment.response, _json(answer), record.candidate) if good else None
        return found or Verdict(Kind.UNKNOWN, why=f"redirected, then {answer.status_code}")

    def _idempotency(self, key: str) -> dict[str, str]:
        name = self._enrolment.idempotency_header
        return {name: key} if name else {}

    def _ask(self, method: str, path: str, *, acts: bool, **parts: Any) -> Answer | Verdict:
        """Return the answer to one request, or what it means that there is none.

        With ``acts`` the request enrols: without an answer the outcome is unknown.
        """
        sent = False
        try:
            request = self._api.request(method, path, **parts)
            sent = acts
            return self._api.session.exchange(request)
        except (NotYetError, RateLimitedError) as error:  # said before anything is sent
            return Verdict(Kind.LATER, why=error.message, wait=error.retry_after, whole_npo=True)
        except TransientError as error:
            return Verdict(Kind.UNKNOWN if sent else Kind.LATER, why=error.message)
        except ConfigurationError as error:
            return Verdict(Kind.UNKNOWN if sent else Kind.STOPPED, why=error.message, stops=True)


def _json(answer: Answer) -> Any:
    try:
        return answer.json()
    except NotJsonError:
        return None


def _filled(path: str, **names: str) -> str:
    """Return a path with its placeholders filled in, quoted: a value cannot climb out of its segment."""
    for name, value in names.items():
        safe = quote(value, safe="")
        path = path.replace(f"{{{name}}}", safe if safe.strip(".") else safe.replace(".", "%2E"))
    return path


def _plain(value: str | int, names: Mapping[str, str]) -> str:
    text = str(value)
    for name, known in names.items():
        text = text.replace(f"{{{name}}}", known)
    return text

"""Checks an integration step by step, from its row to a dry run of an enrolment; changes nothing anywhere."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from include.connectors.discovery import load_manifest
from include.connectors.limits import NoTurnError
from include.connectors.placeholders import CredentialError
from include.connectors.protocol import status_told
from include.errors import ConfigurationError, IntegrationError, NotYetError, RateLimitedError
from include.npo.reach import CertificateError, addresses_of, certificate_days
from include.npo.sample import MAX_RECORDS, NO_STORE, first_page, judge, look_at, sample_context
from include.registry.airflow_connections import parts_needed
from include.registry.credentials import resolve_credential
from include.registry.editing import problems_of
from include.registry.models import Credential, NpoConfig

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence

    from include.connectors.manifest import Manifest
    from include.connectors.manifest_enrolment import Enrolment
    from include.connectors.protocol import Page, Resource
    from include.npo.context import RunContext
    from include.npo.sample import Sampled
    from include.settings import Settings
    from include.storage.mongo import IntegrationStore

Outcome = Literal["ok", "failed", "skipped"]
FEW_DAYS = 14
_HINT_ROW = "'spotlight npo edit {npo_id} --manifest FILE' puts a corrected manifest or column in"
_SHOWN_CODES = 4
_REFUSED = (401, 403)


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was looked at.

    Attributes:
        name: What; stable, for programs.
        outcome: How it went.
        told: What was found, in one line, no secret and no personal data.
        next: What to do about it; empty when there is nothing to do.
    """

    name: str
    outcome: Outcome
    told: str
    next: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON-able form."""
        return asdict(self)


def check_npo(
    row: Mapping[str, Any], settings: Settings, store: IntegrationStore | None = None
) -> Iterator[Step]:
    """Yield each step as soon as it is known, whatever the row's status.

    Args:
        row: As it stands in the table.
        settings: Limits and backends.
        store: Holds the budget that runs and enrolments draw on too; ``None`` where it does not answer.
    """
    problems, npo = problems_of({key: row[key] for key in NpoConfig.model_fields if key in row})
    if problems or npo is None:
        yield Step("row", "failed", "; ".join(problems), _HINT_ROW.format(npo_id=row.get("npo_id")))
        return
    manifest = load_manifest(npo)
    yield Step("row", "ok", f"row and manifest are valid: {', '.join(manifest.resource_names)}")
    reachable = yield from _reachable(npo, settings)
    credential = yield from _credential(npo, manifest)
    if reachable and credential is not None:
        yield from _partner(npo, credential, settings, store)
    else:
        why = "the partner cannot be asked before the steps above are mended"
        yield from (Step(name, "skipped", why) for name in _partner_steps(manifest))
    yield _enrolment(npo, manifest)


def _reachable(npo: NpoConfig, settings: Settings) -> Generator[Step, None, bool]:
    """Yield the steps of name and certificate; return whether the API's own host can be asked."""
    parts = urlsplit(npo.base_url)
    own = parts.netloc.lower()
    fine = True
    for host in dict.fromkeys([own, *npo.allowed_hosts]):
        step, found = _resolved(npo, host, settings, own=host == own)
        yield step
        if host == own:
            fine = step.outcome == "ok"
        yield _certificate(host, parts.scheme, found)
    return fine


def _resolved(npo: NpoConfig, host: str, settings: Settings, *, own: bool) -> tuple[Step, tuple[str, ...]]:
    name, port = _name_and_port(host, urlsplit(npo.base_url).scheme)
    step = f"host {host}"
    if own and not {host, name} & set(npo.allowed_hosts):
        told = f"base_url leads to {host}, which is not in allowed_hosts"
        return Step(step, "failed", told, f"'spotlight npo edit {npo.npo_id} --allowed-host {host}'"), ()
    try:
        found = addresses_of(name, port, settings=settings, subject=npo.npo_id)
    except IntegrationError as error:
        return Step(
            step, "failed", error.message, "correct base_url or allowed_hosts, or ask the partner"
        ), ()
    return Step(step, "ok", f"resolves to {', '.join(found)}"), found


def _name_and_port(host: str, scheme: str) -> tuple[str, int]:
    parts = urlsplit(f"//{host}")
    with suppress(ValueError):
        return parts.hostname or host, parts.port or (80 if scheme == "http" else 443)
    return host, 443


def _certificate(host: str, scheme: str, addresses: Sequence[str]) -> Step:
    step = f"tls {host}"
    if not addresses:
        return Step(step, "skipped", "the host cannot be asked")
    if scheme == "http":
        return Step(step, "skipped", "plain http on loopback")
    name, port = _name_and_port(host, scheme)
    try:
        days = certificate_days(name, port, addresses[0])
    except CertificateError as error:
        return Step(
            step, "failed", str(error), "the partner must mend its certificate; nothing is sent meanwhile"
        )
    if days < FEW_DAYS:
        return Step(step, "ok", f"certificate valid for {days} more days", "remind the partner to renew it")
    return Step(step, "ok", f"certificate valid for {days} more days")


def _credential(npo: NpoConfig, manifest: Manifest) -> Generator[Step, None, Credential | None]:
    """Yield the step of the credential; return it, ``None`` if it cannot be used."""
    needed = parts_needed(manifest.model_dump(mode="json", by_alias=True))
    command = f"'spotlight npo credential set {npo.npo_id}'"
    if npo.credential_ref is None:
        if needed:
            yield Step(
                "credential", "failed", f"the manifest needs {', '.join(needed)}, and there is none", command
            )
            return None
        yield Step("credential", "skipped", "the manifest needs none")
        return Credential()
    try:
        credential = resolve_credential(npo.credential_ref)
    except IntegrationError as error:
        yield Step("credential", "failed", error.message, command)
        return None
    missing = [part for part in needed if not _part(credential, part)]
    if missing:
        told = f"connection {npo.credential_ref!r} lacks {', '.join(missing)}"
        yield Step("credential", "failed", told, command)
        return None
    yield Step(
        "credential", "ok", f"connection {npo.credential_ref!r} has {', '.join(needed) or 'all it needs'}"
    )
    return credential


def _part(credential: Credential, part: str) -> str | None:
    if part.startswith("extra."):
        return credential.extra.get(part.removeprefix("extra."))
    return credential.login if part == "login" else credential.password


def _partner_steps(manifest: Manifest) -> list[str]:
    steps = ("page", "ids and cursors", "mapping", "expectations")
    return ["auth", *(f"{resource}: {step}" for resource in manifest.resource_names for step in steps)]


def _partner(
    npo: NpoConfig, credential: Credential, settings: Settings, store: IntegrationStore | None = None
) -> Iterator[Step]:
    """Yield what asking the partner for one page of each resource shows; a refusal is told once."""
    ctx = sample_context(npo, credential, settings, store)
    if store is None:
        yield Step("budget", "skipped", NO_STORE)
    accepted = False
    for resource in ctx.resources:
        try:
            page = first_page(ctx.connector, resource)
        except IntegrationError as error:
            if _is_no_turn(error):
                yield Step("budget", "failed", error.message, _when_to_ask(npo, error))
                return
            if not accepted and _is_refusal(error):
                yield Step("auth", "failed", error.message, f"'spotlight npo credential set {npo.npo_id}'")
                return
            if not accepted:
                yield Step("auth", "skipped", "no answer tells whether the credential is accepted")
                accepted = True
            yield Step(f"{resource}: page", "failed", error.message, _advice(error))
            continue
        if not accepted:
            accepted = True
            yield Step("auth", "ok", _auth_told(ctx))
        yield from _page_steps(ctx, resource, page)


def _auth_told(ctx: RunContext) -> str:
    auth = ctx.connector.manifest.client.auth
    return f"{auth.type} accepted" if auth else "none asked for"


def _is_no_turn(error: IntegrationError) -> bool:
    """Return whether the partner was not asked because the NPO's budget or breaker forbids it for now."""
    return isinstance(error, NoTurnError) or (
        isinstance(error, RateLimitedError) and status_told(error) is None
    )


def _when_to_ask(npo: NpoConfig, error: IntegrationError) -> str:
    wait = getattr(error, "retry_after", None)
    told = f"in {wait:.0f} s" if wait else "later"
    return (
        f"a run or enrolments of this NPO use its budget, or it is being left alone: check again {told}; "
        f"'spotlight npo wake {npo.npo_id}' ends a rest"
    )


def _is_refusal(error: IntegrationError) -> bool:
    return isinstance(error, CredentialError) or (
        isinstance(error, ConfigurationError) and status_told(error) in _REFUSED
    )


def _advice(error: IntegrationError) -> str:
    if isinstance(error, NotYetError):
        return f"mend what the message names, it is not the partner; check again in {error.retry_after:.0f} s"
    if isinstance(error, RateLimitedError):
        return "wait and check again; a smaller requests_per_minute may be what the partner allows"
    if isinstance(error, ConfigurationError):
        return "correct the endpoint in the manifest, or the row's base_url and allowed_hosts"
    return "check again; if it stays, ask the partner"


def _page_steps(ctx: RunContext, resource: Resource, page: Page | None) -> Iterator[Step]:
    records = page.records if page else []
    yield Step(f"{resource}: page", "ok", f"{len(records)} records" if page else "the partner gave no page")
    sampled = look_at(ctx, resource, page) if page else []
    if not sampled:
        why = "no record to look at"
        for name in ("ids and cursors", "mapping", "expectations"):
            yield Step(f"{resource}: {name}", "skipped", why)
        return
    yield _ids(ctx, resource, sampled)
    yield _mapping(ctx, resource, sampled)
    yield _expectations(ctx, resource, sampled)


def _ids(ctx: RunContext, resource: Resource, sampled: Sequence[Sampled]) -> Step:
    """Judge ids and times: all must have an id of its own, and some a time where the manifest names one."""
    name, count = f"{resource}: ids and cursors", len(sampled)
    known = [one.pending for one in sampled if one.pending]
    spec = ctx.connector.manifest.resource(resource)
    distinct = len({pending.external_id for pending in known})
    if not known:
        codes = _codes(sampled)
        return Step(
            name, "failed", f"none of {count} records has a usable id: {codes}", "correct primary_key"
        )
    told = f"{len(known)} of {count} with an id, {distinct} different"
    if count > 1 and distinct == 1:
        return Step(name, "failed", told, "primary_key names something all records share; correct it")
    if spec.incremental is None:
        return Step(name, "ok", told)
    timed = sum(pending.cursor is not None for pending in known)
    told += f", {timed} with a time"
    if not timed:
        hint = "correct incremental.cursor_path or cursor_formats: no change would be found"
        return Step(name, "failed", told, hint)
    return Step(
        name, "ok", told, "" if distinct == len(known) == count else "the others are set aside in a run"
    )


def _mapping(ctx: RunContext, resource: Resource, sampled: Sequence[Sampled]) -> Step:
    version = ctx.connector.manifest.resource(resource).mapping.version
    good = sum(one.entity is not None for one in sampled)
    name, told = (
        f"{resource}: mapping",
        f"{good} of {len(sampled)} make a platform record (version {version})",
    )
    if good == len(sampled):
        return Step(name, "ok", told)
    told += f"; {_codes(sampled)}"
    if not good:
        return Step(name, "failed", told, f"'spotlight npo preview {ctx.npo.npo_id}' shows the records")
    return Step(name, "ok", told, "the others are set aside in a run; see 'spotlight npo preview'")


def _codes(sampled: Sequence[Sampled]) -> str:
    reasons = Counter(reason.code for one in sampled for reason in one.problems)
    example = {reason.code: reason.message for one in sampled for reason in one.problems}
    return "; ".join(f"{count} {code}: {example[code]}" for code, count in reasons.most_common(_SHOWN_CODES))


def _expectations(ctx: RunContext, resource: Resource, sampled: Sequence[Sampled]) -> Step:
    results = judge(ctx, resource, sampled)
    batch = [reason.code for result in results for reason in result.batch_failures]
    rows = Counter(
        reason.code for result in results for reasons in result.row_failures.values() for reason in reasons
    )
    name = f"{resource}: expectations"
    told = "; ".join(f"{count} records {code}" for code, count in rows.most_common(_SHOWN_CODES))
    looked = sum(result.rows for result in results[:1])
    if batch:
        said = "; ".join(filter(None, [f"the batch is refused: {', '.join(batch)}", told]))
        return Step(name, "failed", said, "a run would publish nothing of it; correct the mapping")
    if rows:
        return Step(name, "ok", told, "these are set aside in a run")
    at_most = f" (the first {MAX_RECORDS})" if looked == MAX_RECORDS else ""
    return Step(name, "ok", f"{looked} records meet them{at_most}")


def _enrolment(npo: NpoConfig, manifest: Manifest) -> Step:
    """Build the request of an invented enrolment; nothing is sent."""
    enrolment = manifest.enrolment
    if enrolment is None:
        return Step("enrolment", "skipped", "the manifest has no enrolment section")
    try:
        from include.npo.enrolment.request import build_request
    except ImportError:
        return Step("enrolment", "skipped", "this release cannot post enrolments")
    try:
        body = build_request(enrolment, _invented(npo, enrolment))
    except (IntegrationError, ValueError) as error:
        told = error.message if isinstance(error, IntegrationError) else str(error)
        return Step("enrolment", "failed", told, "correct enrolment.request in the manifest")
    return Step(
        "enrolment",
        "ok",
        f"dry run: {enrolment.endpoint.method} {enrolment.endpoint.path} with {_names(body)}",
    )


def _invented(npo: NpoConfig, enrolment: Enrolment) -> dict[str, Any]:
    values = {
        "email": "sam.sample@example.org",
        "phone": "+44 1632 960000",
        "date_of_birth": "2000-01-01",
        "postcode": "ZZ99 9ZZ",
    }
    ours = "00000000-0000-4000-8000-000000000000"
    return {
        "candidate": {name: values.get(name, "Sample") for name in enrolment.request.candidate},
        "assignment": {
            "assignment_id": ours,
            "candidate_id": ours,
            "offering_id": ours,
            "requested_at": "2026-01-01T00:00:00Z",
        },
        "offering": {
            "offering_id": ours,
            "external_id": "sample-offering",
            "npo_id": npo.npo_id,
            "name": "Sample offering",
            "enrolment_mode": "open",
        },
        "reference": ours,
    }


def _names(body: Mapping[str, Any]) -> str:
    return ", ".join(sorted(map(str, body))) or "an empty body"

"""TCS, the core service of the trainee platform: bulk lookups and updates, typed and bounded.

Callers hand over everything they want to know at once; how many calls that takes, and how many of them
are under way at a time, is decided here. A lookup either answers for all or raises.
"""

from __future__ import annotations

import re
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import quote

import orjson

from include.errors import FatalError, NotYetError, TransientError
from include.esr.tcs.answers import (
    Absence,
    Body,
    EsrEvent,
    Outcome,
    Person,
    Placement,
    PlacementExported,
    Post,
    PostChanged,
    UnreadableAnswerError,
    Verdict,
    a_list,
    absence_of,
    events_of,
    numbered_post_of,
    person_of,
    placement_of,
    registered_of,
)
from include.esr.tcs.bulk import BulkLoop
from include.esr.tcs.session import PATIENCE, TcsSession

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from include.connectors.retry import RetryPolicy
    from include.esr.tcs.answers import Json
    from include.esr.tcs.reading import Answer
    from include.settings import Settings

Asked = TypeVar("Asked")
Found = TypeVar("Found")

MAX_LIST_BYTES = 4_000
"""Of ids in a path: servers and proxies between refuse longer request lines."""
MAX_BODY_BYTES = 2**20
MAX_PAGES = 1_000
_REGISTERED = re.compile(r"[0-9A-Za-z]{1,30}")
_ENDPOINTS = {"GMC": "gmc-details", "GDC": "gdc-details"}


class Tcs:
    """One connection to TCS for one task; use it as a context manager.

    Every method may be called from any thread. Beside what each says, every method raises:
    ``NotYetError`` (the circuit breaker is open: TCS is left alone for a while), ``TransientError`` (still
    failing after the retries, or an answer that cannot be read), ``ConfigurationError`` (client or path
    refused), ``FatalError`` (TCS refuses a lookup as malformed).

    Attributes:
        calls: How many calls were made, by endpoint, repeats included.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        progress: Callable[[str], None] = lambda _line: None,
        patience: RetryPolicy = PATIENCE,
    ) -> None:
        self._settings = settings
        self._loop = BulkLoop(settings.tcs_concurrency)
        self._session = TcsSession(settings, progress=progress, patience=patience)
        self.calls = self._session.calls

    def __enter__(self) -> Self:
        """Start; connects with the first call."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close all connections; what is under way is given up."""
        self.close()

    def close(self) -> None:
        """Close all connections; harmless when repeated."""
        self._loop.close(self._session.close)

    def posts(self, numbers: Collection[str]) -> dict[str, Post]:
        """Return the posts with exactly these national post numbers.

        A missing key says that TCS has no such post. Where several posts bear one number, a current one
        comes first, then the oldest.
        """
        found: dict[str, Post] = {}
        for page in self._each(
            self._posts_of, _batches(numbers, self._settings.tcs_ids_a_call, MAX_BODY_BYTES)
        ):
            for post in page:
                if post.number not in found or _preference(post) < _preference(found[post.number]):
                    found[post.number] = post
        return found

    def people_by_registration(self, body: Body, numbers: Collection[str]) -> dict[str, tuple[int, ...]]:
        """Return the ids of the people registered under these numbers.

        Every number is in the answer: with no id when TCS knows nobody, with several when it is
        ambiguous. What cannot be a registration number (anything but letters and digits) is nobody's and
        is not asked for.
        """
        people: dict[str, list[int]] = {number: [] for number in numbers}
        askable = [number for number in people if _REGISTERED.fullmatch(number)]
        look = partial(self._registered, body)
        for page in self._each(look, _batches(askable, self._settings.tcs_ids_a_call)):
            for number, person_id in page:
                if number in people and person_id not in people[number]:
                    people[number].append(person_id)
        return {number: tuple(sorted(ids)) for number, ids in people.items()}

    def people(self, ids: Collection[int]) -> dict[int, Person]:
        """Return people; a missing key says that TCS has no such person."""
        return _known(ids, self._each(self._person, ids))

    def placements_of_people(self, ids: Collection[int]) -> dict[int, tuple[Placement, ...]]:
        """Return the placements of each person; a missing key says that TCS has no such person."""
        return _known(ids, self._each(partial(self._placements, "people"), ids))

    def placements_of_posts(self, ids: Collection[int]) -> dict[int, tuple[Placement, ...]]:
        """Return the placements of each post; a missing key says that TCS has no such post."""
        return _known(ids, self._each(partial(self._placements, "posts"), ids))

    def placements(self, ids: Collection[int]) -> dict[int, Placement]:
        """Return placements in full; a missing key says that TCS has no such placement."""
        return _known(ids, self._each(self._placement, ids))

    def absences(self, absence_ids: Collection[str]) -> dict[str, Absence | None]:
        """Return the absence of each of ESR's absence ids, ``None`` where TCS says there is none."""
        return dict(zip(absence_ids, self._each(self._absence, absence_ids), strict=True))

    def patch_contacts(self, changes: Mapping[int, Json]) -> dict[int, Outcome]:
        """Change fields of contact details, by person id.

        An outcome is ``APPLIED``, ``REFUSED``, or ``UNKNOWN`` for one that TCS keeps failing on while it
        answers others: the same change may be sent again later. Raises when TCS as a whole fails.
        """
        return self._patched("contact-details", changes)

    def patch_personal(self, changes: Mapping[int, Json]) -> dict[int, Outcome]:
        """Change fields of personal details, by person id; outcomes as of ``patch_contacts``."""
        return self._patched("personal-details", changes)

    def patch_absences(self, changes: Mapping[int, Json]) -> dict[int, Outcome]:
        """Change fields of absences, by TCS's own id; outcomes as of ``patch_contacts``."""
        return self._patched("absence", changes)

    def create_absences(self, absences: Sequence[Json], *, until: float | None = None) -> list[Outcome]:
        """Create absences, once each, and return what became of them in the same order.

        An ``UNKNOWN`` one must be looked up by its absence id before it is created again. Raises only
        when nothing at all was sent.

        Args:
            absences: What to create; they go out side by side, in no order.
            until: Clock reading (``time.monotonic``) after which none is sent any more; those are
                ``UNKNOWN``, not sent.
        """
        return _settled(self._each(partial(self._create_absence, until), absences))

    def post_events(self, post_ids: Collection[int]) -> dict[int, tuple[EsrEvent, ...]]:
        """Return what each post was told so far; a missing key says that TCS has no such post."""
        return _known(post_ids, self._each(partial(self._events, "posts", "eventDateTime"), post_ids))

    def placement_events(self, placement_ids: Collection[int]) -> dict[int, tuple[EsrEvent, ...]]:
        """Return what each placement was told so far; a missing key says that TCS has none such."""
        look = partial(self._events, "placements", "exportedAt")
        return _known(placement_ids, self._each(look, placement_ids))

    def tell_posts_changed(
        self, changes: Sequence[PostChanged], *, until: float | None = None
    ) -> list[Outcome]:
        """Tell posts of a change, once each, and return what became of each in the same order.

        TCS does not deduplicate: an ``UNKNOWN`` one must be read back with ``post_events`` before it is
        told again.

        Args:
            changes: What to tell; they go out side by side, in no order.
            until: Clock reading (``time.monotonic``) after which none is sent any more; those are
                ``UNKNOWN``.
        """
        asked = [(f"/api/posts/{change.post_id:d}/esr-changed", change.body) for change in changes]
        return _settled(self._each(partial(self._tell, "posts/esr-changed", until), asked))

    def tell_placements_exported(
        self, exported: Sequence[PlacementExported], *, until: float | None = None
    ) -> list[Outcome]:
        """Tell placements that they went to ESR, once each; as ``tell_posts_changed`` in all else.

        An ``UNKNOWN`` one must be read back with ``placement_events`` before it is told again.
        """
        asked = [(f"/api/placements/{one.placement_id:d}/esr-exported", one.body) for one in exported]
        return _settled(self._each(partial(self._tell, "placements/esr-exported", until), asked))

    async def _posts_of(self, numbers: Sequence[str]) -> list[Post]:
        """Return the posts of one list of numbers, from as many pages as TCS makes of it."""
        asked, body = frozenset(numbers), orjson.dumps(numbers)
        found: dict[int, Post] = {}
        seen = 0
        for page in range(MAX_PAGES):
            path = f"/api/posts/filter/deanery?page={page}&size={len(numbers)}&sort=id"
            answer = await self._session.ask("posts/filter/deanery", "POST", path, body)
            items, total = _page(answer)
            before = len(found)
            for post in filter(None, map(numbered_post_of, items)):
                found[post.id] = post
            seen += len(items)
            if seen >= total if total is not None else not items:
                return [post for post in found.values() if post.number in asked]
            if len(found) == before:
                raise UnreadableAnswerError("the pages of posts TCS answered with do not add up")
        raise UnreadableAnswerError(
            f"TCS has more than {MAX_PAGES} pages of posts for {len(numbers)} numbers"
        )

    async def _registered(self, body: Body, numbers: Sequence[str]) -> list[tuple[str, int]]:
        endpoint = f"{_ENDPOINTS[body]}/in"
        answer = await self._session.ask(endpoint, "GET", f"/api/{endpoint}/{','.join(numbers)}")
        return [
            found for item in a_list(answer.json(), "registrations") if (found := registered_of(item, body))
        ]

    async def _person(self, person_id: int) -> Person | None:
        answer = await self._session.find("people", f"/api/people/{person_id:d}")
        return person_of(answer.json(), person_id) if answer else None

    async def _placements(self, whose: str, owner_id: int) -> tuple[Placement, ...] | None:
        answer = await self._session.find(f"{whose}/placements", f"/api/{whose}/{owner_id:d}/placements/new")
        return tuple(map(placement_of, a_list(answer.json(), "placements"))) if answer else None

    async def _absence(self, absence_id: str) -> Absence | None:
        if absence_id in ("", ".", ".."):
            raise FatalError(
                "an absence id that is no name cannot be looked up in TCS; the reader lets none pass"
            )
        answer = await self._session.find(
            "absence/absenceId", f"/api/absence/absenceId/{quote(absence_id, safe='')}"
        )
        return absence_of(answer.json(), absence_id) if answer else None

    async def _placement(self, placement_id: int) -> Placement | None:
        answer = await self._session.find("placements", f"/api/placements/{placement_id:d}")
        return placement_of(answer.json(), placement_id) if answer else None

    async def _events(self, whose: str, moment_field: str, owner_id: int) -> tuple[EsrEvent, ...] | None:
        answer = await self._session.find(whose, f"/api/{whose}/{owner_id:d}")
        return events_of(answer.json(), moment_field) if answer else None

    def _patched(self, endpoint: str, changes: Mapping[int, Json]) -> dict[int, Outcome]:
        outcomes = _answered(self._each(partial(self._patch, endpoint), changes.items()))
        return dict(zip(changes, outcomes, strict=True))

    async def _patch(self, endpoint: str, change: tuple[int, Json]) -> Outcome | TransientError:
        record_id, fields = change
        # TCS goes by the id of the body, whatever the path says.
        body = orjson.dumps({**fields, "id": record_id})
        return await self._session.change(endpoint, "PATCH", f"/api/{endpoint}/{record_id:d}", body)

    async def _create_absence(self, until: float | None, absence: Json) -> Outcome | TransientError:
        body = orjson.dumps({**absence, "id": None})
        return await self._session.tell("absence", "/api/absence", body, until=until)

    async def _tell(
        self, endpoint: str, until: float | None, asked: tuple[str, Mapping[str, Any]]
    ) -> Outcome | TransientError:
        path, body = asked
        return await self._session.tell(endpoint, path, orjson.dumps(body), until=until)

    def _each(self, ask: Callable[[Asked], Awaitable[Found]], items: Iterable[Asked]) -> list[Found]:
        return self._loop.each(ask, items)


def _known(ids: Collection[int], found: Iterable[Found | None]) -> dict[int, Found]:
    return {asked: one for asked, one in zip(ids, found, strict=True) if one is not None}


def _answered(changed: Sequence[Outcome | TransientError]) -> list[Outcome]:
    """Return outcomes; what got no answer is ``UNKNOWN`` beside others, raised when it is all there is."""
    failures = [one for one in changed if isinstance(one, TransientError)]
    if failures and len(failures) == len(changed):
        raise failures[0]
    return [
        Outcome(Verdict.UNKNOWN, reason=one.message) if isinstance(one, TransientError) else one
        for one in changed
    ]


def _settled(told: Sequence[Outcome | TransientError]) -> list[Outcome]:
    """Return outcomes; what was not sent is ``UNKNOWN`` beside others, and raised when it is all there is."""
    failures = [one for one in told if isinstance(one, TransientError)]
    if failures and len(failures) == len(told):
        raise next((one for one in failures if isinstance(one, NotYetError)), failures[0])
    return [
        Outcome(Verdict.UNKNOWN, reason=one.message, sent=False) if isinstance(one, TransientError) else one
        for one in told
    ]


def _preference(post: Post) -> tuple[bool, int]:
    return post.status != "CURRENT", post.id


def _batches(values: Collection[str], size: int, longest: int = MAX_LIST_BYTES) -> Iterator[list[str]]:
    """Yield distinct values in lists bounded in number and in length of text, in a fixed order."""
    rest = iter(sorted(set(values)))
    while batch := list(islice(rest, size)):
        start = length = 0
        for at, value in enumerate(batch):
            if at > start and length + len(value) + 1 > longest:
                yield batch[start:at]
                start, length = at, 0
            length += len(value) + 1
        yield batch[start:]


def _page(answer: Answer) -> tuple[list[object], int | None]:
    """Return the items of one page and how many there are in all, where TCS says so."""
    content = answer.json()
    if isinstance(content, dict):
        total = content.get("totalElements")
        return a_list(content.get("content"), "posts"), total if isinstance(total, int) else None
    told = answer.total or ""
    return a_list(content, "posts"), int(told) if told.isdigit() else None

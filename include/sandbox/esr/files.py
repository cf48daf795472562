"""RMF and RMC files of any size, fitting the world of the stand-in for TCS, with any dirt and the truth.

Written from the description of the format, not with the product's writer: an independent witness.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

from include.sandbox.esr import words
from include.sandbox.esr.dirt import CONDEMNS, LINES, Dirt, bad_line, file_dirt, spoil
from include.sandbox.esr.records import DeaneryView
from include.sandbox.esr.truth import BadLine, Truth

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import date
    from pathlib import Path

    from include.sandbox.esr.records import Line
    from include.sandbox.esr.world import World

FRAME_LINES = 2
DIRT_EVERY = 3
"""Posts between two bad lines."""


class MadeFile(NamedTuple):
    """One file as ESR would send it."""

    name: str
    body: bytes
    truth: Truth


@dataclass(frozen=True)
class Plan:
    """What goes into a file.

    Attributes:
        kind: ``RMF`` or ``RMC``.
        posts: Posts of the deanery the file looks at, from the first; ``None`` with ``lines``.
        lines: Lines of the file, frame included, exactly; ``None`` with ``posts``.
        dirt: How often each kind of dirt comes.
        time: ``HHMMSS`` of the header.
    """

    kind: str
    deanery: str
    day: date
    sequence: int
    world: World
    posts: int | None = None
    lines: int | None = None
    dirt: Mapping[Dirt, int] = field(default_factory=dict)
    time: str = "143000"

    @property
    def data_lines(self) -> int | None:
        """Return how many good lines there must be, when that was asked for."""
        return self.lines - FRAME_LINES if self.lines is not None else None

    @property
    def stem(self) -> str:
        """Return the file's name without ``.DAT``."""
        return f"DE_{self.deanery}_{self.kind}_{self.day:%Y%m%d}_{self.sequence:08d}"


def rmf(
    deanery: str,
    day: date,
    sequence: int,
    *,
    world: World,
    posts: int | None = None,
    lines: int | None = None,
    dirt: Iterable[Dirt] | Mapping[Dirt, int] = (),
) -> MadeFile:
    """Return a full reconciliation file: everything of the deanery as it stands on that day.

    Args:
        deanery: ESR's code, such as ``KSS``.
        day: Day of the name; also how far ESR's data has changed.
        sequence: Number of the name.
        world: That of the stand-in, so that posts and people match.
        posts: How many posts of the deanery it tells of; default: all TCS has.
        lines: Instead: exactly so many lines (dirt comes on top), beyond what TCS has if need be.
        dirt: Kinds of dirt, once each, or how often each.
    """
    return _made(
        Plan("RMF", deanery, day, sequence, world, _posts(world, posts, lines), lines, _counted(dirt))
    )


def rmc(
    deanery: str,
    day: date,
    sequence: int,
    *,
    world: World,
    posts: int | None = None,
    lines: int | None = None,
    dirt: Iterable[Dirt] | Mapping[Dirt, int] = (),
) -> MadeFile:
    """Return the day's changes: a tenth of the posts. Arguments as for :func:`rmf`."""
    return _made(
        Plan("RMC", deanery, day, sequence, world, _posts(world, posts, lines), lines, _counted(dirt))
    )


def write_rmf(folder: Path, deanery: str, day: date, sequence: int, *, world: World, lines: int) -> str:
    """Write a clean RMF of exactly so many lines without keeping it in memory; return its name."""
    plan = Plan("RMF", deanery, day, sequence, world, None, lines)
    with (folder / f"{plan.stem}.DAT").open("wb", buffering=2**20) as file:
        for line in _Writer(plan, None).lines():
            file.write(line.encode() + b"\n")
    return f"{plan.stem}.DAT"


def _posts(world: World, posts: int | None, lines: int | None) -> int | None:
    if posts is None and lines is None:
        return world.people // len(words.DEANERIES)
    return posts


def _counted(dirt: Iterable[Dirt] | Mapping[Dirt, int]) -> Mapping[Dirt, int]:
    return dirt if isinstance(dirt, Mapping) else Counter(dirt)


def _made(plan: Plan) -> MadeFile:
    truth = Truth()
    body = "".join(f"{line}\n" for line in _Writer(plan, truth).lines()).encode()
    for dirt in file_dirt(plan.dirt):
        body = spoil(body, dirt)
        if dirt in CONDEMNS:
            truth.condemn(CONDEMNS[dirt])
    truth.lines = body.count(b"\n") + (body[-1:] not in {b"", b"\n"})
    return MadeFile(f"{plan.stem}.DAT", body, truth)


class _Writer:
    """Writes the lines of one plan, counting as it goes.

    Args:
        plan: What to write.
        truth: Noted beside the lines; ``None`` for files too large for it.
    """

    def __init__(self, plan: Plan, truth: Truth | None) -> None:
        self._plan = plan
        self._truth = truth
        self._view = DeaneryView(plan.world, plan.deanery, plan.day)
        self._line = 1
        self._last_pos: Line | None = None
        self._dirt = [one for one, times in plan.dirt.items() if one in LINES for _ in range(times)]

    def lines(self) -> Iterator[str]:
        """Yield header, data and footer, without line ends."""
        plan = self._plan
        yield f'HDR,"{plan.stem}",{plan.day:%Y%m%d},{plan.time},"{plan.deanery}",{plan.sequence}'
        clean_before = len(self._dirt)
        yield from self._data()
        while self._dirt:
            yield self._bad(clean_before - len(self._dirt))
        yield f"FTR,{self._line - 1}"

    def _data(self) -> Iterator[str]:
        """Yield good lines, with a bad one after every few posts."""
        plan, of_dirt, good = self._plan, len(self._dirt), 0
        for place in count():
            if place == plan.posts or good == plan.data_lines:
                return
            if plan.kind == "RMC" and not self._view.changed_today(place):
                continue
            lines = self._of_post(place, plan.data_lines - good if plan.data_lines is not None else None)
            good += len(lines)
            self._line += len(lines)
            yield from lines
            if self._dirt and place % DIRT_EVERY == 0:
                yield self._bad(of_dirt - len(self._dirt))

    def _of_post(self, place: int, room: int | None) -> list[str]:
        """Return the lines of a post's positions and person; where they do not fit, a single POS."""
        positions = list(self._view.positions(place))
        person = None
        if (holder := positions[0].person) is not None:
            person = self._view.person(holder, positions[0].revision)
        pairs = [line for position in positions for line in self._view.position_lines(position)]
        of_person = self._view.person_lines(positions[0], person) if person is not None else []
        lines = [*pairs, *of_person]
        if room is not None and len(lines) > room:
            positions, person, lines = positions[:1], None, lines[:1]
        self._last_pos = lines[0]
        if self._truth is not None:
            self._truth.note(self._plan.world, positions, person)
            self._truth.records.update(line[0] for line in lines)
        return [",".join(line) for line in lines]

    def _bad(self, number: int) -> str:
        dirt = self._dirt.pop(0)
        bad = bad_line(dirt, number, self._last_pos)
        for code in bad.codes:
            self._line += 1
            if self._truth is not None:
                self._truth.bad.append(BadLine(self._line, dirt, code))
        return bad.line

"""What was counted while a file was read: the quality gate judges the file as a whole by it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from include.esr.formats.frame import uncounted_lines

if TYPE_CHECKING:
    from include.esr.formats.reader import Chunk

DELETED = "D"


@dataclass(slots=True)
class TypeTally:
    """Counts of one record type.

    Attributes:
        filled: By column, how many good lines have a value there.
    """

    good: int = 0
    bad: int = 0
    deleted: int = 0
    filled: dict[str, int] = field(default_factory=dict)

    @property
    def lines(self) -> int:
        """Return how many lines of this type there were."""
        return self.good + self.bad


@dataclass(slots=True)
class Tally:
    """Counts of a file so far; kept in the checkpoint, so that a resumed reading counts on.

    Attributes:
        header: What the header line says, ``None`` when the file has none.
        footer: Number of data lines by the footer, ``None`` when the file has none.
        data_lines: Data lines met, bad ones included.
        codes: Bad lines by reason.
        uncounted: Bad lines the footer may leave out, see ``include.esr.formats.frame.uncounted_lines``.
    """

    header: dict[str, Any] | None = None
    footer: int | None = None
    data_lines: int = 0
    types: dict[str, TypeTally] = field(default_factory=dict)
    codes: dict[str, int] = field(default_factory=dict)
    uncounted: int = 0

    @property
    def good(self) -> int:
        """Return the lines that can be used."""
        return sum(each.good for each in self.types.values())

    @property
    def bad(self) -> int:
        """Return the lines set aside, those of no known type included."""
        return sum(self.codes.values())

    @property
    def deleted(self) -> int:
        """Return the lines with indicator D."""
        return sum(each.deleted for each in self.types.values())

    def add(self, chunk: Chunk) -> None:
        """Count a chunk."""
        import pyarrow.compute as pc

        if chunk.header is not None:
            self.header = {
                "stem": chunk.header.stem,
                "day": chunk.header.day.isoformat(),
                "deanery": chunk.header.deanery,
                "sequence": chunk.header.sequence,
            }
        if chunk.footer is not None:
            self.footer = chunk.footer.count
        self.data_lines += chunk.data_lines
        for code, table in chunk.tables.items():
            mine = self.types.setdefault(code, TypeTally())
            mine.good += table.num_rows
            mine.deleted += int(pc.sum(pc.equal(table["indicator"], DELETED)).as_py() or 0)
            for name in table.column_names:
                filled = table.num_rows - table[name].null_count
                mine.filled[name] = mine.filled.get(name, 0) + filled
        self.uncounted += uncounted_lines(chunk.bad)
        for line in chunk.bad:
            self.codes[line.code] = self.codes.get(line.code, 0) + 1
            if line.record_type:
                self.types.setdefault(line.record_type, TypeTally()).bad += 1

    def to_dict(self) -> dict[str, Any]:
        """Return the form kept in the checkpoint."""
        return {
            "header": self.header,
            "footer": self.footer,
            "data_lines": self.data_lines,
            "codes": dict(self.codes),
            "uncounted": self.uncounted,
            "types": {
                code: {
                    "good": each.good,
                    "bad": each.bad,
                    "deleted": each.deleted,
                    "filled": dict(each.filled),
                }
                for code, each in self.types.items()
            },
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any] | None) -> Tally:
        """Return the tally of its kept form; an empty one for ``None``."""
        if data is None:
            return cls()
        types = {code: TypeTally(**each) for code, each in data["types"].items()}
        return cls(
            data["header"],
            data["footer"],
            data["data_lines"],
            types,
            dict(data["codes"]),
            data["uncounted"],
        )

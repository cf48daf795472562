"""How fast one large RMF is read, beside ``csv.reader`` and ``pandas.read_csv`` on the same file.

Prints one JSON line. Ours: every line checked, typed and sorted by record type, repeated ids found
(parse, split and validate, as the split stage does it, without the store). The peers only parse: they
check nothing and everything stays text. Each is a process of its own, so that peak memory is its own.

    .venv/bin/python -m benchmarks.esr_reading [--lines 1000000]
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from include.esr.formats.layout import load_format
from include.esr.names import Deanery, FileName, FileType
from include.settings import PROJECT_ROOT, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NAME = FileName(Deanery.WES, FileType.RMF, date(2026, 3, 4), 17)
WIDEST = 33
SMALL = 1000
SHARE_ABSENT = 0.3
TRUSTS = ("RTD01", "RBD02", "J82150", "RA7", "RVJ01", "REF12", "RH801", "RK950")
SPECIALTIES = (
    "General Practice",
    "Anaesthetics",
    "Paediatrics",
    "Clinical Radiology",
    "Cardio-thoracic Surgery",
)
HOST_OR_LEAD = ("Host Employer", "Lead Employer")
SURNAMES = ("O'Connor", "Smith-Jones", "Patel", "Nuñez", "Okafor", "Williams")
FORENAMES = ("Asha", "Zoë", "Daniel", "Mei", "Oluwaseun", "Catherine")


def main() -> None:
    """Run the benchmark, or one measured child of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--child", choices=sorted(READERS), help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(_timed(READERS[options.child], options.file)))
    else:
        print(json.dumps(measure(options.lines)))


def measure(lines: int) -> dict[str, Any]:
    """Return lines per second and peak memory of ours and of both peers, on one file of so many lines."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / str(NAME)
        make_file(path, lines)
        make_file(_small(path), SMALL)
        sides = {name: _run_child(name, path) for name in READERS}
        size = path.stat().st_size
    for side in sides.values():
        side["lines_per_second"] = round(lines / side["seconds"])
    return {"benchmark": "esr_reading", "lines": lines, "mib": round(size / 2**20, 1)} | sides


def make_file(path: Path, lines: int) -> None:
    """Write a file with the mix of a real one: positions and three people for each four of them."""
    made = _lines(lines - 2, random.Random(20260304))  # noqa: S311 - the same file each time
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(f'HDR,"{NAME.stem}",20260304,143000,"{NAME.deanery}",{NAME.sequence}\n')
        file.writelines(made)
        file.write(f"FTR,{lines - 2}\n")


def read_ours(path: Path) -> int:
    """Read with the product's reader; return the number of good lines."""
    from include.esr.formats.reader import DuplicateGuard, read_chunks

    fmt, settings = load_format(NAME.type), Settings()
    guard, good = DuplicateGuard(fmt), 0
    with path.open("rb") as file:
        for chunk in read_chunks(
            file,
            fmt,
            encoding="utf-8",
            chunk_bytes=settings.esr_chunk_bytes,
            max_line_bytes=settings.esr_max_line_bytes,
        ):
            good += sum(table.num_rows for table in guard.take(chunk).tables.values())
    return good


def read_csv_module(path: Path) -> int:
    """Read with the standard library, row by row."""
    with path.open(encoding="utf-8", newline="") as file:
        return sum(1 for _ in csv.reader(file))


def read_pandas(path: Path) -> int:
    """Read with pandas into one frame of text."""
    import pandas as pd

    return len(pd.read_csv(path, dtype=str, header=None, names=range(WIDEST)))


READERS: dict[str, Callable[[Path], int]] = {
    "ours": read_ours,
    "csv_reader": read_csv_module,
    "pandas": read_pandas,
}


def _small(path: Path) -> Path:
    return path.with_suffix(".small")


def _timed(read: Callable[[Path], int], path: Path) -> dict[str, Any]:
    read(_small(path))  # what is imported is imported
    began = time.perf_counter()
    good = read(path)
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": round(seconds, 2), "good_lines": good, "peak_mib": round(peak)}


def _run_child(name: str, path: Path) -> dict[str, Any]:
    argv = [sys.executable, "-m", "benchmarks.esr_reading", "--child", name, "--file", str(path)]
    answer = subprocess.run(argv, cwd=PROJECT_ROOT, stdout=subprocess.PIPE, text=True, check=True)
    figures: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    return figures


def _lines(count: int, dice: random.Random) -> Iterator[str]:
    """Yield so many lines: of each four positions both halves, and three people in them."""
    made = (line for group in itertools.count(1) for line in _group(7_000_000 + 4 * group, dice))
    return itertools.islice(made, count)


def _group(first_id: int, dice: random.Random) -> Iterator[str]:
    for position in range(first_id, first_id + 4):
        post = f"WES/{dice.choice(TRUSTS)}/{dice.randint(1, 99):03d}/STR/{position % 1000:03d}"
        yield _pos(position, post, dice)
        yield _por(position, post, dice)
        if position < first_id + 3:
            yield from _person(position, post, dice)


def _pos(position: int, post: str, dice: random.Random) -> str:
    specialty = dice.choice(SPECIALTIES)
    return (
        f'POS,{position},20260303,"C","{position + 27_000_000}","Medical and Dental\\",'
        f'"Specialty Registrar ({specialty})","{dice.randint(1, 999):03d}","{specialty}","{post}","WES",'
        f'"{dice.choice(TRUSTS)}","NHS","MS02","Specialty Registrar ST2/ SpR2",""\n'
    )


def _por(position: int, post: str, dice: random.Random) -> str:
    return (
        f'POR,{position},20260303,"C","{position + 27_000_000}","Specialty Registrar","{post}","WES",'
        f'"{dice.choice(HOST_OR_LEAD)}","{dice.choice(TRUSTS)}","{dice.randint(1, 999):03d}",'
        f'"{dice.randint(100, 999)} University Hospitals NHS Foundation Trust","Main Site, Ward Block"\n'
    )


def _person(person: int, post: str, dice: random.Random) -> Iterator[str]:
    last, first = dice.choice(SURNAMES), dice.choice(FORENAMES)
    email = f"{first}.{last}{person}@example.org".lower()
    yield (
        f'PER,{person},20260303,"C","{person}","","QQ{person % 10**6:06d}C","{last}","{first}","","","Dr",'
        f'"F",19900412,"","01632 960001","07700 900001","","","{email}","A",'
        f'"","","","","","","","","","X","Y",""\n'
    )
    yield (
        f'ASG,{person},20260303,"C",{person},"{person}-2",{person},"{post}","Y","Active",20250806,20270803\n'
    )
    yield (
        f'ADD,{person},20260303,"C","","Y","{person % 200} Station Road","Old ""Mill"" House","","Bristol",'
        f'"Avon","BS1 4DJ","United Kingdom"\n'
    )
    yield f'PBD,{person},20260303,"C","GMC","{person}",20271231\n'
    if dice.random() < SHARE_ABSENT:
        yield f'ABS,{person},20260303,"C",20260102,20260109,8,{person}\n'


if __name__ == "__main__":
    main()

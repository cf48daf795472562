"""The documentation names what exists: files, headings, settings, commands and their options."""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

from include import errors
from include.cli import app
from include.esr.confirmations.verdicts import AnswerOutcome
from include.esr.documents import FileState
from include.esr.exports.ledger import Export
from include.esr.files.entry import Entry
from include.esr.formats.layout import load_format
from include.esr.formats.lines import Fault
from include.esr.names import FileName, FileType
from include.esr.notifications.plan import COUNTED
from include.esr.outbound import ExportState, RecordState
from include.esr.outbound_run import STAGES
from include.esr.people.plan import PersonStatus
from include.npo.enrolment.record import State
from include.settings import PROJECT_ROOT, Settings
from include.storage.indexes import INDEXES
from include.storage.mongo import IntegrationStore

DOCS = PROJECT_ROOT / "docs"
ESR = PROJECT_ROOT / "include" / "esr"
PAGES = [PROJECT_ROOT / "README.md", *sorted(DOCS.glob("*.md"))]

_FENCE = re.compile(r"^```[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)
_COMMAND = re.compile(r"(?:^|^\$ |^exec |.*[/']|.*\b(?:with|runs) )spotlight +(.*)$")
_PATH = re.compile(r"(?:config|dags|include|plugins|sql|tests)/[\w./]+")
_PLACE = re.compile(r"(?<![\w>}.])/(?:home|opt|root|tmp|work|Users)/\S*")


def page_name(page: Path) -> str:
    return page.relative_to(PROJECT_ROOT).as_posix()


def prose(text: str) -> str:
    """Return a page without its fenced blocks and code spans: what is rendered as text."""
    return _SPAN.sub("", _FENCE.sub("", text))


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as the usual renderers make them."""
    text = _FENCE.sub("", page.read_text("utf-8"))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in _HEADING.findall(text)}


def quoted_commands(text: str) -> Iterator[list[str]]:
    """Yield the words after ``spotlight`` of each command in a fenced block or a code span."""
    lines = [line for block in _FENCE.findall(text) for line in block.splitlines()]
    for code in [*lines, *_SPAN.findall(_FENCE.sub("", text))]:
        found = _COMMAND.match(code.strip().partition("  #")[0])
        if found:
            words = re.split(r"[;&'\"]|\s\|\s", found[1])[0].split()
            if words:
                yield words


@cache
def whole_command() -> Any:
    """Return the ``spotlight`` command with everything below it: made once, it takes its time."""
    return typer.main.get_command(app)


def complaint(words: list[str]) -> str | None:
    """Return what of a quoted command does not exist; ``a|b`` stands for either, ``...`` for anything."""
    command = whole_command()
    options = {"--help", "-h", *option_names(command)}
    path: list[str] = []
    for word in words:
        name = word.strip("[]").partition("=")[0]
        if name.startswith("-"):
            if name not in options:
                return f"{' '.join(path)!r} has no option {name}"
        elif isinstance(command, TyperGroup) and name != "...":
            missing = [choice for choice in name.split("|") if choice not in command.commands]
            if missing:
                return f"no command {' '.join([*path, missing[0]])!r}"
            path.append(name)
            command = command.commands[name.partition("|")[0]]
            options |= option_names(command)
    return None


def option_names(command: Any) -> set[str]:
    return {name for param in command.params for name in [*param.opts, *param.secondary_opts]}


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_a_relative_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    broken = []
    for target in _LINK.findall(prose(page.read_text("utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_a_file_of_the_project_that_is_named_exists(page: Path) -> None:
    named = {span for span in _SPAN.findall(_FENCE.sub("", page.read_text("utf-8"))) if _PATH.fullmatch(span)}
    assert {name for name in named if not (PROJECT_ROOT / name).exists()} == set()


def test_every_dag_is_described() -> None:
    described = (DOCS / "architecture.md").read_text("utf-8")
    files = {path.stem for path in (PROJECT_ROOT / "dags").glob("*.py") if "_shard_" not in path.stem}
    assert {"npo_enrolment", "maintenance"} <= files
    assert {name for name in files if f"`{name}" not in described} == set()


def test_every_setting_is_explained_for_a_deployment() -> None:
    deploy = (DOCS / "deploy.md").read_text("utf-8")
    named = set(re.findall(r"`(SPOTLIGHT_[A-Z0-9_]+)`", deploy))
    assert {f"SPOTLIGHT_{name.upper()}" for name in Settings.model_fields} <= named


NUMBERS = {name: field.default for name, field in Settings.model_fields.items() if type(field.default) is int}


@pytest.mark.parametrize(("name", "default"), NUMBERS.items(), ids=NUMBERS)
def test_the_default_of_a_setting_is_the_one_told(name: str, default: int) -> None:
    row = re.search(
        rf"^\|.*`SPOTLIGHT_{name.upper()}`.*$", (DOCS / "deploy.md").read_text("utf-8"), re.MULTILINE
    )
    assert row
    assert re.search(rf"\b{default}\b", row[0])


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_a_setting_that_is_named_exists(page: Path) -> None:
    known = {f"SPOTLIGHT_{name.upper()}" for name in Settings.model_fields} | {"SPOTLIGHT_AIRFLOW_DSN"}
    named = set(re.findall(r"\bSPOTLIGHT_[A-Z0-9_]*[A-Z0-9]\b(?!_?\*)", page.read_text("utf-8")))
    assert {name for name in named - known if not name.startswith("SPOTLIGHT_SANDBOX")} == set()


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_a_quoted_command_exists_with_its_options(page: Path) -> None:
    found = [complaint(words) for words in quoted_commands(page.read_text("utf-8"))]
    assert [problem for problem in found if problem] == []


def test_the_commands_of_the_docs_are_found() -> None:
    found = {" ".join(words[:2]) for page in PAGES for words in quoted_commands(page.read_text("utf-8"))}
    assert {"npo list", "events tail", "stack up", "events prepare", "prepare"} <= found


@pytest.mark.parametrize(
    ("quoted", "problem"),
    [
        ("npo list|show", None),
        ("--json npo list", None),
        ("run npo__x --from 2026-11-01 --to 2026-11-08", None),
        ("npo delete x", "no command 'npo delete'"),
        ("npo list|delete", "no command 'npo delete'"),
        ("events tail --from x", "'events tail' has no option --from"),
    ],
)
def test_what_a_quoted_command_lacks_is_told(quoted: str, problem: str | None) -> None:
    assert complaint(quoted.split()) == problem


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=page_name)
def test_every_page_is_in_the_index(page: Path) -> None:
    linked = set(_LINK.findall((DOCS / "README.md").read_text("utf-8")))
    assert page.name == "README.md" or page.name in linked


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_a_page_names_no_folder_of_somebodys_machine(page: Path) -> None:
    assert _PLACE.findall(page.read_text("utf-8")) == []


def test_every_reason_for_quarantine_is_explained() -> None:
    source = "\n".join(
        path.read_text("utf-8")
        for folder in ("connectors", "npo", "quality")
        for path in (PROJECT_ROOT / "include" / folder).rglob("*")
        if path.suffix in {".py", ".json"} and "samples" not in path.parts
    )
    codes = set(re.findall(r'(?:code=|"code": |BadValueError\(|code, expected = )"(\w+)"', source))
    explained = (DOCS / "monitor.md").read_text("utf-8") + (DOCS / "recover.md").read_text("utf-8")
    assert len(codes) > 20
    assert {code for code in codes if f"`{code}`" not in explained and f": {code}:" not in explained} == set()


def test_every_kind_of_failure_is_explained() -> None:
    kinds = {kind.__name__ for kind in errors.IntegrationError.__subclasses__()} | {"RateLimitedError"}
    recover = (DOCS / "recover.md").read_text("utf-8")
    taxonomy = {name for name in kinds if getattr(errors, name, None)}
    assert {name for name in taxonomy if f"| `{name}` |" not in recover} == set()


def test_every_collection_of_the_store_is_described() -> None:
    described = (DOCS / "architecture.md").read_text("utf-8")
    collections = re.findall(r"^ {8}([a-z_, ]+): ", IntegrationStore.__doc__ or "", re.MULTILINE)
    names = {name for line in collections for name in line.split(", ")}
    assert {"outbox", "enrolment"} <= names
    assert {name for name, _, _ in INDEXES} <= names
    assert {name for name in names if f"`{name}`" not in described} == set()


ENROLMENT = PROJECT_ROOT / "include" / "npo" / "enrolment"


def test_every_state_of_an_enrolment_and_every_reason_is_explained() -> None:
    lines = [line for path in sorted(ENROLMENT.glob("*.py")) for line in path.read_text("utf-8").splitlines()]
    telling = [line for line in lines if re.search(r"Reason\(|\bcode = \{|obstacle=|^MISSING", line)]
    codes = set(re.findall(r'"([a-z]+(?:_[a-z]+)+)"', "\n".join(telling)))
    assert {"gave_up", "refused_by_npo", "no_enrolment", "missing_field"} <= codes
    explained = (DOCS / "enrolment.md").read_text("utf-8")
    assert {code for code in codes if f"`{code}`" not in explained} == set()
    assert {state.value for state in State if f"`{state.value}`" not in explained} == set()


SUITES = PROJECT_ROOT / "include" / "quality" / "suites"
SUITES_OF_OURS = ("esr_app", "esr_dnc", "esr_rtc")
ESR_CODE = re.compile(
    r'(?:Reason\(|code=|"code": |reason = \()\s*"([a-z_]+)"|(?<=, \(")[a-z]+(?:_[a-z]+)+(?=")',
)


def test_every_reason_why_a_file_or_a_line_of_esr_is_set_aside_is_explained() -> None:
    files = [
        *(PROJECT_ROOT / "include" / "esr" / "formats").glob("[!w]*.py"),  # not the writer's
        *(PROJECT_ROOT / "include" / "esr" / "files").glob("*.py"),
        PROJECT_ROOT / "include" / "esr" / "names.py",
        *(suite for suite in SUITES.glob("esr_*.json") if suite.stem not in SUITES_OF_OURS),
    ]
    codes = {found[1] or found[0] for file in files for found in ESR_CODE.finditer(file.read_text("utf-8"))}
    codes |= {fault.code for fault in Fault if fault is not Fault.NONE}
    codes |= {"too_few_columns", "too_many_columns", "duplicate_id"}  # chosen between, or positional
    assert {"bad_date", "missing_value", "not_inbound", "undecodable", "unusual_volume", "bad_name"} <= codes
    explained = (DOCS / "esr.md").read_text("utf-8")
    assert {code for code in codes if f"`{code}`" not in explained} == set()


def test_no_reason_is_explained_that_the_exchange_does_not_have() -> None:
    source = "\n".join(
        path.read_text("utf-8")
        for folder in ("esr", "quality/suites")
        for path in (PROJECT_ROOT / "include" / folder).rglob("*")
        if path.suffix in {".py", ".json"}
    )
    known = {fault.code for fault in Fault} | set(re.findall(r'"([a-z_]+)"', source))
    section = (DOCS / "esr.md").read_text("utf-8").partition("## What is checked")[2].partition("\n## ")[0]
    rows = re.findall(r"^\|(.*)\|[^|]*\|$", section, re.MULTILINE)
    told = {code for row in rows for code in re.findall(r"`([a-z]+(?:_[a-z]+)+)`", row)}
    assert len(told) > 30
    assert {code for code in told - known if not code.startswith("esr_")} == set()


def sources(*folders: str) -> str:
    """Return the code of the exchange, all of it or of some of its packages, as one text."""
    roots = [ESR / folder for folder in folders] or [ESR]
    return "\n".join(path.read_text("utf-8") for root in roots for path in sorted(root.rglob("*.py")))


def alerts_of_answers() -> set[str]:
    source = sources("confirmations")
    told = re.findall(r"^ {4}AnswerOutcome\.(\w+): f?\"", source, re.MULTILINE)
    return {f"answers_{AnswerOutcome[name]}" for name in told} | set(
        re.findall(r'"(answers_[a-z]+)"', source)
    )


@pytest.mark.parametrize("page", ["esr.md", "monitor.md"])
def test_every_alert_about_a_file_is_explained(page: str) -> None:
    alerts = set(re.findall(r'(?:Alert\(|add_alert\([^")]+)"([a-z_]+)"', sources()))
    assert {"new_version", "sequence_gap", "came_again", "mostly_older"} <= alerts
    text = (DOCS / page).read_text("utf-8")
    assert {alert for alert in alerts if f"`{alert}`" not in text} == set()


@pytest.mark.parametrize("page", ["esr-out.md", "monitor.md", "recover.md"])
def test_every_alert_about_an_answer_is_explained(page: str) -> None:
    alerts = alerts_of_answers()
    assert {"answers_unknown_file", "answers_contradicts", "answers_missing", "answers_unreadable"} <= alerts
    text = (DOCS / page).read_text("utf-8")
    assert {alert for alert in alerts if f"`{alert}`" not in text} == set()


@pytest.mark.parametrize(
    ("words", "page"),
    [
        (FileState, "esr.md"),
        (PersonStatus, "esr.md"),
        (RecordState, "esr-out.md"),
        (ExportState, "esr-out.md"),
        (AnswerOutcome, "esr-out.md"),
    ],
    ids=["file", "person", "record", "export", "answer"],
)
def test_every_state_of_the_exchange_is_explained(words: type[StrEnum], page: str) -> None:
    explained = (DOCS / page).read_text("utf-8")
    assert {word.value for word in words if f"`{word.value}`" not in explained} == set()


def test_every_reason_why_a_record_or_a_file_of_ours_is_held_back_is_explained() -> None:
    codes = set(
        re.findall(
            r'Reason\(\s*"([a-z_]+)"', sources("applicants", "notifications", "exports", "confirmations")
        )
    )
    codes |= set(re.findall(r'code="([a-z_]+)"', (ESR / "formats" / "writer.py").read_text("utf-8")))
    codes |= {
        f"bad_{column.type}"
        for kind in (FileType.APP, FileType.DNC, FileType.RTC)
        for record in load_format(kind).records.values()
        for column in record.columns
    }
    for suite in SUITES_OF_OURS:
        codes |= set(re.findall(r'"code": "([a-z_]+)"', (SUITES / f"{suite}.json").read_text("utf-8")))
    assert {"too_late", "position_gone", "overtaken", "bad_vpd", "missing_value", "other_records"} <= codes
    explained = (DOCS / "esr-out.md").read_text("utf-8")
    assert {code for code in codes if f"`{code}`" not in explained} == set()


def test_no_reason_or_outcome_of_the_way_out_is_explained_that_there_is_not() -> None:
    suites = "".join((SUITES / f"{suite}.json").read_text("utf-8") for suite in SUITES_OF_OURS)
    known = set(re.findall(r'"([a-z_]+)"', sources() + suites)) | alerts_of_answers()
    known |= {f"bad_{word}" for word in ("text", "integer", "decimal", "date", "time")}
    text = (DOCS / "esr-out.md").read_text("utf-8")
    tables = re.findall(r"^\| (?:reason|outcome|alert|suite|state)\b.*\n((?:\|.*\n)+)", text, re.MULTILINE)
    cells = [line.split("|")[1:3] for table in tables for line in table.splitlines()]
    told = {code for pair in cells for code in re.findall(r"`([a-z]+(?:_[a-z]+)+)`", "|".join(pair[:1]))}
    assert len(told) > 25
    assert {code for code in told - known if not code.startswith("esr_")} == set()


def test_the_counts_a_task_of_the_way_out_is_named_by_are_explained() -> None:
    explained = (DOCS / "esr-out.md").read_text("utf-8")
    source = sources("applicants")
    applicants = set(re.findall(r'return "([a-z_]+)"', source))
    applicants |= set(re.findall(r'"([a-z_]+)"', re.findall(r"dict\.fromkeys\(\(([^()]*)\), 0\)", source)[0]))
    counts = {f"notifications_{name}" for name in COUNTED} | {f"applicants_{name}" for name in applicants}
    for group in re.findall(r"dict\.fromkeys\(\(([^()]*)\), 0\)", sources("exports")):
        counts |= set(re.findall(r'"([a-z_]+)"', group))
    assert {"applicants_to_export", "applicants_left_alone", "carried_over", "waiting"} <= counts
    assert {name for name in counts if f"`{name}`" not in explained} == set()


def test_every_stage_of_the_way_out_is_described() -> None:
    described = (DOCS / "architecture.md").read_text("utf-8").partition("\n## Telling ESR\n")[2]
    rows = described.partition("\n## ")[0]
    assert {stage for stage in STAGES if f"`{stage}`" not in rows} == set()


def test_every_field_of_the_ledger_of_our_files_is_described() -> None:
    row = re.search(r"^\| `esr_export` \|.*$", (DOCS / "architecture.md").read_text("utf-8"), re.MULTILINE)
    assert row
    export = Export(
        name=FileName.parse("DE_KSS_RTC_20260707_00000001.DAT"),
        key="RTC/x/1",
        state=ExportState.ALLOCATED,
        day=date(2026, 7, 7),
        records=1,
        carried_over=0,
        made_at=datetime(2026, 7, 7, tzinfo=UTC),
        rows=({"type": "FIL"},),
        about={"file_id": "x"},
    )
    assert {name for name in export.to_document() if name != "_id" and f"`{name}`" not in row[0]} == set()


def test_every_field_of_the_file_ledger_is_described() -> None:
    row = re.search(r"^\| `esr_file` \|.*$", (DOCS / "architecture.md").read_text("utf-8"), re.MULTILINE)
    assert row
    fields = {field.name for field in dataclasses.fields(Entry)} - {"file_id"}
    assert {name for name in fields if f"`{name}`" not in row[0]} == set()


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def log_events(path: Path) -> Iterator[str]:
    """Yield the names of the structured log events a module tells: ``log.error("name", key=value)``."""
    for node in ast.walk(parsed(path)):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in {"critical", "error", "exception", "warning"}
            and node.args
            and isinstance(node.args[0], ast.Constant)
            and re.fullmatch(r"[a-z]+(?:_[a-z]+)+", str(node.args[0].value))
        ):
            yield str(node.args[0].value)


def test_every_log_event_of_an_alert_is_explained() -> None:
    told = {
        event
        for path in [PROJECT_ROOT / "include" / "notify.py", *ENROLMENT.glob("*.py"), *ESR.rglob("*.py")]
        for event in log_events(path)
    }
    assert {"task_failed", "deadline_missed", "enrolment_stopped", "enrolment_failed"} <= told
    assert {event for event in told if event.startswith("esr_")} >= {
        "esr_file_rejected",
        "esr_file_alert",
        "esr_file_failed",
        "esr_call_refused",
        "esr_inbound_missing",
        "esr_applicants_expired",
        "esr_event_unreadable",
        "esr_export_unanswered",
    }
    explained = (DOCS / "monitor.md").read_text("utf-8")
    assert {event for event in told if f"| `{event}`" not in explained} == set()


def test_no_log_event_is_explained_that_nobody_tells() -> None:
    told = {event for path in (PROJECT_ROOT / "include").rglob("*.py") for event in log_events(path)}
    rows = re.findall(
        r"^\| `spotlight\.alerts` \| `(\w+)`", (DOCS / "monitor.md").read_text("utf-8"), re.MULTILINE
    )
    assert len(rows) > 8
    assert set(rows) - told == set()


_HOLE = "\0"
_CLAUSE_ENDS = re.compile(r"\.\.\.|[;:,()]|\. ")


def clauses(message: str) -> set[str]:
    """Return the parts of a message between punctuation marks."""
    return {part.strip(" .") for part in _CLAUSE_ENDS.split(message)}


def told_clauses() -> tuple[set[str], list[re.Pattern[str]]]:
    """Return what the code says, clause by clause: as it is, and with anything for the values filled in."""
    found: set[str] = set()
    for path in (PROJECT_ROOT / "include").rglob("*.py"):
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else _HOLE for part in node.values]
                found |= clauses("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found |= clauses(node.value)
    said = {re.sub(rf" ?{_HOLE} ?", _HOLE, clause) for clause in found}
    said = {clause for clause in said if len(re.findall(r"\w\w+", clause)) > 1 or re.match(r"\w{8}", clause)}
    filled = {clause for clause in said if _HOLE in clause}
    return said - filled, [re.compile(re.escape(clause).replace(re.escape(_HOLE), ".*")) for clause in filled]


def test_a_message_to_recover_from_is_one_the_code_tells() -> None:
    told, filled_in = told_clauses()
    rows = re.findall(r"^\| (.*?) \| ", (DOCS / "recover.md").read_text("utf-8"), re.MULTILINE)
    quoted = {
        clause
        for cell in rows
        for span in _SPAN.findall(cell)
        for clause in clauses(re.sub(r"<\w+>|(^\d{3} from )?\b(GET|POST) \S+|^\d{3} from", "", span))
        if len(clause.split()) > 3  # shorter ones are names and values
    }
    assert len(quoted) > 60
    unknown = {
        clause
        for clause in quoted
        # The first word may be that of the message around it: 'check ...', 'gave ...'.
        if not any(
            text in told or any(one.fullmatch(text) for one in filled_in)
            for text in (clause, clause.partition(" ")[2])
        )
    }
    assert unknown == set()

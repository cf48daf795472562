"""The file ledger: states go forward, in the transaction of what they tell of, and can be started anew."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from include.errors import ConfigurationError, FatalError, NotYetError
from include.esr.documents import FileState, file_id
from include.esr.files import ledger
from include.esr.files.entry import Entry, Remote, SavedMark, Seen, SplitMark, document_of, named
from include.esr.files.receipts import MAX_ERRORS, prepare_receipt
from include.esr.files.sequence import repeated_number, require_turn
from include.esr.names import FileName
from include.quality.gate import Reason
from tests.integration.esr.inbox import NAME, name_of

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
ID = f"{NAME}#1"
WHY = Reason("missing_footer", "cut off")


def entry(name: str = NAME, *, version: int = 1, state: FileState = FileState.LANDED, **fields) -> Entry:
    plain = Entry(
        file_id(name, version),
        name,
        version,
        state,
        {"discovered": NOON, "landed": NOON},
        sha256="0" * 64,
        key="esr/x.gz",
        encoding="utf-8",
        seen=Seen(1, 2),
    )
    return Entry(
        **{each: getattr(plain, each) for each in Entry.__slots__}
        | named(plain, FileName.parse(name))
        | fields
    )


@pytest.fixture
def store(esr_ctx):
    return esr_ctx.store


def commit(store, change, *args, **kwargs) -> None:
    def write(session, _order):
        change(store, session, *args, **kwargs)

    store.commit_plan("esr/KSS", lambda: (None, write))


def add(store, *found: Entry) -> None:
    for each in found:
        commit(store, ledger.add, each)


def test_an_entry_comes_back_as_it_was_put(store):
    full = entry(
        state=FileState.REJECTED,
        reason=WHY,
        counts={"good": 3},
        split=SplitMark(1, 2, 3),
        saved=SavedMark(4, 5),
    )
    add(store, full)
    assert ledger.read(store, ID) == full
    assert full.landed.source.order == full.order


def test_a_state_notes_when_it_came_and_what_was_found(store):
    add(store, entry())
    commit(store, ledger.mark, ID, split=SplitMark(1, 200, 4096), counts={"good": 1})
    commit(store, ledger.advance, ID, FileState.SPLIT, at=NOON + timedelta(1), counts={"good": 7, "bad": 2})
    found = ledger.read(store, ID)
    assert found.split == SplitMark(1, 200, 4096)
    assert found.counts == {"good": 7, "bad": 2}
    assert found.states == {"discovered": NOON, "landed": NOON, "split": NOON + timedelta(1)}


@pytest.mark.parametrize("state", [FileState.SAVED, FileState.LANDED])
def test_a_file_does_not_go_back_by_itself(store, state):
    add(store, entry(state=FileState.PUBLISHED))
    with pytest.raises(FatalError, match="it is published already"):
        commit(store, ledger.advance, ID, state, at=NOON)


@pytest.mark.parametrize("state", [FileState.PUBLISHED, FileState.REJECTED])
def test_a_file_that_is_done_takes_no_more_marks(store, state):
    add(store, entry(state=state))
    with pytest.raises(FatalError, match="already"):
        commit(store, ledger.mark, ID, saved=SavedMark(1, 1))


def test_a_published_file_is_not_rejected(store):
    add(store, entry(state=FileState.PUBLISHED))
    with pytest.raises(FatalError):
        commit(store, ledger.reject, ID, WHY, at=NOON)


def test_what_is_not_on_the_ledger_cannot_move(store):
    with pytest.raises(FatalError, match="not on the ledger"):
        commit(store, ledger.advance, ID, FileState.SPLIT, at=NOON)
    with pytest.raises(FatalError, match="not on the ledger"):
        ledger.read(store, ID)
    assert ledger.latest(store, NAME) is None


def test_a_rejected_file_keeps_its_evidence_and_can_be_replayed(store):
    add(store, entry(counts={"good": 3}, split=SplitMark(1, 2, 3)))
    commit(store, ledger.reject, ID, WHY, at=NOON, counts={"bad": 1})
    rejected = ledger.read(store, ID)
    assert (rejected.reason, rejected.counts) == (WHY, {"good": 3, "bad": 1})
    commit(store, ledger.add_alert, ID, "sequence_gap", "number 16", at=NOON)
    commit(store, ledger.reset_for_replay, ID, NOON + timedelta(1))
    again = ledger.read(store, ID)
    assert (again.state, again.reason, again.split, again.saved, again.counts) == (
        FileState.LANDED,
        None,
        None,
        None,
        {},
    )
    assert again.states == {"discovered": NOON, "landed": NOON}
    assert [alert.code for alert in again.alerts] == ["sequence_gap"]


def test_a_file_that_was_refused_when_it_came_cannot_be_replayed(store):
    add(store, entry(state=FileState.REJECTED, reason=WHY, refused_on_arrival=True))
    with pytest.raises(ConfigurationError, match="nothing to replay"):
        commit(store, ledger.reset_for_replay, ID, NOON)


def test_the_same_alert_is_there_once(store):
    add(store, entry())
    for message in ("number 16", "number 16", "number 15"):
        commit(store, ledger.add_alert, ID, "sequence_gap", message, at=NOON)
    assert [alert.message for alert in ledger.read(store, ID).alerts] == ["number 16", "number 15"]


def test_alerts_do_not_grow_without_bound(store):
    add(store, entry())
    for number in range(ledger.MAX_ALERTS + 3):
        with store.client.start_session() as session:
            ledger.add_alert(store, session, ID, "x", str(number), at=NOON)
    assert len(ledger.read(store, ID).alerts) == ledger.MAX_ALERTS


def test_what_is_due_comes_in_sequence_deanery_by_deanery(store):
    add(
        store,
        entry(name_of(9, day=9)),
        entry(name_of(8, day=8), state=FileState.RECONCILED),
        entry(name_of(8, day=8), version=2),
        entry(name_of(7, day=7), state=FileState.PUBLISHED),
        entry(name_of(6, day=6), state=FileState.REJECTED),
        entry(name_of(3, day=9, deanery="EMD")),
    )
    wanted = [f"{name_of(8, day=8)}#1", f"{name_of(8, day=8)}#2", f"{name_of(9, day=9)}#1"]
    assert ledger.due(store) == [f"{name_of(3, day=9, deanery='EMD')}#1", *wanted]
    assert ledger.due(store, deanery="KSS") == wanted


def test_the_ledger_can_be_asked_by_deanery_state_and_day(store):
    add(store, entry(name_of(1, day=1)), entry(name_of(2, day=2)), entry(name_of(2, day=2, deanery="EMD")))

    def names(**query):
        return [each.name for each in ledger.entries(store, **query)]

    assert names() == [name_of(2, day=2, deanery="EMD"), name_of(1, day=1), name_of(2, day=2)]
    assert names(deanery="KSS", limit=1) == [name_of(2, day=2)]
    assert names(since=date(2026, 3, 2), until=date(2026, 3, 2), deanery="KSS") == [name_of(2, day=2)]
    assert names(state=FileState.SPLIT) == []


def test_a_missing_file_is_waited_for_then_marked(store):
    file = entry(name_of(17, day=4))
    add(store, entry(name_of(14, day=1), state=FileState.PUBLISHED), file)
    with pytest.raises(NotYetError, match="numbers 15 to 16 of KSS not there yet") as waits:
        require_turn(store, file, now=NOON + timedelta(seconds=3570), wait_seconds=3600)
    assert waits.value.retry_after == 30
    for _ in range(2):
        require_turn(store, file, now=NOON + timedelta(seconds=3600), wait_seconds=3600)
    [alert] = ledger.read(store, file.file_id).alerts
    assert alert.code == "sequence_gap"
    assert "15 to 16" in alert.message


def test_a_file_at_work_far_before_it_is_waited_for(store):
    days = [date(2025, 1, 1) + timedelta(days=number) for number in range(80)]
    names = [f"DE_KSS_RMC_{day:%Y%m%d}_{number:08d}.DAT" for number, day in enumerate(days, start=1)]
    files = [entry(name, state=FileState.PUBLISHED) for name in names[1:-1]]
    add(store, entry(names[0], state=FileState.SAVED), *files)
    last = entry(names[-1])
    found = ledger.siblings(store, last)
    assert [each.sequence for each in found] == [1, *range(80 - ledger.BEFORE - 1, 80)]
    with pytest.raises(NotYetError, match=names[0]):
        require_turn(store, last, now=NOON, wait_seconds=0)


def test_a_number_that_came_long_ago_is_a_repeat_all_the_same(store):
    add(store, entry("DE_KSS_RMC_20250101_00000017.DAT"))
    add(store, *(entry(f"DE_KSS_RMC_2025{month:02d}05_0000{month:02d}99.DAT") for month in range(2, 13)))
    [alert] = repeated_number(entry(), ledger.siblings(store, entry()), at=NOON)
    assert "DE_KSS_RMC_20250101_00000017.DAT" in alert.message


@pytest.mark.parametrize(
    "query",
    [
        {"misplaced": True},
        {"deanery": "KSS", "order": {"$lt": "3"}, "state": {"$in": ["landed", "saved"]}},
        {"deanery": "KSS", "sequence": 17},
    ],
)
def test_a_look_does_not_read_the_whole_ledger(store, query):
    store.prepare()
    names = [
        f"DE_KSS_RMC_2025{month:02d}{day:02d}_00{month:02d}00{day:02d}.DAT"
        for month in (1, 2)
        for day in range(1, 29)
    ]
    old = [entry(name, state=FileState.PUBLISHED, remote=Remote("done", name)) for name in names]
    store["esr_file"].insert_many([document_of(each) for each in old])
    add(store, entry())
    explained = store.database.command(
        "explain", {"find": "esr_file", "filter": query}, verbosity="executionStats"
    )["executionStats"]
    assert (explained["nReturned"], explained["totalDocsExamined"]) == (1, 1)


def test_a_file_before_it_is_waited_for_however_long_it_takes(store):
    file = entry(name_of(17, day=4))
    add(store, entry(name_of(16, day=3)), file)
    with pytest.raises(NotYetError, match=name_of(16, day=3)):
        require_turn(store, file, now=NOON + timedelta(days=9), wait_seconds=0)
    commit(store, ledger.advance, f"{name_of(16, day=3)}#1", FileState.RECONCILED, at=NOON)
    require_turn(store, file, now=NOON, wait_seconds=3600)
    assert ledger.read(store, file.file_id).alerts == ()


LINE = {"line": 3, "record_type": "POS", "code": "bad_date", "text": "last_update_date is no date"}


@pytest.mark.parametrize(
    ("rejected", "lines", "outcome"),
    [(True, [LINE], "rejected"), (False, [LINE], "errors"), (False, [], "success")],
)
def test_a_receipt_tells_the_verdict_of_its_transaction(store, rejected, lines, outcome):
    add(store, entry())

    def judge(store, session):
        if rejected:
            ledger.reject(store, session, ID, WHY, at=NOON)
        prepare_receipt(store, session, entry(), lines=lines, counts={"good": 1}, at=NOON)

    for _ in range(2 if not rejected else 1):
        commit(store, judge)
    [receipt] = store["esr_receipt"].find()
    assert (receipt["outcome"], receipt["errors"], receipt["state"]) == (outcome, lines, "prepared")
    assert (receipt["_id"], receipt["deanery"], receipt["counts"]) == (ID, "KSS", {"good": 1})


def send(store) -> None:
    store["esr_receipt"].update_one({"_id": ID}, {"$set": {"state": "sent", "sent_as": "x"}})


def test_a_receipt_that_was_sent_stays_so_when_a_replay_says_the_same(store):
    add(store, entry())
    for _ in range(2):
        commit(store, prepare_receipt, entry(), lines=[LINE], counts={"good": 1}, at=NOON)
        send(store)
    commit(store, prepare_receipt, entry(), lines=[LINE], counts={"good": 1}, at=NOON + timedelta(1))
    [receipt] = store["esr_receipt"].find()
    assert (receipt["state"], receipt["sent_as"], receipt["prepared_at"]) == ("sent", "x", NOON)


def test_another_verdict_is_to_be_sent_again(store):
    add(store, entry())
    commit(store, prepare_receipt, entry(), lines=[LINE], counts={"good": 1}, at=NOON)
    send(store)
    commit(store, prepare_receipt, entry(), lines=[], counts={"good": 2}, at=NOON + timedelta(1))
    [receipt] = store["esr_receipt"].find()
    assert (receipt["state"], receipt["outcome"], "sent_as" in receipt) == ("prepared", "success", False)


def test_a_receipt_counts_lines_nobody_kept(store):
    add(store, entry())
    commit(store, prepare_receipt, entry(), lines=[LINE] * 3, counts={"quarantined": 12}, at=NOON)
    [receipt] = store["esr_receipt"].find()
    assert (len(receipt["errors"]), receipt["more"]) == (3, 9)


def test_a_receipt_is_bounded_and_says_how_much_it_left_out(store):
    add(store, entry())
    commit(store, prepare_receipt, entry(), lines=[LINE] * (MAX_ERRORS + 5), counts={}, at=NOON)
    [receipt] = store["esr_receipt"].find()
    assert (len(receipt["errors"]), receipt["more"]) == (MAX_ERRORS, 5)

"""Discovery on the real SFTP server: each file is taken once, whole, and put away after the ledger has it."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from include.errors import ConfigurationError, FatalError, TransientError
from include.esr.documents import FileState, owner
from include.esr.files import ledger
from include.esr.files.discovery import MAX_IN_A_ROW, discover, settle_remote
from include.esr.files.replay import replay_days, replay_file
from include.esr.files.sftp import EsrFolder, open_folder
from include.quality.gate import Reason
from include.storage.landing import LandingZone
from tests.conftest import HOME
from tests.integration.esr.inbox import NAME, Inbox, body_of, name_of

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
ID = f"{NAME}#1"


@pytest.fixture
def inbox(settings, monkeypatch):
    folder = f"t{uuid.uuid4().hex[:12]}/inbound"
    monkeypatch.setenv("SPOTLIGHT_ESR_INBOUND_FOLDER", folder)
    path = HOME / "sftp" / "files" / folder
    path.mkdir(parents=True)
    yield Inbox(path)
    shutil.rmtree(path.parent)


@pytest.fixture
def ctx(esr_ctx, inbox):
    """A context whose clock stands still, on the folder of this test."""
    folder = "/".join(inbox.path.parts[-2:])
    return at(replace(esr_ctx, settings=esr_ctx.settings.model_copy(update={"esr_inbound_folder": folder})))


def at(ctx, seconds: float = 0):
    return replace(ctx, now=lambda: NOON + timedelta(seconds=seconds))


def with_settings(ctx, **changes):
    return replace(ctx, settings=ctx.settings.model_copy(update=changes))


def settled(ctx):
    """Look twice, far enough apart for any file to count."""
    first = discover(ctx)
    second = discover(at(ctx, ctx.settings.esr_settle_seconds))
    return replace(second, landed=first.landed + second.landed, rejected=first.rejected + second.rejected)


def states(ctx) -> dict[str, str]:
    return {entry.file_id: entry.state.value for entry in ledger.entries(ctx.store)}


def objects(ctx, s3) -> list[str]:
    found = s3.list_objects_v2(Bucket=ctx.settings.landing_bucket).get("Contents", [])
    return [entry["Key"] for entry in found]


# --- one good file ---------------------------------------------------------------------------------


def test_a_whole_file_is_landed_untouched_at_the_first_look(ctx, inbox):
    body = body_of().replace(b"\n", b"\r\n")
    inbox.put(NAME, body)

    assert discover(ctx).landed == (ID,)

    entry = ledger.read(ctx.store, ID)
    assert entry.state is FileState.LANDED
    assert entry.key == f"esr/inbound/KSS/2026-03-04/{NAME}/{hashlib.sha256(body).hexdigest()[:16]}.gz"
    assert ctx.landing.get(entry.key) == body
    assert (entry.size, entry.lines, entry.encoding) == (len(body), 5, "utf-8")
    assert (entry.order, entry.sequence, entry.landed.landed_at) == ("20260304-00000017-RMF-001", 17, NOON)


def test_the_partners_copy_is_moved_to_done(ctx, inbox):
    inbox.put(NAME, body_of())
    discover(ctx)
    assert inbox.tree() == {f"done/{NAME}": body_of()}
    assert ledger.read(ctx.store, ID).remote_moved_at == NOON


def test_a_second_look_finds_nothing_new(ctx, inbox):
    inbox.put(NAME, body_of())
    discover(ctx)
    assert discover(ctx) == replace(discover(ctx), landed=(), rejected=(), unsettled=0)
    assert states(ctx) == {ID: "landed"}


def test_an_empty_folder_is_no_failure(ctx):
    assert discover(ctx).landed == ()


@pytest.mark.parametrize(("text", "encoding"), [("Zoë".encode(), "utf-8"), (b"Zo\xeb", "cp1252")])
def test_the_charset_is_on_the_ledger(ctx, inbox, text, encoding):
    inbox.put(NAME, body_of().replace(b"Post", text))
    discover(ctx)
    assert ledger.read(ctx.store, ID).encoding == encoding


@pytest.mark.parametrize(
    ("title", "encoding", "code"),
    [
        (b"Zo\xeb", "cp1252", "charset_fallback"),
        ("Zoë Öz".encode() + b"\xff", "utf-8", "charset_broken"),
        ("Zoë".encode(), "utf-8", None),
    ],
)
def test_a_file_of_another_or_a_broken_charset_is_told(ctx, inbox, title, encoding, code):
    inbox.put(NAME, body_of(lines=1).replace(b"Post", title))
    discover(ctx)
    entry = ledger.read(ctx.store, ID)
    assert (entry.encoding, [alert.code for alert in entry.alerts]) == (encoding, [code] if code else [])


def test_a_sequence_of_seven_digits_is_the_name_with_eight(ctx, inbox):
    short = NAME.replace("_00000017", "_0000017")
    inbox.put(short, body_of())
    assert discover(ctx).landed == (ID,)
    assert inbox.names() == [f"done/{short}"]
    inbox.put(NAME, body_of(lines=4))
    assert discover(ctx).landed == (f"{NAME}#2",)
    assert [entry.seen.name for entry in ledger.versions(ctx.store, NAME)] == [short, NAME]
    assert replay_file(ctx, short).file_id == f"{NAME}#2"
    assert replay_file(ctx, f"{short}#1").file_id == ID


def test_a_full_file_and_the_changes_of_its_day_have_a_place_of_their_own(ctx, inbox):
    names = [name_of(17, kind=kind) for kind in ("RMF", "RMC")]
    for name in names:
        inbox.put(name, body_of(name))
    discover(ctx)
    assert ledger.due(ctx.store) == [f"{name_of(17, kind=kind)}#1" for kind in ("RMC", "RMF")]
    assert len({entry.order for entry in ledger.entries(ctx.store)}) == 2


@pytest.mark.parametrize("tail", [b"\n", b"\x1a", b"\r\n\r\n\x1a"])
def test_blank_lines_after_the_footer_do_not_keep_a_file_waiting(ctx, inbox, tail):
    inbox.put(NAME, body_of() + tail)
    assert discover(ctx).landed == (ID,)


def test_confirmations_stay_for_the_stage_that_reads_them(ctx, inbox):
    for kind in ("APC", "DCC"):
        inbox.put(name_of(17, kind=kind), b"x\n")
    settled(ctx)
    assert inbox.names() == [name_of(17, kind=kind) for kind in ("APC", "DCC")]
    assert states(ctx) == {}


# --- files on their way ----------------------------------------------------------------------------


def test_a_half_uploaded_file_is_left_until_it_is_whole(ctx, inbox):
    body = body_of(lines=50)
    inbox.put(NAME, body[:900], modified=1)
    assert discover(ctx).unsettled == 1
    inbox.put(NAME, body, modified=2)
    assert discover(ctx).landed == (ID,)
    assert ledger.read(ctx.store, ID).lines == 52


def test_a_file_without_a_footer_counts_when_it_stayed_equal_over_two_looks(ctx, inbox):
    inbox.put(NAME, body_of()[:-8])
    assert discover(ctx).unsettled == 1
    assert discover(at(ctx, ctx.settings.esr_settle_seconds - 1)).unsettled == 1
    assert discover(at(ctx, ctx.settings.esr_settle_seconds)).landed == (ID,)


@pytest.mark.parametrize("changed", [{"body": b"HDR\nPOS,2\n"}, {"modified": 1_772_000_001}])
def test_a_file_that_changed_between_two_looks_is_looked_at_again(ctx, inbox, changed):
    inbox.put(NAME, b"HDR\nPOS,1")
    discover(ctx)
    inbox.put(NAME, **{"body": b"HDR\nPOS,1"} | changed)
    assert discover(at(ctx, 3600)).unsettled == 1
    assert discover(at(ctx, 7200)).landed == (ID,)


def test_a_file_that_went_and_came_again_starts_anew(ctx, inbox):
    path = inbox.put(NAME, b"HDR\n")
    discover(ctx)
    path.unlink()
    discover(at(ctx, 1))
    inbox.put(NAME, b"HDR\n")
    assert discover(at(ctx, 3600)).unsettled == 1


def test_a_line_like_a_footer_in_a_growing_file_neither_lands_nor_rejects_it(ctx, inbox):
    inbox.put(NAME, body_of(lines=3, counted=9), modified=1)
    assert discover(ctx).unsettled == 1
    assert states(ctx) == {}
    inbox.put(NAME, body_of(lines=9), modified=2)
    assert discover(ctx).landed == (ID,)


def test_a_hole_in_a_file_uploaded_in_parallel_is_not_taken_for_its_content(ctx, inbox):
    body = body_of(lines=50)
    inbox.put(NAME, body[:500] + b"\0" * 1000 + body[1500:], modified=1)
    assert discover(ctx).unsettled == 1
    inbox.put(NAME, body, modified=1)  # the server's clock counts whole seconds
    assert discover(ctx).landed == (ID,)


def test_a_wrong_footer_in_a_settled_file_is_landed_for_the_gate_to_judge(ctx, inbox):
    inbox.put(NAME, body_of(counted=9))
    assert settled(ctx).landed == (ID,)


def test_a_file_that_grows_while_it_is_fetched_is_not_taken(ctx, inbox, monkeypatch):
    path = inbox.put(NAME, body_of())
    fetch = EsrFolder.fetch

    def grow(self, *args):
        answer = fetch(self, *args)
        path.write_bytes(body_of() + b"POS")
        return answer

    monkeypatch.setattr(EsrFolder, "fetch", grow)
    assert discover(ctx).unsettled == 1
    assert states(ctx) == {}
    assert inbox.names() == [NAME]


def test_a_file_that_goes_away_while_it_is_fetched_is_not_taken(ctx, inbox, monkeypatch):
    path = inbox.put(NAME, body_of())
    tail = EsrFolder.tail

    def take_away(self, *args):
        answer = tail(self, *args)
        path.unlink()
        return answer

    monkeypatch.setattr(EsrFolder, "tail", take_away)
    assert discover(ctx).unsettled == 1
    assert discover(ctx).unsettled == 0


# --- the same again, something else ----------------------------------------------------------------


def test_the_same_content_twice_is_one_file(ctx, inbox):
    inbox.put(NAME, body_of())
    discover(ctx)
    inbox.put(NAME, body_of(), modified=1_772_000_100)
    assert discover(ctx).landed == ()
    assert states(ctx) == {ID: "landed"}
    assert ledger.read(ctx.store, ID).alerts == ()
    assert len(inbox.tree()) == 2
    assert all(name.startswith("done/") for name in inbox.names())


def test_a_copy_with_the_very_time_of_the_first_is_put_away_too(ctx, inbox):
    for _ in range(3):
        inbox.put(NAME, body_of(), modified=1_772_000_000)
        discover(ctx)
    assert len(inbox.tree()) == 3
    assert all(name.startswith("done/") for name in inbox.names())


def test_other_content_under_the_same_name_is_a_new_version_and_both_are_kept(ctx, inbox):
    bodies = [body_of(lines=number) for number in (3, 4, 5)]
    for body in bodies:
        inbox.put(NAME, body)
        discover(ctx)
    found = ledger.versions(ctx.store, NAME)
    assert [entry.order for entry in found] == [f"20260304-00000017-RMF-00{each}" for each in (1, 2, 3)]
    assert [ctx.landing.get(str(entry.key)) for entry in found] == bodies
    assert sorted(inbox.tree().values()) == sorted(bodies)
    assert [alert.code for alert in found[1].alerts] == ["new_version"]
    assert ledger.latest(ctx.store, NAME) == found[2]


def test_an_older_version_that_comes_again_is_no_new_one_but_told(ctx, inbox):
    for lines in (3, 4, 3):
        inbox.put(NAME, body_of(lines=lines))
        discover(ctx)
    first, second = ledger.versions(ctx.store, NAME)
    assert [alert.code for alert in first.alerts] == ["came_again"]
    assert [alert.code for alert in second.alerts] == ["new_version"]


def test_the_same_content_under_another_name_is_a_file_of_its_own_with_an_alert(ctx, inbox):
    other = name_of(18, day=5)
    for name in (NAME, other):
        inbox.put(name, body_of())
        discover(ctx)
    [alert] = ledger.read(ctx.store, f"{other}#1").alerts
    assert alert.code == "repeated_content"
    assert NAME in alert.message
    assert states(ctx) == {ID: "landed", f"{other}#1": "landed"}


def test_a_number_that_comes_twice_is_told_on_the_second_file(ctx, inbox):
    for day, kind in ((4, "RMF"), (5, "RMC")):
        name = name_of(17, day=day, kind=kind)
        inbox.put(name, body_of(name))
        discover(ctx)
    first, second = (
        ledger.latest(ctx.store, name_of(17, day=d, kind=k)) for d, k in ((4, "RMF"), (5, "RMC"))
    )
    assert first
    assert second
    assert first.alerts == ()
    assert [alert.code for alert in second.alerts] == ["sequence_repeat"]


def test_a_file_overwritten_before_it_was_put_away_is_not_put_away_unread(ctx, inbox, monkeypatch):
    monkeypatch.setattr(EsrFolder, "move", lambda *_args, **_kwargs: 1 / 0)
    inbox.put(NAME, body_of(lines=3))
    with pytest.raises(ZeroDivisionError):
        discover(ctx)
    monkeypatch.undo()
    inbox.put(NAME, body_of(lines=4), modified=1_772_000_100)
    assert discover(ctx).landed == (f"{NAME}#2",)
    first, second = ledger.versions(ctx.store, NAME)
    assert first.remote
    assert first.remote.folder == "gone"
    assert second.remote
    assert second.remote.folder == "done"
    assert inbox.tree() == {f"done/{NAME}": body_of(lines=4)}


# --- files that cannot be used ---------------------------------------------------------------------

REFUSED = {
    "bad_name": ("hello.txt", b"x\n"),
    "unknown_deanery": (NAME.replace("KSS", "XXX"), body_of()),
    "unknown_type": (NAME.replace("RMF", "RMX"), body_of()),
    "not_inbound": (NAME.replace("RMF", "APP"), b"x\n"),
    "empty_file": (NAME, b""),
    "not_an_esr_file": (NAME, gzip.compress(b"0" * 10_000_000)),
    "undecodable": (NAME, body_of().replace(b"Post", b"\x81\xff")),
    "future_day": (name_of(17, day=7), body_of(name_of(17, day=7))),
}


@pytest.mark.parametrize("code", REFUSED)
def test_a_file_that_cannot_be_used_is_rejected_with_its_reason_and_kept(ctx, inbox, code):
    name, body = REFUSED[code]
    inbox.put(name, body)
    assert settled(ctx).rejected == (f"{name}#1",)
    entry = ledger.read(ctx.store, f"{name}#1")
    assert entry.reason
    assert entry.reason.code == code
    assert ctx.landing.get(str(entry.key)) == body
    assert inbox.tree() == {f"rejected/{name}": body}


def test_a_day_the_sender_may_be_ahead_by_is_no_reason(ctx, inbox):
    inbox.put(name_of(17, day=6), body_of(name_of(17, day=6)))
    assert discover(ctx).rejected == ()


@pytest.mark.parametrize("code", ["undecodable", "future_day", "empty_file"])
def test_what_was_refused_when_it_came_stays_so_on_a_replay(ctx, inbox, code):
    name, body = REFUSED[code]
    inbox.put(name, body)
    settled(ctx)
    with pytest.raises(ConfigurationError, match=f"rejected when it came \\({code}\\)"):
        replay_file(ctx, name)
    assert replay_days(ctx, datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC)) == []
    assert states(ctx) == {f"{name}#1": "rejected"}


def test_a_file_that_is_too_large_is_not_even_fetched(ctx, inbox, s3, monkeypatch):
    monkeypatch.setattr(EsrFolder, "fetch", lambda *_: pytest.fail("fetched"))
    small = with_settings(ctx, esr_max_file_bytes=1000)
    inbox.put(NAME, body_of(lines=50))
    assert settled(small).rejected == (ID,)
    entry = ledger.read(ctx.store, ID)
    assert entry.reason
    assert entry.reason.code == "file_too_large"
    assert objects(ctx, s3) == []
    assert inbox.names() == [f"rejected/{NAME}"]
    with pytest.raises(FatalError, match="nothing of this file is in the landing zone"):
        _ = entry.landed


@pytest.mark.parametrize(("code", "receipts"), [("empty_file", 1), ("bad_name", 0), ("not_inbound", 0)])
def test_a_receipt_is_prepared_for_what_a_known_sender_sent(ctx, inbox, mongo, code, receipts):
    inbox.put(*REFUSED[code])
    settled(ctx)
    found = list(mongo.esr_receipt.find())
    assert len(found) == receipts
    assert [(each["outcome"], each["reason"]["code"]) for each in found] == [("rejected", code)] * receipts


def test_two_files_with_nothing_in_them_do_not_remind_of_each_other(ctx, inbox):
    for name in (NAME, name_of(18, day=5)):
        inbox.put(name, b"")
    settled(ctx)
    assert [entry.alerts for entry in ledger.entries(ctx.store)] == [(), ()]


def test_a_file_that_may_not_be_read_does_not_hold_up_the_others(ctx, inbox, monkeypatch):
    tail = EsrFolder.tail

    def refused(self, name, amount):
        if name == NAME:
            raise ConfigurationError("SFTP: the user lacks a right to it")
        return tail(self, name, amount)

    monkeypatch.setattr(EsrFolder, "tail", refused)
    for name in (NAME, name_of(18, day=5)):
        inbox.put(name, body_of(name))
    found = discover(ctx)
    assert found.failed == ((NAME, "SFTP: the user lacks a right to it"),)
    assert found.landed == (f"{name_of(18, day=5)}#1",)
    assert list(states(ctx)) == [f"{name_of(18, day=5)}#1"]


# --- names -----------------------------------------------------------------------------------------

HOSTILE = {
    b"..DE_KSS": "..DE_KSS",
    b"a\nb.DAT": "a%0Ab.DAT",
    b"\xff\xfe.DAT": "%FF%FE.DAT",
    "März.DAT".encode(): "M%C3%A4rz.DAT",
    b"x" * 255: "x" * 255,
    b"%2e%2e%2f": "%252e%252e%252f",
    b"a#1": "a%231",
    b"a b\\c;d$e": "a%20b%5Cc%3Bd%24e",
    NAME.encode() + b"\n": f"{NAME}%0A",
    NAME.encode() + b"\0".replace(b"\0", b" "): f"{NAME}%20",
}


@pytest.mark.parametrize("raw", HOSTILE)
def test_a_name_of_any_bytes_is_on_the_ledger_and_moved_as_it_is(ctx, inbox, raw):
    inbox.put(raw, b"x\n")
    [rejected] = settled(ctx).rejected
    assert rejected == f"{HOSTILE[raw]}#1"
    entry = ledger.read(ctx.store, rejected)
    assert entry.reason
    assert entry.reason.code == "bad_name"
    assert str(entry.key).startswith("esr/inbound/unnamed/2026-02-25/")
    assert os.listdir(os.fsencode(inbox.path) + b"/rejected") == [raw]  # noqa: PTH208 - bytes


def test_a_second_file_of_the_longest_name_is_put_away_beside_the_first(ctx, inbox):
    for body in (b"1\n", b"2\n"):
        inbox.put("x" * 255, body)
        settled(ctx)
    assert sorted(inbox.tree().values()) == [b"1\n", b"2\n"]
    assert all(name.startswith("rejected/") for name in inbox.names())


def test_folders_and_links_are_no_files(ctx, inbox):
    (inbox.path / NAME).mkdir()
    (inbox.path / name_of(18)).symlink_to(inbox.put(name_of(19, kind="APC"), b"x"))
    assert settled(ctx) == replace(settled(ctx), landed=(), rejected=(), unsettled=0)


# --- the partner's copy ----------------------------------------------------------------------------


def reject(ctx, file_id: str) -> None:
    def write(session, _order):
        ledger.reject(ctx.store, session, file_id, Reason("missing_footer", "cut off"), at=NOON)

    ctx.store.commit_plan(owner("KSS"), lambda: (None, write))


def replay(ctx, file_id: str) -> None:
    def write(session, _order):
        ledger.reset_for_replay(ctx.store, session, file_id, NOON)

    ctx.store.commit_plan(owner("KSS"), lambda: (None, write))


def test_the_copy_of_a_file_rejected_later_is_moved_on(ctx, inbox):
    inbox.put(NAME, body_of())
    discover(ctx)
    reject(ctx, ID)
    for _ in range(2):
        settle_remote(ctx, ID)
        assert inbox.names() == [f"rejected/{NAME}"]


def test_the_next_look_moves_what_nobody_moved(ctx, inbox):
    inbox.put(NAME, body_of())
    discover(ctx)
    reject(ctx, ID)
    discover(ctx)
    assert inbox.names() == [f"rejected/{NAME}"]
    replay(ctx, ID)
    discover(ctx)
    assert inbox.names() == [f"done/{NAME}"]


def test_the_copy_of_each_version_is_moved_by_its_own_name(ctx, inbox):
    for lines in (3, 4):
        inbox.put(NAME, body_of(lines=lines))
        discover(ctx)
    reject(ctx, f"{NAME}#2")
    settle_remote(ctx, f"{NAME}#2")
    assert inbox.tree() == {f"done/{NAME}": body_of(lines=3), f"rejected/{NAME}": body_of(lines=4)}


def test_a_copy_the_partner_took_away_is_no_failure(ctx, inbox):
    inbox.put(NAME, body_of())
    discover(ctx)
    (inbox.path / "done" / NAME).unlink()
    reject(ctx, ID)
    settle_remote(ctx, ID)
    remote = ledger.read(ctx.store, ID).remote
    assert remote
    assert remote.folder == "gone"


def test_nothing_in_done_is_overwritten(ctx, inbox):
    (inbox.path / "done").mkdir()
    (inbox.path / "done" / NAME).write_bytes(b"another")
    inbox.put(NAME, body_of())
    discover(ctx)
    assert sorted(inbox.tree().values()) == sorted([b"another", body_of()])


# --- the server ------------------------------------------------------------------------------------


def test_a_server_with_another_key_gets_no_password(ctx):
    other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
    with pytest.raises(ConfigurationError, match="does not show the key in SPOTLIGHT_SFTP_HOST_KEY"):
        discover(with_settings(ctx, sftp_host_key=other))


def test_a_key_of_another_kind_is_another_key(ctx):
    import asyncssh

    other = asyncssh.generate_private_key("ecdsa-sha2-nistp256").export_public_key().decode()
    with pytest.raises(ConfigurationError, match=r"HostKeyNotVerifiable .* does not show the key"):
        discover(with_settings(ctx, sftp_host_key=other))


@pytest.mark.parametrize("key", [None, "", "nonsense", "ssh-ed25519 AAAA"])
def test_without_a_key_no_server_is_trusted(ctx, key):
    with pytest.raises(ConfigurationError, match="SPOTLIGHT_SFTP_HOST_KEY"):
        discover(with_settings(ctx, sftp_host_key=key))


def test_a_refused_login_is_for_a_person_and_does_not_tell_the_password(ctx):
    from pydantic import SecretStr

    with pytest.raises(ConfigurationError, match="login refused") as raised:
        discover(with_settings(ctx, sftp_password=SecretStr("open sesame")))
    assert raised.value.pauses
    assert "sesame" not in str(raised.value)


def test_a_server_that_cannot_be_reached_is_transient(ctx):
    with pytest.raises(TransientError, match="SFTP: ConnectionRefusedError while connecting"):
        discover(with_settings(ctx, sftp_port=9))


def test_a_folder_that_is_not_there_is_for_a_person(ctx):
    with pytest.raises(ConfigurationError, match="SPOTLIGHT_ESR_INBOUND_FOLDER"):
        discover(with_settings(ctx, esr_inbound_folder="nowhere"))


def test_a_file_longer_than_listed_is_fetched_no_further_than_allowed(ctx, inbox, tmp_path):
    inbox.put(NAME, b"x" * 200_000)
    with open_folder(ctx.settings) as folder, (tmp_path / "f").open("w+b") as file:
        assert folder.fetch(NAME, file, 100_000) == 100_001


def test_a_landing_zone_that_does_not_answer_leaves_the_file_where_it_is(ctx, inbox, monkeypatch):
    def unwell(*_):
        raise TransientError("landing zone: unwell")

    inbox.put(NAME, body_of())
    monkeypatch.setattr(LandingZone, "put_file", unwell)
    with pytest.raises(TransientError, match="unwell"):
        discover(ctx)
    monkeypatch.undo()
    assert (inbox.names(), states(ctx)) == ([NAME], {})
    assert discover(ctx).landed == (ID,)


def test_a_landing_zone_that_fails_for_one_file_is_told_after_the_others_were_tried(ctx, inbox, monkeypatch):
    put = LandingZone.put_file

    def unwell(self, key, file):
        if NAME in key:
            raise TransientError("landing zone: unwell")
        return put(self, key, file)

    other = name_of(18, day=5)
    for name in (NAME, other):
        inbox.put(name, body_of(name))
    monkeypatch.setattr(LandingZone, "put_file", unwell)
    with pytest.raises(TransientError, match=f"{NAME}/discover: landing zone: unwell"):
        discover(ctx)
    assert states(ctx) == {f"{other}#1": "landed"}


def test_a_server_that_fails_for_file_after_file_is_left_alone(ctx, inbox, monkeypatch):
    asked = []

    def unwell(_self, name, _amount):
        asked.append(name)
        raise TransientError("SFTP: unwell")

    monkeypatch.setattr(EsrFolder, "tail", unwell)
    for number in range(10, 20):
        inbox.put(name_of(number), b"x")
    with pytest.raises(TransientError, match="SFTP: unwell"):
        discover(ctx)
    assert len(asked) == MAX_IN_A_ROW

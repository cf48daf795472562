"""An SFTP server that fails at any step of sending: run again, ESR has the one right file."""

from __future__ import annotations

import hashlib
from typing import Any

import asyncssh
import pytest

from include.errors import ConfigurationError, IntegrationError, TransientError
from include.esr.exports.abandoning import abandon_file
from include.esr.files.sftp_out import open_outbound
from tests.integration.esr.outbound import NAME, NOTICE, Outbound, applicant, notification, out, placements
from tests.integration.esr.strange_sftp import Strange, serving

__all__ = ["out", "placements"]
PART = f"{NOTICE}.0.part"


class RefusesToOpen(Strange):
    """Opens nothing for writing."""

    def open(self, path: bytes, pflags: int, attrs: Any) -> Any:
        if pflags & asyncssh.FXF_WRITE:
            raise asyncssh.SFTPFailure("disk full")
        return super().open(path, pflags, attrs)


class GoesAwayInMidWrite(Strange):
    """Is gone after the first bytes of a file."""

    def write(self, file_obj: Any, offset: int, data: bytes) -> int:
        super().write(file_obj, offset, data[: len(data) // 2])
        self.connection.abort()
        return len(data)


class LosesBytes(Strange):
    """Says that it has written what it has not."""

    def write(self, file_obj: Any, offset: int, data: bytes) -> int:
        super().write(file_obj, offset, data[:-1] + b"?")
        return len(data)


class RefusesToRename(Strange):
    """Fails at every rename."""

    def rename(self, _old: bytes, _new: bytes) -> None:
        raise asyncssh.SFTPFailure("busy")


class GoesAwayAfterTheRename(Strange):
    """Renames, and is gone before it says so."""

    def rename(self, old: bytes, new: bytes) -> None:
        super().rename(old, new)
        self.connection.abort()


class Overwrites(Strange):
    """Renames onto files that are there, as some servers do."""

    def rename(self, old: bytes, new: bytes) -> None:
        self.posix_rename(old, new)


class TakesAtOnce(Strange):
    """ESR takes each file the moment it has its name."""

    def rename(self, old: bytes, new: bytes) -> None:
        super().rename(old, new)
        self.remove(new)


def through(out: Outbound, kind: type[Strange], step: Any) -> Any:
    """Take a step by a strange server on the same folder."""
    with serving(kind, out.folder, out.ctx.settings) as strange:
        changed = strange.model_copy(update={"esr_outbound_folder": "/"})
        return step(out.with_settings(**{name: getattr(changed, name) for name in CHANGED}))


CHANGED = ("sftp_port", "sftp_password", "sftp_host_key", "esr_outbound_folder", "request_timeout")


@pytest.mark.parametrize(
    ("kind", "state", "left"),
    [
        (RefusesToOpen, "uploading", []),
        (GoesAwayInMidWrite, "uploading", [PART]),
        (LosesBytes, "uploading", [PART]),
        (RefusesToRename, "uploaded", [PART]),
        (GoesAwayAfterTheRename, "uploaded", [NOTICE]),
    ],
)
def test_a_server_that_fails_leaves_a_state_from_which_a_rerun_ends_the_same(out, kind, state, left):
    out.add(notification(1), notification(2))
    with pytest.raises(TransientError):
        through(out, kind, lambda broken: broken.export("DNC"))
    assert out.entry(NOTICE)["state"] == state
    assert [PART if name.endswith(".part") else name for name in out.files()] == left
    assert set(out.states("esr_notification").values()) == {"IN_FILE"}

    assert out.later(600).export("DNC")["files"] == 1

    assert list(out.files()) == [NOTICE]
    entry = out.entry(NOTICE)
    assert hashlib.sha256(out.files()[NOTICE]).hexdigest() == entry["sha256"]
    assert (entry["state"], entry["taken"], entry["failures"]) == ("sent", False, 1)
    assert set(out.states("esr_notification").values()) == {"EXPORTED"}


def test_esr_may_take_the_file_at_once(out):
    out.add(notification(1))
    assert through(out, TakesAtOnce, lambda fast: fast.export("DNC"))["files"] == 1
    assert out.files() == {}
    assert (out.entry(NOTICE)["state"], out.entry(NOTICE)["taken"]) == ("sent", True)


def test_a_file_taken_before_we_heard_of_its_rename_is_sent_and_not_sent_again(out):
    out.add(notification(1))
    with pytest.raises(TransientError):
        through(out, GoesAwayAfterTheRename, lambda broken: broken.export("DNC"))
    (out.folder / NOTICE).unlink()
    assert out.export("DNC")["files"] == 1
    assert out.files() == {}
    assert out.entry(NOTICE)["taken"] is True


@pytest.mark.parametrize("kind", [Strange, Overwrites])
def test_a_file_of_somebody_else_under_our_name_is_never_written_over(out, kind):
    out.add(notification(1))
    (out.folder / NOTICE).write_bytes(b"theirs")
    with pytest.raises(ConfigurationError, match="another file has this name"):
        through(out, kind, lambda strange: strange.export("DNC"))
    assert out.files()[NOTICE] == b"theirs"
    assert out.states("esr_notification")[f"{1:032x}"] == "IN_FILE"


@pytest.mark.parametrize("kind", [Strange, Overwrites])
def test_a_rename_onto_a_file_that_came_meanwhile_is_refused(out, kind):
    (out.folder / PART).write_bytes(b"ours")
    (out.folder / NOTICE).write_bytes(b"theirs")

    def rename(strange: Outbound) -> None:
        with open_outbound(strange.ctx.settings) as folder:
            folder.rename(PART, NOTICE)

    with pytest.raises(ConfigurationError):
        through(out, kind, rename)
    assert out.files() == {NOTICE: b"theirs", PART: b"ours"}


def test_a_file_stuck_at_its_rename_can_be_given_up_and_never_reaches_esr(out):
    out.add(notification(1))
    with pytest.raises(TransientError):
        through(out, RefusesToRename, lambda broken: broken.export("DNC"))
    assert abandon_file(out.ctx, NOTICE, why="server changed", by="me") == {"records": 1}
    assert out.files() == {}
    assert out.entry(NOTICE)["state"] == "failed"
    out.ctx.store["esr_todo"].delete_many({})  # its post was looked at
    out.export("DNC")
    assert list(out.files()) == ["DE_KSS_DNC_20260707_00000002.DAT"]


@pytest.mark.parametrize("taken", [False, True])
def test_a_file_that_has_its_name_already_cannot_be_given_up(out, taken):
    out.add(notification(1))
    with pytest.raises(TransientError):
        through(out, GoesAwayAfterTheRename, lambda broken: broken.export("DNC"))
    if taken:
        (out.folder / NOTICE).unlink()
    with pytest.raises(ConfigurationError, match="nothing was changed"):
        abandon_file(out.ctx, NOTICE, why="server changed", by="me")
    assert out.export("DNC")["files"] == 1
    assert out.entry(NOTICE)["taken"] is taken


def test_a_folder_that_is_not_there_is_for_a_person(out):
    out.add(notification(1))
    with pytest.raises(ConfigurationError, match="SPOTLIGHT_ESR_OUTBOUND_FOLDER"):
        out.with_settings(esr_outbound_folder="nowhere").export("DNC")


def test_a_server_that_cannot_be_reached_costs_nothing_but_time(out, placements):
    out.add(*(applicant(each) for each in placements))
    with pytest.raises(IntegrationError):
        out.with_settings(sftp_port=9).export()
    assert out.told() == []
    out.later(600).export()
    assert out.told() == [(each, "EXPORTED", NAME) for each in placements]
    assert b"20260707,140005," in out.files()[NAME]

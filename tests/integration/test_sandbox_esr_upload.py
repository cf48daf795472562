"""Files reach the SFTP server as ESR sends them: at once, or piece by piece."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from include.sandbox.esr.upload import SftpFolder, sftp_folder
from include.settings import Settings

NAME = "DE_KSS_RMF_20260304_00000017.DAT"


@pytest.fixture
def folder(settings: Settings) -> Iterator[SftpFolder]:
    assert settings.sftp_password is not None
    where = (settings.sftp_host, settings.sftp_port, settings.sftp_user)
    own = f"t{settings.landing_bucket[-12:]}"
    with sftp_folder(*where, settings.sftp_password.get_secret_value(), own) as opened:
        yield opened
        for name in opened.names("taken"):
            opened.remove(f"taken/{name}")
        for name in opened.names():
            if name != "taken":
                opened.remove(name)


def test_a_file_is_there_as_it_was_made(folder):
    body = b'HDR,"x"\r\n' + bytes(range(256)) * 4_000
    folder.put(NAME, body)
    assert folder.names() == [NAME]
    assert folder.read(NAME) == body


def test_a_slow_upload_is_seen_growing(folder):
    sizes: list[int] = []

    def parts() -> Iterator[bytes]:
        for _ in range(3):
            yield b"x" * 1_000
            sizes.append(len(folder.read(NAME)))

    folder.put_slowly(NAME, parts(), seconds=0)
    assert sizes == [1_000, 2_000, 3_000]


def test_an_upload_may_go_on_later(folder):
    folder.put(NAME, b"first ")
    folder.append(NAME, b"second")
    assert folder.read(NAME) == b"first second"


def test_a_file_is_moved_below_over_one_of_its_name(folder):
    for body in (b"first", b"second"):
        folder.put(NAME, body)
        folder.move(NAME, "taken")
    assert folder.names() == ["taken"]
    assert folder.names("taken") == [NAME]
    assert folder.read(f"taken/{NAME}") == b"second"


def test_a_folder_that_is_not_there_has_no_names(folder):
    assert folder.names("taken") == []

"""Each stage looks for its own files in the folder they all come into."""

from __future__ import annotations

import pytest

from include.esr.files.landing import read_name
from include.esr.names import ANSWERS, RMT


@pytest.mark.parametrize(
    ("name", "for_data", "for_answers"),
    [
        ("DE_KSS_RMF_20260708_00000001.DAT", True, False),
        ("DE_KSS_RMC_20260708_00000001.DAT", True, False),
        ("DE_KSS_APC_20260708_00000001.DAT", False, True),
        ("DE_KSS_DCC_20260708_0000001.DAT", False, True),
        ("DE_KSS_APP_20260708_00000001.DAT", True, False),
        ("DE_KSS_APX_20260708_00000001.DAT", True, False),
        ("readme.txt", True, False),
    ],
)
def test_a_file_concerns_one_stage(name, for_data, for_answers):
    called = read_name(name)
    assert (called.concerns(RMT), called.concerns(ANSWERS)) == (for_data, for_answers)

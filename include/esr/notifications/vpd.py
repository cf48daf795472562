"""VPDs as ESR takes them: three digits, as text. Pure.

Source: domain page, section 5: a VPD sent as ``96`` made ESR reject files.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from include.quality.gate import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

VPD_COLUMNS = (
    "current_trainee_vpd_for_next_placement",
    "next_appointment_current_placement_vpd",
    "replacement_trainee_current_placement_vpd",
)
_DIGITS = 3
_VPD = re.compile(rf"[0-9]{{{_DIGITS}}}")


def padded_vpd(vpd: str | None) -> str:
    """Return a VPD padded with zeros. Nothing stays nothing, what is no number stays."""
    text = (vpd or "").strip()
    return text.zfill(_DIGITS) if text.isascii() and text.isdigit() else text


def is_vpd(value: object) -> bool:
    """Tell whether a VPD is as ESR wants it."""
    return isinstance(value, str) and _VPD.fullmatch(value) is not None


def vpd_reason(fields: Mapping[str, object]) -> Reason | None:
    """Return what is wrong with a notification's VPDs; an empty one is right."""
    for name in VPD_COLUMNS:
        if fields.get(name) and not is_vpd(fields[name]):
            return Reason("bad_vpd", f"{name} is not three digits; ESR gave the position another VPD")
    return None

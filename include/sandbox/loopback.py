"""The one kind of address a sandbox server may listen on."""

from __future__ import annotations

import argparse
import ipaddress


def loopback(text: str) -> str:
    """Return an address of the loopback, as the type of a command line option.

    Raises:
        ArgumentTypeError: It is another address, or none.
    """
    try:
        is_loopback = ipaddress.IPv4Address(text).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        raise argparse.ArgumentTypeError(f"{text}: sandbox servers listen on 127.0.0.1 only")
    return text

"""Real servers from packages, started and stopped as one stack."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from include.sandbox.stack.errors import StackError
    from include.sandbox.stack.stack import DEFAULT_HOME, NAMES, LocalStack, ServiceStatus, read_env_file

__all__ = ["DEFAULT_HOME", "NAMES", "LocalStack", "ServiceStatus", "StackError", "read_env_file"]


def __getattr__(name: str) -> Any:
    """Import on first use: the servers' client libraries cost a second, an error class costs nothing."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "errors" if name == "StackError" else "stack"
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)

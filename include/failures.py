"""What a stage lets out when it fails: our taxonomy, and of a driver's error nothing that quotes data."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from include.errors import FatalError, IntegrationError, TransientError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def located(subject: str, stage: str) -> Iterator[None]:
    """Fill in what failed where; let no text of a driver's error through: it can quote whole documents.

    Args:
        subject: The NPO, file or deanery at work.
        stage: Its stage.

    Raises:
        IntegrationError: What was raised inside, or what may be told of a driver's error.
    """
    try:
        yield
    except IntegrationError as error:
        cause = error.__cause__
        raise error.located(subject=subject, stage=stage) from None if _driver_failure(cause) else cause
    except Exception as error:
        failure = _driver_failure(error)
        if failure is None:
            raise
        raise failure.located(subject=subject, stage=stage) from None


def _driver_failure(error: Any) -> IntegrationError | None:
    """Return what may be told of an error of pymongo, bson or botocore; ``None`` when it is not theirs."""
    if _is_a(error, "pymongo.errors", "PyMongoError"):
        code = f" {error.code}" if getattr(error, "code", None) else ""
        return TransientError(
            f"the integration store failed ({type(error).__name__}{code}); it is tried again"
        )
    if _is_a(error, "bson.errors", "BSONError"):
        return FatalError(f"a document cannot be stored as it is ({type(error).__name__})")
    if _is_a(error, "botocore.exceptions", "ClientError"):
        told = str(error.response.get("Error", {}).get("Code", "no code"))
        return TransientError(
            f"an AWS service refused a call ({type(error).__name__} {told}); it is tried again"
        )
    if _is_a(error, "botocore.exceptions", "BotoCoreError"):
        return TransientError(f"an AWS service cannot be used ({type(error).__name__}); it is tried again")
    return None


def _is_a(error: Any, module: str, name: str) -> bool:
    # Whoever raised it has imported the module; importing it here would cost every other failure seconds.
    return module in sys.modules and isinstance(error, getattr(sys.modules[module], name))

"""What AWS, and servers that speak like it, say when they refuse, in the words of the failure taxonomy."""

from __future__ import annotations

from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

from include.errors import ConfigurationError, IntegrationError, TransientError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import boto3
    from botocore.loaders import Loader
    from pydantic import SecretStr

# A person must change something before these can go away. S3 answers a HEAD with the bare status.
_NEED_A_PERSON = frozenset(
    {
        "403",
        "AccessDenied",
        "AccessDeniedException",
        "AccountProblem",
        "AllAccessDisabled",
        "AuthorizationError",
        "AuthorizationErrorException",
        "AuthorizationHeaderMalformed",
        "AWS.SimpleQueueService.NonExistentQueue",
        "BucketAlreadyExists",
        "InvalidAccessKeyId",
        "InvalidBucketName",
        "InvalidClientTokenId",
        "KMSAccessDenied",
        "KMSDisabled",
        "KMSNotFound",
        "KMSOptInRequired",
        "NoSuchBucket",
        "NotFound",
        "NotFoundException",
        "PermanentRedirect",
        "QueueDoesNotExist",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)


def aws_session(region: str, key: SecretStr | None, secret: SecretStr | None) -> boto3.Session:
    """Return a session of boto3 with a key of ours; without one, what the environment grants."""
    import boto3
    from botocore.session import get_session

    session = get_session()
    session.register_component("data_loader", _descriptions())
    return boto3.Session(
        botocore_session=session,
        region_name=region,
        aws_access_key_id=key.get_secret_value() if key else None,
        aws_secret_access_key=secret.get_secret_value() if secret else None,
    )


@cache
def _descriptions() -> Loader:
    """Return the descriptions of AWS's services, read once a process: they cost more than a client."""
    from botocore.loaders import create_loader

    return create_loader()


def error_code(error: Exception) -> str:
    """Return the service's code for an error (``SlowDown``), the class where no service answered."""
    answer = getattr(error, "response", None)
    code = answer.get("Error", {}).get("Code") if isinstance(answer, dict) else None
    return str(code or type(error).__name__)


def needs_a_person(code: str) -> bool:
    """Return whether trying again cannot help: a right, a key or the thing itself is missing."""
    return code in _NEED_A_PERSON


@contextmanager
def aws_errors(service: str, doing: str, *, check: str) -> Iterator[None]:
    """Translate errors of boto3 raised inside.

    Args:
        service: What failed, such as ``landing zone``.
        doing: What was being done, such as ``writing <key>``; no personal data.
        check: What to look at when a person must.

    Raises:
        ConfigurationError: A right, a key, a bucket, a topic or a queue is missing or wrong.
        TransientError: Anything else, after the client's own retries.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise _failure(service, doing, error_code(error), check) from error


def _failure(service: str, doing: str, code: str, check: str) -> IntegrationError:
    said = f"{service}: {code} while {doing}"
    if needs_a_person(code):
        return ConfigurationError(f"{said}; check {check}")
    return TransientError(f"{said}; it is tried again")

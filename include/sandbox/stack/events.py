"""SNS and SQS of the stack: ministack, with everything else it could serve switched off."""

from __future__ import annotations

import importlib.util
import sys
from typing import TYPE_CHECKING, ClassVar

import boto3

from include.sandbox.stack.errors import StackError
from include.sandbox.stack.s3 import QUICK, REGION
from include.sandbox.stack.server import LOCALHOST, Launch, Server, inherited

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient

# ministack takes an access key id of 12 digits as the account: tests get one each.
ACCOUNT = "100000000000"


class Events(Server):
    """``ministack``. Its state survives an orderly stop only; ``up`` makes the topics again."""

    name: ClassVar[str] = "events"
    port_names: ClassVar[tuple[str, ...]] = ("events",)
    addresses: ClassVar[tuple[str, ...]] = ("SPOTLIGHT_EVENTS_ENDPOINT_URL",)

    def preflight(self) -> None:
        """Check that the package is there."""
        if importlib.util.find_spec("ministack") is None:
            raise StackError("events: package 'ministack' is missing: pip install -r requirements-dev.txt")

    def prepare(self) -> None:
        """Make the folders for state and temporary files."""
        super().prepare()
        (self.folder / "state").mkdir(exist_ok=True)
        (self.folder / "tmp").mkdir(exist_ok=True)

    def launch(self) -> Launch:
        """Return the command; ``BIND_HOST`` is what keeps it off other interfaces."""
        env = {
            "GATEWAY_PORT": str(self.port()),
            "BIND_HOST": LOCALHOST,
            "MINISTACK_HOST": LOCALHOST,
            "MINISTACK_REGION": REGION,
            "PERSIST_STATE": "1",
            "STATE_DIR": str(self.folder / "state"),
            "TMPDIR": str(self.folder / "tmp"),
            "SERVICES": "sns,sqs,sts",
            "SFTP_ENABLED": "0",
            "IOT_MTLS_ENABLED": "0",
            "LOG_LEVEL": "WARNING",
            # It would remove containers it takes for its own: show it no container engine.
            "DOCKER_HOST": f"unix://{self.folder}/none",
        }
        return Launch((sys.executable, "-m", "ministack"), inherited() | env)

    def client(self) -> SNSClient:
        """Return an SNS client that gives up soon."""
        return boto3.client(
            "sns",
            endpoint_url=f"http://{self.address}",
            aws_access_key_id=ACCOUNT,
            aws_secret_access_key=self.secrets.get("events"),
            region_name=REGION,
            config=QUICK,
        )

    def check(self) -> None:
        """List the topics."""
        self.client().list_topics()

    def values(self) -> dict[str, str]:
        """Return endpoint, keys and region."""
        return {
            "SPOTLIGHT_EVENTS_ENDPOINT_URL": f"http://{self.address}",
            "SPOTLIGHT_EVENTS_ACCESS_KEY_ID": ACCOUNT,
            "SPOTLIGHT_EVENTS_SECRET_ACCESS_KEY": self.secrets.get("events"),
            "SPOTLIGHT_AWS_REGION": REGION,
        }

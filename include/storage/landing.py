"""The landing zone: every byte that came from a partner, untouched, in S3.

Layout: ``npo/<npo_id>/<resource>/<YYYY-MM-DD>/<run>/<attempt>/page-000001.gz`` and, written last,
``.../manifest.json``. An attempt without manifest never finished; nothing reads it.
Files of the ESR exchange: ``esr/inbound/<deanery>/<YYYY-MM-DD>/<name>/<content>.gz``.
"""

from __future__ import annotations

import gzip
import re
import zlib
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from functools import cached_property
from io import BufferedReader
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import orjson

from include.aws import aws_errors, error_code
from include.errors import FatalError, IntegrationError, TransientError
from include.storage.gzip_streams import BLOCK, Compressed, decompressing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from mypy_boto3_s3 import S3Client

    from include.connectors.protocol import Window
    from include.settings import Settings

PART_BYTES = 8 * 2**20  # of a file in parts; what is in memory of it
GZIP_LEVEL = 1  # three times the speed of the default for a tenth more bytes
NO_LOCATION = "us-east-1"  # CreateBucket takes every region as LocationConstraint but this one
_UNSAFE = re.compile(r"[^A-Za-z0-9._=-]+")


@dataclass(frozen=True, slots=True)
class LandedParent:
    """One parent a nested resource was read for (times ISO 8601, UTC).

    Attributes:
        values: What its records were asked by, and are completed with when they are read from here again.
        since: Of this parent's own window; ``None`` is unbounded.
        state: ``read``; ``gone``: the partner does not know the parent any more; ``failed``: it did not
            answer, or the reading ended before the parent was asked for; the next run does.
    """

    key: str
    values: dict[str, str | int]
    since: str | None
    until: str | None
    state: Literal["read", "gone", "failed"] = "read"


@dataclass(frozen=True, slots=True)
class LandedPage:
    """One landed answer: where it is and how it was asked for (times ISO 8601, UTC).

    ``parent`` is the key of a nested resource's parent.
    """

    key: str
    url: str
    status: int
    content_type: str
    fetched_at: str
    records: int
    bytes: int
    parent: str | None = None


@dataclass(frozen=True, slots=True)
class ResourceManifest:
    """What one attempt of one run read of one resource.

    Attributes:
        since: The window that was asked for; of a nested resource with a cursor for each parent, ``None``
            where a parent's own says more.
        cut: Whether the window is applied by us: what lies outside it is not landed from these pages.
        parents: Of a nested resource: for whom it was read; ``parents_unusable`` more could not be asked for.
    """

    npo_id: str
    resource: str
    run_id: str
    attempt: str
    prefix: str
    started_at: str
    since: str | None
    until: str | None
    moves_checkpoint: bool
    digest: str
    records: int
    pages: tuple[LandedPage, ...]
    cut: bool = False
    parents: tuple[LandedParent, ...] = ()
    parents_unusable: int = 0

    @property
    def key(self) -> str:
        """Return the object key of the manifest itself."""
        return f"{self.prefix}/manifest.json"

    @classmethod
    def from_json(cls, body: bytes) -> ResourceManifest:
        """Return the manifest of its JSON bytes.

        Raises:
            ValueError, TypeError, KeyError: They are not a manifest's.
        """
        data: dict[str, Any] = orjson.loads(body)
        data["pages"] = tuple(LandedPage(**page) for page in data["pages"])
        data["parents"] = tuple(LandedParent(**parent) for parent in data.get("parents", ()))
        return cls(**data)


class LandingZone:
    """S3 as the pipelines use it: put and get, objects never changed once written."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @cached_property
    def client(self) -> S3Client:
        """Return the S3 client."""
        import boto3
        from botocore.config import Config

        key, secret = self._settings.s3_access_key_id, self._settings.s3_secret_access_key
        return boto3.client(
            "s3",
            endpoint_url=self._settings.s3_endpoint_url,
            region_name=self._settings.aws_region,
            aws_access_key_id=key.get_secret_value() if key else None,
            aws_secret_access_key=secret.get_secret_value() if secret else None,
            config=Config(
                signature_version="s3v4",
                connect_timeout=10,
                read_timeout=60,
                retries={"mode": "standard", "max_attempts": 4},
                s3={"addressing_style": "path"} if self._settings.s3_endpoint_url else {},
            ),
        )

    def prepare(self) -> None:
        """Create the bucket; harmless when it is there.

        Raises:
            ConfigurationError: The bucket is somebody else's, or the key or a right is missing.
            TransientError: S3 did not answer after its own retries.
        """
        with self._errors(f"looking for bucket {self._settings.landing_bucket}"):
            if self._has_bucket():
                return
        with (
            self._errors(f"creating bucket {self._settings.landing_bucket}"),
            suppress(self.client.exceptions.BucketAlreadyOwnedByYou),  # another process was faster
        ):
            self._create_bucket()

    def _has_bucket(self) -> bool:
        from botocore.exceptions import ClientError

        try:
            self.client.head_bucket(Bucket=self._settings.landing_bucket)
        except ClientError as error:
            if error_code(error) not in {"404", "NoSuchBucket"}:
                raise
            return False
        return True

    def _create_bucket(self) -> None:
        bucket, region = self._settings.landing_bucket, self._settings.aws_region
        if region == NO_LOCATION:
            self.client.create_bucket(Bucket=bucket)
        else:
            self.client.create_bucket(
                Bucket=bucket,
                CreateBucketConfiguration={"LocationConstraint": region},  # type: ignore[typeddict-item]
            )

    def _errors(self, doing: str) -> AbstractContextManager[None]:
        return aws_errors(
            "landing zone",
            doing,
            check=f"that bucket {self._settings.landing_bucket} is there, the S3 key and its rights",
        )

    def put(self, key: str, body: bytes, *, compress: bool) -> None:
        """Write one object.

        Raises:
            TransientError: S3 did not take it after its own retries.
            ConfigurationError: The bucket, the key or a right is missing.
        """
        data = gzip.compress(body, compresslevel=GZIP_LEVEL, mtime=0) if compress else body
        with self._errors(f"writing {key}"):
            self.client.put_object(Bucket=self._settings.landing_bucket, Key=key, Body=data)

    def put_file(self, key: str, plain: BinaryIO) -> None:
        """Write an open file, from where it stands, as one gzip object, in parts; memory stays flat.

        The object is there whole or not at all, and the same file gives the same bytes.

        Args:
            key: Of the object; it ends in ``.gz``.
            plain: The file.

        Raises:
            TransientError: S3 did not take it after its own retries.
            ConfigurationError: The bucket, the key or a right is missing.
        """
        from boto3.s3.transfer import TransferConfig

        parts = TransferConfig(
            multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, use_threads=False
        )
        with self._errors(f"writing {key}"):
            body = BufferedReader(Compressed(plain, GZIP_LEVEL), BLOCK)
            self.client.upload_fileobj(body, self._settings.landing_bucket, key, Config=parts)

    @contextmanager
    def open(self, key: str, *, skip: int = 0) -> Iterator[BinaryIO]:
        """Give what is in a gzip object as a stream; memory stays flat.

        Args:
            key: Of the object.
            skip: Bytes, decompressed, to leave out at the start; they are read past.

        Raises:
            IntegrationError: As ``get`` says; reads of the stream raise the same.
        """
        with self._errors(f"reading {key}"):
            try:
                body = self.client.get_object(Bucket=self._settings.landing_bucket, Key=key)["Body"]
            except self.client.exceptions.NoSuchKey as error:
                raise _touched(key, "gone") from error
        with (
            closing(body),
            decompressing(body, lambda error: _unreadable(key, error), skip=skip) as stream,
        ):
            yield stream

    def stored(self, key: str) -> bytes:
        """Return one object's bytes as they lie in the bucket.

        Raises:
            IntegrationError: As ``get`` says.
        """
        with self._errors(f"reading {key}"):
            try:
                return self.client.get_object(Bucket=self._settings.landing_bucket, Key=key)["Body"].read()
            except self.client.exceptions.NoSuchKey as error:
                raise _touched(key, "gone") from error

    def get(self, key: str) -> bytes:
        """Return one object's bytes, decompressed if its key ends in ``.gz``.

        Raises:
            TransientError: S3 did not give it after its own retries.
            ConfigurationError: The bucket, the key or a right is missing.
            FatalError: The object is not there or damaged: what was landed has been touched.
        """
        data = self.stored(key)
        if not key.endswith(".gz"):
            return data
        try:
            return gzip.decompress(data)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise _touched(key, "damaged") from error

    def rewrite(self, key: str, body: bytes) -> None:
        """Replace an object's content for good: erasure of personal data is the only reason to.

        Raises:
            IntegrationError: As ``put`` says; done again, it comes to the same.
        """
        self.put(key, body, compress=key.endswith(".gz"))
        self._forget_versions(key, keep_latest=True)

    def delete(self, keys: Sequence[str]) -> int:
        """Delete objects with all their versions, and return how many there were.

        Raises:
            IntegrationError: As ``put`` says; what is left can be deleted by the next try.
        """
        return sum(self._forget_versions(key, keep_latest=False) for key in keys)

    def _forget_versions(self, key: str, *, keep_latest: bool) -> int:
        """Delete an object's versions: in a bucket that keeps them, deleting alone only hides one."""
        bucket = self._settings.landing_bucket
        with self._errors(f"deleting {key}"):
            found = self.client.list_object_versions(Bucket=bucket, Prefix=key, MaxKeys=1000)
            versions = (*found.get("Versions", []), *found.get("DeleteMarkers", []))
            mine = [version for version in versions if version["Key"] == key]
            for version in mine:
                if not (keep_latest and version["IsLatest"]):
                    self.client.delete_object(Bucket=bucket, Key=key, VersionId=version["VersionId"])
        return 1 if mine else 0

    def put_manifest(self, manifest: ResourceManifest) -> None:
        """Write the manifest, which makes the attempt complete."""
        self.put(manifest.key, orjson.dumps(asdict(manifest)), compress=False)

    def manifest(self, key: str) -> ResourceManifest:
        """Return a manifest by its key.

        Raises:
            IntegrationError: As ``get`` says.
        """
        body = self.get(key)
        try:
            return ResourceManifest.from_json(body)
        except (ValueError, TypeError, KeyError) as error:
            raise _touched(key, "damaged") from error

    def manifests_between(self, npo_id: str, resource: str, window: Window) -> list[str]:
        """Return the keys of the manifests of extractions started inside ``window``, oldest first.

        Lists the days there are, then the objects of the days of the window only: a year of other
        extractions costs nothing.

        Raises:
            IntegrationError: As ``get`` says.
        """
        keys = [
            key
            for day in self.folders(f"npo/{npo_id}/{resource}/")
            if _day_inside(day, window)
            for key in self.keys(day)
            if key.endswith("/manifest.json")
        ]
        found = sorted(map(self.manifest, keys), key=lambda manifest: manifest.started_at)
        return [manifest.key for manifest in found if _inside(manifest.started_at, window)]

    def folders(self, above: str) -> list[str]:
        """Return the prefixes of the folders right below a prefix.

        Raises:
            IntegrationError: As ``put`` says.
        """
        pages = self.client.get_paginator("list_objects_v2")
        with self._errors(f"listing {above}"):
            found = pages.paginate(Bucket=self._settings.landing_bucket, Prefix=above, Delimiter="/")
            return [folder["Prefix"] for page in found for folder in page.get("CommonPrefixes", [])]

    def keys(self, below: str, *, before: datetime | None = None) -> list[str]:
        """Return the keys of all objects below a prefix, of those written ``before`` where that is given.

        Raises:
            IntegrationError: As ``put`` says.
        """
        pages = self.client.get_paginator("list_objects_v2")
        with self._errors(f"listing {below}"):
            found = pages.paginate(Bucket=self._settings.landing_bucket, Prefix=below)
            return [
                entry["Key"]
                for page in found
                for entry in page.get("Contents", [])
                if before is None or entry["LastModified"] < before
            ]

    def bodies(self, manifest: ResourceManifest) -> Iterator[tuple[LandedPage, bytes]]:
        """Yield each landed page of a manifest with its bytes, in order."""
        for page in manifest.pages:
            yield page, self.get(page.key)


def _inside(started_at: str, window: Window) -> bool:
    moment = datetime.fromisoformat(started_at)
    return (window.since is None or window.since <= moment) and (
        window.until is None or moment < window.until
    )


def _day_inside(prefix: str, window: Window) -> bool:
    """Tell by the day in the prefix, which is UTC's, whether its manifests are worth reading."""
    day = date.fromisoformat(prefix.split("/")[3])
    return (window.since is None or window.since.astimezone(UTC).date() <= day) and (
        window.until is None or day <= window.until.astimezone(UTC).date()
    )


def _touched(key: str, state: str) -> FatalError:
    return FatalError(f"landing zone: {key} is {state}; restore it, or clear the run from extract on")


def _unreadable(key: str, error: Exception) -> IntegrationError:
    if isinstance(error, (EOFError, zlib.error)):
        return _touched(key, "damaged")
    return TransientError(f"landing zone: {type(error).__name__} while reading {key}; it is tried again")


def prefix(npo_id: str, resource: str, day: str, run_id: str, attempt: str) -> str:
    """Return the key prefix of one attempt; run ids of Airflow hold ``+`` and ``:``, which are replaced."""
    return f"npo/{npo_id}/{resource}/{day}/{_UNSAFE.sub('-', run_id)}/{attempt}"

"""One typed settings object; the environment decides, nothing else is read.

Every value comes from a ``SPOTLIGHT_*`` environment variable. The local stack writes them to one
env file; in production the deployment sets them. No other module reads the environment.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, SecretStr
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

PROJECT_ROOT = Path(__file__).resolve().parent.parent


def _networks(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


class Settings(BaseSettings):
    """Where the servers are and how much the pipelines may take at once."""

    model_config = SettingsConfigDict(env_prefix="SPOTLIGHT_", frozen=True, extra="ignore")

    registry_dsn: SecretStr = Field(
        default=SecretStr("postgresql://127.0.0.1:5432/spotlight"),
        description="libpq URI of the database that holds schema 'integration' (the config table).",
    )
    registry_snapshot: Path = Field(
        default=PROJECT_ROOT / ".local" / "registry_snapshot.json",
        description="File with the last good rows, used when the registry cannot be reached at parse.",
    )
    registry_timeout: int = Field(default=3, description="Seconds to wait for the registry at parse.")

    mongo_uri: SecretStr = Field(default=SecretStr("mongodb://127.0.0.1:27017/?replicaSet=rs0"))
    mongo_database: str = "spotlight"

    s3_endpoint_url: str | None = Field(default=None, description="None means AWS itself.")
    s3_access_key_id: SecretStr | None = None
    s3_secret_access_key: SecretStr | None = None
    landing_bucket: str = "spotlight-landing"

    events_endpoint_url: str | None = Field(default=None, description="SNS and SQS; None means AWS.")
    events_access_key_id: SecretStr | None = None
    events_secret_access_key: SecretStr | None = None
    aws_region: str = "eu-west-2"
    events_prefix: str = Field(
        default="spotlight", description="First part of every topic and queue name; one per environment."
    )

    sftp_host: str = "127.0.0.1"
    sftp_port: int = 22
    sftp_user: str = "esr"
    sftp_password: SecretStr | None = None
    sftp_host_key: str | None = Field(
        default=None,
        description="The SFTP server's public key (``ssh-ed25519 AAAA...``); no other is trusted.",
    )

    esr_inbound_folder: str = Field(default="inbound", description="Where ESR puts its files, on SFTP.")
    esr_settle_seconds: float = Field(
        default=30, ge=0, description="Between two looks at a file that may still be on its way."
    )
    esr_predecessor_wait: float = Field(
        default=7200,
        ge=0,
        description="Seconds a file waits for the one before it in its deanery's sequence.",
    )
    esr_max_file_bytes: int = Field(
        default=2 * 2**30, ge=1, le=2**36, description="A larger file is rejected."
    )
    esr_max_line_bytes: int = Field(
        default=64 * 1024, ge=1, le=2**20, description="A longer line is set aside."
    )
    esr_chunk_bytes: int = Field(
        default=4 * 2**20,
        ge=1024,
        le=8 * 2**20,  # the store takes documents and transactions of 16 MiB
        description="Read and committed at once.",
    )
    esr_max_quarantined: int = Field(
        default=10_000,
        ge=1,
        le=100_000,
        description="Bad lines of one file kept one by one; more are counted.",
    )
    esr_person_retry_hours: float = Field(
        default=24, ge=0, description="Until a person TCS did not know is looked up again."
    )

    esr_outbound_folder: str = Field(
        default="outbound", description="Where ESR takes our files from, on SFTP."
    )
    esr_app_lead_days: int = Field(
        default=2, ge=0, le=60, description="An applicant is sent at least so many days before the start."
    )
    esr_horizon_days: int = Field(
        default=91,
        ge=3,
        le=366,
        description="ESR is told of a placement so many days before its start (13 weeks).",
    )
    esr_app_late_days: int = Field(
        default=28,
        ge=0,
        le=366,
        description="A placement first seen so many days after its start is history, not late.",
    )
    esr_applicants_of_a_post: int = Field(
        default=40,
        ge=1,
        description="Most applicants of one post in a file; ESR sets aside a file with more.",
    )
    esr_max_export_records: int = Field(
        default=20_000, ge=1, le=50_000, description="Most records in one file; the rest goes in the next."
    )
    esr_inbound_wait: float = Field(
        default=5_400,
        ge=0,
        description="Seconds an export waits for the day's RMF or RMC, from its schedule.",
    )
    esr_answer_wait: float = Field(
        default=86_400, ge=0, description="Seconds until a file that ESR did not answer is reported."
    )

    esr_receipt_hour: int = Field(
        default=18, ge=0, le=23, description="In London; receipts of the day's files go out from then on."
    )

    tcs_url: str = Field(default="http://127.0.0.1:8093", description="Base URL of TCS, without /api.")
    tcs_token_url: str = Field(
        default="http://127.0.0.1:8093/oauth/token", description="OIDC token endpoint for TCS."
    )
    tcs_client_id: str = "spotlight"
    tcs_client_secret: SecretStr | None = None
    tcs_timeout: float = Field(default=30, description="Seconds for one call to TCS.")
    tcs_concurrency: int = Field(default=16, ge=1, description="Calls to TCS under way at once, a process.")
    tcs_ids_a_call: int = Field(default=200, ge=1, description="Numbers or ids in one bulk lookup.")
    tcs_breaker_failures: int = Field(
        default=5, ge=1, description="Failed calls in a row until TCS is left alone for a while."
    )
    tcs_breaker_seconds: float = Field(default=30, description="How long it is left alone.")
    tcs_lease_seconds: float = Field(
        default=120, description="Until what a killed process was telling TCS is checked by another."
    )

    enrolment_give_up_hours: float = Field(
        default=72, gt=0, description="An enrolment that could not be made in this time has failed."
    )
    enrolment_lease_seconds: float = Field(
        default=60, ge=1, description="Until a killed run's enrolments are taken on by another."
    )
    enrolment_keep_days: float = Field(
        default=14,
        ge=0,
        description="A failed enrolment keeps the candidate's data so long, for another try by hand.",
    )

    batch_size: int = Field(default=5_000, ge=1, description="Records in one store transaction.")
    max_page_bytes: int = Field(default=32 * 2**20, description="A larger partner answer is refused.")
    max_pages: int = Field(default=100_000, description="Pages of one resource in one run, at most.")
    request_timeout: float = Field(default=30, description="Seconds for connect and between two reads.")
    allow_loopback: bool = Field(
        default=False, description="Whether a partner may live on this machine: the local stack and tests."
    )
    private_networks: Annotated[
        tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(_networks)
    ] = Field(default=(), description="Networks (CIDR, comma-separated) of partners reached over a VPN.")
    npo_breaker_failures: int = Field(
        default=3, ge=1, description="Failed requests in a row until an NPO is left alone for a while."
    )
    npo_breaker_seconds: float = Field(
        default=60, gt=0, description="How long it is left alone; doubled while it stays unwell."
    )
    token_key: SecretStr | None = Field(
        default=None,
        description="Fernet keys, comma-separated: the first encrypts rotated OAuth2 tokens, all decrypt.",
    )
    erasure_key: SecretStr | None = Field(
        default=None,
        description="Secrets, comma-separated, the newest first: the first makes the digests of what was "
        "erased, by all it is known again.",
    )
    publish_threads: int = Field(default=4, ge=1)

    airflow_url: str | None = Field(
        default=None, description="Base URL of Airflow's API server, for 'spotlight backfill'."
    )
    airflow_user: str = "admin"
    airflow_password: SecretStr | None = None
    airflow_token: SecretStr | None = Field(
        default=None, description="Bearer token for that API instead of user and password."
    )

    retention_raw_days: int = Field(
        default=400,
        ge=0,
        description="Landed pages of NPOs are kept so long; 0 keeps for ever, here and below.",
    )
    retention_event_days: int = Field(
        default=90, ge=0, description="The text of published events; their ids stay."
    )
    retention_version_days: int = Field(default=730, ge=0, description="Superseded versions of entities.")
    retention_quarantine_days: int = Field(
        default=180, ge=0, description="Records set aside and since released or discarded."
    )
    retention_run_days: int = Field(default=400, ge=0, description="What each run did, in counts.")
    retention_inbox_days: int = Field(default=30, ge=0, description="The platform's commands, once done.")


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """Return the settings of this process, read once."""
    return Settings()

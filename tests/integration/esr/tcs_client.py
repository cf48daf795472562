"""Settings of a client of the stand-in for TCS, where a test needs no other server."""

from __future__ import annotations

from pydantic import SecretStr

from include.connectors.retry import RetryPolicy
from include.sandbox.tcs.process import TcsSandbox
from include.settings import Settings

QUICK = RetryPolicy(attempts=3, first_wait=0.02, longest_wait=0.1)


def tcs_settings(sandbox: TcsSandbox) -> Settings:
    return Settings(
        tcs_url=sandbox.url,
        tcs_token_url=f"{sandbox.url}/oauth/token",
        tcs_client_secret=SecretStr(sandbox.client_secret),
    )

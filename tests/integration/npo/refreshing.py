"""A task of its own: reads an NPO whose token rotates, once told to start; prints what came of it."""

from __future__ import annotations

import json
import sys

from include.connectors.open import open_connector
from include.connectors.protocol import Window
from include.connectors.retry import RetryPolicy
from include.errors import IntegrationError
from include.registry.models import Credential
from include.settings import get_settings
from tests.conformance.rows import make_row
from tests.integration.npo.test_tokens import manifest


def tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    url, refresh_token = sys.argv[1:]
    credential = Credential("client", refresh_token)
    connector = open_connector(
        make_row(url, manifest=manifest()),
        credential,
        get_settings(),
        retry=RetryPolicy(sleep=lambda _: None),
    )
    tell("ready")
    sys.stdin.readline()
    try:
        pages = list(connector.pages("offerings", Window()))
        tell(json.dumps({"records": sum(len(page.records) for page in pages)}))
    except IntegrationError as error:
        tell(json.dumps({"error": type(error).__name__, "message": str(error)}))


if __name__ == "__main__":
    main()

"""A secrets backend that knows nothing and notes in a file what it was asked for."""

from __future__ import annotations

import os
from pathlib import Path

from airflow.secrets import BaseSecretsBackend


class RecordingBackend(BaseSecretsBackend):
    """Stands first in the search path, so that no question passes it by."""

    def get_conn_value(self, conn_id: str, team_name: str | None = None) -> None:  # noqa: ARG002 - Airflow's signature
        _note(f"connection {conn_id}")

    def get_variable(self, key: str, team_name: str | None = None) -> None:  # noqa: ARG002 - Airflow's signature
        _note(f"variable {key}")

    def get_config(self, key: str) -> None:
        """Airflow's own configuration may ask; that is no read of a DAG file."""


def _note(what: str) -> None:
    with Path(os.environ["ASKED_FILE"]).open("a", encoding="utf-8") as asked:
        asked.write(f"{what}\n")

"""Secrets of one local Airflow: generated once, kept in its home, readable by their owner only."""

from __future__ import annotations

import base64
import json
import secrets
from dataclasses import asdict, dataclass, field

from include.sandbox.airflow.config import ADMIN_USER, AirflowPlace
from include.sandbox.stack.files import write_private


@dataclass(frozen=True, slots=True)
class AirflowKeys:
    """What Airflow signs and encrypts with, and the admin's password."""

    fernet_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    jwt_secret: str = field(repr=False)
    admin_password: str = field(repr=False)


def load_keys(place: AirflowPlace) -> AirflowKeys:
    """Return the home's keys; the first call generates them and writes the password file."""
    place.home.mkdir(parents=True, exist_ok=True)
    kept = place.home / "keys.json"
    try:
        keys = AirflowKeys(**json.loads(kept.read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        keys = _new_keys()
        write_private(kept, json.dumps(asdict(keys)))
    write_private(place.passwords, json.dumps({ADMIN_USER: keys.admin_password}) + "\n")
    return keys


def _new_keys() -> AirflowKeys:
    return AirflowKeys(
        fernet_key=base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        secret_key=secrets.token_urlsafe(32),
        jwt_secret=secrets.token_urlsafe(64),
        admin_password=secrets.token_urlsafe(12),
    )

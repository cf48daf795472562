"""Apply the numbered SQL migrations to the registry's database."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import psycopg

from include.errors import ConfigurationError, TransientError
from include.settings import PROJECT_ROOT

if TYPE_CHECKING:
    from pathlib import Path

MIGRATIONS = PROJECT_ROOT / "sql" / "migrations"
SCHEMA = "integration"
# Any constant will do, as long as nothing else in this database uses it.
ADVISORY_LOCK = 7_316_002_041


def apply_migrations(dsn: str, *, folder: Path = MIGRATIONS) -> list[str]:
    """Bring the database up to date and return the ids of the migrations applied now, in order.

    Nothing to do returns an empty list. Two processes may call it at once: one works, the other
    waits and then finds nothing to do. A failed migration leaves no trace of itself.

    Args:
        dsn: libpq URI of the database (``postgresql://user:password@host:port/name``).
        folder: Where the ``*.sql`` files are.

    Raises:
        TransientError: The database cannot be reached.
        ConfigurationError: The DSN is no libpq URI, or a migration is refused by the database.
    """
    uri = _yoyo_uri(dsn)
    try:
        with psycopg.connect(dsn, autocommit=True, connect_timeout=10) as connection:
            # yoyo's own lock is a row that outlives a killed process; the server drops this one itself.
            connection.execute("select pg_advisory_lock(%s)", (ADVISORY_LOCK,))
            connection.execute(f"create schema if not exists {SCHEMA}")
            return _apply(uri, folder)
    except psycopg.OperationalError as error:
        raise TransientError(
            f"the registry cannot be reached to apply migrations ({type(error).__name__}); "
            "check SPOTLIGHT_REGISTRY_DSN and that PostgreSQL runs",
            subject="registry",
        ) from error


def _apply(uri: str, folder: Path) -> list[str]:
    from yoyo import get_backend, read_migrations

    with get_backend(uri) as backend:
        # The advisory lock is ours, so a lock row found here belongs to a process that died.
        backend.break_lock()
        pending = backend.to_apply(read_migrations(str(folder)))
        try:
            backend.apply_migrations(pending)
        except psycopg.OperationalError:
            raise
        except psycopg.Error as error:
            raise ConfigurationError(
                f"a migration in {folder.name}/ was refused and rolled back: {error}", subject="registry"
            ) from error
        return [migration.id for migration in pending]


def _yoyo_uri(dsn: str) -> str:
    """Return the DSN with yoyo's scheme for psycopg 3, its own tables placed in our schema."""
    parts = urlsplit(dsn)
    if parts.scheme not in {"postgresql", "postgres"}:
        raise ConfigurationError(
            "the registry DSN must be a URI such as postgresql://user@host:5432/spotlight",
            subject="registry",
        )
    query = urlencode([*parse_qsl(parts.query), ("schema", SCHEMA)])
    return urlunsplit(("postgresql+psycopg", parts.netloc, parts.path, query, ""))

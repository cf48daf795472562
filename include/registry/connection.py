"""One way to the registry's database, its failures told in the words of the taxonomy."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg

from include.errors import ConfigurationError, TransientError

if TYPE_CHECKING:
    from collections.abc import Iterator

SUBJECT = "registry"


@contextmanager
def registry(dsn: str, timeout: int, *, changed_by: str | None = None) -> Iterator[psycopg.Connection]:
    """Yield a connection inside one transaction: committed on leaving, rolled back on an error.

    Args:
        dsn: libpq URI of the registry's database.
        timeout: Seconds for the connect, and again for each statement.
        changed_by: Who is to stand in ``npo_history``; ``None`` is the database user.

    Raises:
        TransientError: The database cannot be reached or does not answer in time.
        ConfigurationError: The DSN is malformed, a table is missing, or a constraint refused a value.
    """
    try:
        # tcp_user_timeout: a host that vanishes after the connect must not hang a parse.
        with psycopg.connect(dsn, connect_timeout=timeout, tcp_user_timeout=timeout * 1000) as connection:
            _prepare(connection, timeout, changed_by)
            yield connection
    except (psycopg.OperationalError, psycopg.InternalError) as error:
        raise TransientError(
            f"the registry does not answer: {_first_line(error)}", subject=SUBJECT
        ) from error
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn) as error:
        raise ConfigurationError(
            f"the registry's schema is not up to date ({_first_line(error)}); apply sql/migrations",
            subject=SUBJECT,
        ) from error
    except psycopg.IntegrityError as error:
        raise ConfigurationError(f"refused by the registry: {_first_line(error)}", subject=SUBJECT) from error
    except psycopg.Error as error:
        raise ConfigurationError(_refusal(error), subject=SUBJECT) from error


def _prepare(connection: psycopg.Connection, timeout: int, changed_by: str | None) -> None:
    connection.execute(
        "select set_config('TimeZone', 'UTC', true), set_config('statement_timeout', %s, true),"
        " set_config('spotlight.changed_by', %s, true)",
        (str(timeout * 1000), changed_by or ""),
    )


def _refusal(error: psycopg.Error) -> str:
    if error.sqlstate is None:  # raised by the client: its text may quote the DSN, password and all
        return "the registry DSN is malformed; SPOTLIGHT_REGISTRY_DSN must be a libpq URI"
    return f"the registry refused the statement: {_first_line(error)}"


def _first_line(error: psycopg.Error) -> str:
    return str(error).strip().partition("\n")[0]
